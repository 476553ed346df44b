import io
import zipfile

import docx
import pypdf
import pytest
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

from maccli.reading import office
from maccli.reading.encodings import Empty, Refused
from maccli.reading.loaders import from_bytes


def pdf(*pages: list[str], title: str | None = None, password: str | None = None) -> bytes:
    """A PDF file with lines of Latin-1 text on each page."""
    writer = pypdf.PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
            NameObject("/Encoding"): NameObject("/WinAnsiEncoding"),
        }
    )
    for lines in pages:
        page = writer.add_blank_page(width=300, height=400)
        fonts = DictionaryObject({NameObject("/F1"): font})
        page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): fonts})
        shown = "".join(f"({line}) Tj T* " for line in lines)
        content = DecodedStreamObject()
        content.set_data(f"BT /F1 12 Tf 14 TL 20 360 Td {shown}ET".encode("latin-1"))
        page[NameObject("/Contents")] = writer._add_object(content)
    if title is not None:
        writer.add_metadata({"/Title": title})
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word(*lines: str, title: str = "", row: list[str] | None = None) -> bytes:
    document = docx.Document()
    for line in lines:
        document.add_paragraph(line)
    if row is not None:
        table = document.add_table(rows=1, cols=len(row))
        for cell, text in zip(table.rows[0].cells, row, strict=True):
            cell.text = text
    document.core_properties.title = title
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_a_pdf_gives_the_text_of_its_pages_with_lines_joined():
    file = pdf(
        ["The Lantern Cup was won by an inter-", "national team from", "Quillhaven."],
        ["A second page."],
        title="The Lantern  Cup",
    )
    loaded = from_bytes(file, "cup.pdf")
    assert loaded.text == (
        "The Lantern Cup was won by an international team from\nQuillhaven.\n\nA second page."
    )
    assert (loaded.title, loaded.media_type) == ("The Lantern Cup", "application/pdf")


def test_sentences_broken_at_the_end_of_a_line_are_whole_again():
    file = pdf(["It rained on the", "third day of", "2031, a", "Monday."])
    assert from_bytes(file, "a.pdf").text == "It rained on the third day of 2031, a\nMonday."


def test_a_pdf_is_known_by_its_beginning_whatever_its_name():
    assert from_bytes(pdf(["Text."]), "notes").text == "Text."


def test_a_pdf_of_pictures_alone_says_so():
    with pytest.raises(Empty, match="a scan"):
        from_bytes(pdf([]), "scan.pdf")


def test_a_pdf_with_a_password_is_refused_and_one_without_a_real_one_read():
    with pytest.raises(Refused, match="with a password"):
        from_bytes(pdf(["Secret."], password="x"), "a.pdf")
    assert from_bytes(pdf(["Open."], password=""), "a.pdf").text == "Open."


@pytest.mark.parametrize("end", [9, 40, 200, -30])
def test_a_damaged_pdf_is_refused_or_read_but_never_an_accident(end: int):
    whole = pdf(["Some text."])
    try:
        assert from_bytes(whole[:end], "a.pdf").text == "Some text."
    except Refused as error:
        assert "\n" not in str(error)


def test_word_gives_paragraphs_rows_and_title():
    file = word("First.", "", "Second.", title="Minutes", row=["Name", "Age"])
    loaded = from_bytes(file, "minutes.docx")
    assert loaded.text == "First.\n\nSecond.\n\nName | Age"
    assert loaded.title == "Minutes"
    assert loaded.media_type == office.WORD


def test_other_archives_and_damaged_documents_are_refused():
    with pytest.raises(Refused, match="is an archive"):
        from_bytes(b"PK\x03\x04....", "a.zip")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("word/document.xml", "<broken")
    with pytest.raises(Refused, match="is a damaged Word document"):
        from_bytes(out.getvalue(), "a.docx")
    with pytest.raises(Empty, match="has no text in it$"):
        from_bytes(word(), "a.docx")


def test_a_word_document_that_unpacks_to_very_much_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(office, "MAX_TEXT", 1000)
    with pytest.raises(Refused, match="unpacks to more than"):
        from_bytes(word("a"), "a.docx")
