"""Which of several answers is most likely right: those of the language model and of the judge.

The language model answers from the documents' modulations, the judge with words of the passages.
Each of their answers is weighed by both, and by what is known of the search
(`models.memory.confidence`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.judge.judge import Reading
from models.memory.confidence import Confidence
from models.memory.relevance import Candidate
from models.text.rows import rows

NAMES = (
    *("bias", "likelihood", "judged", "model_share", "judge_share", "sentence_share"),
    *("cell", "several", "odds", "support", "lead"),
)
"""What is known of an answer, by name:

- bias: 1;
- likelihood: log p of it in the language model;
- judged: log p of it from the judge, over all passages;
- model_share, judge_share, sentence_share: how much of what the language model, the judge of whole
  passages and the judge of single sentences give to all answers goes to those with its words;
- cell: how well a cell of a table with it fits the question; below 0, how much worse its row fits
  than another one;
- several: if the question asks for several things, 1 for an answer that lists some and -1 for one
  that does not; else 0;
- odds: the judge's log odds of the best passage;
- support: how well the best document answers for the question;
- lead: how far it is ahead of the next.
"""
MOST = 4
"""The most answers of the judge that are weighed."""
MOST_CELLS = 2
"""The most cells of tables that are weighed beside them."""
LEAST_LIKELY, LEAST_JUDGED, MOST_ODDS = -30.0, -12.0, 10.0
"""Beyond these a number says nothing more."""
_WORD = re.compile(r"\w+")
_SEVERAL = re.compile(
    r"\b(?:which|what|who are the) (?:two|three|four|five|six|seven|eight|nine|ten)\b"
    r"|\b(?:which|what) (?:\w+ ){0,2}\w+[^s\W]s (?:are|were|do|did|have|can|must|should)\b"
    r"|(?:^|[.!?]\s)(?:what|who) (?:are|were)\b"
    r"|(?:^|[.!?]\s)what (?:must|should|(?:do|have) (?:i|we|you) (?:need|have|to))\b",
    re.IGNORECASE,
)
_LIST = re.compile(r"\w(?:,|;| and| or|\s*\n\s*\S*)\s")

Likelihoods = Callable[[Sequence[str]], Sequence[float]]
"""Returns log p of each of some answers in the language model, in nats."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An answer, and how likely it is right, from 0 to 1."""

    text: str
    probability: float


def proposed(readings: Sequence[Reading], log_weights: Sequence[float]) -> list[str]:
    """Return the answers that a judge finds most likely, over all passages.

    Args:
        readings: what it makes of each passage.
        log_weights: log p of each passage being the one to answer from.
    """
    forms: dict[str, str] = {}
    for reading in readings:
        for answer in reading.answers:
            forms.setdefault(_key(answer.text), answer.text)
    scored = {form: _judged(form, readings, log_weights) for form in forms.values()}
    return sorted(scored, key=lambda form: -scored[form])[:MOST]


def choose(
    confidence: Confidence,
    question: str,
    generated: str,
    readings: Sequence[Reading],
    candidates: Sequence[Candidate],
    support: float,
    likelihoods: Likelihoods,
    *,
    free: bool = False,
) -> Chosen:
    """Return the answer that is most likely right: words of the passages, yes or no.

    Args:
        confidence: weighs what is known of an answer.
        question: what is asked.
        generated: the language model's answer; "" if it has none.
        readings: what the judge makes of each passage.
        candidates: the relevance of each passage, the most relevant first.
        support: see `maccli.service.selection.support`.
        likelihoods: asks the language model.
        free: return the language model's answer, whatever its words are.
    """
    answers, known = weighed(question, generated, readings, candidates, support, likelihoods)
    chosen = [
        Chosen(generated if free else answer, confidence.probability(about))
        for answer, about in zip(answers, known, strict=True)
        if (_key(answer) == _key(generated) if free else is_said(about))
    ]
    return max(chosen, key=lambda answer: answer.probability, default=Chosen("", 0.0))


def is_said(known: Mapping[str, float]) -> bool:
    """Return whether a passage says an answer, by what is known of it; yes and no count as said."""
    return known["judged"] > LEAST_JUDGED or known["cell"] > 0


