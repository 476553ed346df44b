"""Word documents (.docx, .docm, .dotx) to text.

What a reader of the document sees is kept: also notes, comments, headers and footers, text boxes,
charts and the results of fields; what was deleted while changes were tracked is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal
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
    write_edges,
)
from maccli.reading.parts.drawing import ALTERNATIVES, MATH, A
from maccli.reading.parts.foreign import foreign
from maccli.reading.parts.numbering import Numbering, Styles, W, is_on, value
from maccli.reading.parts.package import Package, integer

_NAME = "Word document"
_MAX_HEADING = 250  # longer ones are text that was only made to look like a heading
_TEXT = frozenset({f"{W}t", f"{A}t"})
_RUN, _RUN_SETTINGS = f"{W}r", f"{W}rPr"
_WP = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_DELETED = frozenset({f"{W}del", f"{W}moveFrom"})
_SETTINGS = frozenset(
    W + tag
    for tag in (
        *("pPr", "rPr", "sdtPr", "sdtEndPr", "tblPr", "tblGrid", "trPr", "tcPr", "sectPr"),
        *("instrText", "delText", "delInstrText", "fldData", "rt", "binData"),
    )
)
_HEX = re.compile("[0-9A-Fa-f]{1,4}")
_CHARACTERS = {W + tag: "\t" for tag in ("tab", "ptab")} | {W + tag: "\n" for tag in ("br", "cr")}
_CHARACTERS[f"{W}noBreakHyphen"] = "-"


def read(data: bytes, name: str) -> Draft:
    """Return a document's text.

    Args:
        data: the file.
        name: of the file.

    Raises:
        Refused: it is encrypted, damaged, a bomb, or no Word document.
        Empty: it has no text.
    """
    package = Package(data, _NAME)
    return filled(package, lambda draft: _Reader(package, draft).read(), "word/media/")


class _Reader:
    """Walks through a document, and keeps what belongs elsewhere: notes, comments, text boxes."""

    def __init__(self, package: Package, draft: Draft) -> None:
        self._package = package
        self._draft = draft
        self._part = package.main("word/document.xml")
        self._relations = package.relations(self._part)
        self._styles = Styles(self._root("styles"))
        self._numbering = Numbering(self._root("numbering"), self._styles)
        self._comments = self._by_id("comments", "comment")
        self._notes = {kind: self._by_id(f"{kind}s", kind) for kind in ("footnote", "endnote")}
        self._numbers: dict[tuple[str, str], int] = {}  # of the notes, as they come in the text
        self._aside: list[Block] = []  # comments and boxes, to stand after their paragraph
        self._fields: list[bool] = []  # of each open field, whether its result has begun
        self._carried = ""  # text of a paragraph whose end was deleted

    def read(self) -> None:
        """Fill the draft."""
        draft = self._draft
        self._edges("header")
        for _, element in self._package.children(self._part, f"{W}body"):
            write(draft, self._block(element))
        write(draft, self._flush())
        self._edges("footer")
        self._write_notes()
        write(draft, [self._comment(id) for id in list(self._comments)])
        draft.title = self._package.title() or first_heading(draft)

    def _roots(self, kind: str) -> Iterator[tuple[str, Element]]:
        """Yield the parts of a kind that can be read: their names and root elements."""
        for relation in list(self._relations.values()):
            if relation.kind == kind and relation.target in self._package:
                try:
                    yield relation.target, self._package.tree(relation.target)
                except Refused as error:
                    self._draft.remarks.append(f"a part of it is left out, its {kind}: it {error}")

    def _root(self, kind: str) -> Element | None:
        return next((root for _, root in self._roots(kind)), None)

    def _by_id(self, kind: str, tag: str) -> dict[str, Element]:
        found = self._root(kind)
        return {item.get(f"{W}id", ""): item for item in found or () if item.tag == W + tag}

    def _edges(self, kind: str) -> None:
        """Write every header or footer once, a line for each."""
        lines = dict[str, None]()
        main = self._relations
        for part, root in self._roots(kind):
            self._relations = self._package.relations(part)
            lines[in_one_line(self._blocks(root))] = None
        self._relations = main
        write_edges(self._draft, lines)

    def _write_notes(self) -> None:
        written = 0
        while written < len(self._numbers):  # a note can refer to another one
            for (kind, id), number in list(self._numbers.items())[written:]:
                text = in_one_line(self._blocks(self._notes[kind].pop(id, ())))
                self._draft.paragraph(f"Note {number}: {text}" if text else "")
                written += 1
        for notes in self._notes.values():
            for note in notes.values():
                text = in_one_line(self._blocks(note))
                self._draft.paragraph(f"Note: {text}" if text else "")

    def _comment(self, id: str) -> Block:
        element = self._comments.pop(id)
        author = one_line(element.get(f"{W}author", ""))
        text = in_one_line(self._blocks(element))
        return Block(f"Comment{f' by {author}' if author else ''}: {text}" if text else "")

    def _blocks(self, element: Iterable[Element]) -> list[Block]:
        """Return the blocks of a cell, a note, a box."""
        carried, self._carried = self._carried, ""
        found = [block for child in element for block in self._block(child)]
        found += self._flush()
        self._carried = carried
        return found

    def _flush(self) -> list[Block]:
        text, self._carried = self._carried, ""
        return [Block(text)] if text else []

    def _block(self, element: Element) -> Iterator[Block]:
        tag = element.tag
        if tag == f"{W}p":
            yield from self._paragraph(element)
        elif tag == f"{W}tbl":
            yield from self._table(element)
        elif tag == f"{W}altChunk":
            relation = self._relations.pop(element.get(f"{drawing.REL}id", ""), None)
            yield Block(foreign(self._package, relation, self._draft.remarks))
        elif tag == ALTERNATIVES:
            yield from self._blocks(drawing.alternative(element))
        elif tag.startswith(MATH):
            yield Block(drawing.formula(element))
        elif tag not in _DELETED and tag not in _SETTINGS:
            for child in element:
                yield from self._block(child)

    def _paragraph(self, element: Element) -> Iterator[Block]:
        outer, self._aside = self._aside, []
        text = self._carried + self._text(element)
        self._fields = [*filter(None, self._fields)]  # an instruction that never ends is damage
        self._carried = ""
        own = element.find(f"{W}pPr")
        style = value(own, "pStyle")
        aside, self._aside = self._aside, outer
        mark = own.find(f"{W}rPr") if own is not None else None
        if mark is not None and any(mark.find(tag) is not None for tag in _DELETED):
            self._carried = text
        elif text.strip():
            level = self._styles.heading(style, own)
            listed = self._styles.numbered(style, own)
            sign = self._numbering.sign(*listed) if listed else ""
            if level is not None and len(text) <= _MAX_HEADING:
                numbered = f"{sign} {text}" if sign not in ("", "-") else text
                yield Block(numbered, "heading", max(level, 1))
            elif listed and sign:
                yield Block(text, "item", listed[1], sign)
            else:
                yield Block(text)
        yield from aside

    def _table(self, element: Element) -> list[Block]:
        rows: list[list[Cell]] = []
        header = None
        for row in _within(element, f"{W}tr"):
            settings = row.find(f"{W}trPr")
            if not rows and is_on(settings, "tblHeader"):
                header = True
            cells = [Cell()] * integer(value(settings, "gridBefore"), most=63)
            for cell in _within(row, f"{W}tc"):
                own = cell.find(f"{W}tcPr")
                merge = own.find(f"{W}vMerge") if own is not None else None
                merged: Literal["down", "up"] | None = None
                if merge is not None:
                    merged = "down" if merge.get(f"{W}val") == "restart" else "up"
                columns = integer(value(own, "gridSpan"), 1, most=63)
                cells.append(Cell(self._blocks(cell), columns, merged))
            rows.append(cells)
        return table(rows, header)

    def _text(self, element: Element) -> str:
        """Return the text of a paragraph or of what stands in one."""
        parts: list[str] = []
        self._collect(element, parts)
        return "".join(parts).replace("\xad", "")

    def _collect(self, element: Element, parts: list[str]) -> None:
        for child in element:
            tag = child.tag
            if tag in _TEXT:
                # The result of a field inside another one's instruction is not shown.
                if len(self._fields) < 2 or all(self._fields[:-1]):
                    parts.append((child.text or "").replace("\n", " "))
            elif tag == _RUN:
                if not is_on(child.find(_RUN_SETTINGS), "vanish"):
                    self._collect(child, parts)
            elif tag in _CHARACTERS:
                parts.append(_CHARACTERS[tag])
            elif tag in _SETTINGS or tag in _DELETED:
                continue
            elif tag.startswith(MATH):
                parts.append(drawing.formula(child))
            elif tag == ALTERNATIVES:
                self._collect(drawing.alternative(child), parts)
            elif (special := _SPECIAL.get(tag)) is not None:
                special(self, child, parts)
            else:
                self._collect(child, parts)

    def _box(self, element: Element, parts: list[str]) -> None:
        self._aside += self._blocks(element)

    def _symbol(self, element: Element, parts: list[str]) -> None:
        font, code = element.get(f"{W}font", ""), element.get(f"{W}char", "")
        parts.append(drawing.symbol(font, int(code, 16)) if _HEX.fullmatch(code) else "")

    def _note_mark(self, element: Element, parts: list[str]) -> None:
        key = (element.tag.removeprefix(W).removesuffix("Reference"), element.get(f"{W}id", ""))
        number = self._numbers.setdefault(key, len(self._numbers) + 1)
        parts.append(f"[{number}]")

    def _comment_mark(self, element: Element, parts: list[str]) -> None:
        if (id := element.get(f"{W}id", "")) in self._comments:
            self._aside.append(self._comment(id))

    def _field(self, element: Element, parts: list[str]) -> None:
        kind = element.get(f"{W}fldCharType")
        if kind == "begin":
            self._fields.append(False)
        elif self._fields and kind == "separate":
            self._fields[-1] = True
        elif self._fields:
            self._fields.pop()
        for box in element.iter(f"{W}checkBox"):
            state = "checked" if box.find(f"{W}checked") is not None else "default"
            parts.append("☒" if is_on(box, state) else "☐")
        for choice in element.iter(f"{W}ddList"):
            entries = [entry.get(f"{W}val", "") for entry in choice.iter(f"{W}listEntry")]
            parts += entries[(at := integer(value(choice, "result"))) : at + 1]

    def _ruby(self, element: Element, parts: list[str]) -> None:
        self._collect(element, parts)
        above = "".join(part.text or "" for part in element.findall(f"{W}rt//{W}t"))
        parts.append(f"({above})" if above else "")

    def _picture(self, element: Element, parts: list[str]) -> None:
        parts.append(drawing.picture(element.get("descr", element.get("alt"))))
        self._collect(element, parts)

    def _word_art(self, element: Element, parts: list[str]) -> None:
        parts.append(element.get("string", ""))

    def _graphic(self, element: Element, parts: list[str]) -> None:
        id = element.get(f"{drawing.REL}id", element.get(f"{drawing.REL}dm"))
        relation = self._relations.get(id or "")
        self._aside += drawing.graphic(self._package, relation, self._draft.remarks)


_VML = "{urn:schemas-microsoft-com:vml}"
_SPECIAL: dict[str, Callable[[_Reader, Element, list[str]], None]] = {
    f"{W}txbxContent": _Reader._box,
    f"{W}sym": _Reader._symbol,
    f"{W}footnoteReference": _Reader._note_mark,
    f"{W}endnoteReference": _Reader._note_mark,
    f"{W}commentReference": _Reader._comment_mark,
    f"{W}fldChar": _Reader._field,
    f"{W}ruby": _Reader._ruby,
    f"{_WP}docPr": _Reader._picture,
    f"{_VML}shape": _Reader._picture,
    f"{_VML}textpath": _Reader._word_art,
    f"{drawing.CHART}chart": _Reader._graphic,
    f"{drawing.DIAGRAM}relIds": _Reader._graphic,
}


def _within(element: Element, tag: str) -> Iterator[Element]:
    """Yield a table's rows or a row's cells, also those inside of content controls."""
    for child in element:
        if child.tag == tag:
            yield child
        elif child.tag not in _SETTINGS and child.tag not in _DELETED:
            yield from _within(child, tag)
