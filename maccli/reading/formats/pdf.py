"""PDF files to text: their pages, forms, notes and bookmarks, as PDFium reads them."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterable, Iterator
from itertools import islice

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from maccli.reading.draft import Draft, one_line
from maccli.reading.encodings import Empty, Refused
from maccli.reading.pages.damage import damaged_pages
from maccli.reading.pages.fields import notes_and_values, xfa_values
from maccli.reading.pages.flow import Blocks, Flow, title_key, without_running_lines
from maccli.reading.pages.glyphs import lines_of, words_of
from maccli.reading.pages.layout import arrange

_MAX_PAGES = 20_000
_MAX_BOOKMARKS = 10_000
_MANY_CHARACTERS = 300_000  # of one page: no person laid it out
_MANY_PATHS = 20  # a page of so many lines and curves is a drawing; of fewer, a blank form
_NO_TITLE = re.compile(
    r"\W*(untitled( \w+)?|unknown|anonymous|unspecified|none|title|document|doc|layout|slide"
    r"|scan|print|presentation|powerpoint presentation|(book|sheet|img|image)[ _-]*\d+)?[\W\d]*"
    r"|.*\.(docx?|pdf|xlsx?|pptx?|od[tsp]|rtf|txt|indd|tex|dvi|qxd|pub|html?|ps|eps|wpd|pages)"
    r"|(https?|file):\S*",
    re.IGNORECASE,
)
_LIGATURE = re.compile(rb"/(f(?:_f)?_[fil]|uni0066(?:0066)?(?:0066|0069|006[Cc]))(?=[\s/\]])")
_CATALOG = re.compile(rb"/Type\s*/Catalog\b")
_OBJECT = re.compile(rb"(\d{1,9}\s+\d{1,5})\s+obj\b")
_MADE_WITH = re.compile(r"microsoft (office )?(word|powerpoint|excel) - ", re.IGNORECASE)


def read(data: bytes, name: str) -> Draft:
    """Return the text of a PDF file; each page is a place, such as "page 3".

    Args:
        data: the file; something else may stand before its beginning.
        name: of the file.

    Raises:
        Refused: it needs a password, or is damaged, or has too many pages.
        Empty: no page has text.
    """
    logging.getLogger("pypdfium2").setLevel(logging.CRITICAL)
    try:
        with _open(data) as document:
            if len(document) > _MAX_PAGES:
                raise Refused(f"has {len(document):,} pages; split it into smaller files")
            draft = _read(document)
            title = _sensible(document.get_metadata_value("Title"), name)
    except pdfium.PdfiumError as error:
        raise _refusal(error) from error
    if not draft.text.strip():
        reason = "; ".join(draft.remarks)
        raise Empty(f"has no text in it{f': {reason}' if reason else ''}")
    draft.title = title or draft.title
    return draft


def _open(data: bytes) -> pdfium.PdfDocument:
    """Open a file; the bytes before its header go if they are in the way."""
    data = _LIGATURE.sub(lambda name: _letters(name[1]).ljust(len(name[0])), data)
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if error.err_code != raw.FPDF_ERR_FORMAT:
            raise
        document = _open_damaged(data[max(data.find(b"%PDF-"), 0) :])
    with contextlib.suppress(pdfium.PdfiumError):  # a broken form: its pages can still be read
        document.init_forms()
    return document


def _open_damaged(data: bytes) -> pdfium.PdfDocument:
    """Open a file without what stands before it; one that is cut off gets an end."""
    try:
        return pdfium.PdfDocument(data)
    except pdfium.PdfiumError:
        catalogs = [match.start() for match in _CATALOG.finditer(data)]
        begin = data[max(catalogs[-1] - 4000, 0) : catalogs[-1]] if catalogs else b""
        objects = _OBJECT.findall(begin)
        if not objects:
            raise
        whole = data[: data.rfind(b"endobj") + len(b"endobj")]  # the last object may be cut in two
        return pdfium.PdfDocument(whole + b"\ntrailer\n<< /Root %s R >>\n%%%%EOF\n" % objects[-1])


def _letters(name: bytes) -> bytes:
    """Return a glyph's name as PDFium knows it: "/ffi" for "f_f_i" and "uni006600660069"."""
    codes = name.removeprefix(b"uni")
    letters = name.replace(b"_", b"") if codes == name else bytes.fromhex(codes.decode())
    return b"/" + letters.replace(b"\0", b"")


def _refusal(error: pdfium.PdfiumError) -> Refused:
    if error.err_code == raw.FPDF_ERR_PASSWORD:
        return Refused("is a PDF with a password; save it without one first")
    if error.err_code == raw.FPDF_ERR_SECURITY:
        return Refused("is a PDF encrypted in a way that is not known; save it without that first")
    if error.err_code == raw.FPDF_ERR_FORMAT:
        return Refused("is a damaged PDF, or none: it has no pages that can be found")
    return Refused(f"is a damaged PDF: {one_line(str(error))[:100]}")


