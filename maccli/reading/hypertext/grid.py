"""The blocks of a page, and those of its tables that hold data as rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal

from maccli.reading.draft import Draft

_MAX_SPAN = 1000
_MAX_NAMES = 4  # rows that name the columns together
_LONG_HEADING = 400  # characters; what is longer is no heading, whatever its tag says
_LONG_CELL = 600  # characters; a longer cell of a table that names no column is a text


@dataclass(slots=True)
class Block:
    """A part of a page.

    Attributes:
        kind: what it is.
        text: of it.
        level: of a heading from 1, or how many lists an item or a paragraph stands in.
        sign: before an item; the language of code.
        rows: of a table.
        header: see `maccli.reading.draft.Draft.table`.
    """

    kind: Literal["paragraph", "heading", "item", "code", "table"]
    text: str = ""
    level: int = 0
    sign: str = ""
    rows: Sequence[Sequence[str]] = ()
    header: bool | None = None

    def write(self, draft: Draft) -> None:
        """Add it to a document."""
        if self.kind == "heading":
            if len(self.text) > _LONG_HEADING:
                draft.paragraph(self.text)
            else:
                draft.heading(self.text, self.level)
        elif self.kind == "item":
            draft.item(self.text, self.level, self.sign)
        elif self.kind == "code":
            draft.code(self.text, self.sign)
        elif self.kind == "table":
            draft.table(self.rows, header=self.header)
        else:
            draft.paragraph("  " * min(self.level, 8) + self.text)


@dataclass(slots=True)
class Cell:
    """A cell of a table: `blocks[start:end]` of the page.

    Attributes:
        start: see above.
        names: whether it names a column or a row.
        in_head: whether it stands in the table's head.
        across: how many columns it takes.
        down: how many rows it takes.
        bold: whether all of its text is.
        end: see above.
        text: on one line.
    """

    start: int
    names: bool
    in_head: bool
    across: int
    down: int
    bold: bool = True
    end: int = 0
    text: str = ""


@dataclass(slots=True)
class Grid:
    """A table while a page is read.

    Attributes:
        start: how many blocks stand before it.
        is_layout: whether it is known to be no data, only a way to place texts.
        rows: of it.
    """

    start: int
    is_layout: bool = False
    rows: list[list[Cell]] = field(default_factory=list)

    def not_bold(self) -> None:
        """Note that some text of its last cell is not bold."""
        for row in self.rows[-1:]:
            for cell in row[-1:]:
                cell.bold = False

    def finish(self, blocks: list[Block], budget: int) -> int:
        """Make the blocks of its cells into rows, if it holds data.

        Args:
            blocks: of the page so far.
            budget: how many characters may be repeated: names of columns, cells of many rows.

        Returns:
            what is left of the budget.
        """
        rows = [row for row in self.rows if row]
        for cell in (cell for row in rows for cell in row):
            cell.text = _joined(blocks[cell.start : cell.end])
        if not self._is_data(blocks):
            return budget
        outside = blocks[self.start :]
        for cell in reversed([cell for row in rows for cell in row]):
            del outside[cell.start - self.start : cell.end - self.start]
        lines, budget = _spread(rows, budget)
        names = [_names(row, first=index == 0) for index, row in enumerate(rows)]
        tables = list(_tables(rows, lines, names))
        for table in tables:
            if table.header:
                budget -= sum(map(len, table.rows[0])) * len(table.rows)
                table.header = budget > 0
        blocks[self.start :] = [*outside, *tables]
        return max(budget, 0)

    def _is_data(self, blocks: list[Block]) -> bool:
        if self.is_layout or max((_width(row) for row in self.rows), default=0) < 2:
            return False
        cells = [cell for row in self.rows for cell in row]
        named = any(cell.names or cell.in_head for cell in cells)
        for cell in cells:
            inside = blocks[cell.start : cell.end]
            if not cell.names and any(block.kind in ("heading", "code") for block in inside):
                return False
            if any(block.kind == "table" for block in inside):
                return False
            paragraphs = sum(block.kind == "paragraph" for block in inside)
            most = 1 if len(self.rows) == 1 else 3
            if not named and (paragraphs > most or len(cell.text) > _LONG_CELL):
                return False
        return True


def _width(row: Sequence[Cell]) -> int:
    return sum(cell.across for cell in row)


def _joined(blocks: Sequence[Block]) -> str:
    """Return the text of a cell."""
    text = ""
    for before, block in zip([None, *blocks], blocks, strict=False):
        listed = before is not None and before.kind == block.kind == "item"
        text += (", " if listed else " " if text else "") + block.text
    return " ".join(text.split())


def _names(row: Sequence[Cell], *, first: bool) -> bool:
    """Return whether a row names the columns."""
    filled = [cell for cell in row if cell.text]
    if filled and all(cell.in_head for cell in row):
        return True
    return len(filled) > 1 and (
        all(cell.names for cell in filled) or (first and all(cell.bold for cell in filled))
    )


def _spread(rows: Sequence[Sequence[Cell]], budget: int) -> tuple[list[list[str]], int]:
    """Return the text of each row and column; a cell of many rows stands in each of them."""
    lines = list[list[str]]()
    above = dict[int, tuple[int, str]]()  # by column: for how many rows a cell goes on, its text
    for row in rows:
        names = _names(row, first=False)
        line, below, cells = list[str](), dict[int, tuple[int, str]](), iter(row)
        while True:
            if (column := len(line)) in above:
                left, text = above[column]
                budget -= len(text) + 1
                line.append(text if budget > 0 else "")
                if left > 1 and budget > 0:
                    below[column] = (left - 1, text)
                continue
            if (cell := next(cells, None)) is None:
                break
            for across in range(min(max(cell.across, 1), _MAX_SPAN)):
                text = cell.text if names or not across else ""
                budget -= len(text) + 1 if across else 0
                if across and budget < 0:
                    break
                if cell.down != 1:
                    below[len(line)] = (cell.down - 1 if cell.down else len(rows), text)
                line.append(text)
        above = below
        lines.append(line)
    return lines, max(budget, 0)


def _tables(
    rows: Sequence[Sequence[Cell]], lines: Sequence[list[str]], names: list[bool]
) -> Iterator[Block]:
    """Return the parts of a table: those below each row of names, and lines of their own."""
    width = max(map(len, lines))
    if all(names):
        names[1:] = [False] * (len(names) - 1)
    known = any(names) or width == 2 or any(cell.names for row in rows for cell in row)
    top, body = list[str](), list[list[str]]()
    heights = 0  # how many rows of names are one
    for row, line, is_names in zip(rows, lines, names, strict=True):
        if len(row) == 1 and row[0].across > 1 and row[0].text and len(lines) > 1:
            if body:
                yield from _table(top, body, known)
            yield Block("paragraph", row[0].text)
            heights, body = (0 if body else heights), []
        elif is_names and heights and not body and heights < _MAX_NAMES:
            # Two rows of names: "2030" above "Spring" is the column "2030 Spring".
            pairs = zip_longest(top, line, fillvalue="")
            top = [above if below in ("", above) else f"{above} {below}" for above, below in pairs]
            top = [name.strip() for name in top]
            heights += 1
        elif is_names and (body or not top or not heights):
            if body or heights:
                yield from _table(top, body, known)
            top, body, heights = line, [], 1
        else:
            body.append(line)
    if body or heights:
        yield from _table(top, body, known)


def _table(top: list[str], body: list[list[str]], known: bool) -> Iterator[Block]:
    """Return one part of a table."""
    if not body:
        yield Block("table", rows=[top], header=False)
    elif not top:
        yield Block("table", rows=body, header=False if known else None)
    else:
        yield Block("table", rows=[top, *body], header=True)
