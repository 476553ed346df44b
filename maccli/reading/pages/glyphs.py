"""The words that PDFium finds on a page, each with its place, size and direction."""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from maccli.reading.pages.layout import SOFT, Line, Word

_LIGATURE = re.compile("[\ufb00-\ufb06\ufb13-\ufb17]")
_BOLD = re.compile(rb"bold|black|heavy|semibold|demi", re.IGNORECASE)
_CONTROL = re.compile("[\0-\x1f\x7f-\xa0]+")
_HYPHEN = "\x02"  # PDFium's sign for a hyphen at the end of a line
_NO_CHARACTER = re.compile("[\x02\ufffe]")
_UNKNOWN = re.compile("[\0\x01\x03-\x08\x0b\x0c\x0e-\x1f\ufffd]")
_WORD = re.compile(f"[^\\s\0-\x1f\x7f-\x9f\ufffe\uffff]+{_HYPHEN}?|{_HYPHEN}")
_LETTERS: dict[int, str | None] = {
    **dict.fromkeys((0x200B, 0x200C, 0x2060, 0xFEFF, 0xAD)),  # invisible in the middle of a line
    **dict.fromkeys(  # bullets in the fonts Symbol and Wingdings
        (0xF0B7, 0xF0A7, 0xF0D8, 0xF076, 0xF0FC, 0xF0A8, 0xF06E, 0xF0B2, 0xF02D), "\u2022"
    ),
    ord(_HYPHEN): SOFT,
}
_HEAVY = 600


class _Style:
    """Size, weight and direction of the text object that a character belongs to."""

    def __init__(self, page: pdfium.PdfTextPage) -> None:
        self._page = page.raw
        self._object = 0
        self._name = ctypes.create_string_buffer(256)
        self._matrix = raw.FS_MATRIX()
        self.size, self.bold, self.turn = 1.0, False, 0
        self.is_nameless = False  # its font does not say which characters it shows
        self.cosine, self.sine = 1.0, 0.0

    def at(self, index: int) -> None:
        """Move to a character."""
        found = raw.FPDFText_GetTextObject(self._page, index)
        address = ctypes.addressof(found.contents) if found else 0
        if address and address == self._object:
            return
        self._object = address
        matrix = self._matrix
        raw.FPDFText_GetMatrix(self._page, index, matrix)
        scale = math.hypot(matrix.c, matrix.d) or 1.0
        self.size = max(abs(raw.FPDFText_GetFontSize(self._page, index)) * scale, 0.5)
        self.turn = round(math.degrees(math.atan2(matrix.b, matrix.a))) % 360
        self.cosine = math.cos(math.radians(self.turn))
        self.sine = math.sin(math.radians(self.turn))
        self.is_nameless = raw.FPDFText_HasUnicodeMapError(self._page, index) == 1
        self._name.raw = bytes(256)
        raw.FPDFText_GetFontInfo(self._page, index, self._name, 255, None)
        heavy = raw.FPDFText_GetFontWeight(self._page, index) >= _HEAVY
        self.bold = heavy or bool(_BOLD.search(self._name.value))


def words_of(page: pdfium.PdfTextPage) -> tuple[list[Word], int]:
    """Return the words of a page in the order of drawing, and how many characters have no text.

    Ligatures become letters, control characters spaces; a hyphen that PDFium takes for one at the
    end of a line becomes `layout.SOFT`.
    """
    handle = page.raw
    text = _characters(page)
    unknown = len(_UNKNOWN.findall(text))
    words: list[Word] = []
    style, box, x, y = _Style(page), raw.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    for match in _WORD.finditer(text):
        word = _whole(match[0])
        if not word:
            continue
        style.at(match.start())
        unknown += len(word) if style.is_nameless else 0
        ends = []
        for index in {match.end() - 1, match.start()}:
            if style.turn % 90 == 0:
                raw.FPDFText_GetLooseCharBox(handle, index, box)
                ends += [
                    box.left * style.cosine + box.bottom * style.sine,
                    box.right * style.cosine + box.top * style.sine,
                ]
            else:
                raw.FPDFText_GetCharOrigin(handle, index, x, y)
                along = x.value * style.cosine + y.value * style.sine
                ends += [along, along + style.size / 2]
        raw.FPDFText_GetCharOrigin(handle, match.start(), x, y)
        base = y.value * style.cosine - x.value * style.sine
        words.append(Word(word, min(ends), max(ends), base, style.size, style.bold, style.turn))
    return words, unknown


def _characters(page: pdfium.PdfTextPage) -> str:
    """Return the characters of a page, one for each that PDFium counts; hyphens as `_HYPHEN`."""
    handle = page.raw
    count = raw.FPDFText_CountChars(handle)
    buffer = (ctypes.c_ushort * (count + 1))()
    written = raw.FPDFText_GetText(handle, 0, count, buffer) - 1
    units = bytes(buffer)[: 2 * count]
    text = units.decode("utf-16-le", "replace")
    if written != count or len(text) != count or "\ufffd" in text:  # some count otherwise
        codes = [raw.FPDFText_GetUnicode(handle, index) for index in range(count)]
        text = "".join(map(chr, codes)).replace(_HYPHEN, "\ufffe")
    letters = list(text.replace(_HYPHEN, "\ufffe"))
    for match in _NO_CHARACTER.finditer(text):
        is_hyphen = raw.FPDFText_IsHyphen(handle, match.start()) == 1
        letters[match.start()] = _HYPHEN if is_hyphen else "\0"
    return "".join(letters)


def lines_of(page: pdfium.PdfTextPage) -> list[Line]:
    """Return the lines of a page as PDFium finds them: for pages of very many characters."""
    text = page.get_text_range(errors="replace").replace("\ufffe", SOFT)
    lines = (_CONTROL.sub(" ", _whole(line)).strip() for line in text.splitlines())
    return [
        Line(line, 0, 0, -2 * number, 1, False, 0, 0, row=True)
        for number, line in enumerate(lines)
        if line
    ]


def _whole(text: str) -> str:
    """Return a word without ligatures and invisible characters, and without halves of any."""
    if text.isascii() and text[-1:] != _HYPHEN:
        return text
    text = text.translate(_LETTERS)
    text = _LIGATURE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
