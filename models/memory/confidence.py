"""How likely an answer is right: what is known of it, weighed. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import CheckpointError

MOST_SURPRISE, LEAST_SUPPORT, MOST_LEAD = 30.0, -10.0, 10.0
"""Beyond these a number says nothing more."""
GENERATED = ("bias", "surprise", "support", "lead", "echo")
"""What is known of an answer that no judge has weighed, see `features`."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Confidence:
    """A logistic regression, fitted to questions whose answers are known (`benchmarks.confidence`).

    Attributes:
        weights: the weight of each number that is known of an answer, by its name.
        above: an answer that is less likely right is not given.
    """

    weights: Mapping[str, float]
    above: float

    def probability(self, known: Mapping[str, float]) -> float:
        """Return how likely an answer is right, from 0 to 1, by what is known of it."""
        total = sum(weight * known[name] for name, weight in self.weights.items())
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, total))))

    def as_dict(self) -> dict[str, float]:
        """Return what stands in config.json."""
        return {**self.weights, "above": self.above}


def features(
    question: str, answer: str, surprise: Sequence[float], support: float, scores: Sequence[float]
) -> dict[str, float]:
    """Return what is known of an answer of the language model, under the names of `GENERATED`.

    Args:
        question: the question.
        answer: its answer.
        surprise: -log p of each token of the answer, in nats, its end included.
        support: see `maccli.service.selection.support`.
        scores: the scores of the documents that the answer was drawn from, in nats, best first.
    """
    return {
        "bias": 1.0,
        "surprise": min(sum(surprise), MOST_SURPRISE),
        "support": max(support, LEAST_SUPPORT),
        "lead": min(scores[0] - scores[1], MOST_LEAD) if len(scores) > 1 else MOST_LEAD,
        "echo": float(echoes(answer, question)),
    }


def echoes(answer: str, question: str) -> bool:
    """Return whether an answer only repeats words of the question."""
    asked = {word.casefold() for word in _WORD.findall(question)}
    return {word.casefold() for word in _WORD.findall(answer)} <= asked


def read(config: Any, names: Sequence[str] = GENERATED) -> Confidence | None:
    """Return a confidence as it stands in config.json; None if there is none.

    Raises:
        CheckpointError: it does not have a number for each of the names, and `above`.
    """
    if config is None:
        return None
    try:
        numbers = {str(name): float(value) for name, value in dict(config).items()}
        above = numbers.pop("above")
        if sorted(numbers) != sorted(names):
            raise ValueError
        return Confidence(numbers, above)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"confidence in config.json needs a number for each of {', '.join(names)}, above"
        ) from error
