"""Which cell of a table a question asks for: a row by what stands in it, a column by its name.

"How many people were killed on Air France between 2000 and 2014?" asks for the row with "Air
France" in it, and of its columns for fatalities_00_14. Words decide on the row, words and their
meaning (the sentence encoder) on the column.

Letters: N cells, F numbers of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from models.text.rows import Cell

NAMES = ("row", "key", "name", "meaning", "nearer", "asked", "number", "time", "place", "which")
"""What is known of a cell, see `features`."""
WEIGHTS = np.array([13.02, 2.47, 1.37, 3.13, 2.23, -2.18, 0.97, 1.57, 0.52, 1.53])
"""What speaks for a cell, in nats; `python -m benchmarks.cells` fits it."""
HELD = NAMES.index("row")
"""Where the share of the question's words that stand in a cell's row is found."""
_WORD = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _words(text: str) -> list[str]:
    return _WORD.findall(_CAMEL.sub(" ", text).casefold())


_COMMON = frozenset(
    _words(
        "the a an of to in on at for is are was were be been do does did what which who whose how "
        "many much when where why and or by with from it its i we you my our me has have had not "
        "no that this these those than more there their between as so if can could will would "
        "should der die das und oder ist im in wie was wer wann wo le la les de du des et ou un "
        "une est qui que el los las en por es qué cuándo cuánto"
    )
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMERIC = re.compile(r"^\W*\d[\d.,:/%]*\s*\D{0,8}$")
_TIME = re.compile(
    r"\d{1,2}:\d\d|\b(?:19|20)\d\d\b|\d{1,2}[./-]\d|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|"
    r"dec|mon|tue|wed|thu|fri|sat|sun)[a-z]*\b",
    re.IGNORECASE,
)
_ASKS_NUMBER = re.compile(
    r"\b(?:how (?:many|much|long|often|old|far|large|big|high|tall)|percent(?:age)?|number|cost|"
    r"price|rate|total|average|amount|wie ?viele?|combien|cuánt[oa]s?)\b",
    re.IGNORECASE,
)
_ASKS_TIME = re.compile(
    r"\b(?:when|what (?:time|date|day|year)|wann|quand|cuándo)\b", re.IGNORECASE
)
_ASKS_PLACE = re.compile(r"\b(?:where|wo|où|dónde)\b", re.IGNORECASE)
_PLACE = re.compile(
    r"place|locat|venue|address|city|town|country|room|building|ground|stadium|arena|hall|where|"
    r"ort\b|adresse|stadt|raum|lieu|ville|pays|salle|lugar|direcci|ciudad|país|sala\b",
    re.IGNORECASE,
)
_ASKS_WHICH = re.compile(r"^\W*(?:who|which|whose|wer|qui|quién)\b", re.IGNORECASE)

Embed = Callable[[Sequence[str]], NDArray[np.float32]]
"""Returns the unit vectors [B, E] of some texts."""


def features(question: str, table: Sequence[Sequence[Cell]], embed: Embed) -> NDArray[np.float64]:
    """Return what is known of each cell, [N, F], by `NAMES`.

    They are: the share of the question's words, the rare ones counting more, that stand in other
    cells of its row; that of the row's first cell that are asked for; that of its column's name;
    how near the name is in meaning to the question, and how much nearer to what no row holds of it
    than the others; whether the question says what stands in it; whether a number (or no number)
    stands where one is asked for, and a time where a time is; whether its column is one of places
    (or not) where a place is asked for; whether it is the first of its row and the question asks
    which.
    """
    asked = [word for word in dict.fromkeys(_words(question)) if word not in _COMMON]
    names = list(dict.fromkeys(cell.name for row in table for cell in row))

    @cache
    def alike(word: str) -> NDArray[np.bool_]:
        return np.array([_alike(w, word) for w in asked], bool)

    @cache
    def held(text: str) -> NDArray[np.bool_]:
        """Return which words of the question stand in a text."""
        return _any([alike(word) for word in content(text)], len(asked))

    @cache
    def said(text: str) -> float:
        """Return the share of a text's words that are asked for."""
        return float(np.mean([bool(alike(word).any()) for word in content(text)] or [False]))

    rows_with = sum(np.any([held(cell.value) for cell in row], axis=0).astype(int) for row in table)
    of_a_name = np.any([held(name) for name in names], axis=0)
    rarity = np.log((len(table) + 1) / (rows_with + 0.5)).clip(0.05)
    rarity[of_a_name & (rows_with == 0)] = 0.0  # such words ask for columns, not for rows
    rest = [word for word, n in zip(asked, rows_with, strict=True) if not n] or asked
    meaning = embed([question, " ".join(rest), *names])
    near = dict(zip(names, meaning[2:] @ meaning[:2].T, strict=True))
    wants_number, wants_time, wants_place, wants_first = (
        bool(wanted.search(question))
        for wanted in (_ASKS_NUMBER, _ASKS_TIME, _ASKS_PLACE, _ASKS_WHICH)
    )
    known = []
    for row in table:
        average = np.mean([near[cell.name][1] for cell in row])
        for c, cell in enumerate(row):
            others = [held(other.value) for o, other in enumerate(row) if o != c]
            elsewhere = _any(others, len(asked))
            number, time = _NUMERIC.match(cell.value), _TIME.search(cell.value)
            known.append(
                (
                    (elsewhere * rarity).sum() / max(rarity.sum(), 1e-6),
                    said(row[0].value),
                    said(cell.name),
                    near[cell.name].mean(),
                    near[cell.name][1] - average,
                    said(cell.value) == 1.0,
                    (1 if number else -1) * wants_number,
                    (1 if time else -1) * wants_time,
                    (1 if _PLACE.search(cell.name) else -1) * wants_place,
                    c == 0 and wants_first,
                )
            )
    return np.array(known, np.float64)


def _any(parts: Sequence[NDArray[np.bool_]], size: int) -> NDArray[np.bool_]:
    """Return where any of some arrays [size] is true; nowhere if there are none."""
    found: NDArray[np.bool_] = np.any([np.zeros(size, bool), *parts], axis=0)
    return found


def content(text: str) -> frozenset[str]:
    """Return the words of a text that say what it is about, in lower case."""
    return frozenset(_words(text)) - _COMMON


def named(name: str, text: str) -> bool:
    """Return whether all words of a name stand in a text."""
    words = content(text)
    return all(any(_alike(word, w) for w in words) for word in content(name))


def _alike(asked: str, word: str) -> bool:
    """Return whether two words differ in their endings only: Hawaii and Hawaiian, 2014 and 14."""
    if asked == word or (_YEAR.fullmatch(asked) and asked[2:] == word):
        return True
    # What remains is at most three letters, and no more than two fifths of the longer word.
    longest = max(len(asked), len(word))
    same = max(4, longest - 3, -(-3 * longest // 5))
    return asked.isalpha() and len(asked) >= same and asked[:same] == word[:same]
