"""What a store holds on a question: the chunks that are selected for it, read from the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maccli.service.selection import as_selected, search_store, support
from store.labels import EVERYTHING, Within

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.judge.judge import Reading
    from models.memory.modulation import Selected
    from models.memory.relevance import Candidate, Retriever
    from store.records import ChunkRow, StoredModulation
    from store.store import Store

COUNTS = 0.01
"""The share of an answer from which on it is said to have used a chunk."""
_SHARING = 20


@dataclass(frozen=True, slots=True)
class Match:
    """A chunk selected for a question.

    Attributes:
        candidate: its scores and its weight.
        row: its text and where it stands.
        modulation: what is stored of it; None where it was not read.
        reading: what the judge makes of it; None where none has read it.
        copies: other chunks with exactly this text.
    """

    candidate: Candidate
    row: ChunkRow
    modulation: StoredModulation | None = None
    reading: Reading | None = None
    copies: Sequence[ChunkRow] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a store holds on a question.

    Attributes:
        question: the question.
        matches: the selected chunks, the most relevant first.
        sharing: chunks that were not selected, but share a merged modulation with one that counts.
        support: see `support`.
        documents: the number of documents in the store.
        searched: how many of them may be drawn from.
        seconds: of the steps `load`, `encode` and `aggregate`.
    """

    question: str
    matches: Sequence[Match] = ()
    sharing: Sequence[ChunkRow] = ()
    support: float = 0.0
    documents: int = 0
    searched: int = 0
    seconds: Mapping[str, float] = field(
        default_factory=lambda: {"load": 0.0, "encode": 0.0, "aggregate": 0.0}
    )

    @property
    def readings(self) -> list[Reading]:
        """What a judge makes of the selected chunks; empty where none has read them."""
        return [match.reading for match in self.matches if match.reading]

    def modulations(self) -> list[Selected]:
        """Return what a model answers from; nothing for chunks whose modulation was not read."""
        pairs = [(match.candidate, match.modulation) for match in self.matches]
        return [as_selected(candidate, stored) for candidate, stored in pairs if stored]


def retrieve(
    session: Session,
    question: str,
    *,
    k: int | None = None,
    retriever: Retriever = "hybrid",
    within: Within = EVERYTHING,
    likelihood: bool = True,
    latents: bool = True,
    fast: bool = False,
) -> Evidence:
    """Find the chunks that are most relevant to a question, and read them from the store.

    Args:
        session: the model and the store.
        question: one or several lines.
        k: how many chunks; None for as many as the model was trained with.
        retriever: see `models.memory.relevance.select`.
        within: the documents that may be drawn from.
        likelihood: whether "hybrid" may take a second look with the base LM, where no judge reads.
        latents: whether modulations are read; text alone needs none.
        fast: leave the judge out.

    Raises:
        MacError: there is no store, or it is empty.
    """
    store = session.require_store()
    loaded = session.load_seconds
    model = session.model
    begun = time.perf_counter()
    query = model.encode_question(question)
    encoded = time.perf_counter()
    with store.snapshot():
        candidates, modulations, readings = search_store(
            model,
            store,
            question,
            k or model.config.documents,
            retriever=retriever,
            weights=model.relevance,
            within=within,
            likelihood=likelihood,
            judge=session.judge if retriever == "hybrid" and not fast else None,
            query=query,
        )
        ids = [candidate.id for candidate in candidates]
        if latents:
            missing = [chunk_id for chunk_id in ids if chunk_id not in modulations]
            modulations |= zip(missing, store.modulations(missing), strict=True)
        counting = [candidate.id for candidate in candidates if candidate.weight >= COUNTS]
        others = store.sharing(counting, _SHARING) if latents else []
        documents = store.count()
        copies = _copies(store, ids, within)
        return Evidence(
            question,
            [
                Match(candidate, row, modulations.get(row.id), readings.get(row.id), copies[row.id])
                for candidate, row in zip(candidates, store.chunk_rows(ids), strict=True)
            ],
            [row for row in others if row.id not in ids],
            support(store, question, candidates, model.relevance),
            documents,
            store.count(within) if within else documents,
            {
                "load": session.load_seconds - loaded,
                "encode": encoded - begun,
                "aggregate": time.perf_counter() - encoded,
            },
        )


def _copies(store: Store, ids: Sequence[int], within: Within) -> dict[int, list[ChunkRow]]:
    """Return the other chunks of the same text, as far as they may be drawn from."""
    copies = store.copies(ids, within=within)
    others = sorted({other for found in copies.values() for other in found})
    rows = dict(zip(others, store.chunk_rows(others), strict=True))
    return {chunk_id: [rows[other] for other in copies.get(chunk_id, ())] for chunk_id in ids}
