"""The bank that `mac eval` searches: filling it, leaving chunks out, taking a part of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maccli.evaluation.bank import Bank, create_store
from maccli.evaluation.peak import peak
from maccli.evaluation.stream import read_stream
from models.data.files import Example
from models.errors import DataError
from models.memory.relevance import RelevanceWeights

from .test_eval import DOCUMENTS, QUESTIONS, write

TEXTS = {f"d{n}": text for n, text in enumerate(DOCUMENTS)}
WEIGHTS = RelevanceWeights(lexical=2.0)
EXAMPLES = [
    Example(f"q{n}", "made", f"d{n}", text, question, (answer,))
    for n, (text, (question, answer)) in enumerate(zip(DOCUMENTS, QUESTIONS, strict=True))
]


@pytest.fixture
def bank(work: Path, build_memory: Any, tiny_llama: Path) -> Any:
    memory = build_memory(tiny_llama)
    with create_store(work / "bank", memory) as store:
        filled = Bank(memory, store)
        filled.fill(TEXTS)
        yield filled


def found(bank: Bank, question: str, k: int, without: Any = (), how: Any = "hybrid") -> list[Any]:
    candidates = bank.candidates(question, k, how, WEIGHTS, without)
    return [
        (text, c.log_weight) for text, c in zip(bank.texts(candidates), candidates, strict=True)
    ]


def test_filling_again_amortizes_only_what_is_new(bank: Bank, monkeypatch: Any) -> None:
    seen: list[str] = []
    real = bank.memory.amortize
    monkeypatch.setattr(
        bank.memory, "amortize", lambda texts: seen.extend(texts) or real(texts), raising=False
    )
    spent = bank.fill({**TEXTS, "d1": "Another text.", "new": "A new text."})
    assert seen == ["Another text.", "A new text."]
    assert (spent.documents, list(bank.chunks_of)) == (2, [*TEXTS, "new"])
    assert 0 < spent.amortize_seconds < spent.seconds


@pytest.mark.parametrize("how", ["dense", "bm25", "hybrid"])
def test_without_chunks_as_if_they_were_not_there(bank: Bank, how: str) -> None:
    question = "Who opened the town?"
    everything = found(bank, question, 6, how=how)
    best = everything[0][0]
    own = next(bank.chunks_of[name] for name, text in TEXTS.items() if text == best)
    rest = found(bank, question, 6, own, how)
    assert [text for text, _ in rest] == [text for text, _ in everything[1:]]
    assert sum(np.exp(weight) for _, weight in rest) == pytest.approx(1)


def test_a_second_look_leaves_out_what_is_left_out(bank: Bank) -> None:
    weights = RelevanceWeights(lexical=2.0, likelihood=0.5)
    question = "Who opened the town?"
    chosen = bank.candidates(question, 3, "hybrid", weights)
    assert len(chosen) == 3
    gone = {candidate.id for candidate in chosen}
    rest = bank.candidates(question, 3, "hybrid", weights, gone)
    assert len(rest) == 3 and gone.isdisjoint(candidate.id for candidate in rest)


def test_a_part_answers_like_a_bank_of_its_own(bank: Bank, work: Path) -> None:
    names = ["d4", "d0", "d2"]
    part = bank.part(work / "part", names)
    with create_store(work / "alone", bank.memory) as store, part.store:
        alone = Bank(bank.memory, store)
        alone.fill({name: TEXTS[name] for name in names})
        for question, _ in QUESTIONS:
            ours, theirs = found(part, question, 2), found(alone, question, 2)
            assert [text for text, _ in ours] == [text for text, _ in theirs]
            np.testing.assert_allclose([w for _, w in ours], [w for _, w in theirs], atol=1e-3)
        chosen = part.candidates(QUESTIONS[0][0], 3, "hybrid", WEIGHTS)
        for selected in part.modulations(chosen):
            assert selected.latents.dtype == np.int8 and len(selected.latents) > 3


def test_the_right_document_is_its_own(bank: Bank) -> None:
    for example in EXAMPLES:
        (candidate,) = bank.right(example)
        assert candidate.id in bank.chunks_of[example.document_id]
        assert candidate.log_weight == 0


def test_a_stream_keeps_the_order_and_draws_by_seed(work: Path) -> None:
    rows = [
        {"doc": text, "question": asked, "answers": [answer]}
        for text, (asked, answer) in zip(DOCUMENTS, QUESTIONS, strict=True)
    ]
    rows[2]["answers"] = ["snow"]
    first, second = write(work / "a.jsonl", rows[:4]), write(work / "b.jsonl", rows[3:])
    stream = read_stream([first, second])
    assert list(stream.documents.values()) == DOCUMENTS
    assert (len(stream.examples), stream.unsupported, stream.dependent) == (7, ["a-3"], 0)
    assert stream.draw(3, 0) == stream.draw(3, 0) != stream.draw(3, 1)
    assert stream.draw(9, 0) == stream.draw(None, 1) == stream.examples
    assert len(read_stream([first], documents=2).documents) == 2
    news = write(work / "news.jsonl", [{"doc_id": "n1", "text": "News."}, {"doc": "More."}])
    more = read_stream([first], distractors=[news])
    assert list(more.documents.values()) == [*DOCUMENTS[:4], "News.", "More."]
    assert more.examples == read_stream([first]).examples
    news.write_text('{"text": "News."}\n{"title": "None"}\n')
    with pytest.raises(DataError, match=r"news.jsonl:2: 'text' is missing or empty"):
        read_stream([first], distractors=[news])
    with pytest.raises(DataError, match="no questions"):
        read_stream([write(work / "none.jsonl", [])])


def test_the_peak_is_that_of_the_work(monkeypatch: Any) -> None:
    with peak() as small:
        pass
    with peak() as large:
        block = np.ones(60_000_000, np.uint8)
        assert block.sum() == 60_000_000
        del block
    assert large.process > small.process + 30_000_000
    assert large.device is None
