"""What the options of `mac train` mean; the training itself is tested with `models`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from maccli.evaluation.report import plots
from maccli.training import train as service
from maccli.training.train import Run
from models.data.files import Source
from models.training.settings import TrainConfig
from models.training.trainer import Progress

from .conftest import Ran

Mac = Callable[..., Ran]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Run, TrainConfig]]:
    """What was to be trained."""
    runs: list[tuple[Run, TrainConfig]] = []

    def train(run: Run, config: TrainConfig, **tellers: Any) -> Path:
        runs.append((run, config))
        run.out.mkdir(exist_ok=True)
        steps = [Progress(n, 1.0 / n, 0.5, 16 * n, 8.0, 1e-4, 2.0) for n in (1, 2)]
        run.log.write_text("".join(json.dumps(asdict(step)) + "\n" for step in steps))
        for step in steps:
            tellers["report"](step)
        return run.out

    monkeypatch.setattr(service, "train", train)
    return runs


def test_options_reach_the_trainer(mac: Mac, trained: list[tuple[Run, TrainConfig]]) -> None:
    ran = mac(
        *("train", "--data", "a.jsonl:2", "--data", "b.json", "--out", "made"),
        *("--steps", "7", "--batch", "12", "--documents", "4", "--lr", "0.001", "--seed", "3"),
        *("--rank", "64", "--device", "cpu", "--resume"),
    )
    assert (ran.code, ran.out) == (0, "made\n")
    run, config = trained[0]
    assert run.sources == [Source(Path("a.jsonl"), 2.0), Source(Path("b.json"), 1.0)]
    assert (run.rank, run.device, run.resume, run.log) == (
        64,
        "cpu",
        True,
        Path("made/log.jsonl"),
    )
    assert (config.steps, config.groups, config.documents, config.seed) == (7, 3, 4, 3)
    assert config.learning_rate == 0.001


def test_a_checkpoint_to_start_from_decides_the_sizes(
    mac: Mac, trained: list[tuple[Run, TrainConfig]]
) -> None:
    given = ("train", "--data", "a.jsonl", "--out", "made", "--from", "smollm2-135m")
    assert mac(*given).code == 0
    assert trained[0][0].start == "smollm2-135m"
    ran = mac(*given, "--rank", "64")
    assert ran.code == 2
    assert "--rank" in ran.err


def test_options_may_stand_in_a_file(
    mac: Mac, trained: list[tuple[Run, TrainConfig]], work: Path
) -> None:
    (work / "run.toml").write_text('data = ["a.jsonl", "b.jsonl:3"]\nout = "made"\nsteps = 9\n')
    assert mac("train", "--config", "run.toml", "--steps", "8").code == 0
    run, config = trained[0]
    assert [source.weight for source in run.sources] == [1.0, 3.0]
    assert config.steps == 8
    (work / "run.toml").write_text("stairs = 9\n")
    ran = mac("train", "--config", "run.toml")
    assert ran.code == 2
    assert "there is no option --stairs" in ran.err


def test_wrong_options(mac: Mac, trained: list[tuple[Run, TrainConfig]]) -> None:
    ran = mac("train", "--data", "a", "--out", "b", "--batch", "10", "--documents", "4")
    assert (ran.code, trained) == (2, [])
    assert "--batch 10 is no multiple of --documents 4." in ran.err


def test_the_losses_are_drawn(mac: Mac, trained: list[tuple[Run, TrainConfig]], work: Path) -> None:
    pytest.importorskip("matplotlib")
    assert mac("train", "--data", "a", "--out", "made", "--plot", "loss.png").code == 0
    assert (work / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_missing_extra_is_noticed_before_training(
    mac: Mac, trained: list[tuple[Run, TrainConfig]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr(plots, "require", missing)
    ran = mac("train", "--data", "a", "--out", "made", "--plot", "loss.png")
    assert (ran.code, trained) == (1, [])
    assert ran.err.endswith("Hint: pip install 'maccli[plot]'\n")


def test_a_checkpoint_is_not_overwritten(mac: Mac, work: Path) -> None:
    (work / "made").mkdir()
    (work / "made" / "config.json").write_text("{}")
    ran = mac("train", "--data", "a.jsonl", "--out", "made")
    assert ran.code == 2
    assert ran.err.startswith("Error: There is a checkpoint in made already.\nHint: ")


def test_data_that_is_not_there(mac: Mac) -> None:
    ran = mac("train", "--data", "nowhere.jsonl", "--out", "made")
    assert ran.code == 1
    assert "nowhere.jsonl" in ran.err and len(ran.err.splitlines()) <= 2
