"""Which sentence of a chunk an answer came from. T: tokens of the chunk."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.text.chunking import sentences

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WORD = re.compile(r"\w{3,}")

Span = tuple[int, int]


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
