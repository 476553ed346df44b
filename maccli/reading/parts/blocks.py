"""The blocks that office documents consist of: paragraphs, headings, list items and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from maccli.reading.draft import Draft, one_line
from maccli.reading.encodings import Empty, Refused
from maccli.reading.parts.package import Package

_MAX_REPEATED = 80  # a merged cell with more characters is not repeated in every row
_MAX_CELL = 1000  # a table with a longer cell is there for the layout
_ENDS = (".", "!", "?", ":", ";", ",")


class Block(NamedTuple):
    """One block.

    Attributes:
        text: of all but tables.
        kind: what it is.
        level: of a heading, from 1; of an item, from 0.
        sign: before an item: "-" or its number.
        rows: of a table.
        header: whether its first row names the columns; None if that is not known.
    """

    text: str
    kind: Literal["paragraph", "heading", "item", "table"] = "paragraph"
    level: int = 0
    sign: str = "-"
    rows: Sequence[Sequence[str]] = ()
    header: bool | None = None


class Cell(NamedTuple):
    """A cell of a table.

    Attributes:
        blocks: in it.
        columns: how many it covers.
        merged: "down" if it reaches into the rows below, "up" if it belongs to one above.
    """

    blocks: Sequence[Block] = ()
    columns: int = 1
    merged: Literal["down", "up"] | None = None


def write(draft: Draft, blocks: Iterable[Block]) -> None:
    """Add blocks to a draft."""
    for block in blocks:
        if block.kind == "heading":
            draft.heading(block.text, block.level)
        elif block.kind == "item":
            draft.item(block.text, block.level, block.sign)
        elif block.kind == "table":
            draft.table(block.rows, header=block.header)
        else:
            draft.paragraph(block.text)


def write_edges(draft: Draft, lines: Iterable[str]) -> None:
    """Add the lines of headers or footers to a draft, but for numbers of pages alone."""
    for line in lines:
        if any(map(str.isalpha, line)):
            draft.paragraph(line)


def filled(package: Package, fill: Callable[[Draft], None], pictures: str) -> Draft:
    """Return the draft of an office file.

    Args:
        package: the file.
        fill: puts its text into a draft.
        pictures: the folder of its pictures.

    Raises:
        Refused: its parts are nested without end; else see `checked`.
        Empty: it has no text.
    """
    draft = Draft()
    try:
        fill(draft)
    except RecursionError as error:
        raise Refused(f"is a damaged {package.what}: its parts are nested without end") from error
    return checked(draft, pictures=bool(package.names(pictures)))


def checked(draft: Draft, pictures: bool = False) -> Draft:
    """Return a draft that has text.

    Args:
        draft: all that was read.
        pictures: whether there are pictures in the file.

    Raises:
        Empty: there is no text.
        Refused: there is none, and a remark says why.
    """
    if draft.text.strip():
        return draft
    if draft.remarks:
        raise Refused(f"has no text that can be read: {draft.remarks[0]}")
    raise Empty("has no text in it" + (", only pictures" if pictures else ""))


def first_heading(draft: Draft) -> str | None:
    """Return a draft's first heading; None if it has none."""
    return next((mark.heading for mark in draft.marks if mark.heading), None)


def in_one_line(blocks: Iterable[Block]) -> str:
    """Return the text of blocks as it stands in the cell of a table or in a note."""
    text = ""
    for block in blocks:
        if block.kind == "table":
            inner = Draft()
            inner.table(block.rows, header=block.header)
            line = one_line(inner.text.replace("\n", "; "))
        else:
            numbered = block.kind == "item" and block.sign != "-"
            line = one_line(f"{block.sign} {block.text}" if numbered else block.text)
        if line:
            gap = "" if not text else " " if text.endswith(_ENDS) else ", "
            text += gap + line
    return text


def table(rows: Sequence[Sequence[Cell]], header: bool | None = None) -> list[Block]:
    """Return a table as one block, or as its cells' blocks if it is there for the layout only.

    A short text in cells that are merged downwards stands in every row, so that each can be read
    alone; one in cells that are merged sideways stands in the first.

    Args:
        rows: the cells.
        header: see `Block`.
    """
    texts: list[list[str]] = []
    above: dict[int, str] = {}  # by their column, the cells that reach down
    for row in rows:
        line, repeated = list[str](), list[int]()
        for cell in row:
            text, at = in_one_line(cell.blocks), len(line)
            if cell.merged == "down":
                above[at] = text
            elif cell.merged is None:
                above.pop(at, None)
            elif not text:
                repeated.append(at)
            line += [text, *([""] * (cell.columns - 1))]
        if any(line):
            for at in repeated:
                line[at] = above.get(at, "") if len(above.get(at, "")) <= _MAX_REPEATED else ""
        texts.append(line)
    width = max((sum(map(bool, line)) for line in texts), default=0)
    longest = max((len(text) for line in texts for text in line), default=0)
    if header is None and max(map(len, texts), default=0) == 2:
        # Two columns of words are rather names and what they stand for: "Captain: Ines Okafor".
        worded = not any(character.isdigit() for line in texts for character in line[-1])
        header = False if worded else None
    blocks = [block for row in rows for cell in row for block in cell.blocks]
    if width > 1 and longest <= _MAX_CELL and not any(block.kind == "heading" for block in blocks):
        return [Block("", "table", rows=texts, header=header)]
    return blocks
