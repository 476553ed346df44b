"""What OpenDocument files consist of: names, lengths, numbers of items, rows, and whole sheets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element

from maccli.reading.draft import Draft, one_line
from maccli.reading.parts.blocks import Block, in_one_line
from maccli.reading.parts.grid import Room, in_words, no_room, write_sheet
from maccli.reading.parts.numbering import in_format
from maccli.reading.parts.package import integer

_ODF = "{urn:oasis:names:tc:opendocument:xmlns:"
OFFICE, TEXT, TABLE = f"{_ODF}office:1.0}}", f"{_ODF}text:1.0}}", f"{_ODF}table:1.0}}"
DRAW, STYLE, SHOW = f"{_ODF}drawing:1.0}}", f"{_ODF}style:1.0}}", f"{_ODF}presentation:1.0}}"
SVG = f"{_ODF}svg-compatible:1.0}}"

CELLS = frozenset({f"{TABLE}table-cell", f"{TABLE}covered-table-cell"})
_ROW = f"{TABLE}table-row"
_ROWS = frozenset(f"{TABLE}table{kind}" for kind in ("", "-header-rows", "-row-group", "-rows"))
_MAX_ROWS, _MAX_COLUMNS = 2**21, 2**14
_LENGTH = re.compile(r"(-?\d+\.?\d*)(cm|mm|in|pt)")
_UNITS = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72}
_TIME = re.compile(r"PT(\d+)H(\d+)M(\d+)")


def rows_of(element: Element) -> Iterator[Element]:
    """Yield the rows of a table or of a part of one."""
    if element.tag == _ROW:
        yield element
    elif element.tag in _ROWS:
        for child in element:
            yield from rows_of(child)


class Sheet:
    """A sheet being read, row by row.

    Attributes:
        element: the table.
        aside: comments and shapes, to stand after the rows.
    """

    def __init__(
        self, element: Element, room: Room, blocks: Callable[[Element], list[Block]]
    ) -> None:
        """Begin a sheet.

        Args:
            element: the table.
            room: in the document.
            blocks: reads what is in an element.
        """
        self.element = element
        self.aside: list[Block] = []
        room.begin()
        self._blocks = blocks
        self._name = element.get(f"{TABLE}name", "")
        self._rows: list[list[str]] = []
        self._room = room
        self._blank = 0
        self._full = 0  # the first row that is left out

    def add(self, element: Element) -> None:
        """Take the next part of the table: a row, as often as it is repeated, or a shape."""
        if element.tag == f"{TABLE}shapes":
            self.aside += self._blocks(element)
        for row in rows_of(element):
            again = integer(row.get(f"{TABLE}number-rows-repeated"), 1, most=_MAX_ROWS)
            number = len(self._rows) + self._blank + 1
            cells = self._cells(row, number)
            if not any(cells):
                self._blank += again
                continue
            if self._full or not self._room.take(cells, again) or number + again > _MAX_ROWS:
                self._full = self._full or number
            else:
                self._rows += [[]] * self._blank + [cells] * again
                self._blank = 0

    def write(self, draft: Draft) -> None:
        """Add the sheet to a draft."""
        write_sheet(draft, self._name, self._rows, 1)
        if self._full:
            draft.remarks.append(no_room(self._name, self._full))

    def _cells(self, row: Element, number: int) -> list[str]:
        texts: list[str] = []
        blank = 0
        for cell in row:
            if cell.tag not in CELLS:
                continue
            again = integer(cell.get(f"{TABLE}number-columns-repeated"), 1, most=_MAX_COLUMNS)
            text = self._value(cell, f"{_letters(len(texts) + blank)}{number}")
            if text and len(texts) + blank + again <= _MAX_COLUMNS:
                texts += [""] * blank + [text] * again
                blank = 0
            else:
                blank += again
        return texts

    def _value(self, cell: Element, name: str) -> str:
        """Return what a cell holds: dates and numbers as in every country, else as it is shown."""
        lines: list[Block] = []
        for child in cell:
            blocks = self._blocks(child)
            if child.tag == f"{TEXT}p":
                lines += blocks
            elif child.tag == f"{OFFICE}annotation":
                on = f" on {name}: "
                self.aside += [Block(block.text.replace(": ", on, 1)) for block in blocks]
            else:
                self.aside += blocks
        kind, value = cell.get(f"{OFFICE}value-type"), cell.get(f"{OFFICE}value", "")
        if kind == "date":
            return _date(cell.get(f"{OFFICE}date-value", ""))
        if kind == "time" and (time := _TIME.match(cell.get(f"{OFFICE}time-value", ""))):
            return f"{time[1]}:{time[2]}" + (f":{time[3]}" if time[3] != "00" else "")
        if kind == "boolean":
            return cell.get(f"{OFFICE}boolean-value", "").upper()
        try:
            if kind == "float":
                return in_words(float(value))
            if kind == "percentage":
                return f"{in_words(float(value) * 100)}%"
            if kind == "currency":
                return f"{in_words(float(value))} {cell.get(f'{OFFICE}currency', '')}".strip()
        except ValueError:
            pass  # what is shown says enough
        return in_one_line(lines)


def item_number(level: Element, count: int) -> str:
    """Return the number of an item, as its list shows it."""
    kinds = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
    shown = level.get(f"{STYLE}num-format", "")
    before, after = level.get(f"{STYLE}num-prefix", ""), level.get(f"{STYLE}num-suffix", "")
    return one_line(f"{before}{in_format(count, kinds.get(shown, ''))}{after}") if shown else ""


def length(text: str | None) -> float:
    """Return a length in centimetres."""
    found = _LENGTH.fullmatch(text or "")
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


def _date(value: str) -> str:
    day, _, time = value.partition("T")
    time = time.partition(".")[0].removesuffix(":00")
    return one_line(day if time in ("", "00:00") else f"{day} {time}")


def _letters(column: int) -> str:
    """Return the name of a column, counted from 0."""
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(ord("A") + rest) + name
    return name
