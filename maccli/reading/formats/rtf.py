"""Rich Text Format (.rtf) to text.

The libraries for it leave out notes, headers and text boxes, show what is hidden or deleted, and
fail on Chinese and Japanese; the format is a stream of words, which is read here in one pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from maccli.reading.draft import Draft
from maccli.reading.encodings import Refused
from maccli.reading.parts import control_words
from maccli.reading.parts.blocks import (
    Block,
    checked,
    first_heading,
    in_one_line,
    write,
    write_edges,
)
from maccli.reading.parts.drawing import symbol
from maccli.reading.parts.numbering import heading_level
from maccli.reading.parts.package import usable_title
from maccli.reading.parts.story import Merged, Story

_Closing = Callable[["_Reader", Story], None]


@dataclass(slots=True)
class _State:
    """What holds until the end of a group."""

    story: Story
    skipped: bool = False
    hidden: bool = False
    font: int = 0
    after_unicode: int = 1  # characters that stand in for one that old programs do not know
    style: int = 0
    outline: int | None = None
    depth: int = 0
    in_table: bool = False
    names: str = ""  # the kind of things that the text here gives names to
    closing: _Closing | None = None  # what becomes of the story that ends here


def read(data: bytes, name: str) -> Draft:
    """Return a document's text.

    Args:
        data: the file.
        name: of the file.

    Raises:
        Refused: it is no such document.
        Empty: it has no text.
    """
    begin = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n\0")
    if not begin.startswith(b"{\\rtf"):
        raise Refused("is no RTF document, whatever its name says")
    reader = _Reader()
    reader.read(data)
    draft = Draft()
    write_edges(draft, reader.headers)
    write(draft, reader.main.blocks)
    write_edges(draft, reader.footers)
    for number, note in enumerate(reader.notes, start=1):
        draft.paragraph(f"Note {number}: {note}")
    draft.title = usable_title(reader.title) or first_heading(draft)
    return checked(draft, pictures=b"\\pict" in data)


class _Reader:
    """Reads word by word."""

    def __init__(self) -> None:
        self.main = Story()
        self.headers: dict[str, None] = {}
        self.footers: dict[str, None] = {}
        self.notes: list[str] = []
        self.title = ""
        self._author = ""  # of the next comment
        self._font = 0  # that of text for which none is named
        self._encoding = "cp1252"
        self._fonts: dict[int, tuple[str, str]] = {}  # the encoding and name of each
        self._styles: dict[int, str] = {}
        self._merged: list[Merged] = []  # of a row's cells, which are defined before it
        self._merge: Merged = None
        self._bytes = bytearray()  # of text, not decoded yet
        self._omitted = 0  # characters to pass over
        self._state = _State(self.main)
        self._stack: list[_State] = []

    def read(self, data: bytes) -> None:
        """Read the file."""
        position, starred = 0, False
        while match := control_words.TOKEN.match(data, position):
            position = match.end()
            word, argument, hexes, sign, brace, text = match.groups()
            if text or hexes:
                self._take(text or bytes.fromhex(hexes.decode()))
                continue
            self._decode()
            if brace:
                self._omitted, starred = 0, False
                if brace == b"{":
                    self._stack.append(self._state)
                    self._state = replace(self._state, closing=None)
                elif self._stack:
                    self._close()
                    if not self._stack:
                        break  # what follows is no part of the document
            elif sign:
                starred = sign == b"*"
                self._sign(sign.decode("latin-1"))
            elif word:
                name, number = word.decode(), int(argument) if argument else None
                if name == "bin":
                    position += max(number or 0, 0)
                elif starred and name not in control_words.KNOWN and name not in _DESTINATIONS:
                    self._state.skipped = True
                else:
                    self._word(name, number)
                starred = False
        self._decode()
        if self._stack:  # the file is cut off
            self._end_paragraph(self._state)
        while self._stack:
            self._close()

    def _close(self) -> None:
        closed, self._state = self._state, self._stack.pop()
        if closed.closing or not self._stack:
            self._end_paragraph(closed)
            closed.story.end_table()
        if closed.closing:
            closed.closing(self, closed.story)

    def _take(self, text: bytes) -> None:
        omitted = min(self._omitted, len(text))
        self._omitted -= omitted
        if not self._state.skipped and not self._state.hidden:
            self._bytes += text[omitted:]

    def _decode(self) -> None:
        if not self._bytes:
            return
        data, self._bytes = bytes(self._bytes), bytearray()
        state = self._state
        encoding, font = self._fonts.get(state.font, ("", ""))
        if state.names:
            name = data.decode(self._encoding, "replace").partition(";")[0].strip()
            if state.names == "stylesheet" and name:
                self._styles[state.style] = name
            elif name:
                self._fonts[state.font] = encoding, name
        elif encoding == "symbol":
            text = "".join(symbol(font, 0xF000 + code) if code > 32 else " " for code in data)
            state.story.text.append(text)
        else:
            state.story.text.append(data.decode(encoding or self._encoding, "replace"))

    def _show(self, text: str) -> None:
        if not self._state.skipped and not self._state.hidden:
            self._state.story.text.append(text)

    def _sign(self, sign: str) -> None:
        if self._omitted and sign in "{}\\~_-":
            self._omitted -= 1
        elif sign in "\r\n":
            self._end_paragraph(self._state)
        else:
            self._show(control_words.CHARACTERS.get(sign, ""))

    def _word(self, name: str, number: int | None) -> None:
        state = self._state
        if name in control_words.SKIPPED:
            state.skipped = True
        elif state.skipped:
            return
        elif name in _DESTINATIONS:
            state.story, state.in_table, state.closing = Story(), False, _DESTINATIONS[name]
        elif name in control_words.CHARACTERS:
            self._show(control_words.CHARACTERS[name])
        elif not self._part(state, name, number or 0):
            self._set(state, name, number or 0, off=number == 0)

    def _part(self, state: _State, name: str, number: int) -> bool:
        """Take a word that is a character, or ends a paragraph or a part of a table."""
        match name:
            case "u":
                self._show(chr(number % 0x10000))
                self._omitted = state.after_unicode
            case "par" | "sect":
                self._end_paragraph(state)
            case "nestcell" | "nestrow":
                self._end_paragraph(state, in_table=True)
            case "cell":
                self._end_paragraph(state, in_table=True)
                state.story.end_cell()
            case "row":
                state.story.end_row(self._merged)
            case "trowd":
                self._merged, self._merge = [], None
            case "clvmgf" | "clvmrg":
                self._merge = "down" if name == "clvmgf" else "up"
            case "cellx":
                self._merged.append(self._merge)
                self._merge = None
            case _:
                return False
        return True

    def _set(self, state: _State, name: str, value: int, off: bool) -> None:
        """Take a word that says what holds from here on."""
        match name:
            case "v" | "deleted":
                state.hidden = not off
            case "plain":
                state.hidden, state.font = False, self._font
            case "pard":
                state.style, state.outline, state.depth, state.in_table = 0, None, 0, False
            case "intbl":
                state.in_table = True
            case "f":
                state.font = value
            case "s":
                state.style = value
            case "uc":
                state.after_unicode = max(value, 0)
            case "outlinelevel":
                state.outline = value
            case "ilvl":
                state.depth = max(value, 0)
            case "fonttbl" | "stylesheet":
                state.names = name
            case "fcharset":
                self._fonts[state.font] = control_words.CHARSETS.get(value, ""), ""
            case "deff":
                self._font = state.font = value
            case "ansicpg":
                self._encoding = control_words.code_page(value)
            case _ if name in control_words.MACHINES:
                self._encoding = control_words.MACHINES[name]

    def _end_paragraph(self, state: _State, *, in_table: bool | None = None) -> None:
        level = heading_level(self._styles.get(state.style, ""))
        if state.outline is not None:
            level = state.outline + 1 if state.outline < 9 else None
        inside = state.in_table if in_table is None else in_table
        state.story.end_paragraph(level, state.depth, in_table=inside)

    def _header(self, story: Story) -> None:
        self.headers[in_one_line(story.blocks)] = None

    def _footer(self, story: Story) -> None:
        self.footers[in_one_line(story.blocks)] = None

    def _note(self, story: Story) -> None:
        self.notes.append(in_one_line(story.blocks))
        self._show(f"[{len(self.notes)}]")

    def _comment(self, story: Story) -> None:
        by = f" by {self._author}" if self._author else ""
        if text := in_one_line(story.blocks):
            self._state.story.aside.append(Block(f"Comment{by}: {text}"))

    def _commenter(self, story: Story) -> None:
        self._author = in_one_line(story.blocks)

    def _titled(self, story: Story) -> None:
        self.title = in_one_line(story.blocks)

    def _labelled(self, story: Story) -> None:
        self._state.story.label = in_one_line(story.blocks)

    def _box(self, story: Story) -> None:
        self._state.story.aside += story.blocks


_DESTINATIONS: dict[str, _Closing] = {
    **dict.fromkeys(("header", "headerl", "headerr", "headerf"), _Reader._header),
    **dict.fromkeys(("footer", "footerl", "footerr", "footerf"), _Reader._footer),
    **dict.fromkeys(("listtext", "pntext"), _Reader._labelled),
    **dict.fromkeys(("shptxt", "dptxbxtext"), _Reader._box),
    "footnote": _Reader._note,
    "annotation": _Reader._comment,
    "atnauthor": _Reader._commenter,
    "title": _Reader._titled,
}
