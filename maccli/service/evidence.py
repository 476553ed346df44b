"""What a store holds on a question: the chunks that are selected for it, read from the store."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError
from maccli.service.selection import (
    Selection,
    answerable,
    as_selected,
    better_answered,
    search_store,
    support,
    wordings,
)
from store.labels import EVERYTHING, Within

if TYPE_CHECKING:
    from maccli.service.session import Session
    from models.judge.judge import Reading
    from models.memory.modulation import Selected
    from models.memory.relevance import Candidate, Retriever
    from models.text.prompts import History
    from store.joined import AnyStore
    from store.records import ChunkRow, StoredModulation

MAX_QUESTION_TOKENS = 1024
MAX_QUESTION_CHARACTERS = 16 * MAX_QUESTION_TOKENS
COUNTS = 0.01
"""A chunk counts as used if its share of the answer is at least this."""
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
        following: the question after those before it, if it is a follow-up; else None.
        respelled: either with misspelled words as the passages have them; None without a judge.
        seconds: of the steps `load`, `encode` and `aggregate`.
    """

    question: str
    matches: Sequence[Match] = ()
    sharing: Sequence[ChunkRow] = ()
    support: float = 0.0
    documents: int = 0
    searched: int = 0
    following: str | None = None
    respelled: str | None = None
    seconds: Mapping[str, float] = field(
        default_factory=lambda: {"load": 0.0, "encode": 0.0, "aggregate": 0.0}
    )

    @property
    def wording(self) -> str:
        """The question as judge and language model read it."""
        return self.respelled or self.following or self.question

    @property
    def readings(self) -> list[Reading]:
        """What a judge makes of the selected chunks; empty where none has read them."""
        return [match.reading for match in self.matches if match.reading]

    def modulations(self) -> list[Selected]:
        """Return what a model answers from; nothing for chunks whose modulation was not read."""
        pairs = [(match.candidate, match.modulation) for match in self.matches]
        return [as_selected(candidate, stored) for candidate, stored in pairs if stored]


def is_relevant(evidence: Evidence, threshold: float | None) -> bool:
    """Return whether a chunk is relevant enough to be answered from; see `answerable`."""
    return bool(evidence.matches) and answerable(evidence.support, evidence.readings, threshold)


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
    history: History = (),
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
        history: the questions asked before, each with its answer; the question may follow them up.

    Raises:
        MacError: the question is empty or too long, there is no store, or it is empty; nothing is
            loaded then.
    """
    question = checked(question)
    store = session.require_store()
    check_length(session, question)
    loaded = session.load_seconds
    model = session.model
    judge = session.judge if retriever == "hybrid" and not fast else None
    begun = time.perf_counter()
    ways = wordings(question, history, judged=judge is not None)
    queries = [model.encode_question(way) for way in ways]
    encoded = time.perf_counter()
    with store.snapshot():
        selections = [
            search_store(
                model,
                store,
                way,
                k or model.config.documents,
                retriever=retriever,
                weights=model.relevance,
                within=within,
                likelihood=likelihood,
                judge=judge,
                query=query,
            )
            for way, query in zip(ways, queries, strict=True)
        ]
        best = better_answered(question, selections)
        way, candidates = ways[best], selections[best].candidates
        matches = _matches(store, selections[best], within, latents=latents)
        documents = store.count()
        return Evidence(
            question,
            matches,
            _sharing(store, candidates) if latents else [],
            support(store, way, candidates, model.relevance),
            documents,
            store.count(within) if within else documents,
            way if way != question else None,
            judge.respelled(way, [match.row.text for match in matches]) if judge else None,
            {
                "load": session.load_seconds - loaded,
                "encode": encoded - begun,
                "aggregate": time.perf_counter() - encoded,
            },
        )


def _matches(
    store: AnyStore, selection: Selection, within: Within, *, latents: bool
) -> list[Match]:
    """Read the selected chunks and their copies from the store, and modulations with `latents`."""
    modulations, readings = dict(selection.modulations), selection.readings
    ids = [candidate.id for candidate in selection.candidates]
    if latents:
        missing = [chunk_id for chunk_id in ids if chunk_id not in modulations]
        modulations |= zip(missing, store.modulations(missing), strict=True)
    copies = _copies(store, ids, within)
    return [
        Match(candidate, row, modulations.get(row.id), readings.get(row.id), copies[row.id])
        for candidate, row in zip(selection.candidates, store.chunk_rows(ids), strict=True)
    ]


def _sharing(store: AnyStore, candidates: Sequence[Candidate]) -> list[ChunkRow]:
    """Return chunks that share a merged modulation with a candidate that counts, and are none."""
    counting = [candidate.id for candidate in candidates if candidate.weight >= COUNTS]
    selected = {candidate.id for candidate in candidates}
    return [row for row in store.sharing(counting, _SHARING) if row.id not in selected]


def _copies(store: AnyStore, ids: Sequence[int], within: Within) -> dict[int, list[ChunkRow]]:
    """Return the other chunks of the same text, as far as they may be drawn from."""
    copies = store.copies(ids, within=within)
    others = sorted({other for found in copies.values() for other in found})
    rows = dict(zip(others, store.chunk_rows(others), strict=True))
    return {chunk_id: [rows[other] for other in copies.get(chunk_id, ())] for chunk_id in ids}


def checked(question: str) -> str:
    """Return a question without space around it.

    Raises:
        MacError: it is empty, or has more than `MAX_QUESTION_CHARACTERS`.
    """
    question = question.strip()
    if not question:
        raise MacError("The question is empty.", 'Ask it like this: mac ask "Who won?"', USAGE)
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise _too_long(f"{len(question):,} characters", f"{MAX_QUESTION_CHARACTERS:,}")
    return question


def check_length(session: Session, question: str) -> None:
    """Refuse a question of more than `MAX_QUESTION_TOKENS`.

    Raises:
        MacError: it is longer.
    """
    # A token has at least one byte, so most questions need no counting.
    if len(question.encode("utf-8", "surrogatepass")) <= MAX_QUESTION_TOKENS:
        return
    (tokens,) = session.model.count_tokens([question])
    if tokens > MAX_QUESTION_TOKENS:
        raise _too_long(f"{tokens:,} tokens", f"{MAX_QUESTION_TOKENS:,}")


def _too_long(length: str, limit: str) -> MacError:
    return MacError(
        f"The question has {length}; {limit} is the most.",
        "Put the background into a file, `mac ingest` it, and ask about it.",
        USAGE,
    )
