"""What people filled into the forms of a page, and the notes that they put on it."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from html import unescape
from typing import Any
from xml.etree import ElementTree

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from maccli.reading.draft import one_line
from maccli.reading.pages.glyphs import words_of
from maccli.reading.pages.layout import Word

_XFA_DATA = "{http://www.xfa.org/schema/xfa-data/1.0/}datasets"
_MANY = 20_000  # annotations of one page that are looked at
_NO_NOTES = (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_WIDGET)
_WITH_TEXT = (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP)
_TEXT = raw.FPDF_FORMFIELD_TEXTFIELD
_CHOICES = (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX)
_BOXES = (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON)
_SECRET = 1 << 13  # the flag of a password's field
_TAG = re.compile(r"<[^>]*>")
_GENERIC = re.compile(
    r"((text|check|radio|combo|list|drop|form|field|undefined|group|choice|button|fill|box|down|f|c)"
    r"[\s_\-.]*)*[\d_.\-]*(\[\d+\])?",
    re.IGNORECASE,
)


def notes_and_values(
    document: pdfium.PdfDocument, index: int, page: pdfium.PdfPage, words: Sequence[Word]
) -> tuple[list[str], list[str]]:
    """Return the notes on a page and the values in its form, "name: Ines Okafor".

    Args:
        document: with its forms initialized.
        index: of the page.
        page: the page; it is changed if text stands only in the pictures of its fields and notes.
        words: on the page; what stands in a field already is no value of it.
    """
    notes: dict[str, None] = {}
    values: dict[str, None] = {}
    drawn: list[tuple[str | None, raw.FS_RECTF]] = []  # a field's name, None for a note
    form = document.formenv.raw if document.formenv else None
    for number in range(min(raw.FPDFPage_GetAnnotCount(page), _MANY)):
        with _annotation(page, number) as annotation:
            if not annotation:
                continue
            subtype = raw.FPDFAnnot_GetSubtype(annotation)
            name: str | None = None
            text: str | None = ""
            if subtype == raw.FPDF_ANNOT_WIDGET:
                name, text = _value(form, annotation, words)
                values |= {f"{name}: {text}" if name else text: None} if text else {}
            elif subtype not in _NO_NOTES and not raw.FPDFAnnot_HasKey(annotation, b"StateModel"):
                text = _entry(annotation, b"Contents")
                text = one_line(text or unescape(_TAG.sub(" ", _entry(annotation, b"RC")))) or None
                notes |= {text: None} if text else {}
            if text is None and subtype in _WITH_TEXT and raw.FPDFAnnot_HasKey(annotation, b"AP"):
                drawn.append((name, _box(annotation)))
    if drawn:
        raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY)
        shown = _words_again(document, index)
        for name, box in drawn:
            text = _inside(box, shown)
            if text and text != _inside(box, words):
                (notes if name is None else values)[f"{name}: {text}" if name else text] = None
    return list(notes), list(values)


def _words_again(document: pdfium.PdfDocument, index: int) -> list[Word]:
    """Return the words of a page that has been changed."""
    page = document[index]
    text = page.get_textpage()
    try:
        return words_of(text)[0]
    finally:
        text.close()
        page.close()


def xfa_values(document: pdfium.PdfDocument) -> Iterator[str]:
    """Yield the values in a form of the kind that only Adobe's programs show (XFA)."""
    size, name = ctypes.c_ulong(), ctypes.create_string_buffer(64)
    for index in range(raw.FPDF_GetXFAPacketCount(document)):
        raw.FPDF_GetXFAPacketName(document, index, name, 64)
        if name.value not in (b"datasets", b""):  # one without a name holds the whole form
            continue
        raw.FPDF_GetXFAPacketContent(document, index, None, 0, size)
        buffer = ctypes.create_string_buffer(size.value)
        raw.FPDF_GetXFAPacketContent(document, index, buffer, size.value, size)
        with contextlib.suppress(ElementTree.ParseError):
            for data in ElementTree.fromstring(buffer.raw).iter(_XFA_DATA):
                for element in data.iter():
                    value = one_line(element.text or "")
                    if value and not len(element):
                        yield f"{element.tag.rpartition('}')[2]}: {value}"


@contextlib.contextmanager
def _annotation(page: pdfium.PdfPage, index: int) -> Iterator[Any]:
    annotation = raw.FPDFPage_GetAnnot(page, index)
    try:
        yield annotation
    finally:
        if annotation:
            raw.FPDFPage_CloseAnnot(annotation)


