"""The setting `encoder`: another sentence encoder for keys and queries, from the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maccli import Mac
from models.memory import checkpoint
from store.store import Store

from .conftest import Ran
from .training.facts import FACTS, write_facts

Run = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mac-home" / "store"


@pytest.fixture
def model(work: Path, build_memory: Any, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint of tiny networks on disk, and two files to read."""
    build_memory(tiny_llama).stack.save(work / "made")
    monkeypatch.setenv("MAC_MODEL", str(work / "made"))
    (work / "bridge.txt").write_text("The mayor, Ida Brandt, cut the ribbon at noon.")
    (work / "prize.txt").write_text("The jury gave the prize to the poet Tomas Reyl.")
    return work / "made"


def store_of(folder: Path) -> tuple[str, str, int]:
    with Store.open(folder) as store:
        return store.fingerprint, store.model, store.key_size


def test_another_encoder_and_a_rebuild(
    mac: Run,
    model: Path,
    folder: Path,
    described_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert mac("ingest", "*.txt").code == 0
    own = checkpoint.fingerprint(model)
    assert store_of(folder) == (own, str(model), 32)
    file = folder.parent / "config.toml"
    file.write_text(f"encoder = {json.dumps(str(described_encoder))}\n")
    for refused in (mac("search", "Who cut it?"), mac("ingest", "*.txt")):
        assert refused.code == 1
        message, hint = refused.err.splitlines()
        assert f"was written with checkpoint {own} ({model}), not with " in message
        assert message.endswith(f" ({model} with {described_encoder})")
        assert hint.endswith("mac store rebuild")
    dry = mac("store", "rebuild", "--dry-run")
    assert dry.out.startswith("Would amortize 2 documents of 2 again with ")
    rebuilt = mac("store", "rebuild")
    assert rebuilt.out.startswith("2 documents, 2 amortized now with "), rebuilt.err
    fingerprint, name, size = store_of(folder)
    assert (name, size) == (f"{model} with {described_encoder}", 24) and fingerprint != own
    assert mac("store", "rebuild").out.startswith("Nothing to do: ")
    assert mac("store", "verify").code == 0
    assert name in mac("store", "stats").out
    assert mac("ingest", "*.txt").out.startswith("2 documents: 2 unchanged.")
    assert len(mac("search", "Who cut the ribbon?", "--json").json) == 2
    asked = mac("ask", "Who cut the ribbon?", "--json", "--free")
    assert asked.code == 0 and len(asked.json["sources"]) > 0, asked.err
    # The variable beats the file; the checkpoint's own encoder is as good as none.
    monkeypatch.setenv("MAC_ENCODER", checkpoint.read_config(model)["encoder"])
    assert "mac store rebuild" in mac("search", "Who cut it?").err
    assert mac("store", "rebuild").code == 0
    assert store_of(folder) == (own, str(model), 32)


def test_the_python_api_takes_it_from_the_environment(
    model: Path, folder: Path, described_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAC_ENCODER", str(described_encoder))
    with Mac() as mac:
        mac.ingest("bridge.txt")
        assert mac.search("Who cut the ribbon?")[0].source.endswith("bridge.txt")
    assert store_of(folder)[2] == 24


def test_evaluation_searches_by_it(
    mac: Run, model: Path, work: Path, described_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_facts(work / "facts.jsonl")
    measure = ("eval", "--data", "facts.jsonl", "--method", "mac", "-k", "1", "--out")
    assert mac(*measure, "own.json").code == 0
    monkeypatch.setenv("MAC_ENCODER", str(described_encoder))
    ran = mac(*measure, "other.json")
    assert ran.code == 0, ran.err
    own, other = (json.loads((work / name).read_text()) for name in ("own.json", "other.json"))
    assert own["settings"]["model"] == checkpoint.fingerprint(model) != other["settings"]["model"]
    assert mac(*measure, "own.json", "--resume").code != 0


def test_the_setting_is_listed(
    mac: Run, described_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAC_ENCODER", str(described_encoder))
    rows = {row["name"]: row for row in mac("config", "show", "--json").json["settings"]}
    row = rows["encoder"]
    assert (row["value"], row["origin"]) == (str(described_encoder), "environment")
    assert "Hub id" in row["about"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "1_Pooling" / "config.json").write_text("{"), "is damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "is not a model folder"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"0" * 99), "no readable"),
        (shutil.rmtree, "no base model is called"),
    ],
)
def test_an_encoder_that_cannot_be_used_is_one_line(
    mac: Run,
    model: Path,
    tmp_path: Path,
    described_encoder: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], object],
    message: str,
) -> None:
    copy = Path(shutil.copytree(described_encoder, tmp_path / "copy"))
    damage(copy)
    monkeypatch.setenv("MAC_ENCODER", str(copy))
    ran = mac("ingest", "bridge.txt")
    assert ran.code == 1
    lines = ran.err.splitlines()
    assert message in lines[0] and str(copy) in lines[0]
    assert len(lines) <= 2


@pytest.mark.parametrize("stack", [(), ("--stack", "paper", "--amortizer", "encoder")])
def test_training_keeps_how_the_encoder_is_run(
    mac: Run,
    work: Path,
    tmp_path: Path,
    tiny_llama: Path,
    described_encoder: Path,
    stack: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_facts(work / "facts.jsonl")
    copy = Path(shutil.copytree(described_encoder, tmp_path / "copy"))
    train = ("train", "--data", "facts.jsonl", "--steps", "1", "--batch", "4", "--documents", "2")
    names = ("--base", str(tiny_llama), "--encoder", str(copy))
    sizes = ("--rank", "16") if not stack else ("--tokens", "4")
    monkeypatch.setenv("MAC_ENCODER", "nowhere")  # it is for stores, not for training
    trained = mac(*train, *names, *sizes, *stack, "--out", "made")
    assert trained.code == 0, trained.err
    shown = mac("model", "show", "made", "--json").json
    rules = {"pooling": "cls", "query_prefix": "who: ", "document_prefix": "the "}
    assert (shown["encoder_rules"], shown["key_size"]) == (rules, 24)
    monkeypatch.delenv("MAC_ENCODER")
    (work / "bridge.txt").write_text(FACTS[0][0])
    assert mac("ingest", "bridge.txt", "-m", "made").code == 0
    # The files beside the weights change: the checkpoint, and a further training, do not.
    (copy / "modules.json").unlink()
    (copy / "config_sentence_transformers.json").unlink()
    assert mac("ingest", "bridge.txt", "-m", "made").out.startswith("1 document: 1 unchanged.")
    further = mac(*train, "--from", "made", "--out", "further")
    assert further.code == 0, further.err
    assert mac("model", "show", "further", "--json").json["encoder_rules"] == rules
