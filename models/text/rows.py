"""Rows of tables: lines like "Team: Maple Leafs; Location: TOR", as tables are written into a text.

Any line counts that names two things at least, so some lines of settings do as well.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

_TIME = re.compile(r"(\d{1,2}):(\d\d)")
_NUMBER = re.compile(r"\W*?([-\u2212]?)\W?(\d[\d.,]*)\s*(?:[^\W\d]{0,4}|%)\W*")
_NAME = re.compile(r"(?:^|; )([^:;\n]{1,120}): ")


class Cell(NamedTuple):
    """A cell of a table: the name of its column, and what stands in it."""

    name: str
    value: str


def rows(text: str) -> list[list[Cell]]:
    """Return the rows in a text, from left to right and from top to bottom; no cell is empty."""
    found = []
    for line in text.split("\n"):
        names = list(_NAME.finditer(line))
        if len(names) > 1 and names[0].start() == 0:
            ends = [after.start() for _, after in pairwise(names)] + [len(line)]
            cells = [
                Cell(name[1].strip(), value)
                for name, end in zip(names, ends, strict=True)
                if (value := line[name.end() : end].strip())
            ]
            if cells:
                found.append(cells)
    return found


def number(text: str) -> float | None:
    """Return the number that a cell holds, of a time the minutes; None if it holds another thing.

    Of "1,500" and "1.500,00" the comma parts thousands and decimals; of "1.500" the point decimals.
    """
    if time := _TIME.match(text):
        return 60.0 * int(time[1]) + int(time[2])
    if (found := _NUMBER.fullmatch(text)) is None:
        return None
    digits = found[2].rstrip(".,")
    comma, point = digits.rfind(","), digits.rfind(".")
    if comma > point and (point >= 0 or not re.search(r",\d{3}$", digits)):
        digits = digits.replace(".", "").replace(",", ".")
    digits = digits.replace(",", "")
    if digits.count(".") > 1:
        digits = digits.replace(".", "")
    return -float(digits) if found[1] else float(digits)
