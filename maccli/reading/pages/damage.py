"""Which pages of a PDF have content that cannot be read.

PDFium says nothing of a damaged page: it gives what it could read, or an empty one. But it can copy
the file, decrypted and in a plain form, in which their content is easy to find.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from itertools import islice

import pypdfium2 as pdfium
import pypdfium2.raw as raw

_ROOT = re.compile(rb"/Root (\d+) 0 R")
_PAGES = re.compile(rb"/Pages (\d+) 0 R")
_KIDS = re.compile(rb"/Kids\[([\dR ]*)\]")
_CONTENTS = re.compile(rb"/Contents(?: \d+ 0 R|\[[\dR ]*\])")
_NUMBER = re.compile(rb"(\d+) 0 R")
_OFFSET = re.compile(rb"^(\d{10}) \d{5} n", re.MULTILINE)
_FLATE = re.compile(rb"\s*\[?\s*/FlateDecode\s*(?:\]|/(?!\w+Decode)|\Z)")
_STREAM = re.compile(rb">>\s*stream\r?\n")
_OPERATOR = re.compile(rb"(?<![\w/.+-])[^\W\d_]\w*\*?|['\"]|[^\s!-~]")
_BLANK = frozenset(
    b"q Q cm w J j M d ri i gs m l c v y h re W W* n BT ET Tc Tw Tz TL Tf Tr Ts Td TD Tm T* CS cs"
    b" SC SCN sc scn G g RG rg K k BMC BDC EMC MP DP BX EX true false null".split()
)  # operators that draw nothing
_MAX = 64 * 2**20  # bytes of one stream that are looked at


def damaged_pages(document: pdfium.PdfDocument, empty: set[int]) -> set[int]:
    """Return the indexes of pages whose content is damaged, wholly or from some point on.

    Args:
        document: the file; with encryption, opened already.
        empty: the indexes of pages on which nothing was found.
    """
    out = io.BytesIO()
    document.save(out, flags=raw.FPDF_REMOVE_SECURITY)
    copy = _Copy(out.getvalue())
    damaged = set()
    for index, page in enumerate(islice(copy.pages(), len(document))):
        contents = _CONTENTS.search(copy.object(page))
        if not contents:
            continue
        found = [_unpacked(stream) for stream in copy.streams(contents[0])]
        draws = any(data is None or _draws(data) for data, _ in found)
        if any(not whole for _, whole in found) or (index in empty and draws):
            damaged.add(index)
    return damaged


class _Copy:
    """A file as PDFium writes it: each object after the other, and one table of their offsets.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, file: bytes) -> None:
        self._file = file
        table = file.rindex(b"xref", 0, file.rindex(b"startxref"))
        starts = sorted(int(offset) for offset in _OFFSET.findall(file, table))
        self._places = {
            int(file[start : start + 12].split()[0]): (start, end)
            for start, end in zip(starts, [*starts[1:], table], strict=True)
        }
        root = _ROOT.search(file, table)
        self._root = int(root[1]) if root else 0

    def object(self, number: int) -> bytes:
        """Return an object; nothing if it is missing."""
        start, end = self._places.get(number, (0, 0))
        return self._file[start:end]

    def pages(self) -> Iterator[int]:
        """Yield the numbers of the pages' objects in order."""
        tree = _PAGES.search(self.object(self._root))
        waiting, seen = [int(tree[1])] if tree else [], set[int]()
        while waiting:
            number = waiting.pop()
            kids = _KIDS.search(self.object(number))
            if not kids:
                yield number
            elif number not in seen:
                seen.add(number)
                waiting += reversed([int(kid) for kid in _NUMBER.findall(kids[1])])

    def streams(self, contents: bytes) -> Iterator[bytes]:
        """Yield the streams of a page's content, each as it stands in the file."""
        for number in _NUMBER.findall(contents):
            found = self.object(int(number))
            if b"stream" in found or b"[" not in found:
                yield found
            else:  # a list of them
                yield from (self.object(int(inner)) for inner in _NUMBER.findall(found))


def _draws(content: bytes) -> bool:
    """Return whether there is more in a page's content than a blank page needs."""
    return any(match[0] not in _BLANK for match in _OPERATOR.finditer(content, 0, 2**16))


def _unpacked(stream: bytes) -> tuple[bytes | None, bool]:
    """Return a stream's data, None if it is packed in a rare way, and whether it is whole."""
    begin = _STREAM.search(stream)
    if not begin:
        return None, False
    filters = stream[: begin.start()].partition(b"/Filter")[2]
    if not filters:
        return stream[begin.end() :], True
    if not _FLATE.match(filters):
        return None, True
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)  # without the checksum, which many write wrong
    try:
        data = unpacker.decompress(stream[begin.end() + 2 :], _MAX)
    except zlib.error:
        return None, False
    return data, unpacker.eof or len(data) == _MAX
