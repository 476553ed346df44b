"""Words of a question that are spelled as no passage has them, put right by the passages.

For the search, `store.index.spelling` does likewise with the words of the whole index.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches

_WORD = re.compile(r"[^\W\d_]{3,}")
_ASKING = ("the", "what", "when", "where", "which", "who", "why", "how", "does", "did", "was")
"""Words of questions, which passages may lack."""
_LONG = 8
_ALIKE, _LONG_ALIKE = 0.74, 0.8
"""How alike two words must be, as `difflib` measures it: a letter swapped, lost or wrong."""


def respelled(question: str, texts: Sequence[str], known: Collection[str]) -> str:
    """Return a question in which words that nobody knows are those of the passages like them.

    A word stays as it is if it stands in a passage, is known, or is like no word of the passages:
    "minimun drinkign age" becomes "minimum drinking age" beside a passage that says so.

    Args:
        question: the question.
        texts: the passages.
        known: words that are right, in lower case.
    """
    said = {word.lower() for text in texts for word in _WORD.findall(text)}

    def put_right(found: re.Match[str]) -> str:
        word = found[0].lower()
        if word in said or word in known:
            return found[0]
        # Of three letters nearly every word is like another one.
        return _likest(word, _ASKING) or (len(word) > 3 and _likest(word, said)) or found[0]

    return _WORD.sub(put_right, question)


def _likest(word: str, words: Collection[str]) -> str | None:
    """Return the one of some words that is most like another, if one is like it."""
    long = len(word) >= _LONG
    near = [
        other for other in words if other[0] == word[0] and abs(len(other) - len(word)) <= 1 + long
    ]
    cutoff = _LONG_ALIKE if long else _ALIKE
    return next(iter(get_close_matches(word, sorted(near), n=1, cutoff=cutoff)), None)
