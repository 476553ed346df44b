"""Bytes to text: which encoding a file is in, and whether it is text at all."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from maccli.reading import guessing

_BOMS = (
    # The longer ones first: UTF-32 begins as UTF-16 does.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_DECLARED = (
    re.compile(rb"\A\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']\s*([\w.:-]{2,40})", re.IGNORECASE),
    re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE),
)
_CODING = re.compile(rb"\A(?:.*\n)?[ \t\f]*#.*?coding[:=][ \t]*([\w.-]{2,40})")  # PEP 263
# What the browsers' table means by these names is a little more than Python's codecs.
_CODECS = {
    "big5": "big5hkscs",
    "euc-kr": "cp949",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "utf-16be": "utf-16-be",
    "utf-16le": "utf-16-le",
}
_CUT = re.compile(rb"(?:[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z")
_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_WINDOWS = {
    "iso8859-2": "cp1250",
    "iso8859-4": "cp1257",
    "iso8859-5": "cp1251",
    "iso8859-6": "cp1256",
    "iso8859-7": "cp1253",
    "iso8859-8": "cp1255",
    "iso8859-13": "cp1257",
    "iso8859-15": "cp1252",
}
_ONLY_WINDOWS = re.compile(rb"[\x80-\x84\x86-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_PYTHONS = frozenset({"ascii", "us-ascii", "utf-16"})  # to browsers cp1252 and utf-16-le
_NO_TEXT = frozenset({"undefined", "idna", "punycode"})  # Python's, but of no file


class Refused(Exception):
    """This file cannot be a document; the message is the reason, meant to stand after its name."""


class Empty(Refused):
    """It holds no text at all."""


class Binary(Refused):
    """It is no text file."""


class Decoded(NamedTuple):
    """The text of a file, its encoding, and remarks on what was guessed or damaged."""

    text: str
    encoding: str
    remarks: list[str]


def decode(data: bytes, encoding: str | None, *, markup: bool) -> Decoded:
    """Return the text of a file.

    It can always be encoded again as UTF-8, and has no NUL in it.

    Args:
        data: the whole file.
        encoding: the encoding; None finds it out: byte order mark, UTF-8, what the file says of
            itself, else a guess.
        markup: whether it is HTML or XML.

    Raises:
        Refused: it cannot be decoded.
        Binary: it is no text.
    """
    found = _decode(data, encoding, markup)
    text = whole(found.text.removeprefix("\ufeff"))
    if nuls := text.count("\0"):
        text = text.replace("\0", "")
        found.remarks.append(f"has {nuls} NUL character{'s' * (nuls > 1)} in it, left out")
    return Decoded(text, found.encoding, found.remarks)


def codec_of(label: str) -> str | None:
    """Return the codec that browsers use for a name of an encoding; None if they know none.

    "latin1" is cp1252 and "shift_jis" is cp932, see https://encoding.spec.whatwg.org.
    """
    import webencodings  # type: ignore[import-untyped]

    encoding = webencodings.lookup(label)
    if encoding is None or encoding.name in {"x-user-defined", "replacement"}:
        return None
    return codecs.lookup(_CODECS.get(encoding.name) or encoding.codec_info.name).name


def as_written(name: str, data: bytes) -> str:
    """Return the codec that a text is in which is said to be in another one.

    Programs on Windows name an ISO encoding and write their own, with quotes where the other has
    control characters.
    """
    return _WINDOWS[name] if name in _WINDOWS and _ONLY_WINDOWS.search(data) else name


def whole(text: str) -> str:
    """Return a text with halves of surrogate pairs replaced; its length stays the same."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _decode(data: bytes, encoding: str | None, markup: bool) -> Decoded:
    if encoding is not None:
        return _as_told(data, encoding)
    for mark, name in _BOMS:
        if data.startswith(mark):
            rest = data[len(mark) :]
            if found := _nearly(rest, name):
                return found
            raise Refused(f"begins as {name} but is not")
    if wide := guessing.utf16(data):
        return _guessed(data, wide)
    _refuse_control(data)
    if b"\x1b$" in data and data.isascii():
        try:
            return _guessed(data, "iso2022_jp_2")
        except UnicodeDecodeError:
            pass  # a text that has an escape sequence in it
    if found := _nearly(data, "utf-8"):
        return found
    declared = _declared(data, markup)
    if declared and (found := _nearly(data, as_written(declared, data))):
        return found
    return _guess(data)


