"""Misspelled words of a question, beside passages that have them right."""

from __future__ import annotations

import pytest

from models.judge.judge import Judge
from models.judge.respelling import respelled

TEXTS = ["The minimum drinking age at events is 21.", "Henk goes away on Friday; the github team."]
KNOWN = {"age", "for", "with", "the", "alcohol", "events", "what"}


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("minimun drinkign age for evnts", "minimum drinking age for events"),
        ("whn does Henk go awya", "when does Henk go away"),  # a word of questions, a swapped one
        ("Githbu events with alcohol?", "github events with alcohol?"),
        ("what age for Drinking", "what age for Drinking"),  # in a passage, in capitals
        ("kilos of potatoes", "kilos of potatoes"),  # like nothing
        ("hnk awa", "hnk awa"),  # of three letters only words of questions are put right
        ("rule 2x1 at 21%", "rule 2x1 at 21%"),
        ("", ""),
    ],
)
def test_words_are_read_as_the_passages_have_them(asked: str, read: str) -> None:
    assert respelled(asked, TEXTS, KNOWN) == read


def test_known_words_stay_though_passages_have_one_like_them() -> None:
    assert respelled("an aged event", ["An age event, aging."], {"aged"}) == "an aged event"


def test_without_passages_only_words_of_questions_are_put_right() -> None:
    assert respelled("wich bridg", [], ()) == "which bridg"


def test_a_judge_reads_the_question_as_it_is_meant(judge: Judge) -> None:
    texts = ["Ida Brandt opened the bridge in Varnholt."]
    meant, typed = "Who opened the bridge in Varnholt?", "Who openned the birdge in Varnhotl?"
    [wanted], [found] = judge.read(meant, texts), judge.read(typed, texts)
    assert judge.respelled(typed, texts).lower() == meant.lower()
    assert found.log_odds == wanted.log_odds and found.answers == wanted.answers
    [wanted], [found] = judge.read_closely(meant, [wanted]), judge.read_closely(typed, [found])
    assert [s.log_odds for s in found.sentences] == [s.log_odds for s in wanted.sentences]
