"""Which sentences an answer came from, and where they stand. T: tokens of a chunk.

A row of a table and a block of code count as sentences, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

from maccli.reading.files import displayed
from models.text.chunking import pieces
from store.labels import EVERYTHING, Within
from store.marks import Mark, in_words, mark_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from maccli.service.evidence import Evidence
    from models.judge.judge import Reading
    from models.memory.protocol import AnswerStream, LoadedModel
    from store.joined import AnyStore
    from store.records import ChunkRow, Document

SECTIONS = 12
"""The most sentences that an outline has."""
_LEAST_WORDS = 5
_WORD = re.compile(r"\w{3,}")
_FILE = re.compile(r"[\w.-]+\.\w{1,8}\b")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy of a passage stands: see `Source`."""

    source: str
    heading: str
    place: str


@dataclass(frozen=True, slots=True)
class Source:
    """A sentence that an answer came from.

    Attributes:
        source: the document.
        title: of the document, if it has one.
        heading: the headings above the sentence, the outermost first; "" if there are none.
        place: such as "page 3" or "line 40"; "" if the document has no such places.
        chunk: the position of the chunk in it, from 0.
        start: offset of the sentence in the document's text.
        end: offset of its end.
        weight: relevance of the chunk; all of an answer's weights add up to 1. It is 0 for a chunk
            that was not selected itself, but shares a merged modulation with one that was.
        text: the sentence.
        passage: the whole chunk.
        marked: where the words of the answer stand in `passage`, in this sentence; None if they do
            not.
        stale: why the file can no longer be read, if what is stored is an older version of it.
        also: where the same passage stands, too.
    """

    source: str
    title: str | None
    heading: str
    place: str
    chunk: int
    start: int
    end: int
    weight: float
    text: str
    passage: str
    marked: Span | None = None
    stale: str | None = None
    also: tuple[Place, ...] = ()


def cite(
    evidence: Evidence,
    stream: AnswerStream | None = None,
    model: LoadedModel | None = None,
    answer: str = "",
) -> list[Source]:
    """Return the sentences that an answer came from, the most relevant first.

    Where the words of the answer stand in a chunk, it is one of the sentences that they stand in.

    Args:
        evidence: the chunks it was drawn from.
        answer: its text; "" if there is none.
        stream: the answer, read to its end. Without it, or if it does not say what it attended to,
            the words of the question decide which sentence of a chunk it was.
        model: whose tokens the attention of `stream` counts.
    """
    attention = stream.attention if stream is not None and model is not None else ()
    sources = []
    for index, match in enumerate(evidence.matches):
        text = match.row.text
        span = by_answer(text, evidence.question, answer)
        if span is None and attention and model is not None and match.reading is None:
            span = by_attention(text, model.token_spans(text), attention[index])
        span = span or best_sentence(text, evidence.question, match.reading)
        weight = float(match.candidate.weight)
        marked = _said(text, span, answer)
        also = places(match.copies, span[0])
        sources.append(sentence_source(match.row, span, weight, marked, also))
    for row in evidence.sharing:
        sources.append(sentence_source(row, by_words(row.text, evidence.question)))
    return sources


class Placed(Protocol):
    """What stands somewhere: a `Source`, a `Place` or a passage."""

    @property
    def source(self) -> str:
        """The document."""

    @property
    def heading(self) -> str:
        """The headings above, the outermost first."""

    @property
    def place(self) -> str:
        """Such as "page 3"."""


def where(placed: Placed) -> str:
    """Return where something stands, for people to read: `guide.md, "Retention", line 40`."""
    words = in_words(Mark(0, placed.heading, placed.place))
    return ", ".join(filter(None, (displayed(placed.source), words)))


def places(rows: Sequence[ChunkRow], offset: int) -> tuple[Place, ...]:
    """Return where the character at `offset` stands in each of some chunks of the same text."""
    marks = (mark_at(row.marks, row.text, offset) for row in rows)
    return tuple(
        Place(row.source, mark.heading, mark.place) for row, mark in zip(rows, marks, strict=True)
    )


def sentence_source(
    row: ChunkRow,
    span: Span,
    weight: float = 0.0,
    marked: Span | None = None,
    also: tuple[Place, ...] = (),
) -> Source:
    """Return the sentence of a chunk at `span` as a source; the rest as in `Source`."""
    start, end = span
    mark = mark_at(row.marks, row.text, start)
    return Source(
        row.source,
        row.title,
        mark.heading,
        mark.place,
        row.position,
        row.start + start,
        row.start + end,
        weight,
        row.text[start:end],
        row.text,
        marked,
        row.stale,
        also,
    )


