"""The styles and numbered lists of a Word document: what is a heading, what an item."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree.ElementTree import Element

from maccli.reading.parts.package import integer

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_VAL = f"{W}val"
_LEVELS = 9
_MAX_CHAIN = 30
_HEADING = re.compile(
    # The names of the style in the languages of Word; its id is made of the name's letters.
    r"(heading|berschrift|überschrift|titre|ttulo|título|titolo|kop|rubrik|overskrift|otsikko"
    r"|nagwek|nagłówek|nadpis|cmsor|címsor|заголовок|titlu|ba\u015fl\u0131k"
    r"|标题|見出し|제목) ?([1-9])",
    re.IGNORECASE,
)
_TITLES = ("title", "titel", "titre", "titolo", "título", "ttulo")
_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l")),
    *((40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)


class Level(NamedTuple):
    """How one level of a list is numbered."""

    start: int
    format: str
    pattern: str


class Styles:
    """The paragraph styles of a document."""

    def __init__(self, root: Element | None) -> None:
        """Read word/styles.xml; None if there is none."""
        found = root.iter(f"{W}style") if root is not None else ()
        self._styles = {style.get(f"{W}styleId", ""): style for style in found}

    def heading(self, style: str, own: Element | None) -> int | None:
        """Return the level of a heading, 0 for the document's title; None if it is text.

        Args:
            style: the id of the paragraph's style.
            own: the paragraph's own properties.
        """
        for properties, name in self._chain(style, own):
            if (named := heading_level(name)) is not None:
                return named
            outline = value(properties, "outlineLvl")
            if outline:
                level = integer(outline, _LEVELS)
                return level + 1 if level < _LEVELS else None
        return None

    def numbered(self, style: str, own: Element | None) -> tuple[str, int] | None:
        """Return the list that a paragraph is an item of, and the item's level; None if none."""
        level = ""
        for properties, _ in self._chain(style, own):
            settings = properties.find(f"{W}numPr") if properties is not None else None
            if settings is None:
                continue
            level = level or value(settings, "ilvl")
            if number := value(settings, "numId"):
                depth = integer(level, 0, most=_LEVELS - 1)
                return (number, depth) if number != "0" else None
        return None

    def list_of(self, style: str) -> str:
        """Return the list that a style of lists stands for; "" if none."""
        return (self.numbered(style, None) or ("", 0))[0]

    def _chain(self, style: str, own: Element | None) -> Iterator[tuple[Element | None, str]]:
        """Yield a paragraph's properties, its style's, and those of the styles this is based on."""
        yield own, ""
        for _ in range(_MAX_CHAIN):  # styles can be based on each other in a circle
            found = self._styles.get(style)
            if found is None:
                if style:
                    yield None, style
                return
            yield found.find(f"{W}pPr"), value(found, "name")
            style = value(found, "basedOn")


class Numbering:
    """The numbered lists of a document, and how far each is counted."""

    def __init__(self, root: Element | None, styles: Styles) -> None:
        """Read word/numbering.xml; None if there is none."""
        self._styles = styles
        self._kinds: dict[str, Element] = {}
        self._lists: dict[str, Element] = {}
        self._levels: dict[str, tuple[str, list[Level]]] = {}
        self._counts: dict[str, list[int]] = {}
        self._begun: set[str] = set()
        if root is not None:
            kinds = root.iter(f"{W}abstractNum")
            self._kinds = {kind.get(f"{W}abstractNumId", ""): kind for kind in kinds}
            self._lists = {item.get(f"{W}numId", ""): item for item in root.iter(f"{W}num")}

    def sign(self, number: str, depth: int) -> str:
        """Count one more item of a list and return its number; "-" if it has a bullet, "" if none.

        Args:
            number: of the list.
            depth: the item's level.
        """
        if number not in self._levels:
            self._levels[number] = self._read(number)
        kind, levels = self._levels[number]
        counts = self._counts.setdefault(kind, [level.start - 1 for level in levels])
        if number not in self._begun:
            self._begun.add(number)
            for restart in self._lists[number].iter(f"{W}lvlOverride") if kind else ():
                at, begin = integer(restart.get(f"{W}ilvl"), 9), value(restart, "startOverride")
                if begin and at < _LEVELS:
                    counts[at] = integer(begin, 1) - 1
        counts[depth] += 1
        for deeper in range(depth + 1, _LEVELS):
            counts[deeper] = levels[deeper].start - 1
        level = levels[depth]
        if level.format == "bullet":
            return "-"

        def count(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            # A level above that was passed over counts as begun.
            return in_format(max(counts[at], levels[at].start), levels[at].format)

        return re.sub(r"%([1-9])", count, level.pattern).strip()

    def _read(self, number: str) -> tuple[str, list[Level]]:
        """Return the kind of a list, whose count it shares, and its levels."""
        levels = [Level(1, "bullet", "")] * _LEVELS
        item = self._lists.get(number)
        kind = value(item, "abstractNumId")
        link = value(self._kinds.get(kind), "numStyleLink")
        if link and (other := self._lists.get(self._styles.list_of(link))) is not None:
            kind = value(other, "abstractNumId")
        for source in (self._kinds.get(kind), item):
            for level in source.iter(f"{W}lvl") if source is not None else ():
                at = integer(level.get(f"{W}ilvl"), _LEVELS)
                if at < _LEVELS:
                    levels[at] = Level(
                        integer(value(level, "start"), 1),
                        value(level, "numFmt") or "decimal",
                        value(level, "lvlText"),
                    )
        return kind if item is not None else "", levels


def heading_level(style: str) -> int | None:
    """Return the level of the headings of a style, 0 for the document's title; None for text."""
    found = _HEADING.fullmatch(style.strip())
    return int(found[2]) if found else 0 if style.strip().lower() in _TITLES else None


def value(element: Element | None, tag: str) -> str:
    """Return the value of a child element; "" if there is none."""
    found = element.find(W + tag) if element is not None else None
    return "" if found is None else found.get(_VAL, "")


def is_on(element: Element | None, tag: str) -> bool:
    """Return whether a property is set."""
    found = element.find(W + tag) if element is not None else None
    return found is not None and found.get(_VAL, "1") not in ("0", "false", "off")


def in_format(count: int, kind: str) -> str:
    """Return a number in one of Word's formats; the rarer ones become plain."""
    if kind in ("lowerLetter", "upperLetter") and count > 0:
        text = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 % 10 + 1)
    elif kind in ("lowerRoman", "upperRoman"):
        text, rest = "", count % 5000
        for size, letters in _ROMAN:
            text += letters * (rest // size)
            rest %= size
    elif kind == "none":
        text = ""
    else:
        text = f"{count:02}" if kind == "decimalZero" else str(count)
    return text.upper() if kind.startswith("upper") else text
