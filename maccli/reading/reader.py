"""One file to text, in this process; see `loaders` for how files are read."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from maccli.reading import encodings
from maccli.reading.draft import Draft, Loaded, one_line
from maccli.reading.encodings import Empty, Refused
from maccli.reading.kinds import (
    ARCHIVE,
    COMPOUND,
    MAIL,
    MAILBOX,
    PDF,
    Kind,
    inside,
    kind_of,
    media_type_of,
)
from store.marks import Mark

MAX_TEXT = 50 * 1024 * 1024
"""A file with more characters of text than that is refused: it was packed to be a burden."""
_DEPTH = 5  # messages in messages


def read(data: bytes, name: str, encoding: str | None = None) -> Loaded:
    """Return the text of a file.

    Args:
        data: the file.
        name: of the file; its suffix says what kind it is if its content does not.
        encoding: of a text file; None finds it out.

    Raises:
        Refused: it cannot be a document.
    """
    draft, kind, used = _read(data, name, encoding, _DEPTH)
    return _loaded(draft, media_type_of(kind, name), used)


def _read(data: bytes, name: str, encoding: str | None, depth: int) -> tuple[Draft, Kind, str]:
    if not data:
        raise Empty("is empty")
    kind = kind_of(data, name)
    if kind in {ARCHIVE, COMPOUND}:
        kind = inside(data, name)
    used, remarks = "binary", list[str]()
    content: bytes | str = data
    if kind.decoded:
        content, used, remarks = encodings.decode(data, encoding, markup=kind.markup)
        if not content.strip():
            raise Empty("has no text in it")
    module, function = kind.reader.split(".")
    reader = getattr(import_module(f"maccli.reading.formats.{module}"), function)
    if kind in {MAIL, MAILBOX}:

        def read_part(part: bytes, part_name: str) -> Draft:
            if depth == 0:
                raise Refused("is in too many messages, one in another")
            return _read(part, part_name, None, depth - 1)[0]

        draft = reader(content, name, read_part)
    else:
        draft = reader(content, name)
    draft.remarks[:0] = remarks
    if not draft.text.strip():
        hint = " (a scan? it needs OCR first)" if kind is PDF else ""
        raise Empty(f"has no text in it{hint}")
    return draft, kind, used


def _loaded(draft: Draft, media_type: str, encoding: str) -> Loaded:
    """Finish a draft: what comes out can be stored and printed."""
    text, marks = encodings.whole(draft.text), draft.marks
    if len(text) > MAX_TEXT:
        raise Refused(f"has more than {MAX_TEXT // 2**20} million characters of text; split it")
    if "\0" in text:
        marks = _without_nuls(text, marks)
        text = text.replace("\0", "")
    title = one_line(encodings.whole(draft.title or "").replace("\0", ""))
    remarks = tuple(dict.fromkeys(encodings.whole(remark) for remark in draft.remarks))
    return Loaded(text, title or None, media_type, encoding, remarks, marks)


def _without_nuls(text: str, marks: tuple[Mark, ...]) -> tuple[Mark, ...]:
    """Return where the marks of a text stand when the NULs in it are left out."""
    moved, position, dropped = list[Mark](), 0, 0
    for mark in marks:
        dropped += text.count("\0", position, mark.start)
        position = mark.start
        moved.append(replace(mark, start=mark.start - dropped))
    return tuple(moved)
