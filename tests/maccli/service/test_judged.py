"""What the judge changes: the order of passages, which answer is given, and how sure it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maccli.reading.items import Piped
from maccli.service.ask import Options, ask
from maccli.service.ingest import ingest
from maccli.service.moving import export_adapter
from maccli.service.search import search
from maccli.service.session import Session
from models.judge.choice import NAMES
from models.judge.judge import Found, Reading

from ..conftest import FakeMemory, FakeStream

DOCUMENTS = {
    "bridge.txt": "Varnholt is small. The bridge over the Elm was opened by Ida Brandt. It rained.",
    "mill.txt": "The bridge was closed by Otto Reyl. The bridge over the Elm was opened, too.",
}
QUESTION = "Who opened the bridge over the Elm?"
RULE = {**dict.fromkeys(NAMES, 0.0), "judged": 1.0, "bias": 2.0, "above": 0.3}


class FakeJudge:
    """Finds the words that it was told, and says how sure it is of each passage that has them."""

    def __init__(self, found: dict[str, float]) -> None:
        self.found = found
        self.read_texts: list[str] = []

    def read(
        self, question: str, texts: Sequence[str], contexts: Sequence[str] = ()
    ) -> list[Reading]:
        assert len(contexts) == len(texts)
        self.read_texts += texts
        return [self._reading(text) for text in texts]

    def respelled(self, question: str, texts: Sequence[str]) -> str:
        return question.replace("brigde", "bridge") if texts else question

    def read_closely(self, question: str, readings: Sequence[Reading]) -> list[Reading]:
        assert question
        return list(readings)

    def _reading(self, text: str) -> Reading:
        said = next((words for words in self.found if words in text), None)
        odds = self.found[said] if said else -8.0
        spans = [match.span() for match in re.finditer(r"\w+", text)]
        starts, ends = np.full((2, len(spans)), -20.0, np.float32)
        answers: tuple[Found, ...] = ()
        if said:
            start = text.index(said)
            span = (start, start + len(said))
            starts[[i for i, s in enumerate(spans) if s[0] == span[0]]] = 0
            ends[[i for i, s in enumerate(spans) if s[1] == span[1]]] = 0
            answers = (Found(said, span, 0.0),)
        return Reading(odds, answers, text, spans, np.zeros(4, np.float32), starts, ends)


@pytest.fixture
def stored(opened: Session, memory: FakeMemory) -> Session:
    ingest(opened, [Piped(text.encode(), name) for name, text in DOCUMENTS.items()])
    memory.config.judge = "fake"
    memory.config.judge_confidence = RULE
    memory.relevance = replace(memory.relevance, judged=1.0)
    return opened


def judged_by(session: Session, **found: float) -> FakeJudge:
    judge = FakeJudge({words.replace("_", " "): odds for words, odds in found.items()})
    session._judge = judge  # type: ignore[assignment]
    return judge


@pytest.mark.parametrize(
    ("words", "source"), [("Ida_Brandt", "bridge.txt"), ("Otto_Reyl", "mill.txt")]
)
def test_the_passage_that_the_judge_likes_comes_first(
    stored: Session, words: str, source: str
) -> None:
    judged_by(stored, **{words: 6.0})
    answer = ask(stored, QUESTION)
    assert answer.answer == words.replace("_", " ")
    assert answer.sources[0].source == source == search(stored, QUESTION)[0].source
    assert answer.sources[0].weight > 0.9
    assert answer.probability is not None and answer.probability > 0.8
    first = answer.sources[0]
    assert first.marked and first.passage[slice(*first.marked)] == answer.answer


def test_a_sentence_is_shown_that_the_judge_would_answer_from(stored: Session) -> None:
    judged_by(stored, It_rained=6.0)
    [best, *_] = search(stored, QUESTION)
    assert best.text[best.match_start : best.match_end] == "It rained."


def test_where_nothing_is_likely_it_is_not_sure(stored: Session, memory: FakeMemory) -> None:
    judged_by(stored, Ida_Brandt=6.0)
    memory.config.judge_confidence = RULE | {"bias": -9.0}
    answer = ask(stored, QUESTION)
    assert (answer.outcome, answer.answer) == ("not sure", "")
    assert answer.sources[0].source == "bridge.txt"
    assert "Ida Brandt" in answer.sources[0].text


@pytest.mark.parametrize(("odds", "outcome"), [(3.0, "answer"), (1.0, "nothing relevant")])
def test_a_judge_that_is_sure_is_believed_whatever_the_score(
    stored: Session, memory: FakeMemory, odds: float, outcome: str
) -> None:
    judged_by(stored, Ida_Brandt=odds)
    memory.config.abstain_below = 1e9
    answer = ask(stored, QUESTION)
    assert answer.outcome == outcome
    assert ask(stored, QUESTION, Options(fast=True)).outcome == "nothing relevant"


def test_fast_leaves_the_judge_out(stored: Session, memory: FakeMemory) -> None:
    judge = judged_by(stored, Otto_Reyl=6.0)
    answer = ask(stored, QUESTION, Options(fast=True))
    assert answer.answer.startswith("An answer from") and answer.probability is None
    search(stored, QUESTION, fast=True)
    assert not judge.read_texts
    assert not [call for call in memory.calls if call[0] == "likelihoods"]


def test_an_adapter_is_exported_for_the_question_as_the_passages_spell_it(
    stored: Session, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(stored, Ida_Brandt=6.0)
    read: list[str] = []
    monkeypatch.setattr(
        "models.export.export_adapter", lambda _, question, *__: read.append(question)
    )
    export_adapter(stored, QUESTION.replace("bridge", "brigde"), 1, work / "adapter")
    assert read == [QUESTION]


def test_misspelled_words_are_read_as_the_passages_have_them(
    stored: Session, memory: FakeMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged_by(stored, Ida_Brandt=6.0)
    read: list[str] = []
    answer, likelihoods = memory.answer, memory.answer_likelihoods

    def answered(question: str, *args: Any, **more: Any) -> FakeStream:
        read.append(question)
        return answer(question, *args, **more)

    def likely(question: str, *args: Any) -> list[float]:
        read.append(question)
        return likelihoods(question, *args)

    monkeypatch.setattr(memory, "answer", answered)
    monkeypatch.setattr(memory, "answer_likelihoods", likely)
    typed = QUESTION.replace("bridge", "brigde")
    told = ask(stored, typed)
    assert told.question == typed and told.answer == "Ida Brandt"
    assert read == [QUESTION, QUESTION]
    ask(stored, typed, Options(fast=True))
    assert read[2:] == [typed]


@pytest.mark.parametrize("retriever", ["dense", "bm25"])
def test_only_hybrid_is_judged(stored: Session, retriever: str) -> None:
    judge = judged_by(stored, Otto_Reyl=6.0)
    ask(stored, QUESTION, Options(retriever=retriever))  # type: ignore[arg-type]
    assert not judge.read_texts


def test_words_that_no_passage_has_are_given_only_where_that_is_asked_for(
    stored: Session, memory: FakeMemory
) -> None:
    judged_by(stored, Ida_Brandt=6.0)
    # The longest answer, the model's own, is the likeliest by this rule.
    memory.config.judge_confidence = RULE | {"judged": 0.0, "likelihood": -1.0, "above": 0.9999}
    answer = ask(stored, QUESTION)
    assert (answer.outcome, answer.free) == ("answer", False)
    assert answer.answer == "Ida Brandt"
    memory.config.judge_confidence = RULE | {"bias": -9.0}
    told: list[str] = []
    free = ask(stored, QUESTION, Options(free=True), on_text=told.append)
    assert (free.answer, free.free, free.outcome) == ("An answer from 2.", True, "answer")
    assert "".join(told).strip() == free.answer
    assert free.probability is not None and free.probability < 0.01


def test_the_base_model_takes_no_second_look(stored: Session, memory: FakeMemory) -> None:
    judged_by(stored, Ida_Brandt=6.0)
    memory.relevance = replace(memory.relevance, likelihood=1.0)
    ask(stored, QUESTION)
    assert not [call for call in memory.calls if call[0] == "look"]
