"""Which sentences an answer came from. T: tokens of a chunk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.text.chunking import sentences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from maccli.service.evidence import Evidence
    from models.memory.protocol import AnswerStream, LoadedModel
    from store.records import ChunkRow

_WORD = re.compile(r"\w{3,}")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Source:
    """A sentence that an answer came from.

    Attributes:
        source: the document.
        chunk: the position of the chunk in it, from 0.
        start: offset of the sentence in the document's text.
        end: offset of its end.
        weight: relevance of the chunk; all of an answer's weights add up to 1. It is 0 for a chunk
            that was not selected itself, but shares a merged modulation with one that was.
        text: the sentence.
    """

    source: str
    chunk: int
    start: int
    end: int
    weight: float
    text: str


def cite(
    evidence: Evidence, stream: AnswerStream | None = None, model: LoadedModel | None = None
) -> list[Source]:
    """Return the sentences that an answer came from, the most relevant first.

    Args:
        evidence: the chunks it was drawn from.
        stream: the answer, read to its end. Without it, or if it does not say what it attended to,
            the words of the question decide which sentence of a chunk it was.
        model: whose tokens the attention of `stream` counts.
    """
    attention = stream.attention if stream is not None and model is not None else ()
    sources = []
    for index, match in enumerate(evidence.matches):
        text, span = match.row.text, None
        if attention and model is not None:
            span = by_attention(text, model.token_spans(text), attention[index])
        span = span or by_words(text, evidence.question)
        sources.append(_source(match.row, span, float(match.candidate.weight)))
    for row in evidence.sharing:
        sources.append(_source(row, by_words(row.text, evidence.question), 0.0))
    return sources


def _source(row: ChunkRow, span: Span, weight: float) -> Source:
    start, end = span
    place = (row.start + start, row.start + end)
    return Source(row.source, row.position, *place, weight, row.text[start:end])


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
    candidates = sentences(text)
    masses = [0.0] * len(candidates)
    current = 0
    for (start, end), mass in sorted(zip(spans, attention.tolist(), strict=True)):
        middle = (start + end) / 2
        while current + 1 < len(candidates) and middle >= candidates[current + 1][0]:
            current += 1
        masses[current] += mass
    return candidates[max(range(len(candidates)), key=masses.__getitem__)]


def by_words(text: str, question: str) -> Span:
    """Return the sentence of `text` that shares most words with `question`, else the first."""
    wanted = set(_WORD.findall(question.lower()))
    spans = sentences(text) or [(0, len(text))]

    def shared(span: Span) -> int:
        return len(wanted.intersection(_WORD.findall(text[span[0] : span[1]].lower())))

    return max(spans, key=shared)
