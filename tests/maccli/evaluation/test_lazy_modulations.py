"""`mac eval --amortize-late`: the answers of a bank amortized whole, and what is not known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maccli.evaluation.bank import Bank, create_store
from maccli.evaluation.late import Late
from maccli.service import session
from models.memory import checkpoint
from models.memory.relevance import LOOKS, RelevanceWeights
from store.errors import FingerprintMismatchError

from .conftest import Ran
from .test_eval import DOCUMENTS, QUESTIONS, write
from .test_eval_stacks import paper

Mac = Callable[..., Ran]

__all__ = ["paper"]  # a fixture

NEWS = [
    f"On day {day} the poet of town {day % 7} sold {day} bridges and a road." for day in range(30)
]
METHODS = ("rag-bm25", "rag-dense", "rag-hybrid", "mac", "mac-dense", "mac+text", "mac-oracle")
MADE = ("mac", "mac-dense", "mac+text", "mac-oracle", "rag-hybrid")
"""Those that read modulations; rag-hybrid does for its second look."""


@pytest.fixture
def data(work: Path) -> tuple[str, ...]:
    rows = [
        {"id": f"q{n}", "doc_id": f"d{n}", "doc": text, "question": asked, "answers": [answer]}
        for n, (text, (asked, answer)) in enumerate(zip(DOCUMENTS, QUESTIONS, strict=True))
    ]
    news = write(work / "news.jsonl", [{"text": text} for text in NEWS])
    return ("--data", str(write(work / "facts.jsonl", rows)), "--distractors", str(news))


@pytest.fixture
def tiny(work: Path, monkeypatch: pytest.MonkeyPatch, build_memory: Any, tiny_llama: Path) -> Any:
    """A checkpoint that takes a second look; `amortized` are the texts it was given."""
    memory = build_memory(tiny_llama)
    memory.config = replace(memory.config, lexical_weight=1.0, likelihood_weight=0.5)
    memory.stack.config = memory.config
    memory.relevance = RelevanceWeights(lexical=1.0, likelihood=0.5)
    memory.stack.save(work / "made")
    memory.fingerprint = checkpoint.fingerprint(work / "made")
    memory.amortized = []
    real = memory.amortize
    memory.amortize = lambda texts: memory.amortized.extend(texts) or real(texts)
    monkeypatch.setenv("MAC_MODEL", str(work / "made"))
    monkeypatch.setattr(session, "_load_memory", lambda *_, **__: memory)
    return memory


def answers(row: Any) -> list[tuple[str, bool]]:
    return [(one["prediction"], one["found"]) for one in row["predictions"]]


def test_answers_are_those_of_a_bank_amortized_whole(
    mac: Mac, data: tuple[str, ...], tiny: Any
) -> None:
    options = ("eval", *data, *(part for name in METHODS for part in ("--method", name)))
    options += ("-k", "1", "-k", "3", "--bank-sizes", "8,20,36", "--retention", "4", "--json")
    eager = mac(*options)
    assert eager.code == 0, eager.err
    assert len(tiny.amortized) == 36
    tiny.amortized.clear()
    late = mac(*options, "--amortize-late")
    assert late.code == 0, late.err
    # Each chunk once in all, though every bank size has it under another number; and not all.
    assert len(set(tiny.amortized)) == len(tiny.amortized) < 36
    whole, part = eager.json, late.json
    for name in ("rows", "bank_sizes"):
        assert len(whole[name]) == len(part[name])
        for ours, theirs in zip(part[name], whole[name], strict=True):
            assert (ours["method"], ours["k"]) == (theirs["method"], theirs["k"])
            assert answers(ours) == answers(theirs)
            assert ours["prefix_tokens"] == theirs["prefix_tokens"]
            assert ours["seconds_a_question"] > 0
    assert len({text for row in part["rows"] for text, _ in answers(row)}) > len(QUESTIONS)
    assert [row["chunks"] for row in part["bank_sizes"]] == [
        row["chunks"] for row in whole["bank_sizes"]
    ]
    for ours, theirs in zip(part["retention"], whole["retention"], strict=True):
        assert answers(ours["after"]) == answers(theirs["after"])


def test_what_is_not_known_is_left_empty(
    mac: Mac, data: tuple[str, ...], tiny: Any, tiny_encoder: Path
) -> None:
    options = ("eval", *data, "--amortize-late", "--out", "result.json", "-k", "2")
    options += ("--retriever", str(tiny_encoder), "--method", "rag-dense")
    ran = mac(*options, *(part for name in MADE for part in ("--method", name)), "--json")
    assert ran.code == 0, ran.err
    result = ran.json
    assert result["settings"]["amortize_late"] is True
    assert result["ingest"]["seconds"] is result["ingest"]["modulation_bytes"] is None
    assert result["ingest"]["embed_seconds"] > 0
    rows = {row["method"]: row for row in result["rows"]}
    for name in (*MADE, f"mac-{tiny_encoder.name}"):
        assert rows[name]["adaptation_seconds"] is rows[name]["adaptation_memory"] is None
        assert rows[name]["bytes_a_document"] is None
    assert rows["rag-dense"]["bytes_a_document"] > 2 * 32  # of text and a key: that is known
    shown = mac(*options, "--method", "mac", "--resume")
    assert shown.code == 0, shown.err
    (costs,) = [line for line in shown.out.splitlines() if line.startswith("| mac ")][1:2]
    cells = [cell.strip() for cell in costs.strip("|").split("|")]
    assert [cells[i] for i in (2, 3, 7)] == ["", "", ""]
    assert all(cells[i] for i in (4, 5, 6, 8))
    eager = mac("eval", *data, "--out", "result.json", "-k", "2", "--resume")
    assert eager.code == 2
    assert "results of other settings: amortize_late true, not null." in eager.err


def test_a_store_of_texts_and_keys_is_never_taken_for_a_full_one(
    mac: Mac, data: tuple[str, ...], tiny: Any
) -> None:
    options = ("eval", *data, "--method", "mac", "--store", "bank")
    assert mac(*options, "--amortize-late").code == 0
    late = len(tiny.amortized)
    # It is used again: the documents are there, and only what is selected is amortized.
    assert mac(*options, "--amortize-late").code == 0
    assert len(tiny.amortized) == 2 * late
    refused = mac(*options)
    assert refused.code == 1 and "(mac eval --amortize-late), not with" in refused.err
    asked = mac("ask", "Who?", "--store", "bank")
    assert asked.code == 1 and "(mac eval --amortize-late), not with" in asked.err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--prune-curve",), "--prune-curve does not go with --amortize-late."),
        (("-k", "2", "-k", "all"), "-k all reads every modulation: leave --amortize-late out."),
    ],
)
def test_what_reads_every_modulation_is_refused(
    mac: Mac, data: tuple[str, ...], paper: str, more: tuple[str, ...], says: str
) -> None:
    refused = mac("eval", *data, "-m", paper, "--amortize-late", *more)
    assert refused.code == 2 and says in refused.err


def test_the_papers_stack_selects_late_too(mac: Mac, data: tuple[str, ...], paper: str) -> None:
    options = ("eval", *data, "-m", paper, "--method", "mac", "-k", "3", "--bank-sizes", "8,36")
    eager, late = mac(*options, "--json"), mac(*options, "--amortize-late", "--json")
    assert late.code == 0, late.err
    for name in ("rows", "bank_sizes"):
        ours, theirs = late.json[name], eager.json[name]
        assert [answers(row) for row in ours] == [answers(row) for row in theirs]


def test_modulations_are_rounded_as_a_store_rounds_them(tiny: Any, work: Path) -> None:
    texts = {f"n{n}": text for n, text in enumerate([*DOCUMENTS, *NEWS])}
    late = Late(tiny)
    with (
        create_store(work / "whole", tiny) as full,
        create_store(work / "late", tiny, late=True) as store,
    ):
        whole, part = Bank(tiny, full), Bank(tiny, store, late=late)
        for bank in (whole, part):
            bank.fill(texts)
        weights = RelevanceWeights(lexical=1.0, likelihood=0.5)
        for question, _ in QUESTIONS:
            pairs = [bank.candidates(question, LOOKS, "hybrid", weights) for bank in (whole, part)]
            assert [c.id for c in pairs[0]] == [c.id for c in pairs[1]]
            for a, b in zip(whole.modulations(pairs[0]), part.modulations(pairs[1]), strict=True):
                assert (a.latents.dtype, a.scales.dtype) == (b.latents.dtype, b.scales.dtype)
                # In other company a number may fall on the other side of a half.
                assert np.abs(a.latents.astype(int) - b.latents).max() <= 1
                assert (a.latents == b.latents).mean() > 0.999
                np.testing.assert_allclose(a.scales, b.scales, rtol=2e-3)
                assert np.isclose(a.log_weight, b.log_weight, atol=1e-4)
    assert late.seconds > 0
    with pytest.raises(FingerprintMismatchError):
        create_store(work / "late", tiny)


def test_a_file_of_before_is_gone_on_with(mac: Mac, data: tuple[str, ...], tiny: Any) -> None:
    options = ("eval", *data, "--method", "mac", "--out", "result.json")
    assert mac(*options).code == 0
    old = json.loads(Path("result.json").read_text())
    del old["settings"]["amortize_late"]
    Path("result.json").write_text(json.dumps(old))
    assert mac(*options, "--resume").code == 0
