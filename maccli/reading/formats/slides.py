"""Presentations (.pptx, .pptm, .ppsx) to text, slide by slide.

The shapes of a slide come from top to bottom and from left to right, then its notes and comments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple
from xml.etree.ElementTree import Element

from maccli.reading.draft import Draft, one_line
from maccli.reading.encodings import Refused
from maccli.reading.parts import drawing
from maccli.reading.parts.blocks import (
    Block,
    Cell,
    filled,
    first_heading,
    in_one_line,
    table,
    write,
)
from maccli.reading.parts.drawing import ALTERNATIVES, CHART, DIAGRAM, MATH, REL, A
from maccli.reading.parts.package import Package, Relation, integer

P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_NAME = "PowerPoint presentation"
_MATH_IN_TEXT = "{http://schemas.microsoft.com/office/drawing/2010/main}m"
_ROW = 300_000  # shapes whose tops differ by less (8 mm) stand side by side
_NONE = "none"
_TITLES = ("title", "ctrTitle")
_LISTED = ("body", "obj", "")  # placeholders whose paragraphs have bullets unless they say no
_REPEATED = ("ftr", "dt", "hdr")  # the same on every slide


class _Shape(NamedTuple):
    """A shape's place on the slide, what it is for, and what is in it."""

    top: int
    left: int
    purpose: str
    blocks: list[Block]


def read(data: bytes, name: str) -> Draft:
    """Return a presentation's text.

    Args:
        data: the file.
        name: of the file.

    Raises:
        Refused: it is encrypted, damaged, a bomb, or no presentation.
        Empty: it has no text.
    """
    package = Package(data, _NAME)
    return filled(package, lambda draft: _Reader(package, draft).read(), "ppt/media/")


