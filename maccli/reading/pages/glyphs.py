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
_BULLET = "\u2022"
_BULLETS = {0xF0B7, 0xF0A7, 0xF0D8, 0xF076, 0xF0FC, 0xF0A8, 0xF06E, 0xF0B2, 0xF02D}
_NOTHING = {0x200B, 0x200C, 0x2060, 0xFEFF, 0xAD}  # invisible in the middle of a line
_HEAVY = 600


class _Style:
    """Size, weight and direction of the text object that a character belongs to."""

    def __init__(self, page: pdfium.PdfTextPage) -> None:
        self._page = page.raw
        self._object = 0
        self._name = ctypes.create_string_buffer(256)
        self._matrix = raw.FS_MATRIX()
        self.size, self.bold, self.turn = 1.0, False, 0
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
    words: list[Word] = []
    letters: list[str] = []
    style, box, x, y = _Style(page), raw.FS_RECTF(), ctypes.c_double(), ctypes.c_double()
    start = last = unknown = 0

    def close() -> None:
        nonlocal unknown
        if not letters:
            return
        text = _whole("".join(letters))
        letters.clear()
        style.at(start)
        unknown += len(text) if raw.FPDFText_HasUnicodeMapError(handle, start) == 1 else 0
        ends = []
        for index in (last, start):
            raw.FPDFText_GetCharOrigin(handle, index, x, y)
            along = x.value * style.cosine + y.value * style.sine
            ends += [along, along + style.size / 2]
            if style.turn % 90 == 0:
                raw.FPDFText_GetLooseCharBox(handle, index, box)
                ends[-2:] = [
                    box.left * style.cosine + box.bottom * style.sine,
                    box.right * style.cosine + box.top * style.sine,
                ]
        base = y.value * style.cosine - x.value * style.sine
        words.append(Word(text, min(ends), max(ends), base, style.size, style.bold, style.turn))

    for index in range(raw.FPDFText_CountChars(handle)):
        code = raw.FPDFText_GetUnicode(handle, index)
        is_hyphen = code == 2 and raw.FPDFText_IsHyphen(handle, index) == 1
        if code == 0 or code == 0xFFFD or (code < 32 and code not in (9, 10, 13) and not is_hyphen):
            unknown += 1
        if code in _NOTHING:
            continue
        character = _BULLET if code in _BULLETS else SOFT if is_hyphen else chr(code)
        if (code < 33 and not is_hyphen) or 0x7F <= code < 0xA0 or code in (0xFFFE, 0xFFFF):
            close()
            continue
        if character.isspace():
            close()
            continue
        if not letters:
            start = index
        letters.append(character)
        last = index
        if is_hyphen:
            close()
    close()
    return words, unknown


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
    """Return a word without ligatures, and with characters outside the first 65,536 whole."""
    if text.isascii():
        return text
    text = _LIGATURE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