def weighed(
    question: str,
    generated: str,
    readings: Sequence[Reading],
    candidates: Sequence[Candidate],
    support: float,
    likelihoods: Likelihoods,
) -> tuple[list[str], list[dict[str, float]]]:
    """Return the answers that there are, and what is known of each by `NAMES`; see `choose`."""
    weights = [candidate.log_weight for candidate in candidates]
    answers, cells = _gathered(generated, proposed(readings, weights), readings)
    odds = max((reading.log_odds for reading in readings), default=-MOST_ODDS)
    scores = [candidate.score for candidate in candidates]
    common = {
        "bias": 1.0,
        "odds": max(-MOST_ODDS, min(MOST_ODDS, odds)),
        "support": max(support, -MOST_ODDS),
        "lead": min(scores[0] - scores[1], MOST_ODDS) if len(scores) > 1 else MOST_ODDS,
    }
    model = [max(log, LEAST_LIKELY) for log in likelihoods(answers)]
    judge = [_judged(answer, readings, weights) for answer in answers]
    alike = np.array([[overlap(one, other) for other in answers] for one in answers])
    sentences = [sentence for reading in readings for sentence in reading.sentences]
    # A sentence is as likely the one to answer from as its passage.
    sentence_weights = [w for r, w in zip(readings, weights, strict=True) for _ in r.sentences]
    by_sentences = [_judged(answer, sentences, sentence_weights) for answer in answers]
    model_shares, judge_shares, sentence_shares = (
        alike @ _shares(logs) for logs in (model, judge, by_sentences)
    )
    several = _SEVERAL.search(question) is not None
    known = [
        {
            **common,
            "likelihood": model[i],
            "judged": judge[i],
            "model_share": float(model_shares[i]),
            "judge_share": float(judge_shares[i]),
            "sentence_share": float(sentence_shares[i]),
            "cell": cells.get(_key(answer), 0.0),
            "several": (1.0 if _LIST.search(answer) else -1.0) if several else 0.0,
        }
        for i, answer in enumerate(answers)
    ]
    return answers, known


def _gathered(
    generated: str, judged: Sequence[str], readings: Sequence[Reading]
) -> tuple[list[str], dict[str, float]]:
    """Return the answers that there are, each once, and by its key how well a cell fits."""
    answers = list(judged)
    if generated and _key(generated) not in map(_key, judged):
        answers.insert(0, generated)
    cells: dict[str, float] = {}
    worse: dict[str, float] = {}
    for value, fit in (cell for reading in readings for cell in reading.cells.items()):
        key = _key(value)
        if fit < 0:
            worse[key] = max(fit, worse.get(key, fit))
            continue
        if key not in cells and len(cells) < MOST_CELLS and key not in map(_key, answers):
            answers.append(value)
        cells[key] = max(fit, cells.get(key, 0.0))
    return answers, cells | _only_in_worse_rows(answers, worse, readings)


def _only_in_worse_rows(
    answers: Sequence[str], worse: Mapping[str, float], readings: Sequence[Reading]
) -> dict[str, float]:
    """Return the answers that stand only in rows which fit worse, and by how much."""
    if not worse:
        return {}
    lines = [line for reading in readings for line in reading.text.split("\n")]
    in_rows = {line: {_key(cell.value) for row in rows(line) for cell in row} for line in lines}
    rest = "\n".join(f" {_key(line)} " for line in lines if worse.keys().isdisjoint(in_rows[line]))
    found: dict[str, float] = {}
    for key in {_key(answer) for answer in answers} - {"yes", "no"}:
        inside = [fit for cell, fit in worse.items() if f" {key} " in f" {cell} "]
        if inside and f" {key} " not in rest:
            found[key] = max(inside)
    return found


def _shares(logs: Sequence[float]) -> NDArray[np.float64]:
    """Return probabilities that add up to 1, [N], of log probabilities that do not."""
    shifted = np.exp(np.array(logs) - max(logs, default=0.0))
    shares: NDArray[np.float64] = shifted / shifted.sum()
    return shares


def overlap(one: str, other: str) -> float:
    """Return the F1 of the words of two answers, from 0 to 1."""
    a, b = (Counter(_WORD.findall(answer.casefold())) for answer in (one, other))
    common = (a & b).total()
    return 2 * common / (a.total() + b.total()) if common else 0.0


def _judged(answer: str, readings: Sequence[Reading], log_weights: Sequence[float]) -> float:
    scores = [
        weight + reading.log_probability(answer)
        for weight, reading in zip(log_weights, readings, strict=True)
    ]
    return max(LEAST_JUDGED, float(np.logaddexp.reduce([-math.inf, *scores])))


def _key(answer: str) -> str:
    return " ".join(_WORD.findall(answer.casefold())) or answer.strip()