def _string(function: Callable[..., int], *arguments: Any) -> str:
    """Return the UTF-16 text that a function of PDFium writes into a buffer."""
    size = function(*arguments, None, 0)
    if size <= 2:
        return ""
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    function(*arguments, buffer, size)
    return bytes(buffer)[: size - 2].decode("utf-16-le", "replace").strip("\0 \r\n")


def _entry(annotation: Any, key: bytes) -> str:
    return _string(raw.FPDFAnnot_GetStringValue, annotation, key)


def _box(annotation: Any) -> raw.FS_RECTF:
    box = raw.FS_RECTF()
    raw.FPDFAnnot_GetRect(annotation, box)
    return box


def _value(form: Any, annotation: Any, words: Sequence[Word]) -> tuple[str, str | None]:
    """Return a field's name and what it holds.

    The value is "" if it stands on the page already, and None if there is none to be found.
    """
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation) if form else -1
    if kind in (raw.FPDF_FORMFIELD_PUSHBUTTON, raw.FPDF_FORMFIELD_SIGNATURE):
        return "", ""
    if kind < 0:  # a field that the form does not list
        name, value = _entry(annotation, b"TU") or _entry(annotation, b"T"), ""
        if raw.FPDFAnnot_GetValueType(annotation, b"V") == raw.FPDF_OBJECT_STRING:
            value = _entry(annotation, b"V")
    else:
        if raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _SECRET and kind == _TEXT:
            return "", ""
        name = _string(raw.FPDFAnnot_GetFormFieldAlternateName, form, annotation)
        name = name or _string(raw.FPDFAnnot_GetFormFieldName, form, annotation).split(".")[-1]
        value = _string(raw.FPDFAnnot_GetFormFieldValue, form, annotation)
    box = _box(annotation)
    if kind in _CHOICES:
        value = ", ".join(_chosen(form, annotation)) or value
    elif kind == raw.FPDF_FORMFIELD_CHECKBOX:
        value = "yes" if raw.FPDFAnnot_IsChecked(form, annotation) else "no"
    elif kind == raw.FPDF_FORMFIELD_RADIOBUTTON:
        value = _string(raw.FPDFAnnot_GetFormFieldExportValue, form, annotation)
        if not raw.FPDFAnnot_IsChecked(form, annotation):
            value = ""
        elif _GENERIC.fullmatch(value[:80]):
            value = _beside(box, words, right=True) or value
    text: str | None = one_line(value)
    if text and kind not in _BOXES and _inside(box, words) == text:
        text = ""
    elif not text and kind in (-1, _TEXT):
        text = None
    if _GENERIC.fullmatch(name[:80]):
        name = _beside(box, words, right=kind == raw.FPDF_FORMFIELD_CHECKBOX) or name
    return one_line(name).rstrip(":"), text


def _chosen(form: Any, annotation: Any) -> Iterator[str]:
    for index in range(min(raw.FPDFAnnot_GetOptionCount(form, annotation), _MANY)):
        if raw.FPDFAnnot_IsOptionSelected(form, annotation, index):
            yield _string(raw.FPDFAnnot_GetOptionLabel, form, annotation, index)


def _inside(box: raw.FS_RECTF, words: Sequence[Word]) -> str:
    """Return the words that are printed in a field."""
    return " ".join(
        word.text
        for word in words
        if word.turn == 0
        and box.left - 1 <= (word.left + word.right) / 2 <= box.right + 1
        and box.bottom - 1 <= word.base + word.size / 4 <= box.top + 1
    )


def _beside(box: raw.FS_RECTF, words: Sequence[Word], *, right: bool) -> str:
    """Return the words that are printed on the left of a field, or on its right."""
    line = sorted(
        (
            word
            for word in words
            if word.turn == 0
            and box.bottom - word.size / 2 <= word.base + word.size / 4 <= box.top + word.size / 2
            and (word.left >= box.right - 2 if right else word.right <= box.left + 2)
        ),
        key=lambda word: word.left if right else -word.right,
    )
    label: list[str] = []
    edge = box.right if right else box.left
    for word in line[:12]:
        if (
            abs((word.left if right else word.right) - edge)
            > (1 if label else 3 if right else 12) * word.size
        ):
            break
        label.append(word.text)
        edge = word.right if right else word.left
    return " ".join(label if right else label[::-1])
