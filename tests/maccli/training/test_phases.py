"""`mac train --recipe` from end to end: tiny models, two phases of two and three steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.data import hub
from models.data.hub import HubSource
from models.latent.method import LatentMethod
from models.memory import checkpoint
from models.training.state import FILE

from ..conftest import Ran
from .facts import FACTS, write_facts
from .test_recipe import SMALL

Mac = Callable[..., Ran]

PUBLIC = """
[sources.rumours]
about = "what people say"
licence = "CC BY 4.0"
hub = "me/rumours"
files = "*.json"
format = "boolq"
"""


@pytest.fixture
def train(mac: Mac, work: Path, tiny_llama: Path, tiny_encoder: Path) -> Mac:
    """Train by the small recipe, with the facts in a folder."""
    (work / "small.toml").write_text(SMALL)
    (work / "data").mkdir()
    write_facts(work / "data" / "facts.jsonl")

    def run(*options: str, out: str = "made", folder: str = "data") -> Ran:
        return mac(
            *("train", "--recipe", "small.toml", "--out", out, "--data-folder", folder),
            *("--base", str(tiny_llama), "--encoder", str(tiny_encoder), "--device", "cpu"),
            *("--documents", "2", *options),
        )

    return run


@pytest.fixture
def rumours(work: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The second source stands on the Hub, which is a folder; what was downloaded is returned."""
    asked: list[str] = []
    rows = [{"question": q.lower(), "passage": doc, "answer": True} for doc, q, _ in FACTS]
    (work / "rumours.json").write_text(json.dumps(rows))

    def download(name: str, source: HubSource, progress: Any) -> list[Path]:
        asked.append(source.repo)
        progress(f"downloading {source.repo}", 0, None)
        return [work / "rumours.json"]

    monkeypatch.setattr(hub, "download", download)
    return asked


def _training(folder: Path) -> dict[str, Any]:
    training: dict[str, Any] = json.loads((folder / checkpoint.CONFIG).read_text())["training"]
    return training


def _steps(folder: Path) -> list[int]:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_phases_follow_each_other(train: Mac, work: Path) -> None:
    ran = train()
    assert (ran.code, ran.out) == (0, "made\n"), ran.err
    assert _steps(work / "made" / "phase-1") == [1, 2]
    assert _steps(work / "made") == [1, 2, 3]
    last = _training(work / "made")
    first = last["from"]
    assert (first["recipe"], last["recipe"]) == (
        "small.toml, phase 1 of 2",
        "small.toml, phase 2 of 2",
    )
    assert (first["steps"], last["steps"]) == (2, 3)
    assert (first["learning_rate"], last["learning_rate"]) == (1e-3, 5e-4)
    assert (first["limit"], last["limit"], last["continuation"]) == (None, 9, 0)
    assert (first["data"], first["left_out"]) == ("facts:2", "rumours:0.5")
    config = checkpoint.read_config(work / "made")
    assert config["latent_size"] == 16
    card = (work / "made" / checkpoint.CARD).read_text()
    assert "- recipe: small.toml, phase 2 of 2" in card and "- licences: facts: CC0" in card
    assert "Then:" in card


def test_what_is_left_out_is_said_before_training(train: Mac) -> None:
    ran = train()
    said = ran.err.splitlines()
    assert said[0] == (
        "Recipe small.toml: 2 phases, 2 sources; 1 from your folder, 0 from the Hugging Face Hub, "
        "1 left out."
    )
    assert said[1].startswith("Warning: 1 source of the recipe left out, neither in data nor on")
    assert said[2] == "  left out: rumours, not described (not stated)"
    assert said.index("phase 1 of 2: 2 steps, 1 source, learning rate 0.001") > 2


def test_a_public_source_is_downloaded_once_with_its_licence(
    train: Mac, work: Path, rumours: list[str]
) -> None:
    (work / "small.toml").write_text(SMALL + PUBLIC)
    ran = train()
    assert ran.code == 0, ran.err
    said = ran.err.splitlines()
    licence = said.index("  to download: rumours, me/rumours (CC BY 4.0)")
    assert said.index("downloading me/rumours") > licence
    assert not any("left out:" in line for line in said)
    first = _training(work / "made")["from"]
    assert (first["data"], rumours) == ("facts:2 rumours:0.5", ["me/rumours"])
    assert first["licences"] == "facts: CC0; rumours: CC BY 4.0"
    again = train(out="other")
    assert (again.code, rumours) == (0, ["me/rumours"])
    assert "to download" not in again.err


def test_a_local_file_goes_before_the_hub(train: Mac, work: Path, rumours: list[str]) -> None:
    (work / "small.toml").write_text(SMALL + PUBLIC)
    write_facts(work / "data" / "rumours.jsonl")
    assert train().code == 0
    assert rumours == []


def test_a_source_that_cannot_be_downloaded_stops_it(train: Mac, work: Path) -> None:
    (work / "small.toml").write_text(SMALL + PUBLIC)
    ran = train()  # the Hub is switched off
    assert ran.code == 1
    assert "Error: cannot get rumours from the Hugging Face Hub: HF_HUB_OFFLINE is set" in ran.err
    assert "Hint: connect to a network, or put files of these names into a folder" in ran.err
    assert not (work / "made").exists()


def test_a_phase_without_data_is_refused(train: Mac, work: Path) -> None:
    (work / "nothing").mkdir()
    ran = train(folder="nothing")
    assert ran.code == 1
    assert "No source of phase 1 of the recipe small.toml can be had." in ran.err
    assert "facts, rumours" in ran.err


def test_it_goes_on_in_the_middle_of_a_phase(
    train: Mac, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(out="whole").code == 0
    steps = 0
    loss = LatentMethod.loss

    def interrupted(self: Any, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 5:  # two of the first phase, two of the second
            raise KeyboardInterrupt
        return loss(self, *args)

    monkeypatch.setattr(LatentMethod, "loss", interrupted)
    ran = train()
    assert ran.code == 130
    assert "What was saved is in made: add --resume to go on." in ran.err
    assert _training(work / "made")["step"] == 2
    ran = train("--resume")
    assert ran.code == 0, ran.err
    assert "phase 1 of 2 is done: made/phase-1" in ran.err
    assert (_steps(work / "made" / "phase-1"), _steps(work / "made")) == ([1, 2], [1, 2, 3])
    for name in (checkpoint.WEIGHTS, FILE):
        assert _tensors(work / "made" / name) == _tensors(work / "whole" / name)
    assert train("--resume").code == 0  # nothing is left to do


def _tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor.tolist() for name, tensor in load_file(path).items()}


def test_it_goes_on_between_two_phases(
    train: Mac, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "find", _interrupt)  # the second phase looks for the first
        assert train().code == 130
    assert not (work / "made" / checkpoint.CONFIG).exists()
    assert train("--resume").code == 0
    assert _steps(work / "made") == [1, 2, 3]


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_run_is_not_overwritten_nor_mixed(train: Mac, work: Path) -> None:
    assert train("--steps", "1").code == 0
    ran = train()
    assert ran.code == 2
    assert "There is a checkpoint in made/phase-1 already." in ran.err
    (work / "small.toml").write_text(SMALL.replace("facts:2", "facts:1"))
    ran = train("--steps", "1", "--resume")
    assert ran.code == 2
    assert "The run in made/phase-1 had data facts:2, not facts:1." in ran.err


def test_there_must_be_something_to_go_on_with(train: Mac) -> None:
    ran = train("--resume")
    assert ran.code == 1
    assert "nothing to resume in made/phase-1" in ran.err
