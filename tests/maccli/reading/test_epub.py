from __future__ import annotations

import io
import zipfile

import pytest

from maccli.reading.draft import Draft
from maccli.reading.encodings import Empty, Refused
from maccli.reading.formats import epub
from store.marks import in_words, mark_at

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
)
OPF = (
    '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">'
    "<metadata><dc:title>The Ferry</dc:title><dc:creator>Ines Okafor</dc:creator>"
    "<dc:creator>Bo Lund</dc:creator></metadata><manifest>{items}</manifest>"
    "<spine>{spine}</spine></package>"
)
NAV = (
    '<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><body>'
    '<nav epub:type="toc"><ol><li><a href="text/a%20b.xhtml#x">The Harbour</a></li>'
    '<li><a href="text/c.xhtml">The <i>Sea</i></a></li></ol></nav></body></html>'
)
NCX = (
    '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>The Sea'
    '</text></navLabel><content src="text/c.xhtml"/></navPoint></navMap></ncx>'
)
XHTML = "application/xhtml+xml"


def page(body: str) -> str:
    head = '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml">'
    return f"{head}<head><title/></head><body>{body}</body></html>"


def book(
    pages: dict[str, str | None], contents: str = NAV, extra: dict[str, str] | None = None
) -> bytes:
    """Make a book: pages by name, in their order; None is one that is missing."""
    toc = "toc.ncx" if contents.startswith("<ncx") else "nav.xhtml"
    kind = "application/x-dtbncx+xml" if toc == "toc.ncx" else XHTML
    nav = "" if toc == "toc.ncx" else 'properties="nav"'
    items = "".join(
        f'<item id="i{n}" href="{name.replace(" ", "%20")}" media-type="{XHTML}"/>'
        for n, name in enumerate(pages)
    )
    items += f'<item id="toc" href="{toc}" media-type="{kind}" {nav}/>'
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(pages)))
    files = {"META-INF/container.xml": CONTAINER, f"OEBPS/{toc}": contents}
    files["OEBPS/book.opf"] = OPF.format(items=items, spine=spine)
    files |= {f"OEBPS/{name}": body for name, body in pages.items() if body is not None}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip")
        for name, body in (files | (extra or {})).items():
            archive.writestr(name, body)
    return made.getvalue()


def places(draft: Draft, *words: str) -> list[str]:
    return [in_words(mark_at(draft.marks, draft.text, draft.text.index(word))) for word in words]


PAGES: dict[str, str | None] = {
    "cover.xhtml": page("<p>A cover.</p>"),
    "text/a b.xhtml": page(
        "<h1>The Harbour</h1><p>Boats &amp; nets.</p><h2>Night</h2><p>Dark.</p>"
    ),
    "text/c.xhtml": page("<p>Waves.</p>"),
    "text/d.xhtml": page("<p>More waves.</p>"),
}


def test_a_book_is_read_in_its_order_with_its_chapters() -> None:
    draft = epub.read(book(PAGES), "a.epub")
    assert draft.title == "The Ferry"
    assert draft.text.startswith(
        "Title: The Ferry\nAuthor: Ines Okafor, Bo Lund\n\nA cover.\n\n# The"
    )
    assert places(draft, "A cover", "Boats & nets", "Dark", "Waves", "More waves") == [
        "part 1",
        '"The Harbour"',
        '"The Harbour > Night"',
        'chapter "The Sea"',
        'chapter "The Sea"',
    ]
    assert draft.remarks == []


def test_the_contents_of_older_books_are_known() -> None:
    assert places(epub.read(book(PAGES, NCX), "a.epub"), "Waves") == ['chapter "The Sea"']


def test_missing_and_foreign_parts_are_said() -> None:
    pages = PAGES | {"text/e.xhtml": None}
    draft = epub.read(book(pages, "<broken"), "a.epub")
    assert "More waves" in draft.text
    assert draft.remarks == ["leaves out part 5, OEBPS/text/e.xhtml, which is missing or damaged"]


@pytest.mark.parametrize(
    ("method", "protected"),
    [
        ("http://www.w3.org/2001/04/xmlenc#aes128-cbc", True),
        ("http://www.idpf.org/2008/embedding", False),
    ],
)
def test_protected_books_are_refused_but_not_hidden_fonts(method: str, protected: bool) -> None:
    xml = f'<encryption xmlns="x"><EncryptionMethod Algorithm="{method}"/></encryption>'
    data = book(PAGES, extra={"META-INF/encryption.xml": xml})
    if protected:
        with pytest.raises(Refused, match=r"is protected \(DRM\)"):
            epub.read(data, "a.epub")
    else:
        assert "Waves" in epub.read(data, "a.epub").text


def test_what_is_no_book_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Empty, match="pictures"):
        epub.read(book({"a.xhtml": page('<img src="a.jpg"/>')}), "a.epub")
    with pytest.raises(Refused, match="damaged"):
        epub.read(book(PAGES)[:-300], "a.epub")
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(Refused, match="is no EPUB book"):
        epub.read(made.getvalue(), "a.epub")
    monkeypatch.setattr(epub, "_MAX_TEXT", 2**20)
    with pytest.raises(Refused, match="unpacks to 2 MB of text"):
        epub.read(book({"a.xhtml": page("x" * 2**21)}), "a.epub")
