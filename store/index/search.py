"""From a question in any form to the words that are looked for, and what they say of chunks."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from itertools import chain, product

from store.index import bm25, spelling
from store.index.text_index import SqliteTextIndex, TextIndex, ask_each, known_to_any
from store.labels import Within

MAX_TERMS = 64
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


def words(indexes: Sequence[TextIndex], text: str) -> list[list[str]]:
    """Return for each content word of a text its spellings.

    Of one that none of the indexes has, they are the words that are nearly spelled like it.
    """
    written = [(term, spellings(term)) for term in terms(text)]
    known = known_to_any(indexes, [words for _, words in written])
    return [
        words if has else _nearly(indexes, term) or words
        for (term, words), has in zip(written, known, strict=True)
    ]


def _nearly(indexes: Sequence[TextIndex], word: str) -> list[str]:
    """Return the words that one which no index has is nearly spelled like, the nearest first."""
    each = ask_each(indexes, lambda index, _: index.similar(word))
    found = sorted(set(chain(*each)))
    nearest = [stem for apart, _, stem in found if apart == found[0][0]]
    return [_searchable(indexes, stem) for stem in nearest[: spelling.MOST]]


def _searchable(indexes: Sequence[TextIndex], stem: str) -> str:
    """Return a word that full-text search takes for a stem: of some it would take another stem."""
    words = [stem, f"{stem}e", f"{stem}s"]
    known = known_to_any(indexes, [[word] for word in words])
    return next((word for word, has in zip(words, known, strict=True) if has), stem)


def best(index: SqliteTextIndex, text: str, limit: int, within: Within) -> list[tuple[int, float]]:
    """Return at most `limit` chunks that share words with a text, best first: ids and BM25 scores.

    Larger scores are better; chunks of the same score come in the order of their ids.
    """
    return index.best(words([index], text), limit, within)


def best_of_all(
    indexes: Sequence[TextIndex], text: str, limit: int, within: Within
) -> list[tuple[int, int, float]]:
    """Return what `best` does for several indexes, with the scores that one of all would give.

    Each index proposes `bm25.PROPOSED` times as many chunks as are wanted, so what it takes for
    hopeless is left out.

    Returns:
        as `bm25.merged`.
    """
    looked_for = words(indexes, text)
    if not looked_for or limit < 1:
        return []
    most = bm25.PROPOSED * limit
    found = ask_each(indexes, lambda index, _: index.matches(looked_for, most, within))
    return bm25.merged(found, limit)


def coverage(parts: Sequence[tuple[TextIndex, Sequence[int]]], text: str) -> list[list[float]]:
    """Return the share of a question's content words that each chunk has, from 0 to 1.

    A word counts by the square of its inverse document frequency, as in the cosine of tf-idf: a
    missing name says more than a missing verb. Words are compared as full-text search does.

    Args:
        parts: indexes that count as one, each with chunks of it; the shares come in the same order.
        text: the question.
    """
    indexes = [index for index, _ in parts]
    looked_for = words(indexes, text)
    covered = ask_each(indexes, lambda index, place: index.coverage(looked_for, parts[place][1]))
    chunks, total = sum(each.chunks for each in covered), 0.0
    shares = [dict.fromkeys(ids, 0.0) for _, ids in parts]
    for place in range(len(looked_for)):
        having = sum(each.having[place] for each in covered)
        weight = math.log((chunks + 1) / (having + 0.5)) ** 2
        total += weight
        for own, each in zip(shares, covered, strict=True):
            for chunk_id in each.found[place]:
                own[chunk_id] += weight
    return [
        [own[chunk_id] / total if total else 0.0 for chunk_id in ids]
        for own, (_, ids) in zip(shares, parts, strict=True)
    ]
