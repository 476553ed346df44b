"""BM25 of chunks in several indexes, as if all of them stood in one.

FTS5 computes BM25 within one database, by how rare a word is there and by the mean length there.
Here both are those of all. FTS5 does not say how often a word stands in a chunk; that is found
again from the chunk's score for this word alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

PROPOSED = 4
"""How many times as many chunks as are wanted each index proposes, by its own BM25."""
# FTS5's numbers; of a word in more than half of the chunks it takes the last for the rarity.
_K1, _B, _LEAST = 1.2, 0.75, 1e-6


@dataclass(frozen=True, slots=True)
class Matches:
    """What BM25 needs of an index, for some words.

    Attributes:
        chunks: in the index.
        words: of all of these chunks together.
        having: for each word how many chunks have it, in any of its spellings.
        lengths: by id, the number of words of each chunk that is proposed.
        times: by id, how often each word stands in such a chunk.
    """

    chunks: int
    words: int
    having: Sequence[int]
    lengths: dict[int, int]
    times: dict[int, list[int]]


def damping(length: int, chunks: int, words: int) -> float:
    """Return what a chunk of `length` words adds to a frequency before it divides it.

    Args:
        length: words of the chunk.
        chunks: of all indexes.
        words: of all of these chunks.
    """
    return _K1 * (1 - _B + _B * length * chunks / max(words, 1))


def rarity(chunks: int, having: int) -> float:
    """Return the inverse document frequency of a word that `having` of `chunks` chunks have."""
    return max(math.log((chunks - having + 0.5) / (having + 0.5)), _LEAST)


def times(score: float, rarity: float, damping: float) -> int:
    """Return how often a word stands in a chunk that BM25 gives this score for the word alone."""
    share = score / rarity / (_K1 + 1)
    return round(share * damping / (1 - share))


def merged(found: Sequence[Matches], limit: int) -> list[tuple[int, int, float]]:
    """Return at most `limit` of the chunks that indexes propose for the same words, best first.

    Returns:
        for each chunk the place of its index in `found`, its id there, and its score; larger is
        better. Chunks of the same score come in the order of indexes and ids.
    """
    chunks = sum(own.chunks for own in found)
    words = sum(own.words for own in found)
    having = zip(*(own.having for own in found), strict=True)
    rare = [rarity(chunks, sum(counts)) for counts in having]
    ranked = []
    for place, own in enumerate(found):
        for chunk_id, frequencies in own.times.items():
            damped = damping(own.lengths[chunk_id], chunks, words)
            score = sum(
                weight * often * (_K1 + 1) / (often + damped)
                for weight, often in zip(rare, frequencies, strict=True)
            )
            ranked.append((-score, place, chunk_id))
    return [(place, chunk_id, -score) for score, place, chunk_id in sorted(ranked)[:limit]]
