"""The store that `mac eval` searches: filling it, leaving chunks out; reading data; peak memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from maccli.evaluation import answering, evaluation_store
from maccli.evaluation.dataset import Dataset, draw, read_dataset
from maccli.evaluation.evaluation_store import EvaluationStore
from maccli.evaluation.methods import METHODS
from maccli.evaluation.peak_memory import peak_memory
from maccli.output import NoProgress
from models.data.files import Example
from models.errors import DataError
from models.memory.relevance import RelevanceWeights

from .facts import DOCUMENTS, QUESTIONS, write

TEXTS = {f"d{n}": text for n, text in enumerate(DOCUMENTS)}
WEIGHTS = RelevanceWeights(lexical=2.0)
EXAMPLES = [
    Example(f"q{n}", "made", f"d{n}", text, question, (answer,))
    for n, (text, (question, answer)) in enumerate(zip(DOCUMENTS, QUESTIONS, strict=True))
]


@pytest.fixture
def filled(work: Path, build_memory: Any, tiny_llama: Path) -> Any:
    store = EvaluationStore.open(work / "store", build_memory(tiny_llama))
    store.fill(TEXTS)
    yield store
    store.store.close()


def selected(
    store: EvaluationStore, question: str, k: int, without: Any = (), how: Any = "hybrid"
) -> list[Any]:
    candidates = store.candidates(question, k, how, WEIGHTS, without)
    return [
        (text, c.log_weight) for text, c in zip(store.texts(candidates), candidates, strict=True)
    ]


def test_filling_again_amortizes_only_what_is_new(filled: EvaluationStore) -> None:
    seen: list[str] = []
    real = filled.model.amortize

    def amortize(texts: Any, contexts: Any = ()) -> Any:
        seen.extend(texts)
        return real(texts, contexts)

    filled.model.amortize = amortize  # type: ignore[method-assign]
    spent = filled.fill({**TEXTS, "d1": "Another text.", "new": "A new text."})
    assert sorted(seen) == ["A new text.", "Another text."]
    assert (spent.documents, list(filled.chunks_of)) == (2, [*TEXTS, "new"])
    assert 0 < spent.amortize_seconds < spent.seconds


@pytest.mark.parametrize("how", ["dense", "bm25", "hybrid"])
def test_without_chunks_as_if_they_were_not_there(filled: EvaluationStore, how: str) -> None:
    question = "Who opened the town?"
    everything = selected(filled, question, 6, how=how)
    best = everything[0][0]
    own = next(filled.chunks_of[name] for name, text in TEXTS.items() if text == best)
    rest = selected(filled, question, 6, own, how)
    assert [text for text, _ in rest] == [text for text, _ in everything[1:]]
    assert sum(np.exp(weight) for _, weight in rest) == pytest.approx(1)


def test_a_second_look_leaves_out_what_is_left_out(filled: EvaluationStore) -> None:
    weights = RelevanceWeights(lexical=2.0, likelihood=0.5)
    question = "Who opened the town?"
    chosen = filled.candidates(question, 3, "hybrid", weights)
    assert len(chosen) == 3
    gone = {candidate.id for candidate in chosen}
    rest = filled.candidates(question, 3, "hybrid", weights, gone)
    assert len(rest) == 3 and gone.isdisjoint(candidate.id for candidate in rest)


class FakeJudge:
    """Knows one misspelled word; remembers what it was told to read closely."""

    def __init__(self) -> None:
        self.respelling, self.read_questions = 0, list[str]()

    def respelled(self, question: str, texts: list[str]) -> str:
        self.respelling += 1
        return question.replace("tonw", "town")

    def read(self, question: str, texts: list[str], contexts: list[str]) -> list[Any]:
        return []

    def read_closely(self, question: str, readings: list[Any]) -> list[Any]:
        self.read_questions.append(question)
        return readings


def test_a_judged_question_is_answered_as_the_chunks_spell_it(
    filled: EvaluationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, read = FakeJudge(), list[str]()
    readers: Any = answering.Readers(judge=judge)  # type: ignore[arg-type]
    question = "Who opened the tonw?"
    example = replace(EXAMPLES[0], question=question)

    def generate(_: Any, questions: list[str], *args: Any, **more: Any) -> list[str]:
        read.extend(questions)
        return ["snow"] * len(questions)

    monkeypatch.setattr(answering, "answer_many", generate)
    monkeypatch.setattr(evaluation_store, "read", lambda *_: "a rule")
    monkeypatch.setattr(
        evaluation_store, "choose", lambda _, asked, *args: SimpleNamespace(text=asked)
    )
    answered = answering.answer(
        filled,
        [example],
        METHODS["mac"],
        2,
        lambda example, k: filled.candidates(example.question, k, "hybrid", WEIGHTS),
        readers,
        NoProgress(),
    )
    spelled = "Who opened the town?"
    assert read == judge.read_questions == answered.predictions == [spelled]
    assert judge.respelling == 1


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_left_out_is_counted_in_words(number: int) -> None:
    told: list[str] = []
    Dataset({}, [], number, [], Counter({"impossible": number})).explain(told.append)
    words = "1 question that makes" if number == 1 else "2 questions that make"
    assert told[0] == f"Left out: {words} sense only with their document."
    assert told[1].startswith(f"Left out: {words.split(' that')[0]} (without an answer")


def test_the_right_document_is_its_own(filled: EvaluationStore) -> None:
    for example in EXAMPLES:
        (candidate,) = filled.right(example)
        assert candidate.id in filled.chunks_of[example.document_id]
        assert candidate.log_weight == 0


def test_data_keeps_its_order_and_is_drawn_by_seed(work: Path) -> None:
    rows = [
        {"doc": text, "question": asked, "answers": [answer]}
        for text, (asked, answer) in zip(DOCUMENTS, QUESTIONS, strict=True)
    ]
    rows[2]["answers"] = ["snow"]
    first, second = write(work / "a.jsonl", rows[:4]), write(work / "b.jsonl", rows[3:])
    dataset = read_dataset([first, second])
    assert list(dataset.documents.values()) == DOCUMENTS
    assert (len(dataset.examples), dataset.unsupported, dataset.dependent) == (7, ["a-3"], 0)
    assert draw(dataset.examples, 3, 0) == draw(dataset.examples, 3, 0)
    assert draw(dataset.examples, 3, 0) != draw(dataset.examples, 3, 1)
    assert draw(dataset.examples, 9, 0) == draw(dataset.examples, None, 1) == dataset.examples
    news = write(work / "news.jsonl", [{"doc_id": "n1", "text": "News."}, {"doc": "More."}])
    more = read_dataset([first], distractors=[news])
    assert list(more.documents.values()) == [*DOCUMENTS[:4], "News.", "More."]
    assert more.examples == read_dataset([first]).examples
    news.write_text('{"text": "News."}\n{"title": "None"}\n')
    with pytest.raises(DataError, match=r"news.jsonl:2: 'text' is missing or empty"):
        read_dataset([first], distractors=[news])
    with pytest.raises(DataError, match="no questions"):
        read_dataset([write(work / "none.jsonl", [])])


def test_the_peak_is_that_of_the_work(monkeypatch: Any) -> None:
    with peak_memory() as small:
        pass
    with peak_memory() as large:
        block = np.ones(60_000_000, np.uint8)
        assert block.sum() == 60_000_000
        del block
    assert large.process > small.process + 30_000_000
    assert large.device is None
