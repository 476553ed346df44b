"""What is asked of the full-text index of one store, for one store or several that count as one.

Questions and answers are plain words and numbers, so that a store may be on another machine. A word
comes as a list of its spellings, in lower case.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, TypeVar

from store.errors import translated
from store.index import bm25, spelling
from store.index.bm25 import Matches
from store.index.chunks import any_dropped
from store.index.connection import by_id
from store.labels import Within

WEIGHTS = (1.0, 1.0)
"""What a word counts for in BM25 in a chunk's text, and in what stands before it."""
SAMPLE = 20_000
"""Chunks, the newest, in which words are counted: the time does not grow with the store."""

Spellings = Sequence[str]


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which words some chunks have.

    Attributes:
        chunks: in which words are counted, at most `SAMPLE`.
        having: for each word how many of these chunks have it.
        found: for each word the ids of those of the chunks in question that have it.
    """

    chunks: int
    having: Sequence[int]
    found: Sequence[Sequence[int]]


class TextIndex(Protocol):
    """A full-text index, here or on another machine (`remote`)."""

    @property
    def remote(self) -> bool:
        """Whether it is on another machine."""
        ...

    def known(self, words: Sequence[Spellings]) -> list[bool]:
        """Return for each word whether any chunk has one of its spellings."""
        ...

    def similar(self, word: str) -> list[spelling.Similar]:
        """Return the words that one the index lacks may stand for, the nearest first."""
        ...

    def matches(self, words: Sequence[Spellings], limit: int, within: Within) -> Matches:
        """Return at most `limit` chunks that share words, those with the best BM25 here."""
        ...

    def coverage(self, words: Sequence[Spellings], ids: Sequence[int]) -> Coverage:
        """Return which of the words the chunks `ids` have."""
        ...


class SqliteTextIndex:
    """The full-text index of an open store: SQLite's FTS5."""

    remote = False

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with translated(self._path):
            return self._connection.execute(query, values).fetchall()

    def known(self, words: Sequence[Spellings]) -> list[bool]:
        """See `TextIndex.known`."""
        query = "SELECT 1 FROM chunks_fts WHERE chunks_fts MATCH ? LIMIT 1"
        return [bool(self._rows(query, any_of(word))) for word in words]

    def similar(self, word: str) -> list[spelling.Similar]:
        """See `TextIndex.similar`."""
        with translated(self._path):
            return spelling.similar(self._connection, word)

    def best(
        self, words: Sequence[Spellings], limit: int, within: Within
    ) -> list[tuple[int, float]]:
        """Return at most `limit` chunks that share words, best first: ids and their BM25 here.

        Larger scores are better; chunks of the same score come in the order of their ids.
        """
        if not words or limit < 1:
            return []
        chosen, values = "", list[str]()
        with translated(self._path):
            dropped = any_dropped(self._connection)
        if within or dropped:
            condition, values = within.condition()
            # For each match by itself: their number decides what it costs, not all chunks'.
            chosen = (
                "AND EXISTS (SELECT 1 FROM chunks JOIN documents ON documents.id = document_id "
                f"WHERE chunks.id = chunks_fts.rowid AND pruned IS NULL AND {condition}) "
            )
        return self._rows(
            "SELECT rowid, -rank FROM chunks_fts "
            f"WHERE chunks_fts MATCH ? AND rank MATCH ? {chosen}ORDER BY rank, rowid LIMIT ?",
            any_of(chain(*words)),
            f"bm25{WEIGHTS}",
            *values,
            limit,
        )

    def matches(self, words: Sequence[Spellings], limit: int, within: Within) -> Matches:
        """See `TextIndex.matches`."""
        ids = [chunk_id for chunk_id, _ in self.best(words, limit, within)]
        chunks, total = self._size()
        lengths = self._lengths(ids)
        having = [self._having(word) for word in words]
        times = {chunk_id: [0] * len(words) for chunk_id in ids}
        for place, word in enumerate(words):
            rarity = bm25.rarity(chunks, having[place])
            for chunk_id, score in self._alone(word, ids):
                damping = bm25.damping(lengths[chunk_id], chunks, total)
                times[chunk_id][place] = bm25.times(score, rarity, damping)
        return Matches(chunks, total, having, lengths, times)

    def coverage(self, words: Sequence[Spellings], ids: Sequence[int]) -> Coverage:
        """See `TextIndex.coverage`."""
        ((newest,),) = self._rows("SELECT coalesce(max(id), 0) FROM chunks")
        ((chunks,),) = self._rows("SELECT count(*) FROM chunks WHERE id > ?", newest - SAMPLE)
        having = [self._having(word, newest - SAMPLE) for word in words]
        query = (
            f"SELECT rowid FROM chunks_fts WHERE rowid IN ({_numbers(ids)}) AND chunks_fts MATCH ?"
        )
        found = [[row[0] for row in self._rows(query, any_of(word))] for word in words]
        return Coverage(chunks, having, found)

    def _having(self, word: Spellings, after: int = 0) -> int:
        query = "SELECT count(*) FROM chunks_fts WHERE rowid > ? AND chunks_fts MATCH ?"
        return int(self._rows(query, after, any_of(word))[0][0])

    def _alone(self, word: Spellings, ids: Sequence[int]) -> list[tuple[int, float]]:
        """Return the BM25 here, for one word, of those of some chunks that have it."""
        query = (
            "SELECT rowid, -rank FROM chunks_fts "
            f"WHERE chunks_fts MATCH ? AND rank MATCH 'bm25{WEIGHTS}' "
            f"AND rowid IN ({_numbers(ids)})"
        )
        return self._rows(query, any_of(word))

    def _lengths(self, ids: Sequence[int]) -> dict[int, int]:
        """Return how many words each of some chunks has, with what stands before it."""
        with translated(self._path):
            rows = by_id(self._connection, "SELECT id, sz FROM chunks_fts_docsize WHERE id", ids)
            return {rowid: sum(_unpacked(data)) for rowid, data in rows}

    def _size(self) -> tuple[int, int]:
        """Read numbers of chunks and words where FTS5 keeps them: the first row of its data."""
        rows = self._rows("SELECT block FROM chunks_fts_data WHERE id = 1")
        chunks, *words = _unpacked(rows[0][0]) if rows and rows[0][0] else [0]
        return chunks, sum(words)


