"""Which chunks of a store are relevant to a question: over all its keys, then read by the judge."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING

from models.text.prompts import following
from models.text.requests import is_follow_up
from store.joined import likely_keys
from store.labels import EVERYTHING, Within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models.judge.judge import Judge, Reading
    from models.memory.modulation import Selected
    from models.memory.protocol import LoadedModel
    from models.memory.relevance import Candidate, RelevanceWeights, Retriever
    from models.text.prompts import History
    from store.joined import AnyStore
    from store.records import ChunkRow, StoredModulation

    ReadModulations = Callable[[Sequence[int]], Sequence[StoredModulation]]

_LEXICAL_CANDIDATES = 100
_FAR_BETTER = 5.0
"""Nats by which the wording that a question's words do not speak for must be answered better."""
_SURE = 2.0
"""Log odds from which a judge that has read a passage is believed that it answers."""
_BETWEEN_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Selection:
    """The chunks that were selected for a question, and what was read of them meanwhile.

    Attributes:
        candidates: the chunks, the most relevant first.
        modulations: by id, those that the second look has read: of some chunks at most.
        readings: by id, what the judge makes of the chunks; of more of them than were selected.
    """

    candidates: Sequence[Candidate]
    modulations: Mapping[int, StoredModulation] = field(default_factory=dict)
    readings: Mapping[int, Reading] = field(default_factory=dict)


def search_store(
    model: LoadedModel,
    store: AnyStore,
    question: str,
    k: int,
    *,
    retriever: Retriever,
    weights: RelevanceWeights,
    within: Within = EVERYTHING,
    without: Collection[int] = (),
    modulations: ReadModulations | None = None,
    likelihood: bool = True,
    judge: Judge | None = None,
    query: NDArray[np.float32] | None = None,
) -> Selection:
    """Return the k chunks that are most relevant to a question.

    Where the store has a cache of near keys and all documents may be drawn from, only the keys that
    it proposes are looked at, and those of the chunks that share words with the question. Of chunks
    with exactly the same text only the best is returned.

    Args:
        model: encodes the question and takes the second look.
        store: what is searched.
        question: one or several lines.
        k: how many chunks.
        retriever: see `models.memory.relevance.select`; only "hybrid" is judged or takes a second
            look.
        weights: how the scores mix.
        within: the documents that may be drawn from.
        without: chunks that are left out, as if they were not in the store.
        modulations: reads modulations for the second look; None for the store's own.
        likelihood: whether there is a second look at all.
        judge: reads the first candidates with the question, and takes the second look's place.
        query: the encoded question, float32 [E], if it is known already.
    """
    from models.memory import relevance

    if query is None:
        query = model.encode_question(question)
    lexical = {} if retriever == "dense" else _lexical(store, question, within, without)
    if retriever != "hybrid" or not weights.judged:
        judge = None
    look = likelihood and retriever == "hybrid" and weights.likelihood > 0 and judge is None
    wanted = max(k, relevance.READ if judge else relevance.LOOKS if look else k)

    def select(number: int) -> list[Candidate]:
        blocks = _keys(store, query, number, lexical, within, without)
        return relevance.select(
            query, blocks, number, lexical, retriever=retriever, weights=weights
        )

    candidates = relevance.first(_distinct(store, select, wanted), wanted)
    if judge is not None:
        return _judged(judge, store, question, candidates, k, weights)
    if look:
        read = modulations or store.modulations
        return _looked_at(model, read, question, candidates, k, weights)
    return Selection(candidates)


def _lexical(
    store: AnyStore, question: str, within: Within, without: Collection[int]
) -> dict[int, float]:
    """Return, by id, the BM25 scores of the best chunks."""
    scores = store.search(question, _LEXICAL_CANDIDATES + len(without), within=within)
    allowed = [(chunk_id, score) for chunk_id, score in scores if chunk_id not in without]
    return dict(allowed[:_LEXICAL_CANDIDATES])


def _judged(
    judge: Judge,
    store: AnyStore,
    question: str,
    candidates: Sequence[Candidate],
    k: int,
    weights: RelevanceWeights,
) -> Selection:
    """Return the k best candidates after a judge has read all of them with the question."""
    from models.memory import relevance

    rows = store.chunk_rows([candidate.id for candidate in candidates])
    read = judged(judge, question, rows)
    odds = [reading.log_odds for reading in read]
    chosen = relevance.judged(candidates, odds, k, weights)
    return Selection(chosen, readings=dict(zip((row.id for row in rows), read, strict=True)))


