"""Which of two rows of a table has more of something: "Which costs more, the tram or the bus?"."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from models.judge.cells import WEIGHTS, Embed, features, named
from models.text.rows import Cell, number

_ORDER = re.compile(
    r"\b(?:(?P<more>more|most|larg(?:er|est)|bigg(?:er|est)|high(?:er|est)|great(?:er|est)|long(?:er|est)|"
    r"lat(?:er|est)|last|old(?:er|est)|dear(?:er|est)|heav(?:ier|iest)|tall(?:er|est)|fast(?:er|est)|"
    r"f[au]rther|mehr|größer|teurer|länger|später|plus|más)|"
    r"less|least|few(?:er|est)|small(?:er|est)|low(?:er|est)|cheap(?:er|est)|short(?:er|est)|"
    r"earl(?:ier|iest)|first|sooner|young(?:er|est)|light(?:er|est)|slow(?:er|est)|near(?:er|est)|"
    r"weniger|kleiner|billiger|kürzer|früher|moins|menos)\b",
    re.IGNORECASE,
)
_OR = re.compile(r",? (?:or|oder|ou|o) ", re.IGNORECASE)
_BEFORE_NAME = re.compile(
    r"^\W*(?:(?:the one \w+|th(?:at|ose) of|in|on|at|by|to|from|with|for|the|an?|der|die|das|le|la|"
    r"el)\s+)*",
    re.IGNORECASE,
)
_QUOTES = " \"'\u201c\u201d\u201e\u2018\u2019«»"
_MOST_WORDS = 6
"""More words than that are no name."""


class Comparison(NamedTuple):
    """A question that compares two things.

    Attributes:
        about: what comes before their names, without its first word.
        one: a name.
        other: the other name.
        more: whether the one with more is asked for.
    """

    about: str
    one: str
    other: str
    more: bool


def comparison(question: str) -> Comparison | None:
    """Return what a question compares; None if it does not compare two things by how much."""
    *before, other = _OR.split(" ".join(question.split()).rstrip("?! "))
    if len(before) != 1 or (order := _ORDER.search(before[0])) is None:
        return None
    at = max(before[0].rfind(","), before[0].rfind(":"), order.end() - 1) + 1
    one, other = (_BEFORE_NAME.sub("", name).strip(_QUOTES) for name in (before[0][at:], other))
    if not all(0 < len(name.split()) <= _MOST_WORDS for name in (one, other)):
        return None
    # Without "which", which would speak for a name in the first column: a number is looked for.
    about = before[0][:at].partition(" ")[2]
    return Comparison(about, one, other, order["more"] is not None)


def compared(question: str, table: Sequence[Sequence[Cell]], embed: Embed) -> str | None:
    """Return which of two things a question asks for, as it is called there.

    Args:
        question: the question.
        table: the rows that were found.
        embed: the sentence encoder.

    Returns:
        None where the question compares nothing, or where no column has a number for both.
    """
    if not table or (asked := comparison(question)) is None:
        return None
    one, other = (_numbers(asked.about, name, table, embed) for name in (asked.one, asked.other))
    if not (columns := one.keys() & other.keys()):
        return None
    column = max(columns, key=lambda name: one[name][0] + other[name][0])
    (_, first), (_, second) = one[column], other[column]
    if first == second:
        return None
    return asked.one if (first > second) == asked.more else asked.other


def _numbers(
    about: str, name: str, table: Sequence[Sequence[Cell]], embed: Embed
) -> Mapping[str, tuple[float, float]]:
    """Return, for each column that has a number for a thing, how well it fits, and the number."""
    scores = iter((features(f"{about} {name}", table, embed) @ WEIGHTS).tolist())
    numbers: dict[str, tuple[float, float]] = {}
    for row in table:
        about_it = named(name, " ".join(map(" ".join, row)))
        for cell in row:
            score, value = next(scores), number(cell.value)
            if about_it and value is not None:
                numbers[cell.name] = max(numbers.get(cell.name, (-math.inf, 0.0)), (score, value))
    return numbers
