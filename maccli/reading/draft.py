"""The text of a document while a reader puts it together, and where each part of it stands.

Whatever a file is, its text becomes light Markdown: headings behind `#`, list items behind `-`,
code between fences, and tables as lines that name their columns, so that a row can be read alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from store.marks import Mark, marks_between

_FENCE = re.compile(r"^`{3,}", re.MULTILINE)
_AMOUNT = re.compile(r"[-+±<>~≈(]*[$€£¥]? ?[-+]?[\d.,]")
_YEAR = re.compile(r"(?:19|20)\d\d")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The text of a file.

    Attributes:
        text: the text.
        title: of the document, if it has one.
        media_type: such as text/plain.
        encoding: of the file.
        remarks: what the user should know about how it was read, each to stand after its name.
        marks: where the parts of `text` stand.
    """

    text: str
    title: str | None
    media_type: str
    encoding: str
    remarks: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()

    @property
    def remark(self) -> str | None:
        """All remarks in one line."""
        return "; ".join(self.remarks) or None


class Draft:
    """A document being read, block by block.

    Attributes:
        title: of the document, if it has one.
        remarks: what the user should know about how it was read, each to stand after its name.
    """

    def __init__(self) -> None:
        self.title: str | None = None
        self.remarks: list[str] = []
        self._parts: list[str] = []
        self._length = 0
        self._marks: list[Mark] = []
        self._headings: list[tuple[int, str]] = []
        self._place = ""
        self._moved = False  # the next block begins at another place
        self._in_list = False

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._parts)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Where its parts stand."""
        return tuple(self._marks)

    def heading(self, text: str, level: int) -> None:
        """Begin a part under a heading of level 1 (the outermost) to 6."""
        text = one_line(text)
        if not text:
            return
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, text))
        self._block(f"{'#' * min(max(level, 1), 6)} {text}", marked=True)

    def place(self, words: str, *, fresh: bool = False) -> None:
        """Say where everything that follows stands: "page 3".

        Args:
            words: see `store.marks.Mark`.
            fresh: whether the headings so far end here, as on a new sheet or in another message.
        """
        if fresh:
            self._headings.clear()
        self._place = words
        self._moved = True

    def paragraph(self, text: str) -> None:
        """Add a paragraph; its lines stay as they are."""
        text = text.strip("\n").rstrip()
        if text.strip():
            self._block(text)

    def item(self, text: str, depth: int = 0, sign: str = "-") -> None:
        """Add an item of a list.

        Args:
            text: of the item.
            depth: 0 for the outermost list.
            sign: before the item, such as "3.".
        """
        text = one_line(text)
        if text:
            line = f"{'  ' * min(depth, 8)}{sign} {text}"
            self._block(line, gap="\n" if self._in_list else "\n\n")
            self._in_list = True

    def code(self, text: str, language: str = "") -> None:
        """Add code, or other text whose lines must stay as they are, between fences."""
        text = text.strip("\n").rstrip()
        if text.strip():
            ticks = max([len(match[0]) for match in _FENCE.finditer(text)], default=2) + 1
            fence = "`" * max(ticks, 3)
            self._block(f"{fence}{language}\n{text}\n{fence}")

    def table(
        self,
        rows: Sequence[Sequence[str]],
        *,
        header: bool | None = None,
        first: int | None = None,
        place: str = "",
    ) -> None:
        """Add a table, a line for each row that is not empty.

        Args:
            rows: the cells.
            header: whether the first row names the columns; None finds it out.
            first: the number of the first row; given, every line knows its row.
            place: what stands before the row's number: 'sheet "Prices"'.
        """
        cells = [[one_line(cell) for cell in row] for row in rows]
        top = header_row(cells, header)
        outer, lines, at = self._place, list[str](), 0

        def close() -> None:
            if lines and first is not None:
                self.place(", ".join(filter(None, (place or outer, f"row {first + at}"))))
            if lines:
                self._block("\n".join(lines))
                lines.clear()

        for index, row in enumerate(cells):
            names = cells[top] if top is not None and index > top else []
            line = row_line(names, row) if index != top else names_line(row, cells[index + 1 :])
            if not line:
                close()
                continue
            if not lines:
                at = index
            lines.append(line)
        close()
        if first is not None:
            self.place(outer)

    def verbatim(self, text: str, marks: Iterable[Mark]) -> None:
        """Add a text as it is, and the marks that say where its parts stand.

        Args:
            text: with its own headings and lines.
            marks: of `text`, in the order of their starts.
        """
        if self._parts and text:
            self._parts.append("\n\n")
            self._length += 2
        self._marks += [replace(mark, start=mark.start + self._length) for mark in marks]
        self._parts.append(text)
        self._length += len(text)
        self._in_list, self._moved = False, True

    def append(self, other: Draft, inside: str = "") -> None:
        """Add a whole document that is a part of this one, such as an attachment.

        Args:
            other: the document.
            inside: what stands before its own places: 'attachment "plan.pdf"'.
        """
        whole = other.text
        text = whole.strip("\n")
        if text.strip():
            start = len(whole) - len(whole.lstrip("\n"))
            marks = marks_between(other.marks, whole, start, start + len(text)) or (Mark(0),)
            placed = (
                replace(mark, place=", ".join(filter(None, (inside, mark.place)))) for mark in marks
            )
            self.verbatim(text, placed)
            self.place("", fresh=True)
        self.remarks += [f"{inside}: {remark}" if inside else remark for remark in other.remarks]

    def _block(self, text: str, *, gap: str = "\n\n", marked: bool = False) -> None:
        self._in_list = False
        if self._parts:
            self._parts.append(gap)
            self._length += len(gap)
        if marked or self._moved:
            path = " > ".join(words for _, words in self._headings)
            mark = Mark(self._length, path, self._place)
            last = self._marks[-1] if self._marks else Mark(0)
            if (mark.heading, mark.place) != (last.heading, last.place):
                self._marks.append(mark)
            self._moved = False
        self._parts.append(text)
        self._length += len(text)


def one_line(text: str) -> str:
    """Return a text without line breaks and double spaces."""
    return " ".join(text.split())


def header_row(rows: Sequence[Sequence[str]], header: bool | None = None) -> int | None:
    """Return the index of the row that names a table's columns; None if none does.

    Args:
        rows: the cells, each on one line.
        header: whether there is such a row; None finds it out: names are words, all different, and
            none comes again in the column below. Titles, alone in a row above, are passed over.
    """
    filled = [index for index, row in enumerate(rows) if any(row)]
    wide = next((at for at, index in enumerate(filled) if sum(map(bool, rows[index])) > 1), 0)
    filled = filled[wide:] if len(filled) > wide + 1 else filled  # titles stand above
    if len(filled) < 2 or header is False:
        return None
    if header:
        return filled[0]
    top = rows[filled[0]]
    below = [rows[index] for index in filled[1:50] if rows[index] != top]
    names = [(column, name) for column, name in enumerate(top) if name]
    values = [[row[column] for row in below if column < len(row)] for column, _ in names]
    clear = False  # words above numbers
    for (_, name), found in zip(names, values, strict=True):
        # A year may name a column, if there are no years in it.
        year = _YEAR.fullmatch(name) and not any(map(_YEAR.fullmatch, found))
        if name in found or (_is_data(name) and not year):
            return None
        clear |= any(found) and all(_is_data(value) for value in found if value)
    distinct = len(names) > 1 and len({name for _, name in names}) == len(names)
    return filled[0] if distinct or (clear and len(names) > 1) else None


def row_line(names: Sequence[str], cells: Sequence[str]) -> str:
    """Return a row as a line that can be read alone: "Team: Maple Leafs; Location: TOR"."""
    if not names and len(cells) == 2 and all(cells):
        return f"{cells[0].rstrip(':')}: {cells[1]}"
    named = [
        f"{names[i]}: {cell}" if i < len(names) and names[i] else cell
        for i, cell in enumerate(cells)
        if cell
    ]
    return "; ".join(named)


def names_line(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return the row of names as a line, if one of them stands in no row; "" if all do."""
    used = {column for row in rows for column, cell in enumerate(row) if cell}
    unused = any(name and column not in used for column, name in enumerate(names))
    return "; ".join(filter(None, names)) if unused else ""


def _is_data(cell: str) -> bool:
    """Return whether a cell holds a number, an amount or a date rather than a name."""
    digits = sum(character.isdigit() for character in cell)
    return 2 * digits >= len(cell.strip("€$£¥% ")) and _AMOUNT.match(cell) is not None
