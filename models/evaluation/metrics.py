"""Scores of an answer: exact match, prefix match and F1 as in SQuAD; and their interval.

Scores are fractions from 0 to 1 for a prediction; if a question has several reference answers, the
best score counts.

SQuAD: Rajpurkar et al., 2016, arXiv 1606.05250.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 2000
"""How many means a bootstrap draws."""
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Return SQuAD's normal form: lower case, no punctuation, no articles, single spaces."""
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLE.sub(" ", bare).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1.0 if the normal form of the prediction is that of any answer, else 0.0."""
    return _best(_same, prediction, answers)


def prefix_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1.0 if the normal form of the prediction begins with that of any answer, else 0.0.

    The paper's published code calls this exact match: it cuts the prediction to the length of the
    answer first, so "Paris is the capital" counts for "Paris", and so does "Parisian". It is
    reported only for comparison with that code.
    """
    return _best(_begins, prediction, answers)


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Return the harmonic mean of word precision and recall, best over the answers."""
    return _best(_overlap, prediction, answers)


def bootstrap_interval(values: ArrayLike, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean.

    Args:
        values: a score for each question, [N].
        seed: random seed; the same seed and values give the same interval.
        level: the share of resampled means inside the interval, between 0 and 1.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: no values, or a level outside (0, 1).
    """
    scores = np.asarray(values, dtype=np.float64).ravel()
    if scores.size == 0:
        raise ValueError("an interval needs at least one value, got none")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    rng = np.random.default_rng(seed)
    # One resample at a time: [RESAMPLES, N] at once would be gigabytes for a large benchmark.
    means = [scores[rng.integers(scores.size, size=scores.size)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _best(score: Callable[[str, str], float], prediction: str, answers: Sequence[str]) -> float:
    if isinstance(answers, str):  # a lone string would be scored letter by letter
        raise TypeError("answers must be a sequence of strings, got one string")
    if not answers:
        raise ValueError("a prediction cannot be scored against no answers")
    normal = normalise(prediction)
    return max(score(normal, normalise(answer)) for answer in answers)


def _same(prediction: str, answer: str) -> float:
    return float(prediction == answer)


def _begins(prediction: str, answer: str) -> float:
    # Everything begins with an empty normal form, that of an answer of articles only, for example.
    return float(prediction.startswith(answer)) if answer else _same(prediction, answer)


def _overlap(prediction: str, answer: str) -> float:
    ours, theirs = prediction.split(), answer.split()
    if not ours or not theirs:
        return _same(prediction, answer)
    common = (Counter(ours) & Counter(theirs)).total()
    if common == 0:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)
