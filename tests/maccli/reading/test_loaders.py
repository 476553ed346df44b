from __future__ import annotations

import codecs
import io
import mailbox
import sys
import zipfile
from email.message import EmailMessage
from pathlib import Path
from types import ModuleType

import pytest

from maccli.reading import kinds, loaders, reader
from maccli.reading.draft import Draft
from maccli.reading.encodings import Binary, Empty, Refused
from maccli.reading.kinds import inside, kind_of
from maccli.reading.loaders import FORMATS, from_bytes, load
from store.marks import Mark


def zipped(**entries: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in entries.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def compound(*streams: str) -> bytes:
    """The directory of an OLE file, as far as it is looked at."""
    head = bytearray(512)
    head[:8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    head[30], head[48] = 9, 0
    return bytes(head) + b"".join(name.encode("utf-16-le").ljust(128, b"\0") for name in streams)


def types(main: str) -> str:
    xlsx = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    return (
        f'<Types><Default Extension="xlsx" ContentType="{xlsx}"/>'
        f'<Override PartName="/x.xml" ContentType="application/{main}.main+xml"/></Types>'
    )


OFFICE = "vnd.openxmlformats-officedocument"
PAGE = b"<!DOCTYPE html><p>Hello"
MESSAGE = b"Received: from x\n by y\nFrom: Ines <i@x.org>\nTo: o@x.org\nSubject: Hi\n\nHello"


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [
        (b"%PDF-1.7\n1 0 obj", "a", kinds.PDF),
        (b"\xef\xbb\xbf\r\n\n%PDF-1.7\n1 0 obj", "a.txt", kinds.PDF),
        (b"junk " * 100 + b"%PDF-1.7", "a.pdf", kinds.PDF),
        (b"A file begins with %PDF-1.7", "notes.txt", kinds.PLAIN),
        (b"x = b'%PDF-1.7'", "pdf.py", kinds.SOURCE),
        (b"PK\x03\x04", "a", kinds.ARCHIVE),
        (b"{\\rtf1 x}", "a.doc", kinds.RTF),
        (PAGE, "a", kinds.HTML),
        (b"\xef\xbb\xbf \n<!-- x -->\n<html>", "a.txt", kinds.HTML),
        ("\ufeff<html>".encode("utf-16-le"), "a", kinds.HTML),
        (b"<?xml version='1.0'?>\n<!DOCTYPE html PUBLIC ''>\n<html>", "a.xml", kinds.HTML),
        (b"<?xml version='1.0'?>\n<plant/>", "a.xml", kinds.XML),
        (PAGE, "export.xls", kinds.HTML),
        (PAGE, "page.php", kinds.HTML),
        (PAGE, "a.md", "Markdown"),
        (b"plain", "letter.doc", kinds.PLAIN),
        (b"a\tb\n1\t2", "export.xls", "CSV"),
        (MESSAGE, "a", kinds.MAIL),
        (MESSAGE, "17.M1P2.host:2,S", kinds.MAIL),
        (MESSAGE, "a.txt", kinds.PLAIN),
        (b"note: this\nFrom: here", "a", kinds.SOURCE),
        (b"From ines@x.org Mon Mar  3 09:00:00 2031\nFrom: a", "inbox", kinds.MAILBOX),
        (b"From here it is far.", "inbox", kinds.SOURCE),
        (b"anything", "a.eml", kinds.MAIL),
        (b"%PDF-1.7 is how such files begin.", "a.md", "Markdown"),
        (b"{\\rtf is how such files begin.", "a.txt", kinds.PLAIN),
        (b"BZhang is a name.", "a.txt", kinds.PLAIN),
        (b"a", "A.MD", "Markdown"),
        (b"a", "a.rst", "reStructuredText"),
        (b"a", "a.ipynb", "notebooks"),
        (b"a", "a.jsonl", "JSON Lines"),
        (b"a", "a.tsv", "TSV"),
        (b"a", "a.py", kinds.SOURCE),
        (b"a", "LICENSE", kinds.SOURCE),
    ],
)
def test_kinds_are_told_by_content_then_by_name(
    data: bytes, name: str, kind: kinds.Kind | str
) -> None:
    found = kind_of(data, name)
    assert kind in (found, found.name)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (
            zipped(**{"[Content_Types].xml": types(f"{OFFICE}.wordprocessingml.document")}),
            kinds.WORD,
        ),
        (zipped(**{"[Content_Types].xml": types("vnd.ms-word.document.macroEnabled")}), kinds.WORD),
        (zipped(**{"[Content_Types].xml": types(f"{OFFICE}.spreadsheetml.sheet")}), kinds.SHEETS),
        (
            zipped(**{"[Content_Types].xml": types("vnd.ms-excel.sheet.binary.macroEnabled")}),
            kinds.SHEETS,
        ),
        (
            zipped(**{"[Content_Types].xml": types(f"{OFFICE}.presentationml.slideshow")}),
            kinds.SLIDES,
        ),
        (zipped(**{"word/document2.xml": "x"}), kinds.WORD),
        (zipped(**{"xl/workbook.xml": "x"}), kinds.SHEETS),
        (zipped(**{"ppt/presentation.xml": "x"}), kinds.SLIDES),
        (zipped(mimetype="application/epub+zip"), kinds.EPUB),
        (zipped(**{"META-INF/container.xml": "x"}), kinds.EPUB),
        (zipped(mimetype="application/vnd.oasis.opendocument.text"), kinds.OPEN_TEXT),
        (zipped(mimetype="application/vnd.oasis.opendocument.text-template"), kinds.OPEN_TEXT),
        (zipped(mimetype="application/vnd.oasis.opendocument.text-master"), kinds.OPEN_TEXT),
        (
            zipped(**{"META-INF/manifest.xml": 'a="application/vnd.oasis.opendocument.text"'}),
            kinds.OPEN_TEXT,
        ),
        (zipped(mimetype="application/vnd.oasis.opendocument.spreadsheet"), kinds.OPEN_SHEETS),
        (compound("Root Entry", "Workbook", "WordDocument"), kinds.SHEETS),
    ],
)
def test_archives_are_told_by_what_is_in_them(data: bytes, kind: kinds.Kind) -> None:
    assert inside(data, "a") == kind


