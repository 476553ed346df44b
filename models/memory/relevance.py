"""The documents that a question selects from a store, and their weights. NumPy only.

Relevance is the dense score q . k of the checkpoint's bilinear form, plus a learned weight times
BM25 scaled to [0, 1] over the candidates. Where several are nearly level, a second look decides:
which of them makes the question itself most likely (`reconsider`). The keys are read block by block
with a running top, so memory does not grow with them and the result is that of one pass over all
keys: each score depends on its own key alone, and ties are broken by the document's number.

Letters: n keys a block, E key size, k documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Retriever = Literal["dense", "bm25", "hybrid"]
RETRIEVERS: tuple[Retriever, ...] = ("dense", "bm25", "hybrid")


LOOKS = 4
"""The most documents that a second look compares."""
READ = 10
"""The number of documents that a judge reads."""
MARGIN = 4.0
"""A document gets a second look only if its score is at most so many nats below the best."""


@dataclass(frozen=True, slots=True)
class RelevanceWeights:
    """How the scores mix in `hybrid`.

    Attributes:
        lexical: added to the dense score of the candidate with the best BM25, others in proportion.
        likelihood: times log p(question | document), added to those that are nearly level.
        coverage: times the share of the question's words that a document has; added to the dense
            score to decide whether the question can be answered at all, not to rank.
        judged: times the log odds that a judge gives a document, see `judged`.
        unjudged: times what a document's score is without the judge, where one reads.
    """

    lexical: float = 0.0
    likelihood: float = 0.0
    coverage: float = 0.0
    judged: float = 0.0
    unjudged: float = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A selected document.

    Attributes:
        id: its number in the store.
        score: relevance s_d, in nats.
        log_weight: log softmax of the scores over the selected documents.
        dense: the dense part of the score.
        lexical: BM25 as the index gave it; 0 where the question shares no word with the document.
    """

    id: int
    score: float
    log_weight: float
    dense: float
    lexical: float

    @property
    def weight(self) -> float:
        """The document's share, in [0, 1]."""
        return float(np.exp(self.log_weight))


