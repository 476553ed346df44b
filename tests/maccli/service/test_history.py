"""Follow-ups to the questions before them, and questions that are none."""

from __future__ import annotations

import pytest

from maccli.reading.items import Piped
from maccli.service.ask import Options, ask
from maccli.service.evidence import retrieve
from maccli.service.ingest import ingest
from maccli.service.search import search
from maccli.service.selection import Selection, better_answered, wordings
from maccli.service.session import Session
from models.judge.judge import Reading
from models.memory.relevance import Candidate

DOCUMENTS = {
    "bridge.txt": "The bridge in Varnholt was opened by Ida Brandt. It cost ninety crowns.",
    "mill.txt": "The mill in Dorvik was sold by Otto Reyl. It cost twelve pounds.",
}
HISTORY = [("Who opened the bridge in Varnholt?", "Ida Brandt")]
FOLLOWING = "And how much did it cost?"


@pytest.fixture
def stored(opened: Session) -> Session:
    ingest(opened, [Piped(text.encode(), name) for name, text in DOCUMENTS.items()])
    return opened


def first(session: Session, question: str, history: list[tuple[str, str]]) -> str:
    return search(session, question, history=history)[0].source


def test_a_question_is_found_by_what_was_asked_before(stored: Session) -> None:
    assert first(stored, FOLLOWING, HISTORY) == "bridge.txt"
    assert first(stored, FOLLOWING, [("Who sold the mill in Dorvik?", "Otto Reyl")]) == "mill.txt"


def test_only_the_last_two_count(stored: Session) -> None:
    others = [("Who sold the mill in Dorvik?", "Otto Reyl"), ("Where is that?", "Dorvik")]
    assert first(stored, FOLLOWING, [*HISTORY, *others]) == "mill.txt"


def test_a_question_that_names_all_stands_alone(stored: Session) -> None:
    evidence = retrieve(stored, "Who sold the mill?", history=HISTORY)
    assert evidence.following is None
    assert evidence.matches[0].row.source == "mill.txt"


def test_the_answer_says_how_the_question_was_understood(stored: Session) -> None:
    answer = ask(stored, FOLLOWING, Options(history=HISTORY))
    assert answer.follows
    assert answer.question == FOLLOWING
    assert not ask(stored, FOLLOWING).follows


def test_a_question_without_an_answer_before_it(stored: Session) -> None:
    evidence = retrieve(stored, FOLLOWING, history=[(HISTORY[0][0], "")])
    assert evidence.following == f"{HISTORY[0][0]} {FOLLOWING}"


@pytest.mark.parametrize(
    ("question", "alone", "after", "way"),
    [
        ("And when?", 5.0, 3.0, 1),  # it reads like a follow-up
        ("And when?", 9.0, 1.0, 0),  # but is answered so much better alone
        ("When was the mill sold?", 3.0, 5.0, 0),
        ("When was the mill sold?", -4.0, 6.0, 1),
    ],
)
def test_the_judge_decides_what_words_do_not(
    question: str, alone: float, after: float, way: int
) -> None:
    def selection(odds: float) -> Selection:
        candidate = Candidate(1, 0.0, 0.0, 0.0, 0.0)
        reading = Reading(odds, (), "", [], *([None] * 3))  # type: ignore[arg-type]
        return Selection([candidate], readings={1: reading})

    assert better_answered(question, [selection(alone), selection(after)]) == way


def test_without_a_judge_there_is_nothing_to_choose_between() -> None:
    after = f"{HISTORY[0][0]} Ida Brandt. {FOLLOWING}"
    assert wordings(FOLLOWING, HISTORY, judged=True) == [FOLLOWING, after]
    assert wordings(FOLLOWING, HISTORY, judged=False) == [after]
    assert wordings("Who sold the mill?", HISTORY, judged=False) == ["Who sold the mill?"]
    assert wordings(FOLLOWING, (), judged=True) == [FOLLOWING]
