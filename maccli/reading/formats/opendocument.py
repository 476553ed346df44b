"""OpenDocument texts, presentations and spreadsheets (.odt, .odp, .ods) to text."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Literal
from xml.etree.ElementTree import Element

from maccli.reading.draft import Draft, one_line
from maccli.reading.encodings import Refused
from maccli.reading.parts import odf
from maccli.reading.parts.blocks import (
    Block,
    Cell,
    filled,
    first_heading,
    in_one_line,
    table,
    write,
    write_edges,
)
from maccli.reading.parts.grid import Room
from maccli.reading.parts.odf import DRAW, OFFICE, SHOW, STYLE, SVG, TABLE, TEXT
from maccli.reading.parts.package import DC, Package, integer, protected, usable_title

_NAME = "OpenDocument file"
_LINK = "{http://www.w3.org/1999/xlink}href"
_MAX_REPEATED = 1000  # times that a row or cell can stand in a text's table
_MAX_SPARE = 10_000  # cells with text that are in the file only as repetitions
_SPACE = re.compile(r"[ \t\r\n]+")
_SKIPPED = frozenset(
    {f"{TEXT}tracked-changes", f"{OFFICE}forms", f"{OFFICE}scripts", f"{SHOW}notes"}
)


def read(data: bytes, name: str) -> Draft:
    """Return a document's text.

    Args:
        data: the file.
        name: of the file.

    Raises:
        Refused: it is encrypted, damaged, a bomb, or no such document.
        Empty: it has no text.
    """
    package = Package(data, _NAME)
    manifest = "META-INF/manifest.xml"
    if manifest in package and b"encryption-data" in package.read(manifest):
        raise protected(_NAME)
    if "content.xml" not in package:
        raise package.other()
    return filled(package, lambda draft: _Reader(package, draft).read(), "pictures/")


class _Reader:
    """Walks through a document, and keeps what belongs elsewhere: notes, comments, frames."""

    def __init__(self, package: Package, draft: Draft) -> None:
        self._package = package
        self._draft = draft
        self._hidden: set[str] = set()  # styles of text that is not shown
        self._titles = {"Title"}  # styles of the document's title
        self._lists: dict[str, dict[int, Element]] = {}  # the levels of each style of lists
        self._counts: dict[tuple[str, int], int] = {}  # the items of each, so far
        self._notes: list[str] = []
        self._aside: list[Block] = []  # comments and frames, to stand after their paragraph
        self._spare = _MAX_SPARE

    def read(self) -> None:
        """Fill the draft."""
        draft, edges = self._draft, {"header": dict[str, None](), "footer": dict[str, None]()}
        root = Element("none")
        if "styles.xml" in self._package:
            try:
                root = self._package.tree("styles.xml")
            except Refused as error:
                draft.remarks.append(f"a part of it is left out, its styles: it {error}")
        for element in root.iter():
            self._learn(element)
        for page in root.iter(f"{STYLE}master-page"):
            for edge in page:
                kind = edge.tag.removeprefix(STYLE).partition("-")[0]
                if kind in edges:
                    edges[kind][in_one_line(self._blocks(edge))] = None
        write_edges(draft, edges["header"])
        parents = (
            *(f"{OFFICE}automatic-styles", f"{OFFICE}text", f"{OFFICE}drawing"),
            *(f"{OFFICE}presentation", f"{TABLE}table"),
        )
        sheet: odf.Sheet | None = None
        room = Room()
        pages = 0
        for parent, element in self._package.children("content.xml", *parents):
            if parent.tag == f"{OFFICE}automatic-styles":
                for inner in element.iter():
                    self._learn(inner)
            elif parent.tag == f"{TABLE}table":  # in a spreadsheet; others are children of a text
                if sheet is None or sheet.element is not parent:
                    self._end(sheet)
                    sheet = odf.Sheet(parent, room, lambda child: self._blocks((child,)))
                sheet.add(element)
            elif element.tag == f"{DRAW}page":
                pages += 1
                kind = "slide" if parent.tag == f"{OFFICE}presentation" else "page"
                draft.place(f"{kind} {pages}", fresh=True)
                write(draft, self._page(element))
            else:
                write(draft, self._block(element))
        self._end(sheet)
        write_edges(draft, edges["footer"])
        for number, note in enumerate(self._notes, start=1):
            draft.paragraph(f"Note {number}: {note}")
        draft.title = self._meta() or first_heading(draft)

    def _end(self, sheet: odf.Sheet | None) -> None:
        if sheet is not None:
            sheet.write(self._draft)
            write(self._draft, sheet.aside)

    def _meta(self) -> str | None:
        if "meta.xml" not in self._package:
            return None
        try:
            return usable_title(self._package.tree("meta.xml").findtext(f".//{DC}title"))
        except Refused:
            return None  # the document itself is whole

    def _learn(self, element: Element) -> None:
        """Remember what a style says of its text."""
        name = element.get(f"{STYLE}name", "")
        if element.tag == f"{STYLE}style":
            properties = element.find(f"{STYLE}text-properties")
            if properties is not None and properties.get(f"{TEXT}display") == "none":
                self._hidden.add(name)
            if element.get(f"{STYLE}parent-style-name") in self._titles:
                self._titles.add(name)
        elif element.tag == f"{TEXT}list-style":
            levels = {integer(level.get(f"{TEXT}level")): level for level in element}
            self._lists[name] = levels

    def _blocks(self, element: Iterable[Element]) -> list[Block]:
        return [block for child in element for block in self._block(child)]

    def _block(self, element: Element) -> Iterator[Block]:
        tag = element.tag
        if tag in (f"{TEXT}p", f"{TEXT}h"):
            text, aside = self._paragraph(element)
            if tag == f"{TEXT}h":
                yield Block(text, "heading", integer(element.get(f"{TEXT}outline-level"), 1))
            elif element.get(f"{TEXT}style-name") in self._titles:
                yield Block(text, "heading", 1)
            else:
                yield Block(text)
            yield from aside
        elif tag == f"{TEXT}list":
            yield from self._list(element, "", 0)
        elif tag == f"{TABLE}table":
            yield from self._table(element)
        elif tag.startswith(DRAW):
            yield from self._drawing(element)
        elif tag == f"{OFFICE}annotation":
            yield self._comment(element)
        elif tag not in _SKIPPED and not tag.endswith("-source"):
            for child in element:
                yield from self._block(child)

    def _paragraph(self, element: Element) -> tuple[str, list[Block]]:
        """Return the text of a paragraph, and what stands aside of it."""
        outer, self._aside = self._aside, []
        parts: list[str] = []
        if element.get(f"{TEXT}style-name") not in self._hidden:
            self._collect(element, parts)
        aside, self._aside = self._aside, outer
        return "".join(parts).replace("\xad", "").strip(" "), aside

    def _collect(self, element: Element, parts: list[str]) -> None:
        parts.append(_SPACE.sub(" ", element.text or ""))
        for child in element:
            tag = child.tag
            if tag == f"{TEXT}s":
                parts.append(" " * integer(child.get(f"{TEXT}c"), 1, most=80))
            elif tag == f"{TEXT}tab":
                parts.append("\t")
            elif tag == f"{TEXT}line-break":
                parts.append("\n")
            elif tag == f"{TEXT}note":
                body = child.find(f"{TEXT}note-body")
                self._notes.append(in_one_line(self._blocks(body if body is not None else ())))
                parts.append(f"[{len(self._notes)}]")
            elif tag == f"{TEXT}ruby":
                above = child.findtext(f"{TEXT}ruby-text", "")
                for base in child.iterfind(f"{TEXT}ruby-base"):
                    self._collect(base, parts)
                parts.append(f"({above})" if above else "")
            elif tag == f"{OFFICE}annotation":
                self._aside.append(self._comment(child))
            elif tag.startswith(DRAW) and tag != f"{DRAW}a":
                self._aside += self._drawing(child)
            elif child.get(f"{TEXT}style-name") not in self._hidden and tag not in _SKIPPED:
                self._collect(child, parts)
            parts.append(_SPACE.sub(" ", child.tail or ""))

    def _comment(self, element: Element) -> Block:
        author = one_line(element.findtext(f"{DC}creator", ""))
        text = in_one_line(self._blocks(element))
        return Block(f"Comment{f' by {author}' if author else ''}: {text}" if text else "")

    def _list(self, element: Element, style: str, depth: int) -> Iterator[Block]:
        style = element.get(f"{TEXT}style-name") or style
        level = self._lists.get(style, {}).get(depth + 1)
        numbered = level is not None and level.tag == f"{TEXT}list-level-style-number"
        going_on = element.get(f"{TEXT}continue-numbering") == "true" or element.get(
            f"{TEXT}continue-list"
        )
        key = (style, depth)
        if level is not None and not going_on:
            self._counts[key] = integer(level.get(f"{TEXT}start-value"), 1) - 1
        for item in element:
            sign = "-"
            if numbered and level is not None and item.tag == f"{TEXT}list-item":
                begin = integer(item.get(f"{TEXT}start-value"), self._counts.get(key, 0) + 1)
                self._counts[key] = begin
                sign = odf.item_number(level, begin)
            first = item.tag == f"{TEXT}list-item"
            for child in item:
                if child.tag == f"{TEXT}list":
                    yield from self._list(child, style, depth + 1)
                    continue
                for block in self._block(child):
                    if block.kind == "paragraph" and first and sign and block.text.strip():
                        yield Block(block.text, "item", depth, sign)
                        first = False
                    else:
                        yield block

    def _table(self, element: Element) -> list[Block]:
        rows: list[list[Cell]] = []
        header = True if element.find(f"{TABLE}table-header-rows") is not None else None
        for row in odf.rows_of(element):
            cells: list[Cell] = []
            for cell in row:
                if cell.tag not in odf.CELLS:
                    continue
                merged: Literal["down", "up"] | None = None
                if cell.tag == f"{TABLE}covered-table-cell":
                    merged = "up"
                elif integer(cell.get(f"{TABLE}number-rows-spanned"), 1) > 1:
                    merged = "down"
                blocks = self._blocks(cell)
                again = self._repeated(cell, "columns", 1 if blocks else 0)
                cells += [Cell(blocks, merged=merged)] * again
            full = sum(1 for cell in cells if cell.blocks)
            rows += [cells] * self._repeated(row, "rows", full)
        return table(rows, header)

    def _repeated(self, element: Element, kind: str, size: int) -> int:
        """Return how often a row or cell stands there; `size` is how many cells with text it has.

        A text hardly ever has cells with text that are repeated: very many are a trap.
        """
        again = integer(element.get(f"{TABLE}number-{kind}-repeated"), 1, most=_MAX_REPEATED)
        self._spare -= (again - 1) * size
        if self._spare >= 0:
            return again
        remark = "has a table whose cells are repeated without end; they are left out"
        if remark not in self._draft.remarks:
            self._draft.remarks.append(remark)
        return 1

    def _drawing(self, element: Element) -> list[Block]:
        """Return the text of a frame or shape, of a chart or formula in it, or of a picture."""
        link = element.get(_LINK, "")
        if element.tag == f"{DRAW}object" and not link.startswith(("http:", "https:")):
            part = posixpath.normpath(posixpath.join(link, "content.xml"))
            return self._object(part) if part in self._package else []
        found = self._blocks(element)
        words = element.findtext(f"{SVG}desc") or element.findtext(f"{SVG}title") or ""
        return [*found, Block(f"[Picture: {one_line(words)}]")] if words.strip() else found

    def _object(self, part: str) -> list[Block]:
        try:
            root = self._package.tree(part)
        except Refused as error:
            self._draft.remarks.append(f"a part of it is left out: it {error}")
            return []
        formula = next((item for item in root.iter() if item.tag.endswith("}annotation")), None)
        if formula is not None or root.tag.endswith("}math"):
            return [Block(one_line("".join((root if formula is None else formula).itertext())))]
        return [block for item in root.iter(f"{TABLE}table") for block in self._table(item)]

    def _page(self, page: Element) -> list[Block]:
        """Return the text of a slide: its title, its frames from top to bottom, its notes."""
        frames = sorted(
            (frame for frame in page if frame.tag not in _SKIPPED),
            key=lambda frame: (
                frame.get(f"{SHOW}class") != "title",
                round(odf.length(frame.get(f"{SVG}y"))),
                odf.length(frame.get(f"{SVG}x")),
            ),
        )
        blocks: list[Block] = []
        for frame in frames:
            inner = list(self._block(frame))
            if frame.get(f"{SHOW}class") == "title":
                inner = [Block(in_one_line(inner), "heading", 1)]
            blocks += inner
        for notes in page.iterfind(f"{SHOW}notes"):
            text = "\n".join(block.text for block in self._blocks(notes) if block.text.strip())
            blocks.append(Block(f"Notes: {text}" if text else ""))
        return blocks