class _MaybeRemote(Protocol):
    @property
    def remote(self) -> bool: ...


Part = TypeVar("Part", bound=_MaybeRemote)
Told = TypeVar("Told")


def ask_each(parts: Sequence[Part], ask: Callable[[Part, int], Told]) -> list[Told]:
    """Return what each of several parts answers; those on other machines are asked at once.

    Args:
        parts: stores, or their indexes.
        ask: takes a part and its place among `parts`.
    """
    far = [place for place, part in enumerate(parts) if part.remote]
    if not far:
        return [ask(part, place) for place, part in enumerate(parts)]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(far)) as pool:
        coming = {place: pool.submit(ask, parts[place], place) for place in far}
        return [
            coming[place].result() if place in coming else ask(part, place)
            for place, part in enumerate(parts)
        ]


def known_to_any(indexes: Sequence[TextIndex], words: Sequence[Spellings]) -> list[bool]:
    """Return for each word whether any of the indexes has one of its spellings."""
    each = ask_each(indexes, lambda index, _: index.known(words))
    return list(map(any, zip(*each, strict=True)))


def any_of(words: Iterable[str]) -> str:
    """Return an FTS5 expression that matches any of some words; nothing in them is syntax."""
    return " OR ".join('"' + word.replace('"', '""') + '"' for word in words)


def _numbers(ids: Iterable[int]) -> str:
    return ",".join(map(str, map(int, ids)))


def _unpacked(data: bytes) -> list[int]:
    """Return the whole numbers in a record of FTS5: seven bits a byte, the highest byte first."""
    numbers, number = [], 0
    for byte in data:
        number = number << 7 | byte & 127
        if byte < 128:
            numbers.append(number)
            number = 0
    return numbers
