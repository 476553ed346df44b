from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation.metrics import bootstrap_interval, exact_match, f1, normalise, prefix_match

texts = st.text(max_size=40)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel Tower!", "eiffel tower"),
        ("A theatre, an anthem", "theatre anthem"),
        ("U.S.", "us"),
        ("Zürich – Örlikon", "zürich – örlikon"),
        ("the", ""),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalise(text) == normal


def test_the_best_answer_counts() -> None:
    assert exact_match("the Nile.", ["Amazon", "Nile"]) == 1.0
    assert f1("the river Nile", ["Amazon", "Nile"]) == pytest.approx(2 / 3)


def test_strict_and_prefix_match_differ_where_they_should() -> None:
    assert exact_match("Paris is the capital", ["Paris"]) == 0.0
    assert prefix_match("Paris is the capital", ["Paris"]) == 1.0
    assert prefix_match("in Paris", ["Paris"]) == 0.0


def test_f1_counts_repeated_words_once_each() -> None:
    assert f1("very very good", ["very good good"]) == pytest.approx(2 / 3)


def test_an_answer_without_words_is_met_only_by_silence() -> None:
    for score in (exact_match, prefix_match, f1):
        assert score("something", ["the"]) == 0.0
        assert score("...", ["the"]) == 1.0


def test_one_string_for_the_answers_is_refused() -> None:
    with pytest.raises(TypeError, match="one string"):
        f1("a", "answer")
    with pytest.raises(ValueError, match="no answers"):
        f1("a", [])


@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_the_scores_are_ordered(prediction: str, answers: list[str]) -> None:
    strict = exact_match(prediction, answers)
    assert strict <= prefix_match(prediction, answers)
    assert strict <= f1(prediction, answers) <= 1.0


@given(texts)
def test_an_answer_matches_itself(text: str) -> None:
    assert exact_match(text, [text]) == prefix_match(text, [text]) == f1(text, [text]) == 1.0


def test_interval_holds_the_mean_and_repeats() -> None:
    values = np.random.default_rng(0).random(200)
    low, high = bootstrap_interval(values, seed=1)
    assert low < values.mean() < high
    assert (low, high) == bootstrap_interval(values.tolist(), seed=1)
    narrow = bootstrap_interval(values, seed=1, level=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_interval_of_a_constant_is_a_point() -> None:
    assert bootstrap_interval([0.25] * 5, seed=0) == (0.25, 0.25)


@pytest.mark.parametrize(("values", "level"), [([], 0.95), ([1.0], 0.0), ([1.0], 1.0)])
def test_interval_refuses_nonsense(values: list[float], level: float) -> None:
    with pytest.raises(ValueError):
        bootstrap_interval(values, seed=0, level=level)
