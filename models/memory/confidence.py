"""How likely an answer is right: what is known of it, weighed. No torch."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models.errors import CheckpointError

MOST_SURPRISE, LEAST_SUPPORT, MOST_LEAD = 30.0, -10.0, 10.0
"""Beyond these a number says nothing more."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Confidence:
    """A logistic regression, fitted to questions whose answers are known (`benchmarks.confidence`).

    Attributes:
        bias: the constant term.
        surprise: times -log p of the whole answer, in nats.
        support: times how well the best document answers for the question.
        lead: times how far the best document is ahead of the next, in nats.
        echo: added where the answer only repeats words of the question.
        above: an answer that is less likely right is not given.
    """

    bias: float
    surprise: float
    support: float
    lead: float
    echo: float
    above: float

    def probability(
        self,
        question: str,
        answer: str,
        surprise: Sequence[float],
        support: float,
        scores: Sequence[float],
    ) -> float:
        """Return how likely an answer is right, from 0 to 1.

        Args:
            question: the question.
            answer: its answer.
            surprise: -log p of each token of the answer, in nats, its end included.
            support: see `maccli.service.evidence.support`.
            scores: of the documents that it was drawn from, in nats, the best first.
        """
        values = features(question, answer, surprise, support, scores)
        weights = (self.surprise, self.support, self.lead, self.echo)
        total = self.bias + sum(w * x for w, x in zip(weights, values, strict=True))
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, total))))

    def as_dict(self) -> dict[str, float]:
        """Return what stands in config.json."""
        return asdict(self)


def features(
    question: str, answer: str, surprise: Sequence[float], support: float, scores: Sequence[float]
) -> tuple[float, float, float, float]:
    """Return what is known of an answer: surprise, support, lead and echo, see `Confidence`."""
    lead = min(scores[0] - scores[1], MOST_LEAD) if len(scores) > 1 else MOST_LEAD
    said = {word.casefold() for word in _WORD.findall(answer)}
    asked = {word.casefold() for word in _WORD.findall(question)}
    echo = float(said <= asked)
    return min(sum(surprise), MOST_SURPRISE), max(support, LEAST_SUPPORT), lead, echo


def read(config: Any) -> Confidence | None:
    """Return what stands in config.json as `confidence`.

    Raises:
        CheckpointError: it is something else.
    """
    if config is None:
        return None
    try:
        numbers = {str(name): float(value) for name, value in dict(config).items()}
        return Confidence(**numbers)
    except (TypeError, ValueError) as error:
        raise CheckpointError("confidence in config.json is not six numbers") from error
