"""The text of an HTML page, block by block, from tags that a parser has put in order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape

from maccli.reading.formats.embedded import without_data
from maccli.reading.hypertext import tags
from maccli.reading.hypertext.grid import Block, Cell, Grid
from maccli.reading.mails.quoting import QUOTED

_PROSE = 60  # characters outside of links, from which on a menu may be a text
_SPACE = re.compile(r"\s+")
_SPACES = re.compile(r" {2,}")
_LINE_END = re.compile(r" *\n *")
_LINES = re.compile(r"\n{3,}")
_TAG = re.compile(r"<(/?)([^\s>]+)([^>]*)>|[^<]+")
_ATTRIBUTE = re.compile(r'\s(=?[^\s=>/]*)="([^"]*)"')
_NONE: dict[str, str] = {}


@dataclass(slots=True)
class _Menu:
    """An element that is left out, if it turns out to be a menu.

    Attributes:
        tag: its name.
        depth: how many elements are open in it.
        start: how many blocks stand before it.
        links: how many characters stand in links.
        words: how many do not.
    """

    tag: str
    depth: int
    start: int
    links: int = 0
    words: int = 0


class Page:
    """A page while it is read.

    Attributes:
        blocks: its text.
        title: that it gives itself where it is linked to.
        has_data: whether pictures or the like stood in the text and were left out.
    """

    def __init__(self, source: str, *, quotes: bool = False) -> None:
        """Read a page.

        Args:
            source: well-formed, as a parser has written it.
            quotes: see `maccli.reading.formats.html.write`.
        """
        self.blocks: list[Block] = []
        self.title = ""
        self.has_data = False
        self._quotes = quotes
        self._in_quote = False
        self._budget = len(source) + 100_000  # of text that tables may repeat
        self._open: list[str] = []
        self._count: Counter[str] = Counter()  # of the open elements, by name
        self._menus: list[_Menu] = []  # that are open
        self._left_out: list[Block] = []
        self._grids: list[Grid] = []
        # Of the block that is being read:
        self._words: list[str] = []
        self._level = 0  # of a heading
        self._sign: str | None = None  # of a list item
        self._lists: list[tuple[str, int]] = []  # the kind and next number of each list it is in
        self._outside: list[tuple[list[tuple[str, int]], str | None]] = []  # of each cell
        self._term = 0  # how many words the term has whose definition comes next
        self._pre = 0  # how many elements of code it is in
        self._language = ""
        self._options = 0  # of a choice, so far
        self._raised: list[int] = []  # where what stands above the line begins
        self._address = ""  # that the link leads to
        self._read(source)
        self._flush()
        self.blocks = self.blocks or self._left_out

    def _read(self, source: str) -> None:
        hidden = 0  # how many elements were open when one began that is not seen
        for match in _TAG.finditer(source):
            closing, tag, rest = match.groups()
            if tag is None:
                if not hidden:
                    self._text(unescape(match[0]))
            elif not closing:
                attributes = _NONE
                if rest:
                    found = _ATTRIBUTE.findall(rest)
                    attributes = {name: unescape(value) for name, value in found}
                unseen = tags.is_unseen(tag, attributes, in_picture=self._count["svg"] > 0)
                if tag not in tags.VOID:
                    self._open.append(tag)
                    self._count[tag] += 1
                    if unseen and not hidden:
                        hidden = len(self._open)
                if not hidden and not unseen:
                    self._start(tag, attributes)
            elif self._open and self._open[-1] == tag:
                if not hidden:
                    self._end(tag)
                self._open.pop()
                self._count[tag] -= 1
                if len(self._open) < hidden:
                    hidden = 0

    def _text(self, text: str) -> None:
        text = text.replace("\xad", "")
        if self._pre:
            self._words.append(text.replace("\xa0", " "))
            return
        self._words.append(_SPACE.sub(" ", text))
        size = len(text.strip())
        if self._menus and (self._count["a"] or self._count["button"]):
            self._menus[-1].links += size
        elif self._menus:
            self._menus[-1].words += size
        if self._grids and size and not (self._count["b"] or self._count["strong"]):
            self._grids[-1].not_bold()

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tags.is_menu(tag, attributes, self._open):
            self._flush()
            self._menus.append(_Menu(tag, len(self._open), len(self.blocks)))
        if tag in tags.BLOCKS:
            # A definition stands on the line of its term.
            defines = self._term == len(self._words) and tag in ("dd", "div", "p")
            if self._pre:
                self._new_line()
            elif not (self._term and defines):
                self._flush()
            if not self._pre or tag in tags.CODE:
                self._block(tag, attributes)
        elif tag in tags.APART or "-" in tag:
            self._words.append(" ")
            self._options = 0
        elif tag in tags.AROUND:
            self._words.append(tags.AROUND[tag][0])
        elif tag == "br":
            self._words.append("\n")
        elif tag == "a":
            self._address = tags.address(attributes.get("href", ""))
        elif tag in ("img", "area"):
            self._words.append(f" {_SPACE.sub(' ', attributes.get('alt', ''))} ")
        elif tag == "input":
            self._input(attributes)
        elif tag == "optgroup":
            self._words.append(f"{'; ' if self._options else ' '}{attributes.get('label', '')}: ")
            self._options = 0
        elif tag == "option":
            self._words.append(", " if self._options else " ")
            self._words.append("[x] " if "selected" in attributes else "")
            self._options += 1
        elif tag == "sup":
            self._raised.append(len(self._words))
        elif tag == "meta" and attributes.get("property") == "og:title":
            self.title = self.title or attributes.get("content", "")
        if self._pre:
            self._language = self._language or tags.language(attributes)
        elif attributes.get("role") == "heading" and tag not in tags.HEADINGS:
            self._flush()
            self._level = min(max(tags.number(attributes.get("aria-level"), 2), 1), 6)

    def _input(self, attributes: Mapping[str, str]) -> None:
        label = ""
        while self._words and not label:
            label = self._words.pop().rstrip(" ")
        between, entry = tags.entry(attributes, label)
        self._words += [label, between, _SPACE.sub(" ", entry)]

    def _block(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in tags.HEADINGS:
            self._level = tags.HEADINGS[tag]
        elif tag in tags.LISTS:
            kind = attributes.get("type", "1") if tag == "ol" else tag
            if "reversed" in attributes and "start" not in attributes:
                kind = "ul"
            self._lists.append((kind, tags.number(attributes.get("start"))))
            self._sign = None
        elif tag == "li":
            kind, number = self._lists.pop() if self._lists else ("ul", 1)
            number = tags.number(attributes.get("value"), number)
            self._sign = tags.sign(kind, number)
            self._lists.append((kind, number + 1))
        elif tag in tags.CODE:
            self._pre += 1
        elif tag == "table":
            for grid in self._grids[-1:]:
                grid.is_layout = True
            is_layout = attributes.get("role") in ("presentation", "none")
            self._grids.append(Grid(len(self.blocks), is_layout))
        elif tag == "tr" and self._grids:
            self._grids[-1].rows.append([])
        elif tag in ("td", "th") and self._grids and self._grids[-1].rows:
            across, down = (tags.number(attributes.get(key)) for key in ("colspan", "rowspan"))
            in_head = self._count["thead"] > 0
            cell = Cell(len(self.blocks), tag == "th", in_head, across, down)
            self._grids[-1].rows[-1].append(cell)
            self._outside.append((self._lists, self._sign))
            self._lists, self._sign = [], None

    def _end(self, tag: str) -> None:
        if self._pre and tag in tags.BLOCKS:
            self._new_line()
            if tag in tags.CODE:
                self._end_of_code()
        elif tag == "dt" and (term := self._joined()):
            self._words, self._term, self._sign = [f"{term.rstrip(':')}: "], 1, "-"
        elif tag in tags.BLOCKS:
            self._flush()
            self._end_of_block(tag)
        elif tag in tags.APART or "-" in tag:
            self._words.append(" ")
        elif tag in tags.AROUND:
            self._words.append(tags.AROUND[tag][1])
        elif tag == "a" and self._address:
            if self._address not in "".join(self._words[-4:]):
                self._words.append(f" ({self._address})")
            self._address = ""
        elif tag in tags.BETWEEN and self._words[-1:] == [tags.BETWEEN[tag]]:
            self._words.pop()
        elif tag == "sup" and self._raised:
            self._end_of_raised(self._raised.pop())
        if len(self._open) > 1 and self._open[-2] in tags.BETWEEN:
            self._words.append(tags.BETWEEN[self._open[-2]])
        if self._menus and self._menus[-1].depth == len(self._open):
            self._end_of_menu(self._menus.pop())

    def _end_of_block(self, tag: str) -> None:
        if tag in tags.HEADINGS:
            self._level = 0
        elif tag in ("li", "dd"):
            self._sign = None
        elif tag in tags.LISTS and self._lists:
            self._lists.pop()
        elif tag in ("td", "th") and self._grids and self._grids[-1].rows and self._outside:
            self._grids[-1].rows[-1][-1].end = len(self.blocks)
            self._lists, self._sign = self._outside.pop()
        elif tag == "table" and self._grids:
            self._budget = self._grids.pop().finish(self.blocks, self._budget)

    def _end_of_code(self) -> None:
        self._pre -= 1
        if not self._pre:
            text = self._without_data("".join(self._words))
            self.blocks.append(Block("code", text, sign=self._language))
            self._words, self._language = [], ""

    def _end_of_raised(self, start: int) -> None:
        """Write 10 to the sixth as 10^6, which is not 106."""
        if len(self._words) <= start + 3:
            digits = "".join(self._words[start:]).strip()
            before = "".join(self._words[max(start - 1, 0) : start])[-1:]
            if re.fullmatch(r"[-\u2212+]?\d+", digits) and (before.isalnum() or before == ")"):
                self._words[start:] = [f"^{digits}"]

    def _end_of_menu(self, menu: _Menu) -> None:
        self._flush()
        # A text in which links are the lesser part is no menu, whatever its tag says.
        least = {"nav": _PROSE, "footer": 0}.get(menu.tag)
        if least is None or menu.words <= max(menu.links, least):
            self._left_out += self.blocks[menu.start :]
            del self.blocks[menu.start :]

    def _new_line(self) -> None:
        if self._words and not self._words[-1].endswith("\n"):
            self._words.append("\n")

    def _joined(self) -> str:
        text = "".join(self._words)
        if "  " in text:
            text = _SPACES.sub(" ", text)
        if "\n" in text:
            text = _LINES.sub("\n\n", _LINE_END.sub("\n", text))
        return self._without_data(text.strip())

    def _without_data(self, text: str) -> str:
        if len(text) < 100:
            return text
        text, found = without_data(text)
        self.has_data = self.has_data or bool(found)
        return text

    def _flush(self) -> None:
        """End a block."""
        text = self._joined()
        self._words, self._term, self._raised = [], 0, []
        if not text:
            return
        if self._quotes and self._count["blockquote"]:
            prefix = "> " * min(self._count["blockquote"], 8)
            text = prefix + (f"{self._sign} " if self._sign else "") + text
            text = text.replace("\n", f"\n{prefix}")
            self.blocks.append(Block("paragraph", text if self._in_quote else f"{QUOTED}\n{text}"))
            self._in_quote, self._level, self._sign = True, 0, None
            return
        self._in_quote = False
        if self._level:
            self.blocks.append(Block("heading", text, self._level))
        elif self._sign is not None:
            self.blocks.append(Block("item", text, max(len(self._lists) - 1, 0), self._sign))
        else:
            self.blocks.append(Block("paragraph", text, len(self._lists)))
        self._level, self._sign = 0, None
