"""Files to text: formats, encodings, titles, and which files are refused.

A file that cannot be a document raises `Refused` with the reason in a few words. The text of a
plain file is kept exactly as decoded, so that offsets into a document are offsets into the file.
"""

from __future__ import annotations

import codecs
import mimetypes
import os
import re
from dataclasses import dataclass
from pathlib import Path

from maccli.reading import office

MAX_BYTES = 50 * 1024 * 1024
"""Larger files are refused: one document of that size takes hours to ingest."""

_HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
_KINDS = {".md": "text/markdown", ".markdown": "text/markdown", ".rst": "text/x-rst"}
_BOMS = (
    # The longer ones first: UTF-32 begins as UTF-16 does.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FORMATS = (
    (b"PK\x03\x04", "is an archive or an office document; convert it to text first"),
    (b"\xd0\xcf\x11\xe0", "is an office document; convert it to text first"),
    (b"{\\rtf", "is an RTF document; convert it to text first"),
    (b"\x1f\x8b", "is compressed; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "is compressed; unpack it first"),
    (b"BZh", "is compressed; unpack it first"),
    (b"\xfd7zXZ", "is compressed; unpack it first"),
)
_SAMPLE = 256 * 1024
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.I)
# What stands around a page's text on every page of a site.
_PAGE_FURNITURE = [
    "nav",
    "[role=navigation]",
    "[role=banner]",
    "[role=contentinfo]",
    "[role=search]",
    "body > footer",
]
_UNDERLINE = re.compile(r"([=\-~^\"'`#*+:.])\1{2,}\s*\Z")


class Refused(Exception):
    """This file cannot be a document; the message is the reason, meant to stand after its name."""


class Empty(Refused):
    """It holds no text at all."""


class Binary(Refused):
    """It is no text file."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The text of a file. `remark` tells what the user should know about how it was read."""

    text: str
    title: str | None
    media_type: str
    encoding: str
    remark: str | None = None


def load(path: Path, encoding: str | None = None) -> Loaded:
    """Read the text of a file.

    Args:
        path: the file.
        encoding: its encoding; None finds it out: byte order mark, UTF-8, what an HTML page says
            of itself, else detection.

    Raises:
        Refused: it is too large, empty, binary, or cannot be decoded.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_BYTES:
            raise _too_large()
        return from_bytes(file.read(MAX_BYTES + 1), path.name, encoding)


def from_bytes(data: bytes, name: str, encoding: str | None = None) -> Loaded:
    """Do what `load` does with the first bytes of a file (one more than `MAX_BYTES` at most)."""
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
    is_html = suffix in _HTML_SUFFIXES or data[:256].lstrip().lower().startswith(
        (b"<!doctype html", b"<html")
    )
    text, used, remark = _decode(data, encoding, is_html)
    if is_html:
        text, title = _from_html(text)
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


def _decode(data: bytes, encoding: str | None, is_html: bool) -> tuple[str, str, str | None]:
    """Return the text, its encoding, and a remark if that was a guess."""
    if encoding is not None:
        try:
            return data.decode(encoding), codecs.lookup(encoding).name, None
        except LookupError:
            raise Refused(f"cannot be read: there is no encoding {encoding!r}") from None
        except UnicodeDecodeError as error:
            raise Refused(f"is not {encoding}: {error.reason} at byte {error.start}") from None
    for mark, name in _BOMS:
        if data.startswith(mark):
            try:
                return data.decode(name), name.removesuffix("-sig"), None
            except UnicodeDecodeError as error:
                raise Refused(
                    f"begins as {name} but is not: {error.reason} at byte {error.start}"
                ) from None
    if b"\0" not in data[:_SAMPLE]:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            _refuse_control(data)
            return text, "utf-8", None
        if nearly := _nearly_utf8(data):
            return nearly
        declared = _META_CHARSET.search(data, 0, 4096) if is_html else None
        if declared:
            try:
                name = codecs.lookup(declared[1].decode("ascii")).name
                return data.decode(name), name, None
            except (LookupError, UnicodeDecodeError):
                pass  # it says something wrong about itself
    return _detect(data)


def _refuse_control(data: bytes) -> None:
    """Refuse what decodes as text but is full of control characters."""
    sample = data[:_SAMPLE]
    if len(_CONTROL.findall(sample)) * 20 > len(sample):
        raise Binary("is a binary file")


def _nearly_utf8(data: bytes) -> tuple[str, str, str] | None:
    """Decode UTF-8 that is damaged in a few places; None if it is not that."""
    text = data.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    intact = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
    if damaged * 10 > intact:
        return None
    places = "1 place" if damaged == 1 else f"{damaged} places"
    return text, "utf-8", f"is damaged UTF-8: {places} shown as \ufffd"


def _detect(data: bytes) -> tuple[str, str, str]:
    """Guess the encoding of text that is not UTF-8."""
    _refuse_nul(data)
    import charset_normalizer

    matches = charset_normalizer.from_bytes(data[:_SAMPLE])
    best = matches.best()
    if best is None:
        raise Binary("is a binary file, or in an encoding that cannot be told (try --encoding)")
    # Western text in Windows-1252 looks as good in half a dozen rarer encodings.
    western = next((m for m in matches if "cp1252" in (m.encoding, *m.could_be_from_charset)), None)
    if western and (western.chaos, -western.coherence) <= (best.chaos, -best.coherence):
        names = ["cp1252", best.encoding]
    elif best.encoding.startswith("cp125") and best.coherence == 0:
        names = ["cp1252", best.encoding]  # too little text to tell: take the commonest
    else:
        names = [best.encoding]
    for name in names:
        try:
            return data.decode(name), name, f"is not UTF-8; read as {name} (else use --encoding)"
        except UnicodeDecodeError:
            continue  # the sample was, the rest is not
    text = data.decode(best.encoding, "replace")
    return text, best.encoding, f"is damaged {best.encoding}: what cannot be read shown as \ufffd"


def _refuse_nul(data: bytes) -> None:
    """Refuse bytes with zeros in them, unless every other byte is one (UTF-16 without a mark)."""
    sample = data[:_SAMPLE]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if even + odd == 0:
        _refuse_control(data)
    elif min(even, odd) * 20 > max(even, odd) or max(even, odd) * 8 < len(sample):
        raise Binary("is a binary file")


def _from_html(page: str) -> tuple[str, str | None]:
    """Return the text of a page, block by block, and its title."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(page)
    # Not main_content=True: its heuristics drop lists and notes, and a lost sentence is worse here
    # than a menu too many.
    text = extract_plain_text(
        tree, preserve_formatting=True, alt_texts=False, skip_elements=_PAGE_FURNITURE
    )
    title = " ".join((tree.title or "").split())
    return text, title or None


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
