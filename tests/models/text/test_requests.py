"""What a question asks for beyond words of one passage."""

from __future__ import annotations

import pytest

from models.text.requests import is_follow_up, is_several, requested


@pytest.mark.parametrize(
    ("question", "request_"),
    [
        ("Summarise minutes.txt", "summary"),
        ("Please summarize the minutes of May.", "summary"),
        ("Can you give me a short overview of the handbook?", "summary"),
        ("Fasse das Protokoll zusammen", "summary"),
        ("Résume le règlement", "summary"),
        ("Compare the two tariffs", "comparison"),
        ("List all ports that have to be opened", "list"),
        ("Which two servers were down?", "list"),
        ("What three kinds of access are there?", "list"),
        ("Name the three winners", "list"),
        ("Who summarised the minutes?", None),
        ("Resume an interrupted run: with which option?", None),
        ("Is Apple larger compared with Dell?", None),
        ("What time is the list published?", None),
        ("Name the treasurer", None),
        ("What 2 percent fee is charged?", None),
    ],
)
def test_requests_are_known_by_their_words(question: str, request_: str | None) -> None:
    assert requested(question) == request_


@pytest.mark.parametrize("answer", ["Dev and Staging", "22000/TCP, 22000/UDP", "Linda\nAgria"])
def test_a_list_names_more_than_one_thing(answer: str) -> None:
    assert is_several(answer)


@pytest.mark.parametrize("answer", ["Dev", "the android", "borg compact"])
def test_one_thing_is_no_list(answer: str) -> None:
    assert not is_several(answer)


@pytest.mark.parametrize(
    "question",
    [
        "And when?",
        "What about Sunday?",
        "How much did it cost?",
        "Who is she married to?",
        "On which day?",
        "What does the other one cost?",
        "And for the web interface as well?",
        "Und bis wann wird es überwiesen?",
        "¿Y cuánto dura la garantía?",
    ],
)
def test_a_question_that_names_nothing_leans_on_another(question: str) -> None:
    assert is_follow_up(question)


@pytest.mark.parametrize(
    "question",
    [
        "When was the Heron Bridge opened?",
        "Who coaches Rovers?",
        "How many members does the council need for a quorum?",
        "Android or iPhone: which phones can open the lock?",
    ],
)
def test_a_question_that_names_all_does_not(question: str) -> None:
    assert not is_follow_up(question)
