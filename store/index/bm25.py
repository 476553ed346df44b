"""BM25 of chunks in several indexes, as if all of them stood in one.

FTS5 computes BM25 within one database, by how rare a word is there and by the mean length there.
Here both are those of all. FTS5 does not say how often a word stands in a chunk; that is found
again from the chunk's score for this word alone.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from store.index import search
from store.index.connection import by_id
from store.labels import Within

PROPOSED = 4
"""How many times as many chunks as are wanted each index proposes, by its own BM25."""
# FTS5's numbers; of a word in more than half of the chunks it takes the last for the rarity.
_K1, _B, _LEAST = 1.2, 0.75, 1e-6


@dataclass(frozen=True, slots=True)
class _Size:
    """How many chunks an index has, and how many words they have in all."""

    chunks: int
    words: int

    def damping(self, words: int) -> float:
        """Return what a chunk with so many words adds to a frequency before it divides it."""
        return _K1 * (1 - _B + _B * words * self.chunks / max(self.words, 1))

    def rarity(self, having: int) -> float:
        """Return the inverse document frequency of a word that so many chunks have."""
        return max(math.log((self.chunks - having + 0.5) / (having + 0.5)), _LEAST)


def best(
    connections: Sequence[sqlite3.Connection], text: str, limit: int, within: Within
) -> list[tuple[int, int, float]]:
    """Return at most `limit` chunks that share words with a text, best first.

    The scores are those that the chunks would have in one index. Each index proposes `PROPOSED`
    times as many as are wanted, so what it takes for hopeless is left out.

    Returns:
        for each chunk the place of its index in `connections`, its id there, and its score; larger
        is better. Chunks of the same score come in the order of indexes and ids.
    """
    phrases = list(chain(*search.phrases(connections, text)))
    expression = search.any_of(phrases)
    scores = [
        {rowid: 0.0 for rowid, _ in search.matching(each, expression, PROPOSED * limit, within)}
        for each in connections
    ]
    lengths = [_lengths(each, list(own)) for each, own in zip(connections, scores, strict=True)]
    sizes = list(map(_size, connections))
    whole = _Size(sum(size.chunks for size in sizes), sum(size.words for size in sizes))
    for phrase in phrases:
        having = [_having(connection, phrase) for connection in connections]
        rarity = whole.rarity(sum(having))
        for place, connection in enumerate(connections):
            own = sizes[place]
            for rowid, score in _alone(connection, phrase, list(scores[place])):
                words = lengths[place][rowid]
                share = score / own.rarity(having[place]) / (_K1 + 1)
                times = round(share * own.damping(words) / (1 - share))
                scores[place][rowid] += rarity * times * (_K1 + 1) / (times + whole.damping(words))
    ranked = [
        (-score, place, rowid) for place, own in enumerate(scores) for rowid, score in own.items()
    ]
    return [(place, rowid, -score) for score, place, rowid in sorted(ranked)[: max(limit, 0)]]


def _having(connection: sqlite3.Connection, phrase: str) -> int:
    query = "SELECT count(*) FROM chunks_fts WHERE chunks_fts MATCH ?"
    return int(connection.execute(query, (phrase,)).fetchone()[0])


def _alone(
    connection: sqlite3.Connection, phrase: str, ids: Sequence[int]
) -> Iterator[tuple[int, float]]:
    """Yield the BM25 scores, in their own index, of those of some chunks that have a phrase."""
    query = (
        "SELECT rowid, -rank FROM chunks_fts "
        f"WHERE chunks_fts MATCH ? AND rank MATCH 'bm25{search.WEIGHTS}' "
        f"AND rowid IN ({','.join(map(str, map(int, ids)))})"
    )
    yield from connection.execute(query, (phrase,))


def _lengths(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, int]:
    """Return how many words each of some chunks has, with what stands before it."""
    rows = by_id(connection, "SELECT id, sz FROM chunks_fts_docsize WHERE id", ids)
    return {rowid: sum(_numbers(data)) for rowid, data in rows}


def _size(connection: sqlite3.Connection) -> _Size:
    """Read an index's size where FTS5 keeps it: the first row of its data."""
    row = connection.execute("SELECT block FROM chunks_fts_data WHERE id = 1").fetchone()
    chunks, *words = _numbers(row[0]) if row and row[0] else [0]
    return _Size(chunks, sum(words))


def _numbers(data: bytes) -> list[int]:
    """Return the whole numbers in a record of FTS5: seven bits a byte, the highest byte first."""
    numbers, number = [], 0
    for byte in data:
        number = number << 7 | byte & 127
        if byte < 128:
            numbers.append(number)
            number = 0
    return numbers
