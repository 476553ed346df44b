"""Office files are zip archives of XML parts that refer to each other; this opens them safely."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from maccli.reading.encodings import Refused

MAX_XML = 200 * 2**20
"""An archive whose XML unpacks to more bytes is refused: no honest document does."""

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How the container begins that holds encrypted and old (.doc, .xls, .ppt) office files."""

_TEXTUAL = (".xml", ".rels", ".bin", ".vml")
_HONEST = 20 * 2**20  # whatever unpacks to less is no bomb
_MAX_RATIO = 400  # tables of equal cells reach about 100
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
_STANDARD = rb"http://schemas.openxmlformats.org/\1/2006/"
_NO_TITLE = re.compile(
    r"(untitled|(word|powerpoint|excel|libreoffice)[ -](document|presentation|workbook)"
    r"|document|dokument|presentation|präsentation|présentation|title)?[ _-]*\d*",
    re.IGNORECASE,
)


class Relation(NamedTuple):
    """What one part says of another.

    Attributes:
        kind: the last word of its type: "image", "header".
        target: the other part's name in the archive; an address if it is outside.
    """

    kind: str
    target: str


class Package:
    """An office file, opened.

    Attributes:
        what: it is, for messages: "Word document".
    """

    def __init__(self, data: bytes, what: str) -> None:
        """Open the file.

        Raises:
            Refused: it is encrypted, no archive, damaged, or a bomb.
        """
        self.what = what
        if data.startswith(OLE):
            raise ole_refusal(data, what)
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            entries = [entry for entry in self._archive.infolist() if not entry.is_dir()]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            if not data.startswith(b"PK"):
                raise self.other() from error
            raise Refused(f"is a damaged {what}: its archive is cut off or broken") from error
        # Some programs write backslashes, and names in another case than they are referred to by.
        self._entries = {entry.filename.replace("\\", "/").lower(): entry for entry in entries}
        textual = [entry for entry in entries if entry.filename.lower().endswith(_TEXTUAL)]
        size = sum(entry.file_size for entry in textual)
        packed = sum(entry.compress_size for entry in textual)
        if size > MAX_XML or size > max(_HONEST, _MAX_RATIO * packed):
            raise Refused(
                f"unpacks to {size / 2**20:,.0f} MB of text and layout, too much for a {what}"
            )

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._entries

    def names(self, begin: str = "") -> list[str]:
        """Return the names of the parts that begin so, in lower case."""
        return [name for name in self._entries if name.startswith(begin)]

    def read(self, name: str) -> bytes:
        """Return a part.

        Raises:
            Refused: it is missing, encrypted, or damaged.
        """
        entry = self._entries.get(name.lower())
        if entry is None:
            raise Refused(f"is a damaged {self.what}: {name} is missing")
        if entry.flag_bits & 1:
            raise protected(self.what)
        try:
            data = self._archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError) as error:
            raise Refused(f"is a damaged {self.what}: {name} cannot be unpacked") from error
        except NotImplementedError as error:
            raise Refused(f"is a {self.what} packed in a way that is not known") from error
        return _STRICT.sub(_STANDARD, data) if b"purl.oclc.org/ooxml" in data else data

    def tree(self, name: str) -> Element:
        """Return a part's root element.

        Raises:
            Refused: see `read`; or it is no XML.
        """
        try:
            return ElementTree.fromstring(self.read(name))
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise self._no_xml(name, error) from error

    def children(self, name: str, *parents: str) -> Iterator[tuple[Element, Element]]:
        """Yield the children of some of a part's elements one by one, and forget each afterwards.

        Args:
            name: of the part.
            parents: the tags of the elements whose children are wanted.

        Yields:
            The element, and its child.

        Raises:
            Refused: see `tree`; or the part is of another kind: its root has another namespace.
        """
        depth, level, found = 0, 0, None
        try:
            for event, element in ElementTree.iterparse(
                io.BytesIO(self.read(name)), ("start", "end")
            ):
                if event == "start":
                    depth += 1
                    if depth == 1 and not parents[0].startswith(element.tag.partition("}")[0]):
                        raise self.other()
                    if found is None and element.tag in parents:
                        level, found = depth, element
                    continue
                depth -= 1
                if found is not None and depth == level:
                    yield found, element
                    del found[:]
                elif depth < level:
                    found = None
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise self._no_xml(name, error) from error

    def relations(self, name: str = "") -> dict[str, Relation]:
        """Return what a part ("": the whole archive) refers to, by id."""
        folder, base = posixpath.split(name)
        part = posixpath.join(folder, "_rels", f"{base}.rels")
        if part not in self:
            return {}
        found = {}
        for item in self.tree(part):
            target = item.get("Target", "").replace("\\", "/")
            if item.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            found[item.get("Id", "")] = Relation(item.get("Type", "").rpartition("/")[2], target)
        return found

    def main(self, usual: str) -> str:
        """Return the name of the part that holds the document; `usual` if nothing says which.

        Raises:
            Refused: there is none.
        """
        related = (item.target for item in self.relations().values() if item.kind == OFFICE)
        found = next((target for target in (*related, usual) if target in self), None)
        if found is None:
            raise self.other()
        return found

    def title(self) -> str | None:
        """Return the title in the document's properties; None if there is none worth the name."""
        related = (item.target for item in self.relations().values() if "core-prop" in item.kind)
        for name in (*related, "docProps/core.xml"):
            if name in self:
                try:
                    return usable_title(self.tree(name).findtext(f"{DC}title"))
                except Refused:
                    break  # the document itself may be whole
        return None

    def other(self) -> Refused:
        """Return what to raise if the file is of another kind."""
        return Refused(f"is no {self.what}, whatever its name says")

    def _no_xml(self, name: str, error: Exception) -> Refused:
        if "amplification" in str(error):
            return Refused(f"is no honest {self.what}: its entities unpack without end")
        return Refused(f"is a damaged {self.what}: {name} is not XML ({error})")


OFFICE = "officeDocument"
DC = "{http://purl.org/dc/elements/1.1/}"


def usable_title(title: str | None) -> str | None:
    """Return a title on one line; None if it is what programs put there by themselves."""
    title = " ".join((title or "").split())
    title = re.sub(r"^Microsoft (Office )?(Word|PowerPoint|Excel) - ", "", title)
    return None if _NO_TITLE.fullmatch(title) else title


def integer(text: str | None, default: int = 0, most: int = 10**6) -> int:
    """Return a number that stands in an attribute, not more than `most`."""
    text = (text or "").strip()
    return min(int(text[:9]), most) if text.isascii() and text.isdigit() else default


def ole_refusal(data: bytes, what: str) -> Refused:
    """Return why an OLE container cannot be read: it is encrypted, or of the time before 2007."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        return protected(what)
    if "WordDocument".encode("utf-16-le") in data:
        return Refused("is a document of Word 97-2003 (.doc); save it as .docx first")
    if "PowerPoint Document".encode("utf-16-le") in data:
        return Refused("is a presentation of PowerPoint 97-2003 (.ppt); save it as .pptx first")
    return Refused(f"is no {what} but an old office file; save it in a present format first")


def protected(what: str) -> Refused:
    """Return what to raise if the file is encrypted."""
    article = "an" if what[0] in "AEIO" else "a"
    return Refused(f"is {article} {what} protected with a password; save it without one first")
