"""PDF files and Word documents to text.

Both formats place text on pages; what comes out are paragraphs, in reading order as far as the file
tells it. Offsets into a document are offsets into that text.
"""

from __future__ import annotations

import io
import logging
import re
import zipfile

MAX_TEXT = 200 * 1024 * 1024
"""A Word document that unpacks to more is refused: no honest one does."""

PDF, WORD = (
    "application/pdf",
    ("application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
)
_BODY = "word/document.xml"
_BROKEN_WORD = re.compile(r"(?<=[^\W\d_])-\n(?=[a-zß-ÿ])")
_BROKEN_LINE = re.compile(r"(?<=[^\s.!?:;])[ \t]*\n(?=[a-zß-ÿ0-9(])")


class Unreadable(Exception):
    """The file is damaged or locked; the message is the reason, to stand after its name."""


def is_word(data: bytes) -> bool:
    """Return whether an archive is a Word document (.docx)."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _BODY in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def from_pdf(data: bytes) -> tuple[str, str | None]:
    """Return the text of a PDF file, its pages one after the other, and its title.

    Words that were divided and sentences that were broken at the end of a line are whole again.

    Raises:
        Unreadable: it needs a password, or is damaged.
    """
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of every small fault
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("is a PDF with a password; save it without one first")
        pages = [page.extract_text() for page in reader.pages]
        title = str(reader.metadata.title or "") if reader.metadata else ""
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can raise nearly anything in there
        raise Unreadable(f"is a damaged PDF: {_in_short(error)}") from error
    text = "\n\n".join(page.strip() for page in pages if page.strip())
    text = _BROKEN_LINE.sub(" ", _BROKEN_WORD.sub("", text))
    return text, " ".join(title.split()) or None


def from_word(data: bytes) -> tuple[str, str | None]:
    """Return the text of a Word document, a line a paragraph or row of a table, and its title.

    Raises:
        Unreadable: it is damaged, or unpacks to more than `MAX_TEXT`.
    """
    import docx
    from docx.table import Table

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_TEXT:
                raise Unreadable(f"unpacks to more than {MAX_TEXT // 2**20} MB")
        document = docx.Document(io.BytesIO(data))
        lines: list[str] = []
        for part in document.iter_inner_content():
            if isinstance(part, Table):
                lines += (" | ".join(cell.text.strip() for cell in row.cells) for row in part.rows)
            else:
                lines.append(part.text)
        title = str(document.core_properties.title or "")
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can raise nearly anything in there
        raise Unreadable(f"is a damaged Word document: {_in_short(error)}") from error
    return "\n\n".join(line for line in lines if line.strip()), " ".join(title.split()) or None


def _in_short(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
