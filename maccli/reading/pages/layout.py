"""The words of a page, with their places, to lines in the order in which people read them.

A PDF draws words at points; which of them make a line, a column or a table is not in the file. The
order of drawing is kept, as it is nearly always the order of reading, except where columns of prose
were drawn row by row. `maccli.reading.pages.flow` makes paragraphs of the lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import NamedTuple

SIGN = re.compile(r"([•‣◦●○▪▫■□➢➤✓✔❖∙·*\u2013\u2014-]|\(?(?:\d{1,3}|[A-Za-z])[.)])(?:\s+|$)")
"""What an item of a list begins with."""
SOFT = "\u00ad"
"""A hyphen at the end of a line that may be there for the line's end alone."""

_ENDS = (".", "!", "?", ":", ";", "__", "\u3002", "\uff01", "\uff1f")
_RTL = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")
_GAP = 0.8  # between the cells of rows under each other, in font sizes; a space is about 0.3
_WIDE_GAP = 1.5  # between the cells of a row that stands alone: justified text has wide spaces too
_GUTTER = 0.8  # the narrowest strip without text between two columns, in font sizes
_MANY = 400  # a row of more words than this is no row of a table


class Word(NamedTuple):
    """A word on a page: lengths in points, `base` upwards, both along its own direction."""

    text: str
    left: float
    right: float
    base: float
    size: float
    bold: bool = False
    turn: int = 0  # the direction of its line, in degrees


@dataclass(slots=True)
class Line:
    """A line of text; `first` is the width of its first word, `row` that it must stay alone."""

    text: str
    left: float
    right: float
    base: float
    size: float
    bold: bool
    turn: int
    first: float
    row: bool = False


@dataclass(slots=True)
class Grid:
    """A table: the lines of each cell, and whether the first row names the columns."""

    rows: list[list[list[str]]]
    header: bool


class _Row:
    """Words on one base line, and the cells that wide gaps make of them."""

    def __init__(self, word: Word) -> None:
        self.words = [word]
        self.left, self.right, self.base, self.size = word.left, word.right, word.base, word.size
        self.turn, self.rtl = word.turn, bool(_RTL.search(word.text))
        self.cells: list[list[Word]] = []

    def take(self, word: Word) -> bool:
        """Add a word if it stands on this line; return whether it does."""
        slack = 0.3 * max(word.size, self.size)
        if word.turn != self.turn or abs(word.base - self.base) > 1.4 * slack:
            return False
        if (
            word.left < self.right - slack
            and word.right > self.left + slack
            and (
                len(self.words) > _MANY
                or any(
                    word.left < o.right - slack and word.right > o.left + slack for o in self.words
                )
            )
        ):
            return False
        self.words.append(word)
        self.left, self.right = min(self.left, word.left), max(self.right, word.right)
        if word.size > self.size:
            self.base, self.size = word.base, word.size
        self.rtl = self.rtl or bool(_RTL.search(word.text))
        return True

    def close(self) -> _Row:
        """Put the words in order and divide them into cells."""
        if self.rtl:
            self.cells = [self.words]
            return self
        self.words.sort(key=lambda word: word.left)
        self.cells = [[self.words[0]]]
        for before, word in pairwise(self.words):
            sign = len(self.cells[-1]) == 1 and SIGN.fullmatch(before.text)
            gap = (4 if sign else _GAP) * max(before.size, word.size)
            if word.left - before.right > gap and len(self.words) <= _MANY:
                self.cells.append([word])
            else:
                self.cells[-1].append(word)
        return self

    def line(self, words: Sequence[Word] | None = None, *, row: bool = False) -> Line:
        """Return the row, or one cell of it, as a line."""
        words = words or self.words
        starts = {
            id(b[0])
            for a, b in pairwise(self.cells)
            if b[0].left - a[-1].right > _WIDE_GAP * self.size
        }
        gaps = [b.left - a.right for a, b in pairwise(self.words)]
        if len(gaps) > 1 and max(gaps) < 1.2 * min(gaps):  # justified
            starts.clear()
        row = row and bool(starts)
        text = words[0].text + "".join(
            ("  " if row and id(word) in starts else " ") + word.text for word in words[1:]
        )
        size = max(words, key=lambda word: len(word.text)).size
        bold = all(word.bold for word in words)
        left, right = min(word.left for word in words), max(word.right for word in words)
        first = words[0].right - words[0].left
        return Line(text, left, right, self.base, size, bold, self.turn, first, row)