class _Reader:
    """Walks through the slides."""

    def __init__(self, package: Package, draft: Draft) -> None:
        self._package = package
        self._draft = draft
        self._relations: dict[str, Relation] = {}  # of the slide at hand
        self._places: dict[str, dict[tuple[str, str], tuple[int, int]]] = {}  # in each layout
        self._edges: set[str] = set()  # footers seen so far

    def read(self) -> None:
        """Fill the draft."""
        part = self._package.main("ppt/presentation.xml")
        root, related = self._package.tree(part), self._package.relations(part)
        if root.tag != f"{P}presentation":
            raise self._package.other()
        self._relations = related
        authors = self._authors()
        for number, entry in enumerate(root.iter(f"{P}sldId"), start=1):
            relation = related.get(entry.get(f"{REL}id", ""))
            self._draft.place(f"slide {number}", fresh=True)
            try:
                if relation is None:
                    raise Refused("is missing")
                slide = self._package.tree(relation.target)
            except Refused as error:
                self._draft.remarks.append(f"slide {number} is left out: it {error}")
                continue
            self._relations = self._package.relations(relation.target)
            blocks = self._slide(slide)
            write(self._draft, [*blocks, *self._notes(), *self._comments(authors)])
        self._draft.title = self._package.title() or first_heading(self._draft)

    def _slide(self, slide: Element) -> list[Block]:
        shapes = [shape for tree in slide.iter(f"{P}spTree") for shape in self._shapes(tree)]
        return [block for shape in _in_order(shapes) for block in shape.blocks]

    def _shapes(self, tree: Iterable[Element]) -> Iterator[_Shape]:
        for element in tree:
            if element.tag == ALTERNATIVES:
                yield from self._shapes(drawing.alternative(element))
                continue
            kind = element.tag.removeprefix(P)
            purpose, index = _placeholder(element)
            described = element.find(f"./*/{P}cNvPr")
            text = drawing.picture(described.get("descr") if described is not None else None)
            blocks = [Block(text)] if text else []
            if kind == "grpSp":
                inner = _in_order(list(self._shapes(element)))
                blocks += [block for shape in inner for block in shape.blocks]
            elif kind == "graphicFrame":
                blocks += self._frame(element)
            elif kind == "sp" and purpose != "sldNum":
                body = element.find(f"{P}txBody")
                blocks += self._body(body if body is not None else (), purpose)
            if purpose in _REPEATED:
                blocks = [block for block in blocks if block.text not in self._edges]
                self._edges.update(block.text for block in blocks)
            if blocks:
                inherited = (0, 0) if purpose == _NONE else self._inherited(purpose, index)
                top, left = _offset(element) or inherited
                yield _Shape(top, left, purpose, blocks)

    def _frame(self, element: Element) -> list[Block]:
        blocks: list[Block] = []
        for found in element.iter():
            if found.tag == f"{A}tbl":
                blocks += self._table(found)
            elif found.tag in (f"{CHART}chart", f"{DIAGRAM}relIds"):
                id = found.get(f"{REL}id", found.get(f"{REL}dm", ""))
                blocks += drawing.graphic(
                    self._package, self._relations.get(id), self._draft.remarks
                )
        return blocks

    def _table(self, element: Element) -> list[Block]:
        rows = []
        for row in element.findall(f"{A}tr"):
            cells = []
            for cell in row.findall(f"{A}tc"):
                merged: Literal["down", "up"] | None = None
                if cell.get("vMerge") in ("1", "true"):
                    merged = "up"
                elif integer(cell.get("rowSpan")) > 1:
                    merged = "down"
                body = cell.find(f"{A}txBody")
                cells.append(Cell(self._body(body if body is not None else ()), merged=merged))
            rows.append(cells)
        settings = element.find(f"{A}tblPr")
        # Every table has this set at first; in one of two columns it may well be wrong.
        first = settings is not None and settings.get("firstRow") in ("1", "true")
        return table(rows, True if first and len(rows[0] if rows else ()) > 2 else None)

    def _body(self, body: Iterable[Element], purpose: str = _NONE) -> list[Block]:
        """Return the paragraphs of a shape: a heading, items of a list, or plain ones."""
        lines = [(line, self._text(line)) for line in body if line.tag == f"{A}p"]
        lines = [(line, text) for line, text in lines if text.strip()]
        if purpose in _TITLES:
            text = " ".join(text for _, text in lines)
            return [Block(text, "heading", 1)] if text else []
        blocks: list[Block] = []
        counts: dict[int, int] = {}
        for line, text in lines:
            settings = line.find(f"{A}pPr")
            level = integer(settings.get("lvl"), most=8) if settings is not None else 0
            numbered = settings.find(f"{A}buAutoNum") if settings is not None else None
            bullet = settings is not None and settings.find(f"{A}buChar") is not None
            plain = settings is not None and settings.find(f"{A}buNone") is not None
            counts = {depth: count for depth, count in counts.items() if depth <= level}
            if numbered is not None:
                begin = integer(numbered.get("startAt"), 1)
                counts[level] = counts.get(level, begin - 1) + 1
                blocks.append(Block(text, "item", level, f"{counts[level]}."))
                continue
            counts.pop(level, None)
            if bullet or (purpose in _LISTED and len(lines) > 1 and not plain):
                blocks.append(Block(text, "item", level))
            else:
                blocks.append(Block(text))
        return blocks

    def _text(self, element: Element) -> str:
        parts: list[str] = []
        for child in element:
            if child.tag == f"{A}t":
                parts.append(child.text or "")
            elif child.tag == f"{A}br":
                parts.append("\n")
            elif child.tag == f"{A}tab":
                parts.append("\t")
            elif child.tag.startswith(MATH):
                parts.append(drawing.formula(child))
            elif child.tag == ALTERNATIVES:
                parts.append(self._text(drawing.alternative(child)))
            elif child.tag in (f"{A}r", f"{A}fld", _MATH_IN_TEXT):
                parts.append(self._text(child))
        return "".join(parts).replace("\v", "\n").replace("\xad", "")

    def _notes(self) -> Iterator[Block]:
        for root in self._related("notesSlide"):
            for shape in root.iter(f"{P}sp"):
                if _placeholder(shape)[0] == "body":
                    bodies = shape.iter(f"{P}txBody")
                    lines = [block.text for body in bodies for block in self._body(body)]
                    yield Block(f"Notes: {chr(10).join(lines)}" if lines else "")

    def _comments(self, authors: dict[str, str]) -> Iterator[Block]:
        """Yield the comments on a slide, those of old and of present versions of the program."""
        for root in self._related("comments"):
            for comment in root.iter():
                name = comment.tag.rpartition("}")[2]
                if name in ("cm", "reply"):
                    author = authors.get(comment.get("authorId", ""), "")
                    text = " ".join(comment.findtext(f"{P}text", "").split())
                    for child in comment:
                        if child.tag.endswith("}txBody"):
                            text = in_one_line(self._body(child))
                    if text:
                        yield Block(f"Comment{f' by {author}' if author else ''}: {text}")

    def _authors(self) -> dict[str, str]:
        roots = [*self._related("commentAuthors"), *self._related("authors")]
        return {
            author.get("id", ""): one_line(author.get("name", ""))
            for root in roots
            for author in root
        }

    def _related(self, kind: str) -> Iterator[Element]:
        for relation in self._relations.values():
            if relation.kind == kind and relation.target in self._package:
                try:
                    yield self._package.tree(relation.target)
                except Refused as error:
                    self._draft.remarks.append(f"a part of it is left out, {kind}: it {error}")

    def _inherited(self, purpose: str, index: str) -> tuple[int, int]:
        """Return the place that a slide's layout gives a placeholder; the top if it gives none."""
        layouts = (item.target for item in self._relations.values() if item.kind == "slideLayout")
        layout = next(layouts, "")
        if layout not in self._places:
            try:
                self._places[layout] = dict(self._layout(layout))
            except Refused:
                self._places[layout] = {}  # the text is there all the same
        places = self._places[layout]
        return places.get(("", index)) or places.get((purpose, "")) or (0, 0)

    def _layout(self, layout: str) -> Iterator[tuple[tuple[str, str], tuple[int, int]]]:
        """Yield the places of a layout's placeholders, by their purpose and by their index."""
        related = self._package.relations(layout).values()
        masters = (item.target for item in related if item.kind == "slideMaster")
        for part in (*masters, layout):
            for shape in self._package.tree(part).iter(f"{P}sp"):
                purpose, index = _placeholder(shape)
                if (offset := _offset(shape)) and purpose != _NONE:
                    yield (purpose, ""), offset
                    if part == layout:
                        yield ("", index), offset


