"""Words that a misspelled one may stand for: those of the index that are nearly spelled like it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable

Similar = tuple[int, int, str]
"""Letters that differ, letters more or fewer, and the stem that the index holds."""

MOST = 3
"""The most words that a misspelled one is taken for."""
_LEAST_LETTERS = 4
_LONG = 8
"""Two letters may differ from that length on, else one."""
_ENDINGS = frozenset(
    "".join(sorted(ending))
    for ending in ("", "s", "es", "e", "d", "ed", "r", "er", "ing", "ion", "ly", "y", "al")
)
"""What a word may have at its end, its letters in any order, that the index lacks: it holds stems.
"""
_ENDING = 3
_DOUBLE = re.compile(r"(.)\1")
_VOCABULARY = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.indexed_words USING fts5vocab(main, chunks_fts, row)"
)


def similar(connection: sqlite3.Connection, word: str) -> list[Similar]:
    """Return the words of an index that differ from one by a letter or two, the nearest first.

    Whether a letter is doubled makes no difference. Only words with the same first letter are
    looked at: typing errors are rare there.

    Args:
        connection: to an open index.
        word: in lower case, one that the index lacks.
    """
    if len(word) < _LEAST_LETTERS or not word.isalpha():
        return []
    typed = _single(word)
    most = 1 if len(typed) < _LONG else 2
    letters = set(typed)
    found = set()
    shortest, longest = max(_LEAST_LETTERS, len(typed) - _ENDING - most), len(typed) + 2 * most
    for term in _indexed(connection, word[0], shortest, longest):
        if len(letters.symmetric_difference(term)) <= 2 * most + _ENDING:
            apart = _distance(_single(term), typed, most)
            if apart <= most:
                found.add((apart, abs(len(term) - len(word)), term))
    return sorted(found)[:MOST]


def _indexed(
    connection: sqlite3.Connection, first: str, shortest: int, longest: int
) -> Iterable[str]:
    """Return the words of an index with this first letter and so many letters."""
    connection.execute(_VOCABULARY)
    query = (
        "SELECT term FROM temp.indexed_words "
        "WHERE term >= ?1 AND term < ?2 AND length(term) BETWEEN ?3 AND ?4"
    )
    rows = connection.execute(query, (first, chr(ord(first) + 1), shortest, longest))
    return (term for (term,) in rows)


def _single(word: str) -> str:
    return _DOUBLE.sub(r"\1", word)


def _distance(stem: str, word: str, most: int) -> int:
    """Return how many letters are wrong, missing, too many or swapped, at most `most` + 1.

    The end of the word may stand for an ending that its stem lacks.
    """
    before: list[int] = []
    row = list(range(len(word) + 1))
    for i, letter in enumerate(stem, start=1):
        earlier, before, row = before, row, [i]
        for j, typed in enumerate(word, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != typed))
            if i > 1 and j > 1 and letter == word[j - 2] and stem[i - 2] == typed:
                cost = min(cost, earlier[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    ends = range(max(0, len(word) - _ENDING), len(word) + 1)
    return min(row[end] for end in ends if "".join(sorted(word[end:])) in _ENDINGS)
