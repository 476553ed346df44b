"""From a question in any form to full-text queries that SQLite's FTS5 accepts."""

from __future__ import annotations

import math
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import chain, product

from store.index import spelling
from store.index.chunks import any_dropped
from store.labels import Within

MAX_TERMS = 64
WEIGHTS = (1.0, 1.0)
"""What a word counts for in BM25 in a chunk's text, and in what stands before it."""
SAMPLE = 20_000
"""Chunks, the newest, in which words are counted: the time does not grow with the store."""
_MAX_LENGTH = 64
# Beyond this a question is a document: its beginning and end say enough.
_MAX_CHARACTERS = 100_000

# Final sigma and long s, which FTS5 takes for sigma and s; Python's `lower` does not.
_SAME = str.maketrans("\u03c2\u017f", "\u03c3s")
_MAX_DOUBLE_S = 2
# Letters and digits as FTS5's unicode61 sees them, and diacritics that are separate characters.
_WORD = re.compile("[^\\W_](?:[^\\W_]|[\u0300-\u036f])*")
_CONTRACTION = re.compile("(?:n['’]t|['’](?:s|d|m|ll|re|ve))(?![^\\W_])", re.IGNORECASE)  # noqa: RUF001

_STOP_WORDS = """
    a about above after again against all also am an and any are as at be because been before
    being below between both but by can could did do does doing down during each few for from
    further had has have having he her here hers herself him himself his how i if in into is it
    its itself just me more most my myself no nor not now of off on once only or other our ours
    ourselves out over own same shall she should so some such tell than that the their theirs
    them themselves then there these they this those through to too under until up upon us very
    was we were what when where which while who whom whose why will with would you your yours
    yourself yourselves
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def terms(text: str) -> list[str]:
    """Return the distinct content words of `text` in order of appearance, at most `MAX_TERMS`.

    They are in lower case as FTS5 has it: "Straße" keeps its ß.

    Stop words count only if there is nothing else. Of too many words the longest are kept, as the
    rarer ones.
    """
    if len(text) > _MAX_CHARACTERS:
        half = _MAX_CHARACTERS // 2
        text = f"{text[:half]} {text[-half:]}"
    text = _CONTRACTION.sub(" ", unicodedata.normalize("NFC", text))
    distinct: dict[str, str] = {}
    for word in _WORD.findall(text):
        if len(word) <= _MAX_LENGTH:
            distinct.setdefault(_folded(word), _composed(word.lower()).translate(_SAME))
    words = [word for fold, word in distinct.items() if fold not in STOP_WORDS]
    words = words or list(distinct.values())
    if len(words) > MAX_TERMS:
        longest = set(sorted(words, key=len, reverse=True)[:MAX_TERMS])
        words = [word for word in words if word in longest]
    return words


def spellings(term: str) -> list[str]:
    """Return a term and how else it is written where letters stand for others: ß for ss, ﬁ for fi.

    FTS5 folds most letters itself, but no letter into two.
    """
    folded = _folded(term)
    parts = folded.split("ss", _MAX_DOUBLE_S)
    written = [
        "".join(part + joint for part, joint in zip(parts, (*joints, ""), strict=True))
        for joints in product(("ss", "ß"), repeat=len(parts) - 1)
    ]
    return list(dict.fromkeys([term, *written]))


def _folded(word: str) -> str:
    return _composed(word.casefold())


def _composed(word: str) -> str:
    return unicodedata.normalize("NFC", word)


def phrases(connections: Sequence[sqlite3.Connection], text: str) -> list[list[str]]:
    """Return for each content word of a text the phrases that stand for it in some indexes.

    They are the word's spellings; for one that no index has, the words that are nearly spelled like
    it. Each is quoted, so none of them can be taken for FTS5 syntax.
    """
    found = []
    for term in terms(text):
        words = spellings(term)
        if not any(
            spelling.has(connection, any_of(map(_quoted, words))) for connection in connections
        ):
            words = spelling.near(connections, term) or words
        found.append(list(map(_quoted, words)))
    return found


def _quoted(word: str) -> str:
    return f'"{word}"'


def any_of(phrases: Iterable[str]) -> str:
    """Return an FTS5 expression that matches any of some phrases."""
    return " OR ".join(phrases)


def best(
    connection: sqlite3.Connection, text: str, limit: int, within: Within
) -> list[tuple[int, float]]:
    """Return at most `limit` chunks that share words with a text, best first: ids and BM25 scores.

    Larger scores are better; chunks of the same score come in the order of their ids.
    """
    return matching(connection, any_of(chain(*phrases([connection], text))), limit, within)


def matching(
    connection: sqlite3.Connection, expression: str, limit: int, within: Within
) -> list[tuple[int, float]]:
    """Return what `best` does, for an FTS5 expression; nothing matches an empty one."""
    if not expression or limit < 1:
        return []
    chosen, values = "", list[str]()
    if within or any_dropped(connection):
        condition, values = within.condition()
        # For each match by itself: their number decides what it costs, not all chunks'.
        chosen = (
            "AND EXISTS (SELECT 1 FROM chunks JOIN documents ON documents.id = document_id "
            f"WHERE chunks.id = chunks_fts.rowid AND pruned IS NULL AND {condition}) "
        )
    return connection.execute(
        f"SELECT rowid, -rank FROM chunks_fts WHERE chunks_fts MATCH ? AND rank MATCH ? {chosen}"
        "ORDER BY rank, rowid LIMIT ?",
        (expression, f"bm25{WEIGHTS}", *values, limit),
    ).fetchall()


def coverage(
    parts: Sequence[tuple[sqlite3.Connection, Sequence[int]]], text: str
) -> list[list[float]]:
    """Return the share of a question's content words that each chunk has, from 0 to 1.

    A word counts by the square of its inverse document frequency, as in the cosine of tf-idf: a
    missing name says more than a missing verb. Words are compared as full-text search does.

    Args:
        parts: indexes that count as one, each with chunks of it; the shares come in the same order.
        text: the question.
    """
    covered = [dict.fromkeys(ids, 0.0) for _, ids in parts]
    samples = [_sample(connection) for connection, _ in parts]
    chunks, total = sum(size for _, size in samples), 0.0
    for alternatives in phrases([connection for connection, _ in parts], text):
        word = any_of(alternatives)
        having = sum(
            connection.execute(
                "SELECT count(*) FROM chunks_fts WHERE rowid > ? AND chunks_fts MATCH ?",
                (before, word),
            ).fetchone()[0]
            for (connection, _), (before, _) in zip(parts, samples, strict=True)
        )
        weight = math.log((chunks + 1) / (having + 0.5)) ** 2
        total += weight
        for (connection, ids), shares in zip(parts, covered, strict=True):
            places = ",".join(map(str, map(int, ids)))
            for (chunk_id,) in connection.execute(
                f"SELECT rowid FROM chunks_fts WHERE rowid IN ({places}) AND chunks_fts MATCH ?",
                (word,),
            ):
                shares[chunk_id] += weight
    return [
        [shares[chunk_id] / total if total else 0.0 for chunk_id in ids]
        for (_, ids), shares in zip(parts, covered, strict=True)
    ]


def _sample(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return before which id the newest chunks of an index begin, and how many they are."""
    (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM chunks").fetchone()
    query = "SELECT count(*) FROM chunks WHERE id > ?"
    return newest - SAMPLE, connection.execute(query, (newest - SAMPLE,)).fetchone()[0]
