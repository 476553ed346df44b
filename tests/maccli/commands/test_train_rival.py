"""`mac train-rival` on tiny networks: rivals are trained, then evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.rivals import adapter, camels, salient

from ..conftest import Ran

Mac = Callable[..., Ran]

FACTS = [
    ("Varnholt opened a new bridge over the Elm in March.", "Which town opened it?", "Varnholt"),
    ("The jury gave the prize to the poet Tomas Reyl.", "Who got the prize?", "Tomas Reyl"),
    ("Heavy rain closed the northern road for 3 days.", "What closed the road?", "Heavy rain"),
    ("The ribbon was cut by Ida Brandt at noon.", "Who cut the ribbon?", "Ida Brandt"),
]


def write(path: Path, split: str) -> str:
    rows = [
        {
            "id": f"{split}{n}",
            "doc_id": f"{split}{n}",
            "doc": f"In {split}: {text}",
            "question": question,
            "answers": [answer],
            "split": split,
        }
        for n, (text, question, answer) in enumerate(FACTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def data(work: Path) -> str:
    return write(work / "facts.jsonl", "train")


@pytest.fixture
def train(mac: Mac, data: str, tiny_llama: Path, tiny_encoder: Path) -> Callable[..., Ran]:
    def run(name: str, out: str, *more: str) -> Ran:
        given = (
            "train-rival",
            name,
            "--data",
            data,
            "--base",
            str(tiny_llama),
            "--steps",
            "2",
            "--batch",
            "4",
        )
        given += ("--encoder", str(tiny_encoder), "--documents", "2", "--device", "cpu", "-q")
        return mac(*given, "--out", out, *more)

    return run


@pytest.fixture
def by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salient, "find_tagger", lambda: (salient.by_rule, salient.FALLBACK))


def test_adapters_and_weights_are_trained_and_evaluated(
    train: Callable[..., Ran], mac: Mac, data: str, tiny: Any, by_rule: None, work: Path
) -> None:
    for name, out, more in (
        ("rag-lora", "reader", ("--rank", "2", "--lr", "0.05")),
        ("qa", "base", ("--lr", "0.05")),
        ("camels", "weights", ("--qa-base", "base", "--lr", "0.1")),
    ):
        ran = train(name, out, *more)
        assert (ran.code, ran.out) == (0, f"{out}\n"), ran.err
        assert len((work / out / "log.jsonl").read_text().splitlines()) == 2
    made = [adapter.read_config(work / name) for name in ("reader", "base")]
    assert [(one.task, one.training["step"]) for one in made] == [("text", 2), ("closed-book", 2)]
    assert made[0].rank == 2 and made[1].base_sha256 is not None
    assert camels.load(work / "weights").config.training["qa_base"] == "base"

    methods = ("rag-lora-dense", "rag-lora-oracle", "qa-base")
    methods += ("uniform@0.01", "salient-spans@0.01", "camels@0.01")
    options = (
        *("eval", "--data", data, "--with", "rag-lora=reader", "--with", "qa-base=base"),
        *("--with", "camels=weights", "--out", "result.json", "-k", "2"),
        *(part for name in methods for part in ("--method", name)),
    )
    ran = mac(*options, "--json")
    assert ran.code == 0, ran.err
    rows = {row["method"]: row for row in ran.json["rows"]}
    assert list(rows) == list(methods)
    for name in methods:
        assert len(rows[name]["answers"]) == 4
    assert rows["rag-lora-dense"]["files"].keys() == {"rag-lora"}
    for name in methods[3:]:
        costs, files = rows[name]["costs"], rows[name]["files"]
        assert costs["adaptation_seconds"] > 0 and costs["adaptation_memory"] > 1e6
        assert costs["adaptation_device_memory"] is None
        assert files["qa-base"] == rows["qa-base"]["files"]["qa-base"]
    assert ran.json["tagger"] == salient.FALLBACK
    assert "regular expression; for a trained tagger" in ran.err
    assert rows["camels@0.01"]["files"].keys() == {"qa-base", "camels"}
    # Nothing is measured twice; what was tuned differs from what it started from.
    assert mac(*options, "--resume", "-q").code == 0
    # A bare question is short; the few-shot prompt is not.
    tokens = {name: rows[name]["costs"]["prompt_tokens"] for name in methods}
    assert tokens["qa-base"] == tokens["uniform@0.01"] < 60
    plain = mac("eval", "--data", data, "--method", "uniform@0.01", "--json").json["rows"][0]
    assert plain["costs"]["prompt_tokens"] > 100 and plain["files"] == {}


def test_a_resumed_adapter(train: Callable[..., Ran], work: Path) -> None:
    assert train("rag-lora", "made", "--rank", "2").code == 0
    again = train("rag-lora", "made", "--rank", "2")
    assert again.code == 2 and "There is a checkpoint in made already." in again.err
    other = train("qa", "made", "--rank", "2", "--resume")
    assert other.code == 2 and "is of rag-lora, not qa." in other.err
    rank = train("rag-lora", "made", "--rank", "3", "--resume")
    assert rank.code == 1 and "does not fit this run" in rank.err


def test_an_adapter_of_another_base(
    mac: Mac, data: str, tiny: Any, train: Callable[..., Ran], work: Path
) -> None:
    assert train("rag-lora", "made-lora", "--rank", "2").code == 0
    notes = json.loads((work / "made-lora" / adapter.NOTES).read_text())
    tiny.config = replace(tiny.config, base_sha256="f" * 64)
    options = ("--method", "rag-lora-oracle", "--with", "rag-lora=made-lora")
    ran = mac("eval", "--data", data, *options)
    assert ran.code == 1
    assert f"SHA-256 {notes['base_sha256'][:12]}..." in ran.err and "not on" in ran.err


def test_options_that_do_not_go_together(
    mac: Mac, data: str, tiny: Any, train: Callable[..., Ran], work: Path
) -> None:
    (work / "folder").mkdir()
    for name, more, says in (
        ("camels", ("--rank", "3"), "--rank is for adapters"),
        ("qa", ("--qa-base", "folder"), "--qa-base is for camels"),
        ("guess", (), "'guess' is not one of"),
    ):
        ran = train(name, "out", *more)
        assert ran.code == 2 and says in ran.err, ran.err
    ran = mac("eval", "--data", data, "--method", "qa-base", "--with", "qa-base=folder")
    assert ran.code == 1 and "adapter_model.safetensors: No such file" in ran.err
    ran = mac("eval", "--data", data, "--method", "camels", "--with", "camels=folder", "-q")
    assert ran.code == 1 and "camels.safetensors: No such file" in ran.err
