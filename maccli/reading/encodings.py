"""Bytes to text: which encoding a file is in, and whether it is text at all."""

from __future__ import annotations

import codecs
import re

_BOMS = (
    # The longer ones first: UTF-32 begins as UTF-16 does.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE = 256 * 1024
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.I)


class Refused(Exception):
    """This file cannot be a document; the message is the reason, meant to stand after its name."""


class Empty(Refused):
    """It holds no text at all."""


class Binary(Refused):
    """It is no text file."""


def decode(data: bytes, encoding: str | None, *, is_html: bool) -> tuple[str, str, str | None]:
    """Return the text, its encoding, and a remark if that was a guess.

    Args:
        data: the whole file.
        encoding: the encoding; None finds it out: byte order mark, UTF-8, what an HTML page says of
            itself, else detection.
        is_html: whether it is an HTML page.

    Raises:
        Refused: it cannot be decoded.
        Binary: it is no text.
    """
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
                pass  # what it says is wrong
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
