"""A text that is put together paragraph by paragraph: a document, a note, a header, a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from maccli.reading.draft import one_line
from maccli.reading.parts.blocks import Block, Cell, table

Merged = Literal["down", "up"] | None
_MAX_HEADING = 250  # longer ones are text that was only made to look like a heading


@dataclass(slots=True)
class Story:
    """A text, and what is not finished of it.

    Attributes:
        blocks: the text so far.
        text: of the paragraph at hand.
        label: of the item that the paragraph is.
        aside: comments and boxes, to stand after the paragraph.
        cell: the blocks of the cell at hand.
        cells: of the row at hand.
        rows: of the table at hand.
    """

    blocks: list[Block] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    label: str = ""
    aside: list[Block] = field(default_factory=list)
    cell: list[Block] = field(default_factory=list)
    cells: list[list[Block]] = field(default_factory=list)
    rows: list[list[Cell]] = field(default_factory=list)

    def end_paragraph(self, level: int | None, depth: int, *, in_table: bool) -> None:
        """End the paragraph at hand.

        Args:
            level: of the heading that it is; None if it is text.
            depth: of the item that it is, if it has a label.
            in_table: whether it stands in a cell.
        """
        text = "".join(self.text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        label = one_line(self.label)
        numbered = len(label) > 1 and any(map(str.isalnum, label))
        blocks = [Block(text)] if text.strip() else []
        if blocks and level is not None and len(text) <= _MAX_HEADING:
            blocks = [Block(f"{label} {text}" if numbered else text, "heading", max(level, 1))]
        elif blocks and label:
            blocks = [Block(text, "item", depth, label if numbered else "-")]
        blocks += self.aside
        self.text, self.label, self.aside = [], "", []
        if in_table:
            self.cell += blocks
        else:
            self.end_table()
            self.blocks += blocks

    def end_cell(self) -> None:
        """End the cell at hand."""
        self.cells.append(self.cell)
        self.cell = []

    def end_row(self, merged: Sequence[Merged]) -> None:
        """End the row at hand; `merged` is how each of its cells is merged with others."""
        ways = [*merged, *([None] * len(self.cells))]
        cells = zip(self.cells, ways, strict=False)
        self.rows.append([Cell(cell, merged=way) for cell, way in cells])
        self.cells = []

    def end_table(self) -> None:
        """End the table at hand, if there is one."""
        if self.cells or self.cell:  # of a row that is cut off
            self.rows.append([Cell(cell) for cell in (*self.cells, self.cell)])
        if self.rows:
            self.blocks += table(self.rows)
        self.rows, self.cells, self.cell = [], [], []
