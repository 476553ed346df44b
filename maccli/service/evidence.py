"""What a store holds on a question: relevance over all its keys, then the chunks themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from store.labels import EVERYTHING, Within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from maccli.service.session import Memory
    from models.memory.modulation import Selected
    from models.memory.relevance import Candidate, RelevanceWeights, Retriever
    from store.bank import Store
    from store.records import ChunkRow
    from store.views import View

COUNTS = 0.01
"""The share of an answer from which on it is said to have used a chunk."""
_LEXICAL_CANDIDATES = 100
# How many times as many chunks as are wanted an index proposes: it knows their keys only roughly.
_PROPOSED = 4
_SHARING = 20


@dataclass(slots=True)
class Evidence:
    """The chunks found for a question, most relevant first, with the rows of their text.

    `sharing` are chunks that were not found, but share a merged modulation with one that counts.
    `support` is what `support` says of them.
    """

    candidates: Sequence[Candidate] = ()
    rows: Sequence[ChunkRow] = ()
    modulations: Sequence[View] = ()
    sharing: Sequence[ChunkRow] = ()
    support: float = 0.0
    documents: int = 0
    searched: int = 0


def find(
    memory: Memory,
    store: Store,
    question: str,
    k: int,
    *,
    retriever: Retriever,
    within: Within,
    from_latents: bool,
    timings: dict[str, float],
    approximate: bool = False,
) -> Evidence:
    """Find the k chunks that are most relevant to a question, and read them from the store.

    Args:
        memory: whose relevance.
        store: the bank.
        question: one or several lines.
        k: how many chunks.
        retriever: see `models.memory.relevance.select`; only "hybrid" takes a second look.
        within: the documents that may be drawn from.
        from_latents: read modulations, too; text alone needs none.
        timings: receives the seconds of `encode` and `aggregate`.
        approximate: see `relevant`.
    """
    begun = time.perf_counter()
    with store.snapshot():
        candidates = relevant(
            memory,
            store,
            question,
            k,
            retriever=retriever,
            weights=memory.relevance,
            within=within,
            timings=timings,
            approximate=approximate,
        )
        ids = [candidate.id for candidate in candidates]
        counting = [candidate.id for candidate in candidates if candidate.weight >= COUNTS]
        others = store.sharing(counting, _SHARING) if from_latents else []
        documents = store.count()
        evidence = Evidence(
            candidates,
            store.chunk_rows(ids),
            store.views(ids) if from_latents else [],
            [row for row in others if row.id not in ids],
            support(store, question, candidates, memory.relevance),
            documents,
            store.count(within) if within else documents,
        )
    timings["aggregate"] = time.perf_counter() - begun - timings["encode"]
    return evidence


def relevant(
    memory: Memory,
    store: Store,
    question: str,
    k: int,
    *,
    retriever: Retriever,
    weights: RelevanceWeights,
    within: Within = EVERYTHING,
    without: Collection[int] = (),
    timings: dict[str, float] | None = None,
    approximate: bool = False,
    views: Callable[[Sequence[int]], Sequence[View]] | None = None,
) -> list[Candidate]:
    """The k chunks that are most relevant to a question, the most relevant first.

    Arguments as in `find`; `weights` says how the scores mix, and `without` are chunks that are
    left out, as if they were not in the store. With `approximate`, only keys that the store's index
    proposes are looked at, if it has one and all documents may be drawn from. Every chunk that
    shares words with the question in the way that counts is among them, and the scores are the
    exact ones: so what may be missed is only what is near without sharing any. `views` gives the
    modulations that the second look goes by; None: the store does.
    """
    from models.memory import relevance

    begun = time.perf_counter()
    query = memory.encode_question(question)
    if timings is not None:
        timings["encode"] = time.perf_counter() - begun
    lexical = {}
    if retriever != "dense":
        limit = _LEXICAL_CANDIDATES + len(without)
        matches = store.search(question, limit, within=within)
        lexical = dict(
            [match for match in matches if match[0] not in without][:_LEXICAL_CANDIDATES]
        )
    look = retriever == "hybrid" and weights.likelihood > 0
    wanted = max(k, relevance.LOOKS) if look else k
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]]
    if approximate and not within and not without:
        blocks = store.near_keys(query, _PROPOSED * wanted, lexical)
    else:
        blocks = store.keys(within=within)
    if without:
        left_out = np.array(sorted(without))
        masks = ((ids, keys, ~np.isin(ids, left_out)) for ids, keys in blocks)
        blocks = ((ids[kept], keys[kept]) for ids, keys, kept in masks)
    candidates = relevance.select(
        query,
        blocks,
        wanted,
        lexical,
        retriever=retriever,
        weights=weights,
    )
    if not look:
        return candidates
    level = candidates[: relevance.nearly_level(candidates)]
    likelihoods: Sequence[float] = ()
    if level:
        documents = selected(level, (views or store.views)([candidate.id for candidate in level]))
        likelihoods = memory.question_likelihood(question, documents)
    return relevance.reconsider(candidates, likelihoods, k, weights.likelihood)


def support(
    store: Store, question: str, candidates: Sequence[Candidate], weights: RelevanceWeights
) -> float:
    """How well the best of the candidates answers for the question; -inf where there are none.

    Its dense score, and in addition how much of what the question names stands in it. What is
    below a checkpoint's `abstain_below` is not answered.
    """
    found = [0.0] * len(candidates)
    if weights.coverage:
        found = store.coverage(question, [candidate.id for candidate in candidates])
    pairs = zip(candidates, found, strict=True)
    return max((c.dense + weights.coverage * share for c, share in pairs), default=-float("inf"))


def selected(candidates: Sequence[Candidate], views: Sequence[View]) -> list[Selected]:
    """The candidates' modulations, as `models.latent.memory.Memory` takes them."""
    from models.memory.modulation import Selected

    return [
        Selected(view.latents, view.scales, candidate.log_weight, view.which)
        for candidate, view in zip(candidates, views, strict=True)
    ]