def select(
    query: NDArray[np.float32],
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]],
    k: int,
    lexical: Mapping[int, float],
    *,
    retriever: Retriever = "hybrid",
    weights: RelevanceWeights,
) -> list[Candidate]:
    """Return the k most relevant documents, the most relevant first.

    Args:
        query: float32 [E], the question's side of the bilinear form.
        blocks: the store's keys: numbers int64 [n] and keys float16 [n, E].
        k: how many to select, at least 1.
        lexical: BM25 of documents that share words with the question; larger is better.
        retriever: "dense" leaves BM25 out; "bm25" ranks by it alone, with weights as for "hybrid".
        weights: how the scores mix.

    Raises:
        ValueError: k is below 1, or the retriever is unknown.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if retriever not in RETRIEVERS:
        raise ValueError(f"unknown retriever {retriever!r}; one of {', '.join(RETRIEVERS)}")
    numbers = np.empty(0, np.int64)
    dense = np.empty(0, np.float32)
    total = np.empty(0, np.float32)
    unit = weights.lexical / max(max(lexical.values(), default=0.0), 1e-9)
    mixed = retriever != "dense" and bool(lexical)
    matched = np.array(sorted(lexical), np.int64)
    matched_bonus = np.array([lexical[int(i)] * unit for i in matched], np.float32)
    for block_numbers, keys in blocks:
        scores = keys.astype(np.float32) @ query
        bonus = np.zeros_like(scores)
        if mixed:
            place = np.searchsorted(matched, block_numbers).clip(max=len(matched) - 1)
            bonus = np.where(matched[place] == block_numbers, matched_bonus[place], bonus)
        numbers = np.concatenate((numbers, block_numbers))
        dense = np.concatenate((dense, scores))
        total = np.concatenate((total, scores + bonus))
        if retriever == "bm25":
            rank = np.array([lexical.get(int(i), 0.0) for i in numbers], np.float32)
            hits = rank > 0
            numbers, dense, total, rank = numbers[hits], dense[hits], total[hits], rank[hits]
            order = np.lexsort((numbers, -rank))[:k]
        else:
            order = _top(total, numbers, k)
        numbers, dense, total = numbers[order], dense[order], total[order]
    if not len(numbers):
        return []
    return [
        Candidate(int(i), float(s), float(w), float(d), float(lexical.get(int(i), 0.0)))
        for i, s, w, d in zip(numbers, total, _log_softmax(total), dense, strict=True)
    ]


def nearly_level(candidates: Sequence[Candidate]) -> int:
    """Return how many of the first candidates deserve a second look; 0 for one far ahead."""
    level = [c for c in candidates[:LOOKS] if candidates[0].score - c.score <= MARGIN]
    return len(level) if len(level) > 1 else 0


def reconsider(
    candidates: Sequence[Candidate], likelihoods: Sequence[float], k: int, weight: float
) -> list[Candidate]:
    """Return the k most relevant after a second look at the first of them.

    A document's relevance is the log of its prior weight, so the log likelihood of the question
    given the document makes it a posterior (question likelihood, as in arXiv 2204.07496).

    Args:
        candidates: the most relevant first.
        likelihoods: log p(question | document) in nats, of as many of the first as were looked at.
        k: how many to keep, at least 1.
        weight: times the likelihoods; below 1, since the tokens of a question are not
            independent evidence.
    """
    best = max(likelihoods, default=0.0)
    # Documents without a second look count as the least likely, so they come last.
    penalties = [weight * (value - best) for value in likelihoods]
    penalties += [min(penalties, default=0.0)] * (len(candidates) - len(penalties))
    return _ranked(candidates, [c.score + p for c, p in zip(candidates, penalties, strict=True)], k)


def judged(
    candidates: Sequence[Candidate], log_odds: Sequence[float], k: int, weights: RelevanceWeights
) -> list[Candidate]:
    """Return the k most relevant after a judge has read all of them with the question.

    The new score of a document is s' = unjudged * s + judged * log_odds.

    Args:
        candidates: any number, at least one.
        log_odds: of each holding the answer, in nats.
        k: how many to keep, at least 1.
        weights: how the scores so far and the log odds mix.
    """
    scores = [
        weights.unjudged * candidate.score + weights.judged * odds
        for candidate, odds in zip(candidates, log_odds, strict=True)
    ]
    return _ranked(candidates, scores, k)


def _ranked(candidates: Sequence[Candidate], new: Sequence[float], k: int) -> list[Candidate]:
    """Return the k best candidates by new scores."""
    if not candidates:
        return []
    scores = np.array(new, np.float32)
    numbers = np.array([c.id for c in candidates], np.int64)
    order = np.lexsort((numbers, -scores))[:k]
    return [
        replace(candidates[i], score=float(scores[i]), log_weight=float(w))
        for i, w in zip(order, _log_softmax(scores[order]), strict=True)
    ]


def first(candidates: Sequence[Candidate], k: int) -> list[Candidate]:
    """Return the first k candidates, their weights as if no others had been selected."""
    kept = list(candidates[:k])
    if not kept:
        return []
    weights = _log_softmax(np.array([c.score for c in kept], np.float32))
    return [replace(c, log_weight=float(w)) for c, w in zip(kept, weights, strict=True)]


def _log_softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    shifted = scores - scores.max()
    log_weights: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum())
    return log_weights


def _top(scores: NDArray[np.float32], numbers: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the places of the k best scores, best first; equal ones by document number."""
    if len(scores) > 4 * k:
        # Everything that ties with the k-th stays in, so that the order below decides, not chance.
        edge = np.partition(scores, len(scores) - k)[len(scores) - k]
        near = np.flatnonzero(scores >= edge)
    else:
        near = np.arange(len(scores))
    return near[np.lexsort((numbers[near], -scores[near]))][:k]