def arrange(words: Sequence[Word]) -> list[Line | Grid]:
    """Return the lines and tables of a page, in the order of reading.

    Args:
        words: in the order in which they were drawn.
    """
    rows = _rows(words)
    steps = [(b.base - a.base) > a.size for a, b in pairwise(rows) if a.turn == b.turn]
    if steps and sum(steps) > 0.6 * len(steps):  # drawn from the bottom to the top
        rows = _rows(sorted(words, key=lambda w: (w.turn, -round(w.base, 1), w.left)))
    out: list[Line | Grid] = []
    at = 0
    while at < len(rows):
        zone, gutters = _zone(rows, at)
        out += _columns(zone, gutters) if len(zone) > 1 else _single(rows[at])
        at += len(zone)
    return out


def _rows(words: Sequence[Word]) -> list[_Row]:
    rows: list[_Row] = []
    for word in words:
        if not (rows and rows[-1].take(word)):
            rows.append(_Row(word))
    return [row.close() for row in rows]


def _single(row: _Row) -> list[Line | Grid]:
    return [row.line(row=len(row.cells) > 1)]


def _zone(rows: list[_Row], at: int) -> tuple[list[_Row], list[tuple[float, float]]]:
    """Return the rows from one on through which the same strips without text run, and these."""
    row = rows[at]
    gutters = [(a[-1].right, b[0].left) for a, b in pairwise(row.cells)]
    end = at + 1
    while gutters and end < len(rows):
        row, before = rows[end], rows[end - 1]
        step = (before.base - row.base) / max(row.size, before.size)
        if row.turn != before.turn or not 0.5 < step < (4.5 if len(row.cells) > 1 else 1.9):
            break
        left = [gutter for strip in gutters for gutter in _free(strip, row)]
        if not left or (len(row.cells) == 1 and len(left) < len(gutters)):
            break
        gutters = left
        end += 1
    return rows[at:end], gutters


def _free(strip: tuple[float, float], row: _Row) -> Iterator[tuple[float, float]]:
    """Yield the widest part of a strip that a row leaves free, if it is wide enough."""
    low, high = strip
    for cell in row.cells:
        left, right = cell[0].left, cell[-1].right
        if right <= low or left >= high:
            continue
        if left - low >= high - right:
            high = left
        else:
            low = right
    if high - low >= _GUTTER * row.size:
        yield low, high


def _columns(zone: list[_Row], gutters: list[tuple[float, float]]) -> list[Line | Grid]:
    """Return rows with gutters through them: column by column if they are prose, else by row."""
    bounds = [(low + high) / 2 for low, high in gutters]
    table: list[list[Line | None]] = []  # a line for each cell
    for row in zone:
        cells: list[list[Word]] = [[] for _ in range(len(bounds) + 1)]
        for word in row.words:
            cells[sum(word.left >= bound for bound in bounds)].append(word)
        table.append([row.line(cell) if cell else None for cell in cells])
    columns = [[line for line in column if line] for column in zip(*table, strict=True)]
    size = zone[0].size
    apart = (1 if len(zone) > 2 else 2) * size  # less may be a gap by chance in justified text
    if all(high - low >= apart for low, high in gutters) and all(map(_is_prose, columns)):
        bands = _bands(table)
        if len(bands) > 2 and median(map(len, bands)) <= 5 and _full(bands):
            return [Grid([_merge(band) for band in bands], header=False)]
        return [line for column in columns for line in column]
    merged = _wrapped(table)
    full = sum(sum(map(bool, row)) > 1 for row in merged)
    words = [median(len(line.text.split()) for line in column) for column in columns if column]
    enough = len(merged) > 2 or 1 < len(merged) < len(table)
    if not enough or full < 0.6 * len(merged) or min(words) > 6:
        return [line for row in zone for line in _single(row)]
    texts = [[[line.text for line in cell] for cell in row] for row in merged]
    return [Grid(texts, _has_header(merged))]


