"""`mac train-judge` on tiny networks: a judge is trained, named by a checkpoint, and reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.judge.choice import NAMES

from ..conftest import Ran
from ..evaluation.facts import rows, write

Mac = Callable[..., Ran]


@pytest.fixture
def data(work: Path) -> str:
    unanswerable = {**rows()[0], "id": "q8", "question": "Who paid for it?", "answers": []}
    yes = {**rows()[1], "id": "q9", "question": "Is it so?", "answers": ["Yes"]}
    return str(write(work / "facts.jsonl", [*rows(), unanswerable, yes]))


@pytest.fixture
def train(mac: Mac, data: str, tiny_llama: Path, tiny_encoder: Path) -> Callable[..., Ran]:
    def run(*more: str) -> Ran:
        given = ("train-judge", "--data", data, "--base", str(tiny_llama), "--encoder")
        given += (str(tiny_encoder), "--batch", "4", "--documents", "2", "--device", "cpu", "-q")
        return mac(*given, "--out", "judge", *more)

    return run


def named(tiny: Any, **changed: Any) -> None:
    """Make a checkpoint name the judge that was trained."""
    weights = {**dict.fromkeys(NAMES, 0.0), "judged": 1.0, "above": 0.0}
    judging = {"judge": "judge", "judge_weight": 1.0, "judge_confidence": weights, **changed}
    tiny.config = replace(tiny.config, **judging)
    tiny.relevance = replace(tiny.relevance, judged=1.0)


def test_trained_named_asked_and_evaluated(
    train: Callable[..., Ran], mac: Mac, data: str, tiny: Any, work: Path
) -> None:
    ran = train("--steps", "2")
    assert (ran.code, ran.out) == (0, "judge\n"), ran.err
    assert sorted(path.name for path in Path("judge").iterdir()) == [
        *("README.md", "config.json", "log.jsonl", "model.safetensors"),
        "training-state.safetensors",
    ]
    assert len(Path("judge/log.jsonl").read_text().splitlines()) == 2

    named(tiny)
    Path("notes.txt").write_text("The bridge was opened by Ida Brandt. It rained.")
    assert mac("ingest", "notes.txt", "--store", "bank").code == 0
    told = mac("ask", "Who opened the bridge?", "--store", "bank", "--json").json
    assert told["outcome"] == "answer" and told["probability"] > 0
    assert told["answer"] in "The bridge was opened by Ida Brandt. It rained." + "yes no"
    fast = mac("ask", "Who opened the bridge?", "--store", "bank", "--json", "--fast").json
    assert fast["probability"] is None
    assert mac("search", "Who opened the bridge?", "--store", "bank", "--fast").code == 0

    options = ("--data", data, "-k", "2", "--json", "--limit", "3")
    methods = ("rag-extractive", "mac", "mac-fast")
    result = mac("eval", *options, *(part for m in methods for part in ("--method", m))).json
    answers = {r["method"]: [a["prediction"] for a in r["answers"]] for r in result["rows"]}
    assert set(answers) == set(methods)
    # Only its judge has a say in these weights.
    assert answers["mac"] == answers["rag-extractive"] != answers["mac-fast"]
    texts = " ".join(row["doc"] for row in rows())
    assert all(answer in texts or answer in ("yes", "no") for answer in answers["mac"])


def test_it_goes_on_where_it_stopped(train: Callable[..., Ran]) -> None:
    assert train("--steps", "4").code == 0
    whole = Path("judge/model.safetensors").read_bytes()
    again = train("--steps", "4")
    assert again.code == 2 and "--resume" in again.err
    assert train("--steps", "4", "--resume").code == 0
    assert Path("judge/model.safetensors").read_bytes() == whole


def test_epochs_count_questions_without_an_answer(train: Callable[..., Ran]) -> None:
    assert train("--epochs", "4").code == 0
    # Eight questions, one of them without an answer; four a step.
    assert len(Path("judge/log.jsonl").read_text().splitlines()) == 8


def test_one_that_is_trained_further_ends_halfway(
    mac: Mac, train: Callable[..., Ran], data: str, tiny_llama: Path
) -> None:
    assert train("--steps", "2").code == 0
    further = ("train-judge", "--data", data, "--from", "judge", "--base", str(tiny_llama))
    further += ("--batch", "4", "--documents", "2", "--device", "cpu", "--steps", "3", "-q")
    ran = mac(*further, "--out", "further")
    assert ran.code == 0, ran.err
    before, after, end = (
        load_file(path)[name].float()
        for path, name in (
            ("judge/model.safetensors", "span.bias"),
            ("further/model.safetensors", "span.bias"),
            ("further/training-state.safetensors", "model.span.bias"),
        )
    )
    assert not torch.equal(before, end)
    torch.testing.assert_close(after, (before + end) / 2, rtol=1e-3, atol=1e-6)
    config = json.loads(Path("further/config.json").read_text())
    assert config["training"]["from"]["steps"] == 2
    whole = Path("further/model.safetensors").read_bytes()
    assert mac(*further, "--out", "further", "--resume").code == 0
    assert Path("further/model.safetensors").read_bytes() == whole

    ran = mac(*further, "--out", "third", "--encoder", "all-minilm-l6-v2")
    assert ran.code == 2 and "--encoder comes from the judge named with --from" in ran.err
    ran = mac("train-judge", "--data", data, "--from", "nowhere", "--out", "fourth")
    assert ran.code == 1 and "nowhere" in ran.err


def test_a_method_that_needs_a_judge(mac: Mac, data: str, tiny: Any) -> None:
    ran = mac("eval", "--data", data, "--method", "rag-extractive")
    assert ran.code == 1 and "names no judge" in ran.err


@pytest.mark.parametrize("damage", ["none", "config", "weights"])
def test_a_judge_that_cannot_be_used_is_one_line(
    train: Callable[..., Ran], mac: Mac, tiny: Any, damage: str
) -> None:
    assert train("--steps", "1").code == 0
    named(tiny, **({"judge": "nowhere"} if damage == "none" else {}))
    if damage == "config":
        config = json.loads(Path("judge/config.json").read_text())
        Path("judge/config.json").write_text(json.dumps({**config, "more": 1}))
    if damage == "weights":
        Path("judge/model.safetensors").write_bytes(b"x")
    Path("notes.txt").write_text("The bridge was opened by Ida Brandt.")
    assert mac("ingest", "notes.txt", "--store", "bank").code == 0
    ran = mac("ask", "Who opened it?", "--store", "bank")
    assert ran.code == 1 and len(ran.err.strip().splitlines()) <= 2
    assert mac("ask", "Who opened it?", "--store", "bank", "--fast").code == 0