def _as_told(data: bytes, label: str) -> Decoded:
    """Decode as the user says, by the names of browsers and of Python."""
    try:
        if label.lower() in _PYTHONS:
            name = codecs.lookup(label).name
        else:
            name = codec_of(label) or codecs.lookup(label).name
            name = codec_of(name) or name  # "latin-1" is a name that only Python knows
        if name in _NO_TEXT:
            raise LookupError(name)
        text = data.decode(name, "browser" if name.startswith("cp125") else "strict")
        return Decoded(text, name, [])
    except UnicodeDecodeError as error:
        raise Refused(f"is not {label}: {error.reason} at byte {error.start}") from None
    except (LookupError, ValueError):
        raise Refused(f"cannot be read: there is no encoding {label!r}") from None


def _declared(data: bytes, markup: bool) -> str | None:
    """Return the codec that a file names as its own encoding."""
    head = data[:4096]
    if markup:
        head = _COMMENT.sub(b"", head)
        found = next(filter(None, (pattern.search(head) for pattern in _DECLARED)), None)
    else:
        found = _CODING.search(head)
    name = codec_of(found[1].decode("ascii", "replace")) if found else None
    return None if name and name.startswith("utf") else name  # that has been tried


def _refuse_control(data: bytes) -> None:
    """Refuse what is full of control characters; a single one in a text is an accident."""
    sample = data[: guessing.SAMPLE]
    found = len(_CONTROL.findall(sample))
    if found * 20 > len(sample) and (found > 1 or len(sample) < 8):
        raise Binary("is a binary file")


def _nearly(data: bytes, name: str) -> Decoded | None:
    """Decode what is damaged in a few places at most; None if it is not in this encoding."""
    try:
        return Decoded(data.decode(name), name, [])
    except UnicodeDecodeError:
        errors = "browser" if name.startswith("cp125") else "replace"
        text = data.decode(name, "halves" if name == "utf-8" else errors)
    damaged = text.count("\ufffd")
    intact = sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text)))
    if name.startswith("utf-16"):
        intact = len(text)
    # Other encodings seldom look like these; and a file may end in the middle of a character.
    odd, limit = damaged, 3 if name.startswith("utf") else 10
    if name == "utf-8" and _CUT.search(data[-3:]):
        odd -= 1
    if odd * limit > intact or not intact:
        return None
    if name == "utf-8":  # halves of pairs that are two characters each, as Java may write them
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        damaged = text.count("\ufffd")
    places = "1 place" if damaged == 1 else f"{damaged} places"
    remark = f"is damaged {name.upper() if name == 'utf-8' else name}: {places} shown as \ufffd"
    return Decoded(text, name, [remark] if damaged else [])


def _guess(data: bytes) -> Decoded:
    """Decode text that is not UTF-8 and does not say what it is."""
    for name in guessing.likely(data):
        try:
            return _guessed(data, name)
        except UnicodeDecodeError:
            if found := _nearly(data, name):
                return found
    raise Binary("is a binary file, or in an encoding that cannot be told (try --encoding)")


def _guessed(data: bytes, name: str) -> Decoded:
    text = data.decode(name, "browser" if name.startswith("cp125") else "strict")
    odd = sum("\x80" <= character < "\xa0" for character in text[: guessing.SAMPLE])
    tiny = len(data) < 4 and not any(byte < 0x80 for byte in data)
    if odd * 20 > len(text) or tiny:
        raise Binary("is a binary file, or in an encoding that cannot be told (try --encoding)")
    name = codecs.lookup(name).name
    return Decoded(text, name, [f"is not UTF-8; read as {name} (else use --encoding)"])


def _as_browsers_do(error: UnicodeError) -> tuple[str, int]:
    """Decode a byte that Windows' encodings leave undefined as the control character it was."""
    assert isinstance(error, UnicodeDecodeError)
    byte = error.object[error.start]
    return (chr(byte) if byte < 0xA0 else "\ufffd"), error.start + 1


codecs.register_error("browser", _as_browsers_do)


def _halves(error: UnicodeError) -> tuple[str, int]:
    """Decode half of a surrogate pair that was written as a character of UTF-8."""
    assert isinstance(error, UnicodeDecodeError)
    if half := _HALF.match(error.object, error.start):
        return half[0].decode("utf-8", "surrogatepass"), half.end()
    return "\ufffd", error.end


codecs.register_error("halves", _halves)
