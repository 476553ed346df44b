"""Files to text: formats, titles, and which files are refused.

A file that cannot be a document raises `Refused` with the reason in a few words. The text of a
plain file is kept exactly as decoded, so that offsets into a document are offsets into the file.
"""

from __future__ import annotations

import mimetypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

from maccli.reading import encodings, office
from maccli.reading.formats import html
from maccli.reading.encodings import Binary, Empty, Refused

MAX_BYTES = 50 * 1024 * 1024
"""Larger files are refused: one document of that size takes hours to ingest."""

_KINDS = {".md": "text/markdown", ".markdown": "text/markdown", ".rst": "text/x-rst"}
_FORMATS = (
    (b"PK\x03\x04", "is an archive or an office document; convert it to text first"),
    (b"\xd0\xcf\x11\xe0", "is an office document; convert it to text first"),
    (b"{\\rtf", "is an RTF document; convert it to text first"),
    (b"\x1f\x8b", "is compressed; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed; unpack it first"),
    (b"BZh", "is compressed; unpack it first"),
    (b"\xfd7zXZ", "is compressed; unpack it first"),
)
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+:.])\1{2,}\s*\Z")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The text of a file.

    Attributes:
        text: the text.
        title: of the document, if it has one.
        media_type: such as text/plain.
        encoding: of the file.
        remark: what the user should know about how it was read.
    """

    text: str
    title: str | None
    media_type: str
    encoding: str
    remark: str | None = None


def load(path: Path, encoding: str | None = None) -> Loaded:
    """Read the text of a file.

    Args:
        path: the file.
        encoding: its encoding; None finds it out, see `maccli.reading.encodings.decode`.

    Raises:
        Refused: it is too large, empty, binary, or cannot be decoded.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise _too_large()
        return from_bytes(file.read(MAX_BYTES + 1), path.name, encoding)


def from_bytes(data: bytes, name: str, encoding: str | None = None) -> Loaded:
    """Read the text of a file as `load` does.

    Args:
        data: the file, or its first `MAX_BYTES` + 1 bytes.
        name: of the file; its suffix says what kind it is.
        encoding: see `load`.

    Raises:
        Refused: see `load`.
    """
    if len(data) > MAX_BYTES:
        raise _too_large()
    if not data:
        raise Empty("is empty")
    if data.startswith(b"%PDF-") or (data.startswith(b"PK\x03\x04") and office.is_word(data)):
        return _from_office(data)
    for magic, reason in _FORMATS:
        if data.startswith(magic):
            raise Binary(reason)
    suffix = Path(name).suffix.lower()
    is_html = html.is_html(data, suffix)
    text, used, remark = encodings.decode(data, encoding, is_html=is_html)
    if is_html:
        text, title = html.from_html(text)
    else:
        title = _title(text, suffix)
    if not text.strip():
        raise Empty("has no text in it")
    kind = "text/html" if is_html else _KINDS.get(suffix) or mimetypes.guess_type(name)[0]
    return Loaded(text, title, kind or "text/plain", used, remark)


def _from_office(data: bytes) -> Loaded:
    pdf = data.startswith(b"%PDF-")
    try:
        text, title = office.from_pdf(data) if pdf else office.from_word(data)
    except office.Unreadable as error:
        raise Refused(str(error)) from error
    if not text.strip():
        raise Empty("has no text in it" + (" (a scan? it needs OCR first)" if pdf else ""))
    return Loaded(text, title, office.PDF if pdf else office.WORD, "binary")


def _too_large() -> Refused:
    return Refused(f"is larger than {MAX_BYTES // 2**20} MB; split it into smaller files")


def _title(text: str, suffix: str) -> str | None:
    """Return the first heading of Markdown or reStructuredText."""
    if suffix not in _KINDS:
        return None
    lines = text[:4000].splitlines()
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if suffix != ".rst" and (heading := re.match(r"#{1,6}\s+(.+?)\s*#*\s*$", line)):
            return heading[1]
        if line.strip() and not _UNDERLINE.match(line) and _UNDERLINE.match(below):
            return line.strip()
    return None
