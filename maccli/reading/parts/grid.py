"""The rows of a spreadsheet: several tables below each other, each with a header of its own."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from maccli.reading.draft import Draft, header_row

MAX_CHARACTERS = 50_000_000
"""Rows beyond so much text are left out: one document of that size takes hours to ingest."""

_MAX_GAP = 100  # empty rows within a table
Row = Sequence[str]
Value = int | float | str | bool | datetime.time | datetime.date | datetime.timedelta


class Room:
    """The room for text that is left in a document."""

    def __init__(self) -> None:
        self._left = MAX_CHARACTERS
        self._names = 0

    def begin(self) -> None:
        """Begin a sheet."""
        self._names = 0

    def take(self, row: Row, times: int = 1) -> bool:
        """Take the room of a row that stands there so often; False if there is not so much left."""
        size = sum(len(cell) + 2 for cell in row if cell)
        if not self._names and sum(map(bool, row)) > 1:
            self._names = size  # of the columns, likely, which will stand in every row
        self._left -= (size + self._names) * times
        return self._left >= 0


def no_room(name: str, row: int) -> str:
    """Return the remark on a sheet that is left out from a row on."""
    return (
        f'sheet "{name}" is left out from row {row} on: a document of more than '
        f"{MAX_CHARACTERS // 10**6} million characters is too much"
    )


def write_sheet(draft: Draft, name: str, rows: Sequence[Row], first: int) -> None:
    """Add a sheet; every line knows its sheet and row.

    Args:
        draft: takes the text.
        name: of the sheet.
        rows: the cells, from the first row that has any.
        first: the number of that row.
    """
    draft.place(f'sheet "{name}"', fresh=True)
    for begin, end in _tables(rows):
        draft.table(rows[begin:end], first=first + begin)


def _tables(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """Yield where each table begins and ends.

    An empty row ends a table if a header follows, and many do; else it only stands between rows.
    """
    begin, last, names = 0, 0, frozenset[int]()
    for start, end in _runs(rows):
        run = rows[start:end]
        top = header_row(run)
        columns = frozenset(at for at, cell in enumerate(run[top or 0]) if cell)
        numbers = any(map(str.isdigit, "".join(map("".join, run[1:50]))))
        # Words below words in the same columns are rather more rows than another header.
        headed = top is not None and (columns != names or numbers)
        if headed or start - last > _MAX_GAP:
            if last:
                yield begin, last
            begin, names = start, columns
        last = end
    if last:
        yield begin, last


def _runs(rows: Sequence[Row]) -> Iterator[tuple[int, int]]:
    """Yield where each run of rows that are not empty begins and ends."""
    start = None
    for index, row in enumerate(rows):
        if any(row):
            start = index if start is None else start
        elif start is not None:
            yield start, index
            start = None
    if start is not None:
        yield start, len(rows)


def in_words(value: Value) -> str:
    """Return the value of a cell as text: 12, 0.1, 2031-03-03, 14:30, TRUE."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return f"{value:.15g}"
    if isinstance(value, datetime.timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return _clock(minutes // 60, minutes % 60, seconds)
    if isinstance(value, datetime.datetime):
        clock = _clock(value.hour, value.minute, value.second)
        return f"{value.date()}" + (f" {clock}" if value.time() != datetime.time() else "")
    if isinstance(value, datetime.time):
        return _clock(value.hour, value.minute, value.second)
    return str(value)


def _clock(hours: int, minutes: int, seconds: int) -> str:
    return f"{hours:02}:{minutes:02}" + (f":{seconds:02}" if seconds else "")
