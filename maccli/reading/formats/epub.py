"""Electronic books (EPUB 2 and 3) to text: pages of XHTML in a zip archive."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from maccli.reading import encodings
from maccli.reading.draft import Draft, one_line
from maccli.reading.encodings import Empty, Refused
from maccli.reading.formats import html
from maccli.reading.parts.package import DC, Package

_WHAT = "EPUB book"
_MAX_TEXT = 200 * 2**20
_PAGES = frozenset({"application/xhtml+xml", "text/html", "image/svg+xml", "text/x-oeb1-document"})
_SCRAMBLED_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_ABOUT = (("title", "Title"), ("creator", "Author"), ("publisher", "Publisher"), ("date", "Date"))


def read(data: bytes, name: str) -> Draft:
    """Return the text of a book; its places are its chapters, as its table of contents has them.

    Raises:
        Refused: it is damaged, protected, or a bomb.
        Empty: it is pictures only.
    """
    _refuse_bomb(data)
    package = Package(data, _WHAT)
    _refuse_protected(package)
    opf = _opf(package)
    root, folder = package.tree(opf), posixpath.dirname(opf)
    draft = Draft()
    _write_about(root, draft)
    items = {item.get("id", ""): item for item in _all(root, "item")}
    titles = _contents(package, items, folder)
    chapter, read_any = "", False
    for number, item in enumerate(_spine(root, items, draft), 1):
        path = _path(folder, item.get("href", ""))
        kind = item.get("media-type", "")
        chapter = titles.get(path.lower(), chapter)
        is_contents = "nav" in item.get("properties", "").split()
        if is_contents or (kind.startswith("image/") and kind not in _PAGES):
            continue
        if kind and kind not in _PAGES:
            draft.remarks.append(f"leaves out part {number}, {path} ({kind})")
            continue
        try:
            page = html.read(encodings.decode(package.read(path), None, markup=True).text, path)
        except Refused:
            draft.remarks.append(f"leaves out part {number}, {path}, which is missing or damaged")
            continue
        read_any = read_any or bool(page.text.strip())
        first = next((mark.heading for mark in page.marks if mark.heading), "")
        # The place need not say again what the heading says.
        place = f'chapter "{chapter}"' if chapter else f"part {number}"
        draft.append(page, "" if first and chapter == first else place)
    if not read_any:
        raise Empty("has no text in it (is it made of pictures?)")
    return draft


def _refuse_bomb(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            pages = [info.file_size for info in archive.infolist() if not _is_media(info.filename)]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return  # which is reported where it is opened
    if sum(pages) > _MAX_TEXT:
        raise Refused(f"unpacks to {sum(pages) / 2**20:,.0f} MB of text, too much for an {_WHAT}")


def _is_media(name: str) -> bool:
    return name.lower().endswith(
        (".jpg", ".jpeg", ".png", ".gif", ".webp", ".mp3", ".mp4", ".m4a", ".ttf", ".otf", ".woff")
    )


def _refuse_protected(package: Package) -> None:
    if "META-INF/encryption.xml" in package:
        for method in package.tree("META-INF/encryption.xml").iter():
            is_method = method.tag.rpartition("}")[2] == "EncryptionMethod"
            if is_method and method.get("Algorithm", "") not in _SCRAMBLED_FONTS:
                raise Refused("is protected (DRM)")


def _opf(package: Package) -> str:
    """Return the name of the part that lists all others."""
    try:
        container = package.tree("META-INF/container.xml")
        named = [item.get("full-path", "") for item in _all(container, "rootfile")]
    except Refused:
        named = []
    for name in (*named, *(name for name in package.names() if name.endswith(".opf"))):
        if name in package:
            return name
    raise package.other()


def _write_about(root: Element, draft: Draft) -> None:
    found = {
        key: [text for item in root.iter(f"{DC}{key}") if (text := one_line(item.text or ""))]
        for key, _ in _ABOUT
    }
    draft.title = next(iter(found["title"]), None)
    lines = [f"{word}: {', '.join(found[key])}" for key, word in _ABOUT if found[key]]
    draft.paragraph("\n".join(lines))


def _spine(root: Element, items: dict[str, Element], draft: Draft) -> list[Element]:
    """Return the parts of the book in their order."""
    names = [item.get("idref", "") for item in _all(root, "itemref")]
    if unknown := [name for name in names if name not in items]:
        draft.remarks.append(f"leaves out {len(unknown)} of its parts, which are missing")
    known = [items[name] for name in names if name in items]
    return known or [item for item in items.values() if item.get("media-type") in _PAGES]


def _contents(package: Package, items: dict[str, Element], folder: str) -> dict[str, str]:
    """Return the title of each part that the table of contents names, by path in lower case."""
    titles = dict[str, str]()
    for item in items.values():
        path = _path(folder, item.get("href", ""))
        is_nav = "nav" in item.get("properties", "").split()
        if not is_nav and item.get("media-type") != "application/x-dtbncx+xml":
            continue
        try:
            tree = package.tree(path)
        except Refused:
            continue  # the book can be read without
        for target, words in _links(tree) if is_nav else _points(tree):
            key = _path(posixpath.dirname(path), target).lower()
            if words:
                titles.setdefault(key, words)
    return titles


def _links(tree: Element) -> Iterator[tuple[str, str]]:
    for nav in _all(tree, "nav"):
        if nav.get("{http://www.idpf.org/2007/ops}type", "toc") == "toc":
            for link in _all(nav, "a"):
                yield link.get("href", ""), one_line("".join(link.itertext()))


def _points(tree: Element) -> Iterator[tuple[str, str]]:
    for point in _all(tree, "navPoint"):
        label = next(_all(point, "text"), None)
        content = next((child for child in point if child.tag.endswith("content")), None)
        if label is not None and content is not None:
            yield content.get("src", ""), one_line(label.text or "")


def _all(root: Element, name: str) -> Iterator[Element]:
    """Yield the elements of a name, in whatever namespace."""
    return (
        element
        for element in root.iter()
        if isinstance(element.tag, str) and element.tag.rpartition("}")[2] == name
    )


def _path(folder: str, reference: str) -> str:
    """Return the name of the part that another one in `folder` refers to."""
    path = unquote(reference.partition("#")[0])
    return posixpath.normpath(posixpath.join("/", folder, path)).lstrip("/")
