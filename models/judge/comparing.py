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
    r"^\W*(?:(?:the one \w+|that|those|of|in|on|at|by|to|from|with|for|the|an?|der|die|das|le|la|"
    r"el)\s+)*",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\d:\d\d")
_IN_TIME = re.compile(
    r"^(?:lat|last|earl|first|soon|long|short|slow|fast|young|old|länger|kürzer|früher|später)",
    re.I,
)
"""Times of day are compared by these words only: a bus that costs more does not leave later."""
_CHANGED = re.compile(
    r"\b(?:rose|risen|rise|gr[eo]w|grown|increased?|gain(?:ed)?|f[ea]ll|fallen|dropp?(?:ed)?|declined?|"
    r"changed?|shrank|lost)\b",
    re.IGNORECASE,
)
_CHANGE = re.compile(r"\s*[-+\u2212]|.*%")
"""What a cell looks like that says how much something changed."""
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
        in_time: whether times of day may be compared.
    """

    about: str
    one: str
    other: str
    more: bool
    in_time: bool


def comparison(question: str) -> Comparison | None:
    """Return what a question compares; None if it does not compare two things by how much."""
    *before, other = _OR.split(" ".join(question.split()).rstrip("?! "))
    if len(before) != 1:
        return None
    # "Which first bus is later, ...": the last such word before the names counts.
    mark = max(before[0].rfind(","), before[0].rfind(":"))
    orders = list(_ORDER.finditer(before[0]))
    orders = [order for order in orders if order.end() <= mark] or orders
    if not orders:
        return None
    order = orders[-1]
    at = max(mark, order.end() - 1) + 1
    one, other = (_BEFORE_NAME.sub("", name).strip(_QUOTES) for name in (before[0][at:], other))
    if not all(0 < len(name.split()) <= _MOST_WORDS for name in (one, other)):
        return None
    # Without "which", which would speak for a name in the first column: a number is looked for.
    about = before[0][:at].partition(" ")[2]
    in_time = _IN_TIME.match(order[0]) is not None
    return Comparison(about, one, other, order["more"] is not None, in_time)


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
    one, other = (_numbers(asked, name, table, embed) for name in (asked.one, asked.other))
    if not (columns := one.keys() & other.keys()):
        return None
    column = max(columns, key=lambda name: one[name][0] + other[name][0])
    (_, first), (_, second) = one[column], other[column]
    if first == second:
        return None
    return asked.one if (first > second) == asked.more else asked.other


def _numbers(
    asked: Comparison, name: str, table: Sequence[Sequence[Cell]], embed: Embed
) -> Mapping[str, tuple[float, float]]:
    """Return, for each column that has a number for a thing, how well it fits, and the number."""
    scores = iter((features(f"{asked.about} {name}", table, embed) @ WEIGHTS).tolist())
    changed = _CHANGED.search(asked.about) is not None
    numbers: dict[str, tuple[float, float]] = {}
    for row in table:
        about_it = named(name, " ".join(map(" ".join, row)))
        for c, cell in enumerate(row):
            score, value = next(scores), number(cell.value)
            # The first cell names the row, and its number is no amount.
            if c == 0 or (_CLOCK.search(cell.value) and not asked.in_time):
                continue
            if changed and not _CHANGE.match(cell.value):
                continue
            if about_it and value is not None:
                numbers[cell.name] = max(numbers.get(cell.name, (-math.inf, 0.0)), (score, value))
    return numbers