def _is_prose(column: list[Line]) -> bool:
    """Return whether the lines of a column are sentences that run from one line into the next."""
    if len(column) < 2:
        return False
    width = max(line.right for line in column) - min(line.left for line in column)
    filled = median((line.right - line.left) / max(width, 1) for line in column)
    words = median(len(line.text.split()) for line in column[:-1])
    flows = [flows_on(a.text, b.text) for a, b in pairwise(column) if not ended(a.text)]
    needed = 0.25 if words >= 6 else 0.4
    return words >= 3 and filled >= 0.5 and sum(flows) >= max(1, needed * len(flows))


def ended(text: str) -> bool:
    """Return whether a line ends as a sentence does."""
    return text.rstrip("\"'\u201d\u2019\xbb)]").endswith(_ENDS)


def flows_on(text: str, after: str) -> bool:
    """Return whether a line that does not end a sentence looks continued in the one after it."""
    last = text.split()[-1:] or [""]
    return (
        after[:1].islower()
        or text.endswith((SOFT, ","))
        or (last[0].islower() and len(last[0]) <= 4 and last[0].isalpha())
    )


def _bands(table: list[list[Line | None]]) -> list[list[list[Line | None]]]:
    """Divide rows where the space between them is larger than elsewhere."""
    bases = [next(line.base for line in row if line) for row in table]
    steps = [a - b for a, b in pairwise(bases)]
    bands = [table[:1]]
    for row, step in zip(table[1:], steps, strict=True):
        if step > 1.3 * min(steps):
            bands.append([row])
        else:
            bands[-1].append(row)
    return bands


def _full(bands: list[list[list[Line | None]]]) -> bool:
    """Return whether each band begins a cell in each column."""
    return all(all(line and not line.text[:1].islower() for line in band[0]) for band in bands)


def _merge(band: list[list[Line | None]]) -> list[list[str]]:
    return [[line.text for line in cell if line] for cell in zip(*band, strict=True)]


def _wrapped(table: list[list[Line | None]]) -> list[list[list[Line]]]:
    """Return the cells of a table, each with all its lines: one too long for a row goes on."""
    rows: list[list[list[Line]]] = []
    for row in table:
        above = rows[-1] if rows else None
        if (
            above
            and not all(row)
            and all(
                cell and not ended(cell[-1].text) and flows_on(cell[-1].text, line.text)
                for cell, line in zip(above, row, strict=True)
                if line
            )
        ):
            for cell, line in zip(above, row, strict=True):
                cell += [line] if line else []
        else:
            rows.append([[line] if line else [] for line in row])
    return rows


def _has_header(rows: list[list[list[Line]]]) -> bool:
    """Return whether the first row names the columns: words above numbers, or bold ones."""
    cells = [[" ".join(line.text for line in cell) for cell in row] for row in rows]
    names, below = cells[0], cells[1:]
    if not all(names) or len(set(names)) < len(names) or any(map(_is_number, names)):
        return False
    bold = [all(line.bold for cell in row for line in cell) for row in rows]
    numbers = any(
        all(_is_number(row[i]) for row in below if row[i]) and any(row[i] for row in below)
        for i in range(len(names))
    )
    return (bold[0] and not any(bold[1:])) or numbers


def _is_number(cell: str) -> bool:
    digits = sum(character.isdigit() for character in cell)
    return bool(cell) and 2 * digits >= len(cell)