def _looked_at(
    model: LoadedModel,
    read: ReadModulations,
    question: str,
    candidates: Sequence[Candidate],
    k: int,
    weights: RelevanceWeights,
) -> Selection:
    """Return the k best candidates after the base LM had a second look at the level ones."""
    from models.memory import relevance

    level = candidates[: relevance.nearly_level(candidates)]
    ids = [candidate.id for candidate in level]
    stored = list(read(ids)) if level else []
    likelihoods: Sequence[float] = ()
    if level:
        likelihoods = model.question_likelihood(question, list(map(as_selected, level, stored)))
    chosen = relevance.reconsider(candidates, likelihoods, k, weights.likelihood)
    return Selection(chosen, dict(zip(ids, stored, strict=True)))


def judged(judge: Judge, question: str, rows: Sequence[ChunkRow]) -> list[Reading]:
    """Return what a judge makes of chunks."""
    return judge.read(question, [row.text for row in rows], list(map(_context, rows)))


def wordings(question: str, history: History, *, judged: bool) -> list[str]:
    """Return how a question may be meant: as it is and, as a follow-up, after those before it.

    Only a judge can tell which wording is answered better; without one the question's words decide,
    and there is one.
    """
    if not history:
        return [question]
    after = following(history, question)
    if judged:
        return [question, after]
    return [after if is_follow_up(question) else question]


def better_answered(question: str, selections: Sequence[Selection]) -> int:
    """Return which of the `wordings` of a question is meant, by what was selected for each.

    It is the one that the question's words speak for, unless a passage answers the other far
    better.
    """
    if len(selections) == 1:
        return 0
    alone, after = (
        max((reading.log_odds for reading in selection.readings.values()), default=0.0)
        for selection in selections
    )
    return int(after - alone > (-_FAR_BETTER if is_follow_up(question) else _FAR_BETTER))


def _context(row: ChunkRow) -> str:
    """Return what a judge reads before a chunk; a file's name stands for a title."""
    if row.title:
        return row.context
    stem, dot, _ = PurePath(row.source).name.rpartition(".")
    words = " ".join(_BETWEEN_WORDS.split(stem)).strip() if dot else ""
    return f"{words}\n{row.context}" if words else row.context


def _keys(
    store: AnyStore,
    query: NDArray[np.float32],
    number: int,
    lexical: Mapping[int, float],
    within: Within,
    without: Collection[int],
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Return the keys among which the `number` best are looked for."""
    import numpy as np

    blocks = likely_keys(store, query, number + len(without), lexical, within)
    if not without:
        return blocks
    left_out = np.array(sorted(without))
    masks = ((ids, keys, ~np.isin(ids, left_out)) for ids, keys in blocks)
    return ((ids[mask], keys[mask]) for ids, keys, mask in masks)


def _distinct(
    store: AnyStore, select: Callable[[int], list[Candidate]], wanted: int
) -> list[Candidate]:
    """Return at least `wanted` candidates of different texts, if there are so many.

    Args:
        store: holds the texts.
        select: returns as many of the best chunks as it is told.
        wanted: how many.
    """
    number = wanted
    while True:
        candidates = select(number)
        rows = store.chunk_rows([candidate.id for candidate in candidates])
        texts: dict[str, Candidate] = {}
        for candidate, row in zip(candidates, rows, strict=True):
            texts.setdefault(row.text, candidate)
        if len(texts) >= wanted or len(candidates) < number:
            return list(texts.values())
        number *= 4  # copies took the places of others


def support(
    store: AnyStore, question: str, candidates: Sequence[Candidate], weights: RelevanceWeights
) -> float:
    """Return how well the best of the candidates answers for the question; -inf without any.

    It is the dense score, and in addition how much of what the question names stands in the text.
    """
    shares = [0.0] * len(candidates)
    if weights.coverage:
        shares = store.coverage(question, [candidate.id for candidate in candidates])
    pairs = zip(candidates, shares, strict=True)
    return max((c.dense + weights.coverage * share for c, share in pairs), default=-float("inf"))


def answerable(supported: float, readings: Iterable[Reading], threshold: float | None) -> bool:
    """Return whether a question is answered: its support reaches the threshold, or a judge is sure.

    Args:
        supported: see `support`.
        readings: what a judge makes of the candidates.
        threshold: a checkpoint's `abstain_below`; None answers everything.
    """
    if threshold is None or supported >= threshold:
        return True
    return any(reading.log_odds > _SURE for reading in readings)


def as_selected(candidate: Candidate, stored: StoredModulation) -> Selected:
    """Return a candidate's modulation, weighted as a model takes it."""
    from models.memory.modulation import Selected

    return Selected(stored.latents, stored.scales, candidate.log_weight, stored.rows)