def test_a_mark_may_stand_before_an_archive() -> None:
    data = codecs.BOM_UTF8 + b"\r\n" + zipped(mimetype="application/epub+zip")
    assert kind_of(data, "a.epub") == kinds.ARCHIVE
    assert inside(data, "a.epub") == kinds.EPUB


@pytest.mark.parametrize(
    ("data", "name", "refusal", "reason"),
    [
        (b"", "a", Empty, "^is empty$"),
        (b" \n\t ", "a", Empty, "^has no text in it$"),
        (codecs.BOM_UTF8, "a", Empty, "^has no text in it$"),
        (b"PK\x03\x04....", "a", Binary, "^is an archive; unpack it first$"),
        (b"PK\x03\x04....", "a.docx", Refused, "^is damaged: File is not a zip file$"),
        (zipped(**{"a.txt": "x"}), "a.zip", Binary, "^is an archive; unpack it first$"),
        (
            zipped(mimetype="application/vnd.oasis.opendocument.formula"),
            "a",
            Refused,
            "save it as",
        ),
        (compound("Root Entry", "WordDocument", "Workbook"), "a", Refused, "^is an old Word file"),
        (compound("PowerPoint Document"), "a.ppt", Refused, "^is an old PowerPoint file"),
        (compound("__properties_version1.0"), "a.msg", Refused, "^is an Outlook message"),
        (compound("EncryptedPackage"), "a.docx", Refused, "^has a password"),
        (compound("other"), "a.db", Binary, "^is a binary file$"),
        (b"\x1f\x8b\x08\0", "a.gz", Binary, "^is compressed; unpack it first$"),
        (b"\x89PNG\r\n\x1a\n", "a.png", Binary, "^is a picture"),
        (b"\x00\x01\x02", "a", Binary, "^is a binary file$"),
        (b"abc\x01\x02\x03\x04", "a.txt", Binary, "^is a binary file$"),
        (codecs.BOM_UTF16_LE + b"a", "a", Refused, "^begins as utf-16-le but is not$"),
        (b"words", "a.pdf", Refused, "^is named .pdf but is no such file$"),
        (b"words", "a.docx", Refused, "^is named .docx but is no such file$"),
    ],
)
def test_what_is_no_document_is_refused(
    data: bytes, name: str, refusal: type[Refused], reason: str
) -> None:
    with pytest.raises(Refused, match=reason) as raised:
        from_bytes(data, name)
    assert type(raised.value) is refusal


def test_a_file_that_is_too_large_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(200 * 2**20)
    with pytest.raises(Refused, match="larger than 50 MB"):
        load(huge)
    monkeypatch.setattr(loaders, "MAX_BYTES", 4)
    (tmp_path / "fits.txt").write_text("abcd")
    assert load(tmp_path / "fits.txt").text == "abcd"
    monkeypatch.setattr(reader, "MAX_TEXT", 3)
    with pytest.raises(Refused, match="million characters of text"):
        load(tmp_path / "fits.txt")


