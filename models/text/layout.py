"""What a text is made of besides sentences: code, rows of tables, lists with what introduces them.

Everything here is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from models.text.sentences import HEADING, ITEM

Kind = Literal["text", "code", "row"]

_FENCE = re.compile(r"[ \t]{0,12}+(?P<fence>`{3,}+|~{3,}+)(?P<info>[^`\n]*+)\Z")
_NAMED = re.compile(r"[^\s:;|#][^:;\n]{0,59}:[ \t]+\S")  # Name: Ida
_NEXT_NAMED = re.compile(r";[ \t]+[^\s:;][^:;\n]{0,59}:[ \t]")  # ...; Town: Dorvik
_TABBED = re.compile(r"\S *\t *\S")
_NUMBER = re.compile(r"[(]?(\w*)")
_LONG, _SHORT = 160, 80
"""The most characters of a line that introduces a list, and of an item that does."""


def blocks(text: str) -> Iterator[tuple[int, int, Kind]]:
    """Yield the parts of a text in order, (start, end, kind); together they are all of its lines.

    A part of kind "code" is a whole block between fences, one of kind "row" a line of a table, or
    of lines like "Date: 3 May" that follow one another; all else is "text".
    """
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    closing = _closing_fences(lines)
    likeness = [_likeness(line) for line in lines]
    first = i = 0  # the first line that was not yielded, and the present one
    while i < len(lines):
        after, kind = i + 1, "text"
        if i in closing:
            after, kind = closing[i] + 1, "code"
        elif likeness[i] == 2 or (
            likeness[i] and (any(likeness[max(0, i - 1) : i]) or any(likeness[i + 1 : i + 2]))
        ):
            kind = "row"
        if kind != "text":
            if first < i:
                yield starts[first], starts[i], "text"
            yield starts[i], starts[after] - 1, "code" if kind == "code" else "row"
            first = after
        i = after
    if first < len(lines):
        yield starts[first], len(text), "text"


def _closing_fences(lines: Sequence[str]) -> dict[int, int]:
    """Return for the first line of each block of code its last one; what is not closed is none."""
    fences = [(i, match) for i, line in enumerate(lines) if (match := _FENCE.match(line.rstrip()))]
    closing: dict[int, int] = {}
    nearest: dict[tuple[str, int], int] = {}  # the next line that closes so long a fence
    for i, match in reversed(fences):
        sign, length = match["fence"][0], min(len(match["fence"]), 9)
        # A line of tildes under a line of text is a heading's in reStructuredText.
        opens = sign == "`" or i == 0 or not lines[i - 1].strip()
        if opens and (sign, length) in nearest:
            closing[i] = nearest[sign, length]
        if not match["info"].strip():
            nearest |= {(sign, shorter): i for shorter in range(3, length + 1)}
    blocks: dict[int, int] = {}
    end = -1
    for i, _ in fences:
        if i > end and i in closing:
            blocks[i] = end = closing[i]
    return blocks


def _likeness(line: str) -> int:
    """Return how much a line looks like a row: 2 surely, 1 if there are others beside it."""
    line = line.strip()
    if not line or ITEM.match(line):
        return 0
    if line[0] == "|" and line.endswith("|"):
        return 2
    if named := _NAMED.match(line):
        return 2 if _NEXT_NAMED.search(line, named.end() - 1) else 1
    return int(line.count("; ") > 1 or _TABBED.search(line) is not None)


@dataclass(slots=True)
class _List:
    """A list inside others: how far it is indented, what introduces it, and its present item."""

    indent: int
    intro: str
    item: str = ""


class Lists:
    """Follows the lists of a text, unit by unit.

    Attributes:
        begins: whether the present unit is the first of a list that the one before introduces.
    """

    def __init__(self) -> None:
        self.begins = False
        self._lists: list[_List] = []
        self._open = False  # else a paragraph has followed, and the list may still go on
        self._before = ""

    def follow(self, gap: str, unit: str, kind: Kind) -> str:
        """Return what introduces the list that a unit is in; "" if it is in none.

        Inside other lists that is the outermost introduction and the items above, if they are
        short, two of them at most: "The fees are > Boats:".

        Args:
            gap: the space before the unit; at the text's begin it starts with a line break.
            unit: a sentence, a row, a block of code, or a part of one.
            kind: which of them.
        """
        before, self._before = self._before, ""
        self.begins = False
        if kind == "text" and HEADING.match(unit):
            self._lists.clear()
            self._open = False
            return ""
        lines = gap.count("\n")
        indent = len(gap.rpartition("\n")[2].expandtabs(4))
        item = ITEM.match(unit) if kind == "text" and lines else None
        if item is None and lines > 1 and self._lists and indent <= self._lists[0].indent:
            self._open = False
        if item is None and kind != "row":
            if kind == "text":
                self._before = unit
            return self._lead() if self._open else ""
        if not self._open:
            introduced = before.endswith((":", "\N{FULLWIDTH COLON}")) or (item and lines == 1)
            intro = _line(before) if introduced else ""
            number = _NUMBER.match(unit)
            first = item is None or not number or number[1] in ("", "0", "1", "a", "A", "i")
            if intro or first:
                self._lists = [_List(indent, intro)]
                self.begins = bool(intro)
            self._open = True
        self._nest(indent)
        if item is not None:
            line = unit[item.end() :].partition("\n")[0].strip()
            self._lists[-1].item = line if len(line) <= _SHORT else ""
        return self._lead()

    def _nest(self, indent: int) -> None:
        while len(self._lists) > 1 and self._lists[-1].indent > indent:
            self._lists.pop()
        if not self._lists or indent < self._lists[0].indent:
            self._lists = [_List(indent, self._lists[0].intro if self._lists else "")]
        elif indent > self._lists[-1].indent + 1:
            self._lists.append(_List(indent, self._lists[-1].item))

    def _lead(self) -> str:
        parts = [each.intro for each in (*self._lists[:1], *self._lists[1:][-2:]) if each.intro]
        if len(parts) < 2:
            return "".join(parts)
        return " > ".join(part.rstrip(" :") for part in parts) + ":"


def _line(text: str) -> str:
    """Return a unit on one line; of a long one the end, where it introduces what follows."""
    end = "\n".join(text.rsplit("\n", 3)[-3:])
    if len(end) > _LONG:
        end = end[-_LONG:].partition(" ")[2] or end[-_LONG:]
    return " ".join(end.split())
