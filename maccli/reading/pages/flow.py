"""The lines of all pages to paragraphs, lists and headings.

A line is joined to the one before it unless the space between them, their sizes, or the room left
at the end of the first say that something new begins.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from maccli.reading.draft import Draft, one_line
from maccli.reading.pages.layout import SIGN, SOFT, Grid, Line, ended

Blocks = list[Line | Grid]
"""What stands on one page."""

_NUMBER = re.compile(r"\d+")
_COMPOUND = re.compile(r"(?<![\w-])[^\W\d_]+(?:-[^\W\d_]+)?(?![\w\u00ad-])")
_WORD_END = re.compile(rf"([^\W\d_]+)[-{SOFT}]\Z")
_WORD = re.compile(r"[^\W\d_]+")
_HANGING = {"and", "or", "to", "und", "oder", "bis", "et", "ou", "y", "o", "e", "of", "en"}
_INNER = {"in", "to", "of", "the", "and", "up", "by", "de", "la"}  # mother-in-law
_PAGE = {"page", "p", "pg", "seite", "s", "página", "pagina", "side", "sida", "strona", "str"}
_DOTS = re.compile(r"(?:\s?\.){5,}")
_LARGER = 1.15  # a heading's size, in sizes of the text
_LONGEST = 150  # characters of a heading


def without_running_lines(pages: list[Blocks]) -> list[Blocks]:
    """Keep only the first of the lines that stand at the top or bottom of most pages.

    A page's number may be part of them: it must count up with the pages.
    """
    edges = [_edges(blocks) for blocks in pages]
    counts = Counter(
        key
        for index, sides in enumerate(edges)
        for key in {key for side in sides for line in side for key in _keys(line.text, index)}
    )
    running = {key for key, count in counts.items() if count >= max(3, 0.4 * len(pages))}
    seen: set[str] = set()
    kept: list[Blocks] = []
    for index, (blocks, sides) in enumerate(zip(pages, edges, strict=True)):
        dropped, found = set(), set[str]()
        for side in sides:
            for line in side:
                keys = running & _keys(line.text, index)
                if not keys:
                    break  # what stands further inside is text
                line.row = True  # no heading, and no part of a paragraph
                if keys & seen:
                    dropped.add(id(line))
                found |= keys
        seen |= found
        kept.append([block for block in blocks if id(block) not in dropped])
    return kept


def _edges(blocks: Blocks) -> tuple[list[Line], list[Line]]:
    """Return the topmost and the lowest lines of a page, from the outside."""
    lines = [block for block in blocks if isinstance(block, Line) and block.turn == 0]
    lines.sort(key=lambda line: -line.base)
    return lines[:2], lines[:-3:-1]


def _keys(text: str, index: int) -> set[str]:
    """Return a line as it is, and with each number as its distance from the page's.

    "Day 2" is more than a page's number; "Page 2" is not.
    """
    text = one_line(text)
    numbers = [match for match in _NUMBER.finditer(text) if len(match[0]) < 6][:4]
    words = _WORD.findall(text.lower())
    if len(words) == 1 and words[0] not in _PAGE:
        numbers = []
    return {text} | {
        f"{text[: match.start()]}\0{int(match[0]) - index}\0{text[match.end() :]}"
        for match in numbers
    }


class Flow:
    """What is known of the whole document before its lines are joined.

    Args:
        pages: see `Blocks`.
        outline: for each page, its bookmarks' titles and their levels from 1.
    """

    def __init__(self, pages: Sequence[Blocks], outline: Mapping[int, Mapping[str, int]]) -> None:
        self._outline = outline
        self.first_heading: str | None = None
        lines = [block for blocks in pages for block in blocks if isinstance(block, Line)]
        sizes: Counter[float] = Counter()
        for line in lines:
            sizes[_half(line.size)] += len(line.text)
        self._body = sizes.most_common(1)[0][0] if sizes else 1.0
        steps = Counter(
            round((a.base - b.base) / a.size, 1) for a, b in pairwise(lines) if _same_size(a, b)
        )
        usual = [(-count, step) for step, count in steps.items() if 0.9 <= step <= 2.5]
        self._leading = min(usual)[1] if usual else 1.3
        larger = sorted({_half(a.size) for a in lines if self._is_larger(a)}, reverse=True)
        self._levels: dict[float, int] = {}
        for size, before in zip(larger, [0.0, *larger], strict=False):
            level = self._levels.get(before, 0)
            self._levels[size] = level if before and size > 0.93 * before else min(level + 1, 4)
        self._known: set[str] = set()  # the words of the document, with hyphens and without
        for line in lines:
            self._known.update(_COMPOUND.findall(line.text.lower()))

    def write(self, draft: Draft, blocks: Blocks, page: int) -> None:
        """Add a page to a draft.

        Args:
            draft: the document.
            blocks: see `Blocks`.
            page: its index.
        """
        marked = self._outline.get(page, {})
        edges = _right_edges(blocks)
        for block in self._grouped(blocks, marked):
            if isinstance(block, Grid):
                rows = [[self._joined(cell) for cell in row] for row in block.rows]
                draft.table(rows, header=block.header)
            else:
                self._write_lines(draft, block, marked, edges)

    def _grouped(self, blocks: Blocks, marked: Mapping[str, int]) -> Iterable[list[Line] | Grid]:
        """Yield lines that belong to one paragraph or list together."""
        group: list[Line] = []
        for block in blocks:
            if isinstance(block, Grid):
                yield from filter(None, [group])
                yield block
                group = []
            elif group and self._goes_on(group, block, marked):
                group.append(block)
            else:
                yield from filter(None, [group])
                group = [block]
        yield from filter(None, [group])

    def _goes_on(self, group: list[Line], line: Line, marked: Mapping[str, int]) -> bool:
        before = group[-1]
        if title_key(line.text) in marked or title_key(before.text) in marked:
            return title_key(f"{before.text} {line.text}") in marked
        step = before.base - line.base
        if line.turn != before.turn or step < 0.3 * line.size:  # another column
            return not ended(before.text) and not line.row and line.text[:1].islower()
        if line.row and before.row:
            return step < 2.5 * line.size
        if not _same_size(before, line):
            return False
        usual = min((a.base - b.base for a, b in pairwise(group[-8:])), default=0)
        usual = usual if usual > 0 else self._leading * line.size
        if step > 1.3 * usual:
            return step < 3 * usual and not ended(before.text) and line.text[:1].islower()
        indent = line.left - min(a.left for a in group[-8:])
        is_indented = 0.8 * line.size < indent < 5 * line.size
        return not (is_indented and ended(before.text) and not SIGN.match(group[-1].text))

    def _write_lines(
        self, draft: Draft, group: list[Line], marked: Mapping[str, int], edges: dict[int, float]
    ) -> None:
        whole = self._joined([line.text for line in group])
        if level := marked.get(title_key(whole)) or self._level(group, whole):
            draft.heading(whole, level)
            self.first_heading = self.first_heading or whole
            return
        pieces: list[tuple[Line, list[str]]] = []  # where each begins, and its lines
        before = None
        for column in _in_columns(group):
            left = min(line.left for line in column)
            edge = max(edges[_column(column[0])], max(line.right for line in column))
            for line in column:
                if before and self._same_piece(pieces[-1][0], before, line, edge, left):
                    pieces[-1][1].append(line.text)
                else:
                    pieces.append((line, [line.text]))
                before = line
        self._write_pieces(draft, [(line, self._joined(text)) for line, text in pieces])

    def _write_pieces(self, draft: Draft, pieces: list[tuple[Line, str]]) -> None:
        """Add items as such, and what stands between them as paragraphs."""
        lefts: list[float] = []
        text: list[str] = []
        for line, words in pieces:
            sign = SIGN.match(words)
            if not sign or sign.end() == len(words) or line.row:
                text.append(words)
                continue
            draft.paragraph("\n".join(text))
            text = []
            while lefts and lefts[-1] > line.left + 0.3 * line.size:
                lefts.pop()
            if not lefts or lefts[-1] < line.left - 0.3 * line.size:
                lefts.append(line.left)
            mark = sign[1] if sign[1][-1] in ".)" else "-"
            draft.item(words[sign.end() :], len(lefts) - 1, mark)
        draft.paragraph("\n".join(text))

    def _same_piece(self, start: Line, before: Line, line: Line, edge: float, left: float) -> bool:
        """Return whether a line goes on with the sentence or item of the one before it."""
        if before.row or line.row:
            return False
        room = edge - before.right - 0.25 * line.size - line.first
        is_small = line.text[:1].islower()
        sign = SIGN.match(line.text)
        if _DOTS.search(before.text):  # a table of contents
            return False
        if sign and (room > 0 or sign[1][-1] not in ".)"):
            return False
        if SIGN.match(start.text) and line.left > start.left + 0.5 * line.size:
            return True
        is_short = len(before.text.split()) < 3
        if is_small and not ended(before.text):
            return not (is_short and room > 0.6 * (edge - left))
        is_divided = before.text.endswith(("-", SOFT)) or _is_wide(before.text[-1:])
        if is_short and not is_divided:
            return False
        if room <= 0:
            return True
        return not (
            before.bold != line.bold
            or ended(before.text)
            or line.text[:1].isdigit()
            or room > 0.15 * (edge - left)
        )

    def _joined(self, lines: Sequence[str]) -> str:
        """Join lines to one; words that were divided at the end of a line are whole again."""
        parts = [*lines[:1]]
        for line in lines[1:]:
            text = parts[-1]
            divided, after = _WORD_END.search(text), _WORD.match(line)
            if text.endswith(("-", SOFT)) and text[-2:-1].isalnum() and line[:1].isalnum():
                hyphen = self._hyphen(divided and divided[1], after and after[0])
                if divided and text[: divided.start()].endswith("-") and divided[1] in _INNER:
                    hyphen = "-"
                parts[-1] = text[:-1] + hyphen
            elif not (_is_wide(text[-1:]) and _is_wide(line[:1])):
                parts.append(" ")
            parts.append(line)
        return _DOTS.sub(" ...", "".join(parts).replace(SOFT, "-"))

    def _hyphen(self, before: str | None, after: str | None) -> str:
        """Return what the hyphen between two parts of a word becomes when they are joined."""
        if not before or not after:
            return "-"  # 1939-45
        if after in _HANGING:
            return "- "  # pre- and postwar
        whole = f"{before}{after}".lower()
        if whole in self._known:
            return ""
        if f"{before}-{after}".lower() in self._known or not after[0].islower():
            return "-"
        return ""

    def _is_larger(self, line: Line) -> bool:
        return line.size >= _LARGER * self._body

    def _level(self, group: list[Line], text: str) -> int | None:
        """Return a heading's level; None if lines are none for sure."""
        letters = sum(character.isalpha() for character in text)
        is_plain = all(line.turn == 0 and not line.row for line in group)
        if not is_plain or not all(map(self._is_larger, group)) or len(group) > 3:
            return None
        if letters < 3 or len(text) > _LONGEST or " ... " in text:
            return None
        if any(line.text.endswith((".", ";")) for line in group) or text.endswith(","):
            return None
        return self._levels.get(_half(group[0].size))


