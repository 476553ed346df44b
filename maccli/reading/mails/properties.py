"""The lines that calendars (iCalendar, RFC 5545) and contacts (vCard, RFC 6350) consist of."""

from __future__ import annotations

import html
import quopri
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from maccli.reading.draft import one_line, row_line
from maccli.reading.encodings import codec_of

_LINE = re.compile(r'(?:([\w-]+)\.)?([\w-]+)((?:;(?:"[^"]*"|[^;":])*)*):(.*)', re.DOTALL)
_PARAMETER = re.compile(r';(?:([\w-]+)=)?((?:"[^"]*"|[^;":])*)')
_QUOTED_PRINTABLE = re.compile(r"[^:]*;(?:ENCODING=)?QUOTED-PRINTABLE[;:]", re.IGNORECASE)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_BREAK = re.compile(r"<(?:br|/p|/div|/li)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:a|b|br|div|em|i|li|ol|p|span|strong|u|ul|html|body)\b[^<>]*>", re.I)


class Property(NamedTuple):
    """What one line says.

    Attributes:
        name: of what is said, in capital letters: "DTSTART".
        parameters: of the line, by their names in capital letters: {"TZID": "Europe/Oslo"}; several
            of a name are parted by commas, and those without a name are types.
        value: as it is written, with its escapes.
        group: lines of the same group belong together; "" is none.
    """

    name: str
    parameters: dict[str, str]
    value: str
    group: str

    @property
    def is_binary(self) -> bool:
        """Whether the value is a picture or another file."""
        packed = self.parameters.get("ENCODING", "").upper() in ("B", "BASE64")
        return packed or self.value.startswith("data:")

    @property
    def text(self) -> str:
        """The value as text; it may have several lines."""
        text = _unescaped(self.value)
        if _TAG.search(text):
            text = html.unescape(_TAG.sub("", _BREAK.sub("\n", text)))
        return "\n".join(line.rstrip() for line in text.strip().split("\n"))

    @property
    def parts(self) -> list[str]:
        """The parts of a value that are parted by semicolons, each on one line."""
        return [one_line(_unescaped(part)) for part in re.split(r"(?<!\\);", self.value)]


def components(text: str, kinds: Collection[str]) -> Iterator[tuple[str, list[Property]]]:
    """Yield the components of some kinds: the kind, and its properties without those inside it.

    Args:
        text: of the file.
        kinds: such as "VEVENT".
    """
    kind, depth, found = "", 0, list[Property]()
    for line in _lines(text):
        if (match := _LINE.fullmatch(line)) is None:
            continue
        group, name, value = match[1] or "", match[2].upper(), match[4]
        if name == "BEGIN" and not depth and value.strip().upper() in kinds:
            kind, depth, found = value.strip().upper(), 1, []
        elif name in ("BEGIN", "END") and depth:
            depth += 1 if name == "BEGIN" else -1
            if depth == 0:
                yield kind, found
        elif depth == 1:
            found.append(_property(name, match[3], value, group))
    if depth:
        yield kind, found  # the file ends in the middle of it


def first(properties: Collection[Property], name: str) -> Property | None:
    """Return the first property of a name, if there is one."""
    return next((each for each in properties if each.name == name and each.value.strip()), None)


def _unescaped(value: str) -> str:
    """Return a value without its escapes."""
    return _ESCAPED.sub(lambda match: "\n" if match[1] in "nN" else match[1], value)


def record(cells: list[tuple[str, str]]) -> str:
    """Return names and values as a row of a table; values of the same name stand together."""
    joined: dict[str, dict[str, None]] = {}
    for name, value in cells:
        if value:
            joined.setdefault(name, {})[value] = None
    return row_line(list(joined), [", ".join(values) for values in joined.values()])


def _lines(text: str) -> Iterator[str]:
    """Yield the lines, those that were folded in one piece."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    parts = iter(re.sub(r"\n[ \t]", "", text).split("\n"))
    for line in parts:
        if line.endswith("=") and _QUOTED_PRINTABLE.match(line):
            pieces = [line[:-1]]
            for more in parts:
                pieces.append(more.removesuffix("="))
                if not more.endswith("="):
                    break
            yield "".join(pieces)
        elif line.strip():
            yield line


def _property(name: str, parameters: str, value: str, group: str) -> Property:
    found: dict[str, list[str]] = {}
    for parameter in _PARAMETER.finditer(parameters):
        key, said = (parameter[1] or "TYPE").upper(), parameter[2].replace('"', "").strip()
        if key == "TYPE" and said.upper() in ("QUOTED-PRINTABLE", "BASE64", "8BIT"):
            key = "ENCODING"
        found.setdefault(key, []).append(said)
    known = {key: ",".join(values) for key, values in found.items()}
    if known.get("ENCODING", "").upper() == "QUOTED-PRINTABLE":
        data = quopri.decodestring(value.encode("utf-8", "replace"))
        codec = codec_of(known["CHARSET"]) if "CHARSET" in known else None
        value = data.decode(codec or "utf-8", "replace").replace("\r\n", "\n")
    return Property(name, known, value, group)
