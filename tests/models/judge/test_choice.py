"""Which answer is given, and what is known of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.judge.choice import NAMES, Likelihoods, choose, overlap, proposed, weighed
from models.judge.judge import Found, Reading
from models.memory.confidence import Confidence
from models.memory.relevance import Candidate


def reading(text: str, *answers: tuple[str, float], odds: float = 2.0) -> Reading:
    """A reading of a text of two-word names, in which some have a probability."""
    words = text.split()
    spans, place = [], 0
    for word in words:
        spans.append((place, place + len(word)))
        place += len(word) + 1
    starts, ends = np.full((2, len(words)), -30.0, np.float32)
    found = []
    for answer, log in answers:
        start = text.index(answer)
        span = (start, start + len(answer))
        starts[[s for s, _ in spans].index(span[0])] = log
        ends[[e for _, e in spans].index(span[1])] = 0.0
        found.append(Found(answer, span, log))
    kinds = np.log(np.array([0.1, 0.8, 0.06, 0.04], np.float32))
    return Reading(odds, tuple(found), text, spans, kinds, starts, ends)


READINGS = [
    reading("Petra Lund bought the mill", ("Petra Lund", -0.1), ("mill", -3.0)),
    reading("Olaf Berg sold it to Petra Lund", ("Olaf Berg", -0.2), ("Petra Lund", -2.0)),
]
CANDIDATES = [
    Candidate(1, 9.0, math.log(0.6), 5.0, 1.0),
    Candidate(2, 8.0, math.log(0.4), 5.0, 1.0),
]


QUESTION = "Who bought the mill?"


def likelihoods(answers: Sequence[str]) -> list[float]:
    return [-1.0 if answer == "Petra Lund" else -5.0 for answer in answers]


def test_answers_of_several_passages_add_up() -> None:
    found = proposed(READINGS, [c.log_weight for c in CANDIDATES])
    assert found == ["Petra Lund", "Olaf Berg", "mill"]
    assert proposed(READINGS, [math.log(0.1), math.log(0.9)])[0] == "Olaf Berg"
    assert proposed([], []) == []


def test_what_is_known_of_answers() -> None:
    answers, known = weighed(QUESTION, "petra lund.", READINGS, CANDIDATES, 12.0, likelihoods)
    assert answers[0] == "Petra Lund" and len(answers) == 3  # not twice
    assert all(tuple(sorted(k)) == tuple(sorted(NAMES)) for k in known)
    lund, berg, mill = known
    assert lund["model_share"] > 0.9 > 0.1 > berg["model_share"]
    assert lund["judge_share"] > berg["judge_share"] > mill["judge_share"] > 0
    assert lund["judged"] > berg["judged"] > mill["judged"] > -12
    assert (lund["likelihood"], berg["likelihood"]) == (-1, -5)
    assert (lund["odds"], lund["lead"], lund["support"]) == (2, 1, 12)


def test_an_answer_that_stands_nowhere_is_weighed_too() -> None:
    answers, known = weighed(QUESTION, "Ida Brandt", READINGS, CANDIDATES, 1.0, likelihoods)
    assert answers[0] == "Ida Brandt"
    assert known[0]["judged"] == -12 and known[0]["judge_share"] < 0.01


def test_yes_and_no_are_answers() -> None:
    answers, known = weighed(QUESTION, "Yes", READINGS, CANDIDATES, 1.0, likelihoods)
    assert answers[0] == "Yes"
    assert known[0]["judged"] == pytest.approx(math.log(0.06), abs=1e-3)


def test_answers_with_the_same_words_support_each_other() -> None:
    readings = [reading("Petra Lund was the mayor", ("Petra Lund", -1.0), ("Lund", -1.2))]
    _, known = weighed(QUESTION, "", readings, CANDIDATES[:1], 1.0, lambda answers: [-2.0, -2.1])
    assert all(k["judge_share"] > 0.8 and k["model_share"] > 0.8 for k in known)


def test_cells_of_tables_are_weighed_too() -> None:
    text = "mill: Upper Mill; price: 1,200; buyer: Petra Lund"
    cells = {"1,200": 0.6, "Petra Lund": 0.6, "Upper Mill": 0.6}
    readings = [replace(reading(text, ("Petra Lund", -0.1)), cells=cells), *READINGS]
    answers, known = weighed(QUESTION, "", readings, [CANDIDATES[0], *CANDIDATES], 1.0, likelihoods)
    assert answers[-1] == "1,200" and "Upper Mill" not in answers  # two are enough
    fits = dict(zip(answers, (about["cell"] for about in known), strict=True))
    assert (fits["1,200"], fits["Petra Lund"], fits["mill"]) == (0.6, 0.6, 0.0)


def test_what_stands_in_the_wrong_row_is_less_likely() -> None:
    table = "Name: Petra Lund; Born: 19 May\nName: Olaf Berg; Trade: miller"
    row = replace(reading(table, ("May", -0.5)), cells={"19 May": -0.6, "Petra Lund": -0.6})

    def cells(*readings: Reading) -> dict[str, float]:
        found = CANDIDATES[: len(readings)]
        answers, known = weighed("Olaf?", "19 May", readings, found, 12.0, likelihoods)
        return {answer: about["cell"] for answer, about in zip(answers, known, strict=True)}

    # Petra Lund is in the second passage, too.
    both = {"19 May": -0.6, "May": -0.6, "Olaf Berg": 0.0, "Petra Lund": 0.0}
    assert cells(row, READINGS[1]) == both
    assert "Petra Lund" not in cells(row)  # no answer of its own
    elsewhere = replace(row, text=f"{table}\nOlaf was born in May")
    assert cells(elsewhere)["May"] == 0.0


def test_single_sentences_support_answers_too() -> None:
    text = "Petra Lund bought the mill and Ida Vann the forge"
    whole = reading(text, ("Petra Lund", -0.1), ("Ida Vann", -2.0))
    _, without = weighed(QUESTION, "", [whole], CANDIDATES[:1], 1.0, lambda a: [-1.0] * len(a))
    assert without[0]["sentence_share"] == without[1]["sentence_share"]  # it says nothing
    sentences = [
        reading("Ida Vann the forge", ("Ida Vann", -0.1), ("forge", -2.0)),
        reading("Petra Lund bought the mill", ("mill", -4.0)),
    ]
    whole = replace(whole, sentences=sentences)
    answers, known = weighed(QUESTION, "", [whole], CANDIDATES[:1], 1.0, lambda a: [-1.0] * len(a))
    assert answers == ["Petra Lund", "Ida Vann"]
    assert known[1]["sentence_share"] > 0.99 > 0.01 > known[0]["sentence_share"]
    assert known[0]["judge_share"] > known[1]["judge_share"]


@pytest.mark.parametrize(
    ("question", "several"),
    [
        ("Which two ports have to be opened?", True),
        ("Which ports must be opened?", True),
        ("Who are the members of the council?", True),
        ("We meet on Friday. What should I bring?", True),
        ("What do we need for the batter?", True),
        ("Which port must be opened?", False),
        ("Which bus line runs to the harbour?", False),
        ("How much is a pass for seven days?", False),
        ("Which of the two is older?", False),
        ("What is the address?", False),
    ],
)
def test_whether_several_things_are_asked_for(question: str, several: bool) -> None:
    texts = ["ports 80 and 443", "80, 443", "- 22\n- 25", "port 80"]
    readings = [reading(text, (text, -1.0)) for text in texts]
    candidates = [Candidate(n, 1.0, math.log(0.25), 1.0, 1.0) for n in range(4)]
    answers, known = weighed(question, "", readings, candidates, 1.0, lambda a: [-1.0] * len(a))
    found = [known[answers.index(text)]["several"] for text in texts]
    assert found == ([1.0, 1.0, 1.0, -1.0] if several else [0.0] * 4)


def test_a_cell_that_fits_is_said() -> None:
    sure = Confidence({**dict.fromkeys(NAMES, 0.0), "cell": 9.0}, 0.5)
    compared = [replace(READINGS[0], cells={"the mill of Petra": 1.0})]
    chosen = choose(sure, QUESTION, "", compared, CANDIDATES[:1], 1.0, likelihoods)
    assert chosen.text == "the mill of Petra" and chosen.probability > 0.9


def given(likelihoods: Likelihoods) -> tuple[Any, ...]:
    return (QUESTION, "Olaf Berg", READINGS, CANDIDATES, 1.0, likelihoods)


def test_the_likeliest_is_chosen() -> None:
    weights = dict.fromkeys(NAMES, 0.0)
    by_judge = Confidence({**weights, "judged": 1.0}, 0.5)
    by_model = Confidence({**weights, "likelihood": 1.0}, 0.5)
    assert choose(by_judge, *given(lambda answers: [-1.0] * len(answers))).text == "Petra Lund"
    chosen = choose(by_model, *given(lambda answers: [-float(a != "Olaf Berg") for a in answers]))
    assert chosen.text == "Olaf Berg"
    assert chosen.probability == pytest.approx(0.5)
    nothing = choose(by_judge, QUESTION, "", [], [], 0.0, likelihoods)
    assert (nothing.text, nothing.probability) == ("", 0.0)


def test_overlap() -> None:
    assert overlap("Petra Lund", "petra lund!") == 1
    assert overlap("Petra Lund", "Lund") == pytest.approx(2 / 3)
    assert overlap("a a", "a") == pytest.approx(2 / 3)
    assert overlap("", "x") == overlap("x", "y") == 0