def title_key(text: str) -> str:
    """Return a title's letters and digits alone, to compare it with a bookmark."""
    return "".join(filter(str.isalnum, text.casefold())) or text


def _is_wide(character: str) -> bool:
    """Return whether a character belongs to a script that is written without spaces."""
    return "\u2e80" <= character <= "\u9fff" or "\uff00" <= character <= "\uffef"


def _half(size: float) -> float:
    return round(2 * size) / 2


def _same_size(a: Line, b: Line) -> bool:
    return abs(a.size - b.size) <= 0.1 * max(a.size, b.size)


def _column(line: Line) -> int:
    return round(line.left / (3 * line.size))


def _in_columns(group: Sequence[Line]) -> list[list[Line]]:
    """Divide a paragraph where it goes on at the top of another column."""
    columns = [[*group[:1]]]
    for before, line in pairwise(group):
        if line.base > before.base:
            columns.append([])
        columns[-1].append(line)
    return columns


def _right_edges(blocks: Blocks) -> dict[int, float]:
    """Return how far to the right most lines go that begin at the same place."""
    ends: dict[int, list[float]] = {}
    for line in blocks:
        if isinstance(line, Line):
            ends.setdefault(_column(line), []).append(line.right)
    return {column: sorted(rights)[len(rights) * 3 // 4] for column, rights in ends.items()}