@pytest.mark.parametrize(
    ("name", "text", "title", "media_type"),
    [
        ("a.md", "intro\n\n## The *Title* ##\nx", "The Title", "text/markdown"),
        ("a.rst", "======\nOver\n======\n\nx", "Over", "text/x-rst"),
        ("a.txt", "# no heading here", None, "text/plain"),
        ("LICENSE", "text", None, "text/plain"),
        ("data.csv", "a,b", None, "text/csv"),
        ("a.json", "{}", None, "application/json"),
        ("a.yaml", "# x", None, "application/yaml"),
        ("a.css", "x {}", None, "text/css"),
    ],
)
def test_titles_and_media_types(name: str, text: str, title: str | None, media_type: str) -> None:
    loaded = from_bytes(text.encode(), name)
    assert (loaded.title, loaded.media_type, loaded.encoding) == (title, media_type, "utf-8")


def test_the_text_of_a_file_is_kept_as_it_is() -> None:
    text = "One.\r\n\r\n  Two.\n"
    assert from_bytes(text.encode(), "a.txt").text == text


def test_an_encoding_is_asked_for_and_told() -> None:
    assert from_bytes("Паром".encode("cp866"), "a.txt", "cp866").encoding == "cp866"
    loaded = from_bytes("Le café est fermé à midi.".encode("cp1252"), "a.txt")
    assert loaded.remark == "is not UTF-8; read as cp1252 (else use --encoding)"
    page = "<meta charset=latin1><p>“Café” – 3 €".encode("cp1252")
    assert from_bytes(page, "a.html").text == "“Café” – 3 €"


def test_what_a_reader_gives_can_always_be_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(text: str, name: str) -> Draft:
        draft = Draft()
        draft.title = "A\ud83d\0\n title"
        draft.verbatim("\0ab\0c\ud83d", [Mark(0), Mark(2, "h", "line 2"), Mark(4, "i", "line 3")])
        draft.remarks += ["twice", "twice"]
        return draft

    monkeypatch.setattr("maccli.reading.formats.markup.read", read)
    loaded = from_bytes(b"x", "a.txt")
    assert (loaded.text, loaded.title, loaded.remark) == ("abc\ufffd", "A\ufffd title", "twice")
    assert loaded.marks == (Mark(0), Mark(1, "h", "line 2"), Mark(2, "i", "line 3"))


def test_a_pdf_without_text_hints_at_ocr(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = ModuleType("maccli.reading.formats.pdf")
    monkeypatch.setattr(scan, "read", lambda data, name: Draft(), raising=False)
    monkeypatch.setitem(sys.modules, "maccli.reading.formats.pdf", scan)
    with pytest.raises(Empty, match="needs OCR first"):
        reader.read(b"%PDF-1.7", "a.pdf")


def test_attachments_are_read_like_files() -> None:
    message = EmailMessage()
    message["From"], message["Subject"] = "ines@x.org", "The plan"
    message.set_content("See the plan.")
    message.add_attachment("Ware,Price\nTea,4\n", subtype="csv", filename="prices.csv")
    message.add_attachment(b"\x00\x01\x02", "application", "x-y", filename="a.bin")
    loaded = from_bytes(bytes(message), "a.eml")
    assert loaded.media_type == "message/rfc822"
    assert "Ware: Tea; Price: 4" in loaded.text
    assert 'attachment "prices.csv", row 2' in [mark.place for mark in loaded.marks]
    assert "a.bin" in str(loaded.remark)


def test_messages_in_messages_have_an_end() -> None:
    message = EmailMessage()
    message["From"] = "ines@x.org"
    message.set_content("The innermost words.")
    for number in range(12):
        outer = EmailMessage()
        outer["From"], outer["Subject"] = "ines@x.org", f"Level {number}"
        outer.set_content("See below.")
        outer.add_attachment(bytes(message), "application", "octet-stream", filename="m.eml")
        message = outer
    loaded = from_bytes(bytes(message), "a.eml")
    assert "Level 11" in loaded.text
    assert "is in too many messages, one in another" in str(loaded.remark)


def test_a_mailbox_is_read(tmp_path: Path) -> None:
    box = mailbox.mbox(tmp_path / "inbox")
    for subject in ("First", "Second"):
        message = EmailMessage()
        message["From"], message["Subject"] = "ines@x.org", subject
        message.set_content(f"Words of the {subject}.")
        box.add(message)
    box.close()
    loaded = load(tmp_path / "inbox")
    assert "Words of the Second." in loaded.text
    assert any(mark.place.startswith("message 2") for mark in loaded.marks)


def test_formats_are_told_in_words() -> None:
    assert FORMATS.startswith(
        "text, Markdown, reStructuredText, HTML, PDF, Word, OpenDocument, RTF"
    )
    assert FORMATS.endswith("XML, notebooks and source code")