def by_attention(text: str, spans: Sequence[Span], attention: NDArray[np.float32]) -> Span | None:
    """Return the sentence of `text` whose tokens the answer attended to most.

    Args:
        text: the chunk.
        spans: where each of its T tokens stands in it.
        attention: the mass that each token received, [T].

    Returns:
        The sentence's span; None if there is no mass, or it cannot be told where it lies.
    """
    if len(spans) != len(attention) or not len(attention) or not attention.any():
        return None
    candidates = pieces(text)
    masses = [0.0] * len(candidates)
    current = 0
    for (start, end), mass in sorted(zip(spans, attention.tolist(), strict=True)):
        middle = (start + end) / 2
        while current + 1 < len(candidates) and middle >= candidates[current + 1][0]:
            current += 1
        masses[current] += mass
    return candidates[max(range(len(candidates)), key=masses.__getitem__)]


def by_answer(text: str, question: str, answer: str) -> Span | None:
    """Return the sentence of `text` that says the answer, word for word; None if none does.

    Of several it is the one that shares most words with the question.
    """
    spans = [span for span in pieces(text) if _said(text, span, answer)]
    return _nearest(text, spans, question) if spans else None


def _said(text: str, span: Span, answer: str) -> Span | None:
    """Return where the words of an answer stand in a part of `text`; None if they do not."""
    words = r"\s+".join(re.escape(word) for word in answer.split())
    said = re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)
    found = said.search(text, *span) if words else None
    return found.span() if found else None


def by_words(text: str, question: str) -> Span:
    """Return the sentence of `text` that shares most words with `question`, else the first."""
    return _nearest(text, pieces(text) or [(0, len(text))], question)


def best_sentence(text: str, question: str, reading: Reading | None = None) -> Span:
    """Return the sentence of `text` that a question would be answered from.

    It is the one that the judge's most likely answer stands in, else one by its words.
    """
    spans = [found.span for found in reading.answers if found.span] if reading else []
    if not spans:
        return by_words(text, question)
    start, _ = spans[0]
    return next((s for s in pieces(text) if s[0] <= start < s[1]), by_words(text, question))


def _nearest(text: str, spans: Sequence[Span], question: str) -> Span:
    wanted = set(_WORD.findall(question.lower()))

    def shared(span: Span) -> int:
        return len(wanted.intersection(_WORD.findall(text[span[0] : span[1]].lower())))

    return max(spans, key=shared)


def outline(
    store: AnyStore, evidence: Evidence, within: Within = EVERYTHING, *, relevant: bool = True
) -> list[Source]:
    """Return the first sentence of each paragraph of the document that a summary is asked of.

    Of a long document it is the first under each heading.

    Args:
        store: which holds the document.
        evidence: of the request. The document is the one that the request names by its file, else
            the one with most relevance.
        within: the documents that may be drawn from.
        relevant: False if the evidence has nothing to do with the request.
    """
    if (named := _named(store, evidence.question, within)) is not None:
        number = named.id
    elif relevant and evidence.matches:
        shares: dict[int, float] = {}
        for match in evidence.matches:
            there = match.row.document_id
            shares[there] = shares.get(there, 0.0) + match.candidate.weight
        number = max(shares, key=shares.__getitem__)
    else:
        return []
    found = [(row, span) for row in store.chunks(number) for span in _openings(row)]
    if len(found) > SECTIONS:  # the first of each heading says most
        first: dict[str, tuple[ChunkRow, Span]] = {}
        for row, span in found:
            first.setdefault(mark_at(row.marks, row.text, span[0]).heading, (row, span))
        found = list(first.values()) if len(first) > 1 else found
    if len(found) > SECTIONS:
        found = [found[i * len(found) // SECTIONS] for i in range(SECTIONS)]
    return [sentence_source(row, span) for row, span in found]


def _named(store: AnyStore, question: str, within: Within) -> Document | None:
    """Return the document whose file name a question says, if there is exactly one."""
    for name in map(str.casefold, _FILE.findall(question)):
        near = store.documents(match=name, within=within)
        found = [d for d in near if PurePath(d.source).name.casefold() == name]
        if len(found) == 1:
            return found[0]
    return None


def _openings(row: ChunkRow) -> list[Span]:
    """Return the first sentence of each paragraph, but not headings or a date alone."""
    text, last, wanted = row.text, 0, True
    found: list[Span] = []
    for start, end in pieces(text):
        wanted = wanted or "\n\n" in text[last:start]
        heading = mark_at(row.marks, text, start).heading.rpartition(" > ")[2]
        is_heading = text[start:end].strip("#=*-~ \n").casefold() == heading.casefold()
        if wanted and not is_heading and len(text[start:end].split()) >= _LEAST_WORDS:
            found.append((start, end))
            wanted = False
        last = end
    return found
