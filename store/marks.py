"""Where the parts of a document stand, in words a person can use: page 3, "Retention", line 40."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_COUNTED = re.compile(r"\b(line|row) (\d+)\Z")


@dataclass(frozen=True, slots=True)
class Mark:
    """The place of a text from `start` on, up to the next mark.

    Attributes:
        start: offset in the text that the mark belongs to: a document's, or a chunk's.
        heading: the headings above, the outermost first: "Governance > Decisions"; "" if none.
        place: such as "page 3" or 'sheet "Prices", row 12'; "" if it has none. A place that ends in
            "line 40" or "row 12" is that of the first line: each further line counts one more.
    """

    start: int
    heading: str = ""
    place: str = ""


def mark_at(marks: Sequence[Mark], text: str, offset: int) -> Mark:
    """Return the mark of one position, its line or row counted; it starts at `offset`.

    Args:
        marks: of `text`, in the order of their starts.
        text: a document's or a chunk's.
        offset: in `text`.
    """
    index = bisect_right(marks, offset, key=lambda mark: mark.start) - 1
    if index < 0:
        return Mark(offset)
    mark = marks[index]
    lines = text.count("\n", mark.start, offset)
    counted = _COUNTED.search(mark.place) if lines else None
    place = mark.place
    if counted:
        place = f"{place[: counted.start(2)]}{int(counted[2]) + lines}"
    return Mark(offset, mark.heading, place)


def marks_between(marks: Sequence[Mark], text: str, start: int, end: int) -> tuple[Mark, ...]:
    """Return the marks of the part of a document from `start` to `end`, counted from its begin."""
    first = mark_at(marks, text, start)
    low = bisect_right(marks, start, key=lambda mark: mark.start)
    high = bisect_right(marks, end - 1, key=lambda mark: mark.start)
    inside = [first, *marks[low:high]]
    cut = tuple(Mark(mark.start - start, mark.heading, mark.place) for mark in inside)
    return cut if any(mark.heading or mark.place for mark in cut) else ()


def encode(marks: Iterable[Mark]) -> str:
    """Return marks as they are stored: a JSON list of [start, heading, place]; "" for none."""
    rows = [[mark.start, mark.heading, mark.place] for mark in marks]
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":")) if rows else ""


def decode(stored: str) -> tuple[Mark, ...]:
    """Return what `encode` was given.

    Raises:
        ValueError: it is damaged.
    """
    if not stored:
        return ()
    try:
        marks = tuple(
            Mark(int(start), str(head), str(place)) for start, head, place in json.loads(stored)
        )
    except (TypeError, ValueError) as error:
        raise ValueError("these marks are damaged") from error
    return marks


def in_words(mark: Mark) -> str:
    """Return a place as it stands after a document's name: `"Retention", line 40`; "" if none."""
    return ", ".join(
        part for part in (f'"{mark.heading}"' if mark.heading else "", mark.place) if part
    )
