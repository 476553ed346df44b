from __future__ import annotations

from typing import Any

import pytest

from models.errors import CheckpointError
from models.memory.confidence import Confidence, features, read

WEIGHTS = {"bias": 1.0, "surprise": -1.0, "support": 0.1, "lead": 0.5, "echo": -3.0}
RULE = Confidence(WEIGHTS, above=0.5)
QUESTION = "Who opened the bridge?"


def probability(answer: str = "Ida Brandt", **changed: Any) -> float:
    known: dict[str, Any] = {"surprise": [0.5, 0.5], "support": 10.0, "scores": [9.0, 8.0]}
    return RULE.probability(features(QUESTION, answer, **(known | changed)))


def test_a_surprising_answer_is_less_likely_right() -> None:
    assert probability(surprise=[0.1]) > probability() > probability(surprise=[2.0, 3.0]) > 0


def test_so_is_one_with_little_support_or_level_with_another() -> None:
    assert probability() > probability(support=1.0)
    assert probability() > probability(scores=[9.0, 9.0])
    assert probability(scores=[9.0]) == probability(scores=[30.0, 1.0])  # far ahead is far ahead


def test_an_answer_that_repeats_the_question_is_none() -> None:
    assert probability("the bridge") < 0.5 < probability()
    assert features(QUESTION, "The Bridge?", [], 0, [])["echo"] == 1
    assert features(QUESTION, "a bridge", [], 0, [])["echo"] == 0


def test_extremes_are_probabilities_too() -> None:
    assert 0 <= probability(surprise=[1e9], support=float("-inf"), scores=[]) < 0.01
    assert probability(support=1e9) <= 1


def test_what_stands_in_the_config() -> None:
    assert read(None) is None
    assert read(RULE.as_dict()) == RULE
    whole = RULE.as_dict()
    wrong: list[Any] = [{}, {"bias": 1}, whole | {"more": 1}, whole | {"bias": "x"}, 3]
    for config in wrong:
        with pytest.raises(CheckpointError, match="confidence"):
            read(config)