class _Found:
    """What the pages hold, and which of them cannot be read, each by its index."""

    def __init__(self) -> None:
        self.blocks: list[Blocks] = []
        self.notes: list[list[str]] = []
        self.values: list[list[str]] = []
        self.damaged: set[int] = set()
        self.pictures: set[int] = set()
        self.codes: set[int] = set()  # the characters of their fonts have no names
        self.empty: set[int] = set()


def _read(document: pdfium.PdfDocument) -> Draft:
    found = _Found()
    for index in range(len(document)):
        found.blocks.append([])
        found.notes.append([])
        found.values.append([])
        try:
            _read_page(document, index, found)
        except pdfium.PdfiumError:
            found.damaged.add(index)
    with contextlib.suppress(pdfium.PdfiumError, ValueError):
        found.damaged |= damaged_pages(document, found.empty)
    if not any(found.values):
        found.values[0] += xfa_values(document)
    draft = Draft()
    pages = without_running_lines(found.blocks)
    outline = _outline(document)
    flow = Flow(pages, outline)
    for index, blocks in enumerate(pages):
        draft.place(f"page {index + 1}")
        flow.write(draft, blocks, index)
        draft.paragraph("\n".join(found.values[index]))
        draft.paragraph("\n".join(f"Note: {note}" for note in found.notes[index]))
    draft.title = flow.first_heading
    draft.remarks += _remarks(found, len(pages))
    attached = document.count_attachments()
    if attached:
        names = (document.get_attachment(i).get_name() for i in range(min(attached, 5)))
        draft.remarks.append(f"has files inside that are not read: {', '.join(names)}")
    return draft


def _read_page(document: pdfium.PdfDocument, index: int, found: _Found) -> None:
    page = document[index]
    try:
        text = page.get_textpage()
        try:
            is_huge = text.count_chars() > _MANY_CHARACTERS
            words, unknown = ([], 0) if is_huge else words_of(text)
            found.blocks[index] = [*lines_of(text)] if is_huge else arrange(words)
        finally:
            text.close()
        found.notes[index], found.values[index] = notes_and_values(document, index, page, words)
        if unknown > 10 and unknown > 0.3 * sum(len(word.text) for word in words):
            found.codes.add(index)
        elif not found.blocks[index]:
            objects = raw.FPDFPage_CountObjects(page)
            kinds = [
                raw.FPDFPageObj_GetType(raw.FPDFPage_GetObject(page, i))
                for i in range(min(objects, 1000))
            ]
            if not objects:
                found.empty.add(index)
            elif (
                raw.FPDF_PAGEOBJ_IMAGE in kinds
                or raw.FPDF_PAGEOBJ_FORM in kinds
                or kinds.count(raw.FPDF_PAGEOBJ_PATH) > _MANY_PATHS
            ):
                found.pictures.add(index)
    finally:
        page.close()


def _outline(document: pdfium.PdfDocument) -> dict[int, dict[str, int]]:
    """Return the titles of the bookmarks of each page, and their levels from 1."""
    pages: dict[int, dict[str, int]] = {}
    for bookmark in islice(document.get_toc(), _MAX_BOOKMARKS):
        target = bookmark.get_dest()
        index = target.get_index() if target else None
        if index is not None and (key := title_key(bookmark.get_title())):
            pages.setdefault(index, {})[key] = bookmark.level + 1
    return pages


def _remarks(found: _Found, pages: int) -> Iterator[str]:
    """Yield what of the pages could not be read."""
    parts = {index for index in found.damaged if found.blocks[index]}
    if found.damaged - parts:
        yield f"{_pages(found.damaged - parts)} could not be read"
    if parts:
        yield f"{_pages(parts)} could be read in part only"
    if found.pictures:
        several = len(found.pictures) > 1
        what = "are pictures" if several else "is a picture"
        yield f"{_pages(found.pictures)} {what} (a scan needs OCR first)"
    if found.codes:
        yield f"{_pages(found.codes)}: the font names no characters, so the text may be wrong"


def _pages(indexes: Iterable[int]) -> str:
    """Return page numbers in words: "pages 2, 5-7"."""
    runs: list[list[int]] = []
    for number in sorted(index + 1 for index in indexes):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs[:20])
    is_one = len(runs) == 1 and runs[0][0] == runs[0][1]
    return f"{'page' if is_one else 'pages'} {text}{', ...' if len(runs) > 20 else ''}"


def _sensible(title: str, name: str) -> str | None:
    """Return a title that a person gave; None if a program made it of the file's name."""
    title = one_line(_MADE_WITH.sub("", title.replace("\0", "")))
    if _NO_TITLE.fullmatch(title) or title == name or title == name.rpartition(".")[0]:
        return None
    return title