def _placeholder(shape: Element) -> tuple[str, str]:
    """Return what a shape is the place for ("body"; `_NONE` if for nothing), and its index."""
    found = shape.find(f"./*/{P}nvPr/{P}ph")
    return (_NONE, "") if found is None else (found.get("type", ""), found.get("idx", ""))


def _offset(shape: Element) -> tuple[int, int] | None:
    """Return a shape's own place: how far down and how far to the right."""
    for path in (f"{P}spPr/{A}xfrm", f"{P}grpSpPr/{A}xfrm", f"{P}xfrm"):
        offset = shape.find(f"{path}/{A}off")
        if offset is not None:
            return integer(offset.get("y"), most=10**9), integer(offset.get("x"), most=10**9)
    return None


def _in_order(shapes: list[_Shape]) -> list[_Shape]:
    """Sort shapes as they are read: the title, then row by row; footers last."""

    def order(shape: _Shape) -> int:
        return 0 if shape.purpose in _TITLES else 2 if shape.purpose in _REPEATED else 1

    ordered: list[_Shape] = []
    row: list[_Shape] = []
    for shape in sorted(shapes, key=lambda shape: (order(shape), shape.top)):
        if row and (order(shape) > order(row[0]) or shape.top - row[0].top > _ROW):
            ordered += sorted(row, key=lambda shape: shape.left)
            row = []
        row.append(shape)
    return ordered + sorted(row, key=lambda shape: shape.left)
