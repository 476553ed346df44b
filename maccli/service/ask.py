"""A question to an answer: find what is relevant, aggregate, generate, name the sources."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from maccli.errors import USAGE, MacError
from maccli.service import export_adapter, sources
from maccli.service.evidence import COUNTS, Evidence, find, selected
from maccli.service.session import AnswerStream, Session
from store.labels import EVERYTHING, Within

if TYPE_CHECKING:
    from models.memory.relevance import Retriever
    from store.records import ChunkRow

Mode = Literal["mac", "rag", "closed-book"]

MAX_QUESTION_TOKENS = 1024
MAX_QUESTION_CHARACTERS = 16 * MAX_QUESTION_TOKENS


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer. `k` None: as many chunks as the model was trained with.

    `within` says which documents an answer may be drawn from, `approximate` that the store's index
    may choose whose keys are looked at, `adapter` into which folder the modulation is written that
    the answer comes from (of `mode` "mac").
    """

    k: int | None = None
    retriever: Retriever = "hybrid"
    mode: Mode = "mac"
    max_new_tokens: int = 32
    seed: int | None = None
    within: Within = EVERYTHING
    adapter: Path | None = None
    approximate: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A sentence that an answer came from.

    Attributes:
        source: the document.
        chunk: the position of the chunk in it, from 0.
        start: offset of the sentence in the document's text.
        end: offset behind it.
        weight: relevance of the chunk; all of an answer's weights add up to 1. It is 0 for a chunk
            that was not found itself, but shares a merged modulation with one that was.
        text: the sentence.
    """

    source: str
    chunk: int
    start: int
    end: int
    weight: float
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and where it came from.

    `documents` is how many there are in the store, `searched` how many of them were drawn from.
    """

    question: str
    answer: str
    abstained: bool
    sources: list[Source]
    prefix_tokens: int
    timings: dict[str, float]
    model: str
    seed: int | None
    documents: int
    searched: int

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as `--json` shows it."""
        return {
            "question": self.question,
            "answer": self.answer,
            "abstained": self.abstained,
            "sources": [
                {
                    "source": source.source,
                    "chunk": source.chunk,
                    "start": source.start,
                    "end": source.end,
                    "weight": round(source.weight, 4),
                    "text": source.text,
                }
                for source in self.sources
            ],
            "prefix_tokens": self.prefix_tokens,
            "timings": {name: round(seconds, 4) for name, seconds in self.timings.items()},
            "model": self.model,
            "seed": self.seed,
        }


def ask(
    session: Session,
    question: str,
    options: Options | None = None,
    *,
    on_text: Callable[[str], None] | None = None,
) -> Answer:
    """Answer a question from the session's store.

    Without documents in the store the answer is the base LM's own. If nothing in the store is
    relevant enough, there is no answer (`abstained`), but the nearest sources.

    Args:
        session: the memory and the store.
        question: one or several lines.
        options: how to answer.
        on_text: called with each piece of the answer as soon as it is there.

    Raises:
        MacError: the question is empty or too long, or the store that the user named is missing, or
            the folder of the adapter has something in it.
        StoreError: the store cannot be used.
        WeightsError: the base weights cannot be had.
        ModelError: the model cannot be used.
    """
    options = options or Options()
    question = _checked(question)
    if options.adapter is not None:
        export_adapter.require_empty(options.adapter)  # before anything is loaded
    session.require_store()
    loaded_before = session.load_seconds
    memory = session.memory
    _check_tokens(memory.count_tokens([question])[0])
    timings = {
        "load": session.load_seconds - loaded_before,
        "encode": 0.0,
        "aggregate": 0.0,
        "generate": 0.0,
    }
    evidence = Evidence()
    if options.mode != "closed-book" and session.store is not None:
        evidence = find(
            memory,
            session.store,
            question,
            options.k or memory.config.documents,
            retriever=options.retriever,
            within=options.within,
            from_latents=options.mode == "mac",
            timings=timings,
            approximate=options.approximate,
        )
    if evidence.documents and not _relevant(evidence, memory.config.abstain_below):
        return Answer(
            question=question,
            answer="",
            abstained=True,
            sources=_sources(session, question, evidence, None),
            prefix_tokens=0,
            timings=timings,
            model=session.place.model,
            seed=options.seed,
            documents=evidence.documents,
            searched=evidence.searched,
        )
    if options.adapter is not None:
        documents = selected(evidence.candidates, evidence.modulations)
        export_adapter.export(memory, question, documents, options.adapter)
    begun = time.perf_counter()
    stream = _answer(session, question, evidence, options)
    pieces: list[str] = []
    for piece in stream:
        pieces.append(piece)
        if on_text:
            on_text(piece)
    timings["generate"] = time.perf_counter() - begun
    if evidence.candidates and session.store is not None:
        session.store.used({c.id: c.weight for c in evidence.candidates if c.weight >= COUNTS})
    return Answer(
        question=question,
        answer="".join(pieces).strip(),
        abstained=False,
        sources=_sources(session, question, evidence, stream if options.mode == "mac" else None),
        prefix_tokens=stream.prefix_tokens,
        timings=timings,
        model=session.place.model,
        seed=options.seed,
        documents=evidence.documents,
        searched=evidence.searched,
    )


def _checked(question: str) -> str:
    question = question.strip()
    if not question:
        raise MacError("The question is empty.", 'Ask it like this: mac ask "Who won?"', USAGE)
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise _too_long(f"{len(question):,} characters", f"{MAX_QUESTION_CHARACTERS:,}")
    return question


def _check_tokens(tokens: int) -> None:
    if tokens > MAX_QUESTION_TOKENS:
        raise _too_long(f"{tokens:,} tokens", f"{MAX_QUESTION_TOKENS:,}")


def _too_long(length: str, limit: str) -> MacError:
    return MacError(
        f"The question has {length}; {limit} is the most.",
        "Put the background into a file, `mac ingest` it, and ask about it.",
        USAGE,
    )


def _relevant(evidence: Evidence, threshold: float | None) -> bool:
    """Tell whether anything found is relevant enough to be answered from."""
    if not evidence.candidates:
        return False
    return threshold is None or evidence.support >= threshold


def _answer(session: Session, question: str, evidence: Evidence, options: Options) -> AnswerStream:
    memory = session.memory
    if options.mode == "rag" and evidence.rows:
        texts = [row.text for row in evidence.rows]
        return memory.answer_rag(
            question, texts, max_new_tokens=options.max_new_tokens, seed=options.seed
        )
    documents = selected(evidence.candidates, evidence.modulations)
    return memory.answer(
        question, documents, max_new_tokens=options.max_new_tokens, seed=options.seed
    )


def _sources(
    session: Session, question: str, evidence: Evidence, stream: AnswerStream | None
) -> list[Source]:
    found = []
    for index, (candidate, row) in enumerate(zip(evidence.candidates, evidence.rows, strict=True)):
        span = None
        if stream is not None and stream.attention:
            spans = session.memory.token_spans(row.text)
            span = sources.by_attention(row.text, spans, stream.attention[index])
        span = span or sources.by_words(row.text, question)
        found.append(_source(row, span, float(candidate.weight)))
    found += [_source(row, sources.by_words(row.text, question), 0.0) for row in evidence.sharing]
    return found


def _source(row: ChunkRow, span: sources.Span, weight: float) -> Source:
    start, end = span
    return Source(
        source=row.source,
        chunk=row.position,
        start=row.start + start,
        end=row.start + end,
        weight=weight,
        text=row.text[start:end],
    )
