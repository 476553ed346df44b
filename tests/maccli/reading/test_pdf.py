import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from maccli.reading.draft import Draft
from maccli.reading.encodings import Empty, Refused
from maccli.reading.formats import pdf

FONT = "<< /Type /Font /Subtype /Type1 /BaseFont /{} /Encoding /WinAnsiEncoding >>"
WIDGET = "/Type /Annot /Subtype /Widget /Rect [200 715 300 735]"
FERRY = "The ferry leaves at nine."


def file(
    *pages: str | bytes,
    objects: Mapping[int, str | bytes] | None = None,
    root: str = "",
    page: str = "",
    trailer: str = "",
) -> bytes:
    """A PDF file. Page 1 is object 100, its content 101; page 2 is 102, and so on.

    Args:
        pages: the content of each page; /F1 is Helvetica, /F2 bold, /F3 Courier.
        objects: further ones by number, or in place of these.
        root: entries of the catalog.
        page: entries of each page.
        trailer: entries of the trailer.
    """
    kids = " ".join(f"{100 + 2 * i} 0 R" for i in range(len(pages)))
    all_objects: dict[int, str | bytes] = {
        1: f"<< /Type /Catalog /Pages 2 0 R {root} >>",
        2: f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>",
        3: FONT.format("Helvetica"),
        4: FONT.format("Helvetica-Bold"),
        5: FONT.format("Courier"),
    }
    for index, content in enumerate(pages):
        number = 100 + 2 * index
        all_objects[number] = (
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font"
            f" << /F1 3 0 R /F2 4 0 R /F3 5 0 R >> /XObject << /X 50 0 R >> >>"
            f" /Contents {number + 1} 0 R {page} >>"
        )
        all_objects[number + 1] = stream(content)
    all_objects |= objects or {}
    out = bytearray(b"%PDF-1.7\n")
    offsets = {}
    for number, content in sorted(all_objects.items()):
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, _bytes(content))
    start, size = len(out), max(all_objects) + 1
    out += b"xref\n0 %d\n" % size
    for number in range(size):
        used = number in offsets
        out += b"%010d %05d %s \n" % (
            offsets.get(number, 0),
            0 if used else 65535,
            b"fn"[used:][:1],
        )
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (size, trailer.encode())
    return bytes(out + b"startxref\n%d\n%%%%EOF\n" % start)


def stream(content: str | bytes, entries: str = "") -> bytes:
    data = _bytes(content)
    head = f"<< /Length {len(data)} {entries} >>\nstream\n"
    return head.encode() + data + b"\nendstream"


def _bytes(content: str | bytes) -> bytes:
    return content.encode("cp1252") if isinstance(content, str) else content


def at(x: float, y: float, text: str, size: float = 11, font: str = "F1") -> str:
    return f"BT /{font} {size} Tf 1 0 0 1 {x} {y} Tm ({text}) Tj ET\n"


def lines(*texts: str, x: float = 72, y: float = 700, size: float = 11, step: float = 14) -> str:
    return "".join(at(x, y - i * step, text, size) for i, text in enumerate(texts))


def grid(*rows: Iterable[str], xs: Iterable[float] = (72, 320), y: float = 700) -> str:
    """Rows of cells, drawn row by row."""
    return "".join(
        at(x, y - 14 * i, cell)
        for i, row in enumerate(rows)
        for x, cell in zip(xs, row, strict=False)
        if cell
    )


def read(*pages: str | bytes, **more: object) -> Draft:
    return pdf.read(file(*pages, **more), "a.pdf")  # type: ignore[arg-type]


def text(*pages: str | bytes, **more: object) -> str:
    return read(*pages, **more).text


def in_font(shown: str, names: Mapping[int, str]) -> str:
    """The text of a page whose font says which characters its codes mean (UTF-16 in hex)."""
    names = {code: f"{code:04X}" for code in range(32, 127)} | dict(names)
    rows = "\n".join(f"<{code:02x}> <{name}>" for code, name in names.items())
    cmap = (
        "begincmap 1 begincodespacerange <00> <ff> endcodespacerange"
        f" {len(names)} beginbfchar\n{rows}\nendbfchar endcmap"
    )
    font = (
        "<< /Type /Font /Subtype /TrueType /BaseFont /Abc /FirstChar 0 /LastChar 255"
        " /ToUnicode 6 0 R >>"
    )
    return text(at(72, 700, shown), objects={3: font, 6: stream(cmap)})


def form(*fields: str, listed: bool = True, printed: str = "", **objects: str) -> list[str]:
    """The lines that the fields of a form give; the first is what is printed on the page."""
    numbers = range(30, 30 + len(fields))
    refs = " ".join(f"{number} 0 R" for number in numbers)
    more = {int(name[1:]): content for name, content in objects.items()}
    found = text(
        at(72, 720, "Captain:") + printed,
        objects=dict(zip(numbers, fields, strict=True)) | more,
        root=f"/AcroForm << /Fields [{refs if listed else ''}] >>",
        page=f"/Annots [{refs}]",
    )
    return [line for line in found.splitlines() if line]


# Opening a file


@pytest.mark.parametrize("before", [b"\r\n\n", b"\xef\xbb\xbf", b"junk\n" * 200, b"\0" * 3000])
def test_something_may_stand_before_the_beginning(before: bytes) -> None:
    assert pdf.read(before + file(at(72, 700, FERRY)), "a.pdf").text == FERRY


@pytest.mark.parametrize("name", ["rc4-40", "rc4-128", "aes-128", "aes-256"])
def test_encryption_without_a_password_is_no_hindrance(name: str) -> None:
    data = (Path(__file__).parent / "encrypted" / f"{name}.pdf").read_bytes()
    draft = pdf.read(data, f"{name}.pdf")
    assert (draft.text, draft.remarks) == ("The lighthouse was lit by Runa Holm.", [])


def test_a_file_with_a_password_says_so() -> None:
    data = (Path(__file__).parent / "encrypted" / "with-password.pdf").read_bytes()
    with pytest.raises(Refused, match="is a PDF with a password; save it without one first"):
        pdf.read(data, "a.pdf")


@pytest.mark.parametrize("data", [b"%PDF-1.4 hello", b"<html>", b"%PDF-", file()])
def test_what_has_no_pages_is_refused_in_a_line(data: bytes) -> None:
    with pytest.raises(Refused, match=r"^is a damaged PDF[^\n]*$"):
        pdf.read(data, "a.pdf")


@pytest.mark.parametrize("end", [9, 300, 700, 900, -60])
def test_a_truncated_file_is_refused_or_read_but_never_an_accident(end: int) -> None:
    try:
        assert FERRY in pdf.read(file(at(72, 700, FERRY), "")[:end], "a.pdf").text
    except Refused as error:
        assert "\n" not in str(error)


def test_a_broken_table_of_objects_is_repaired() -> None:
    assert pdf.read(file(at(72, 700, FERRY)).replace(b"xref", b"xxxx"), "a.pdf").text == FERRY


# Damaged pages and pictures


LONG = zlib.compress("".join(at(72, 700 - i, f"Line {i * i}.") for i in range(500)).encode())


@pytest.mark.parametrize(
    "content",
    [
        stream(b"garbage not flate", "/Filter /FlateDecode"),
        stream(b"garbage", "/Filter /NoSuchDecode"),
        stream(b"\x80\x99 no operators \xfe"),
        b"null",
    ],
)
def test_a_damaged_page_is_named_and_the_others_are_kept(content: bytes) -> None:
    draft = read(at(72, 700, FERRY), "", objects={103: content})
    assert (draft.text, draft.remarks) == (FERRY, ["page 2 could not be read"])


def test_a_page_that_is_missing_is_named() -> None:
    draft = read(at(72, 700, FERRY), "", "", objects={102: b"null", 104: b"(no page)"})
    assert (draft.text, draft.remarks) == (FERRY, ["pages 2-3 could not be read"])


def test_a_page_that_ends_in_the_middle_is_named_with_what_was_read() -> None:
    cut = stream(LONG[: len(LONG) // 2], "/Filter /FlateDecode")
    draft = read("", objects={101: cut})
    assert draft.text.startswith("Line 0.")
    assert draft.remarks == ["page 1 could be read in part only"]


@pytest.mark.parametrize("content", [b"", b"q 0 0 9 9 re W n Q", b"BT /F1 9 Tf ( ) Tj ET"])
def test_a_blank_page_and_a_missing_checksum_are_no_damage(content: bytes) -> None:
    draft = read("", content, objects={101: stream(LONG[:-4], "/Filter /FlateDecode")})
    assert draft.remarks == []


IMAGE = stream(
    "x",
    "/Type /XObject /Subtype /Image /Width 1 /Height 1 /BitsPerComponent 8 /ColorSpace /DeviceGray",
)


def test_pages_that_are_pictures_are_named() -> None:
    scan = "q 500 0 0 700 0 0 cm /X Do Q"
    draft = read(at(72, 700, FERRY), scan, objects={50: IMAGE})
    assert draft.text == FERRY
    assert draft.remarks == ["page 2 is a picture (a scan needs OCR first)"]
    with pytest.raises(Empty, match="pages 1-2 are pictures"):
        read(scan, scan, objects={50: IMAGE})


def test_files_inside_are_named() -> None:
    names = "/Names << /EmbeddedFiles << /Names [(plan.txt) 80 0 R] >> >>"
    spec = "<< /Type /Filespec /F (plan.txt) /UF (plan.txt) /EF << /F 81 0 R >> >>"
    draft = read(at(72, 700, FERRY), root=names, objects={80: spec, 81: stream("hello")})
    assert draft.remarks == ["has files inside that are not read: plan.txt"]


# Characters


@pytest.mark.parametrize(
    ("shown", "names", "expected"),
    [
        ("The Gri!n medal", {33: "FB03"}, "The Griffin medal"),
        ("A \\043refighter", {35: "00660069"}, "A firefighter"),
        ("12 m! and # of it", {33: "00B2", 35: "00BD"}, "12 m² and ½ of it"),
        ("The!ferry leaves#now", {33: "0000", 35: "001F"}, "The ferry leaves now"),
        ("The!ferry le#aves", {33: "00A0", 35: "200B"}, "The ferry leaves"),
        ("soft!ware", {33: "00AD"}, "software"),
        ("Hi ! there", {33: "D83DDE00"}, "Hi 😀 there"),
        ("dcba", {97: "05D0", 98: "05D1", 99: "05D2", 100: "05D3"}, "\u05d0\u05d1\u05d2\u05d3"),
    ],
)
def test_characters_are_what_a_person_sees(
    shown: str, names: dict[int, str], expected: str
) -> None:
    assert in_font(shown, names) == expected


def test_a_font_without_names_of_its_characters_is_remarked_on() -> None:
    font = (
        "<< /Type /Font /Subtype /Type0 /BaseFont /Abc /Encoding /Identity-H"
        " /DescendantFonts [6 0 R] >>"
    )
    inner = (
        "<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Abc /CIDSystemInfo"
        " << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>"
    )
    codes = "".join(f"{code:04x}" for code in range(36, 56))
    content = f"BT /F1 12 Tf 72 700 Td <{codes}> Tj ET"
    draft = read(content, objects={3: font, 6: inner})
    assert draft.remarks == ["page 1: the font names no characters, so the text may be wrong"]


# Lines and paragraphs


def test_lines_of_a_paragraph_are_joined_and_gaps_separate_paragraphs() -> None:
    page = lines("It rained on the third day of 2031 and", "the ferry to Hald stayed in the")
    page += lines("harbour.", y=672) + lines("On Monday it left at nine.", y=630)
    assert text(page) == (
        "It rained on the third day of 2031 and the ferry to Hald stayed in the harbour.\n\n"
        "On Monday it left at nine."
    )


def test_lines_that_ended_early_stay_lines() -> None:
    page = lines(
        "Ines Okafor, captain", "Quay Street 5", "Hald", "We thank you for the long letter"
    )
    assert text(page).splitlines()[:3] == ["Ines Okafor, captain", "Quay Street 5", "Hald"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("an inter-", "national team", "an international team"),
        ("an inter\xad", "national team", "an international team"),
        ("a trip to Alsace-", "Lorraine", "a trip to Alsace-Lorraine"),
        ("in the years 1939-", "45 it", "in the years 1939-45 it"),
        ("the pre-", "and postwar years", "the pre- and postwar years"),
        ("the mother-in-", "law of the mayor", "the mother-in-law of the mayor"),
        ("a well-", "known mill, a well-known one", "a well-known mill, a well-known one"),
        ("a software -", "it ran", "a software - it ran"),
    ],
)
def test_words_divided_at_the_end_of_a_line_are_whole(
    first: str, second: str, expected: str
) -> None:
    assert text(lines(f"There was {first}", second)) == f"There was {expected}"


def test_lists_stay_lists() -> None:
    page = lines("We need three things for the trip:", "• a long rope and an anchor that holds")
    page += lines("in sand", x=80, y=672) + lines("• bread", "1. First", "2. Second", y=658)
    assert text(page) == (
        "We need three things for the trip:\n\n- a long rope and an anchor that holds in sand\n"
        "- bread\n1. First\n2. Second"
    )


def test_larger_lines_are_headings_and_the_first_is_the_title() -> None:
    page = at(72, 740, "The mill", 20) + at(72, 700, "Its owners", 15)
    page += lines("Petra Lund bought it in 1870.", "It was small.", y=660)
    draft = read(page, at(72, 700, "The end", 15) + lines("It burned down.", y=660))
    assert draft.text.startswith("# The mill\n\n## Its owners\n\nPetra Lund bought it")
    assert [(mark.heading, mark.place) for mark in draft.marks] == [
        ("The mill", "page 1"),
        ("The mill > Its owners", "page 1"),
        ("The mill > The end", "page 2"),
    ]
    assert draft.title == "The mill"


def test_sentences_and_numbers_in_large_letters_are_no_headings() -> None:
    page = at(72, 740, "It was sold for ninety crowns.", 20) + at(72, 700, "90", 20)
    assert "#" not in text(page + lines("Petra Lund bought the mill in 1870, and sold it.", y=600))


def test_bookmarks_tell_headings() -> None:
    outline = {
        60: "<< /First 61 0 R /Last 61 0 R >>",
        61: "<< /Title (1. Time table) /Parent 60 0 R /Dest [102 0 R /Fit] >>",
    }
    page = lines("1. Time table", FERRY)
    found = text(page, page, root="/Outlines 60 0 R", objects=outline)
    assert found.endswith(f"\n\n# 1. Time table\n\n{FERRY}")
    assert found.count("#") == 1


def test_lines_at_the_edge_of_every_page_are_kept_once() -> None:
    pages = [
        at(72, 770, "Yearbook of Hald")
        + at(72, 740, f"Day {number}")
        + lines(f"The {word} ferry was late.")
        + at(300, 30, f"Page {number} of 3")
        for number, word in enumerate(("first", "second", "third"), 1)
    ]
    found = text(*pages)
    assert found.count("Yearbook of Hald") == found.count("of 3") == 1
    assert [word in found for word in ("Day 2", "Day 3", "second", "third")] == [True] * 4


def test_leaders_of_a_contents_page_are_cut_and_its_lines_kept_apart() -> None:
    page = lines("Mills " + "." * 60 + " 3", "Ferries " + "." * 60 + " 9")
    assert text(page) == "Mills ... 3\nFerries ... 9"


# Columns and tables


MILL = ("The mill was bought by", "Petra Lund in 1870 for", "ninety inter-", "national crowns.")
BAKERY = ("The bakery was bought by", "Olaf Berg in 1902 for", "forty crowns.", "")
SMITHY = ("The smithy was bought by", "Ana Vidal in 1911 for", "ten crowns.", "")
MILL_TEXT = "The mill was bought by Petra Lund in 1870 for ninety international crowns."
BAKERY_TEXT = "The bakery was bought by Olaf Berg in 1902 for forty crowns."


def test_two_columns_drawn_row_by_row_are_read_one_after_the_other() -> None:
    page = at(72, 740, "Old houses", 18) + grid(*zip(MILL, BAKERY, strict=True))
    page += at(72, 600, "This line stands below and goes from the left to the right of the page.")
    parts = text(page).split("\n\n")
    assert parts[:3] == ["# Old houses", MILL_TEXT, BAKERY_TEXT]
    assert parts[3].startswith("This line stands below")


def test_three_columns_drawn_row_by_row_are_read_one_after_the_other() -> None:
    rows = zip(MILL, BAKERY, SMITHY, strict=True)
    parts = text(grid(*rows, xs=(60, 230, 400))).split("\n\n")
    assert parts[:2] == [MILL_TEXT, BAKERY_TEXT]
    assert parts[2] == "The smithy was bought by Ana Vidal in 1911 for ten crowns."


def test_columns_made_of_spaces_are_columns() -> None:
    rows = [f"{a:<30}{b}" for a, b in zip(MILL[:2], BAKERY[:2], strict=True)]
    page = "".join(at(72, 700 - 12 * i, row, 10, "F3") for i, row in enumerate(rows))
    assert text(page).startswith("The mill was bought by Petra Lund in 1870 for\n\nThe bakery")


def test_columns_drawn_one_after_the_other_stay_so() -> None:
    assert text(lines(*MILL) + lines(*BAKERY[:3], x=320)) == f"{MILL_TEXT}\n\n{BAKERY_TEXT}"


def test_a_sentence_goes_on_in_the_next_column() -> None:
    page = lines("The mill was bought by", "Petra Lund in 1870") + lines("for ninety.", x=320)
    assert text(page) == "The mill was bought by Petra Lund in 1870 for ninety."


def test_rows_of_a_table_name_their_columns() -> None:
    rows = [("Team", "City", "Cups"), ("Leafs", "Toronto", "13"), ("Habs", "Montreal", "24")]
    assert text(grid(*rows, xs=(72, 150, 230))) == (
        "Team: Leafs; City: Toronto; Cups: 13\nTeam: Habs; City: Montreal; Cups: 24"
    )


def test_a_table_without_names_of_columns_is_read_by_row() -> None:
    rows = [("Captain", "Ines Okafor"), ("Mate", "Petra Lund"), ("Cook", "Olaf Berg")]
    assert text(grid(*rows)) == "Captain: Ines Okafor\nMate: Petra Lund\nCook: Olaf Berg"


def test_a_cell_of_two_lines_is_one_cell() -> None:
    rows = [
        ("Keel", "The lowest beam of a ship, on"),
        ("", "which all others stand."),
        ("Hold", "A room."),
    ]
    assert text(grid(*rows)) == (
        "Keel: The lowest beam of a ship, on which all others stand.\nHold: A room."
    )


def test_lines_drawn_from_the_bottom_up_are_read_from_the_top() -> None:
    rows = ["The ferry leaves at nine from the", "northern pier of Hald, and comes", "back."]
    page = "".join(at(72, 600 - 14 * i, row) for i, row in reversed(list(enumerate(rows))))
    assert text(page) == " ".join(rows)


@pytest.mark.parametrize("matrix", ["0 1 -1 0 {} 300", "-1 0 0 -1 400 {}", ".7 .7 -.7 .7 {} 99"])
def test_turned_text_is_read_along_its_lines(matrix: str) -> None:
    first, second = (f"BT /F1 12 Tf {matrix.format(n)} Tm " for n in (500, 514))
    page = f"{first}(The ferry to Hald leaves at) Tj ET {second}(nine.) Tj ET"
    found = text(page)
    assert "The ferry to Hald leaves at" in found and found.endswith("nine.")


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_turned_pages_keep_the_order_of_lines(turn: int) -> None:
    page = lines("The ferry leaves at nine from the", "northern pier.")
    found = text(page, page=f"/Rotate {turn}")
    assert found == "The ferry leaves at nine from the northern pier."


def test_text_that_is_not_seen_is_read() -> None:
    hidden = f"BT 3 Tr /F1 12 Tf 72 600 Td ({FERRY}) Tj ET"
    found = text(hidden + at(72, 20, "Below the cut."), page="/CropBox [0 300 612 792]")
    assert FERRY in found and "Below the cut." in found


# Forms and notes


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("/FT /Tx /T (name) /V (Ines Okafor)", "name: Ines Okafor"),
        ("/FT /Tx /T (a) /TU (Who:) /V <FEFF00490148>", "Who: Iň"),
        ("/FT /Tx /T (form[0].f1_01[0]) /V (Ines Okafor)", "Captain: Ines Okafor"),
        ("/FT /Btn /T (fish) /V /Yes /AS /Yes /AP << /N << /Yes 50 0 R >> >>", "fish: yes"),
        ("/FT /Btn /T (fish) /V /Off /AS /Off /AP << /N << /Yes 50 0 R >> >>", "fish: no"),
        ("/FT /Btn /Ff 32768 /T (sex) /V /f /AS /f /AP << /N << /f 50 0 R >> >>", "sex: f"),
        ("/FT /Ch /T (port) /V (B) /Opt [[(B) (Bergen)] [(O) (Oslo)]]", "port: Bergen"),
        ("/FT /Ch /Ff 393216 /T (port) /V (Hald) /Opt [(Oslo)]", "port: Hald"),
        ("/FT /Ch /Ff 2097152 /T (days) /V [(Mo) (Tu)] /Opt [(Mo) (Tu) (We)]", "days: Mo, Tu"),
        ("/Parent 60 0 R", "captain: Ines Okafor"),
        ("/FT /Tx /T (name) /AP << /N 51 0 R >>", "name: Ines Okafor"),
    ],
)
def test_values_of_a_form_stand_behind_their_names(field: str, expected: str) -> None:
    box = stream("", "/Type /XObject /Subtype /Form /BBox [0 0 9 9]").decode()
    shown = stream(
        "BT /F1 12 Tf 2 5 Td (Ines Okafor) Tj ET",
        "/Type /XObject /Subtype /Form /BBox [0 0 100 20] /Resources << /Font << /F1 3 0 R >> >>",
    ).decode()
    parent = "<< /FT /Tx /T (captain) /V (Ines Okafor) /Kids [30 0 R] >>"
    found = form(f"<< {WIDGET} {field} >>", _50=box, _51=shown, _60=parent)
    assert found == ["Captain:", expected]


def test_a_field_that_no_form_lists_is_read() -> None:
    field = f"<< {WIDGET} /FT /Tx /T (name) /V (Ines Okafor) >>"
    assert form(field, listed=False) == ["Captain:", "name: Ines Okafor"]


def test_a_value_that_is_printed_too_stands_there_once() -> None:
    field = f"<< {WIDGET} /FT /Tx /T (name) /V (Ines Okafor) >>"
    assert form(field, printed=at(201, 720, "Ines Okafor")) == ["Captain:  Ines Okafor"]


def test_passwords_and_empty_fields_are_left_out() -> None:
    secret = f"<< {WIDGET} /FT /Tx /Ff 8192 /T (pin) /V (hunter2) >>"
    assert form(secret) == form(f"<< {WIDGET} /FT /Tx /T (name) >>") == ["Captain:"]


def test_values_of_an_xfa_form_are_read() -> None:
    data = (
        '<xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><form>'
        "<Captain>Ines Okafor</Captain><Mate/></form></xfa:data></xfa:datasets>"
    )
    root = "/AcroForm << /Fields [] /XFA [(datasets) 60 0 R] >>"
    found = text(at(72, 700, "Please wait..."), root=root, objects={60: stream(data)})
    assert found == "Please wait...\n\nCaptain: Ines Okafor"


def test_notes_are_read_and_links_are_not() -> None:
    kinds = {
        30: "/FreeText /Contents (The hall is booked\\ron Friday.)",
        31: "/Text /Contents (Ask Ines.) /Popup 32 0 R",
        32: "/Popup /Contents (Ask Ines.) /Parent 31 0 R",
        33: "/Highlight /Contents (Wrong year?) /QuadPoints [1 1 9 1 1 9 9 9]",
        34: "/Link /Contents (nope) /A << /S /URI /URI (http://x.example) >>",
        35: "/FreeText /RC (<p>Rich <b>text</b> &amp; more</p>)",
    }
    notes = {k: f"<< /Type /Annot /Subtype {v} /Rect [1 1 9 9] >>" for k, v in kinds.items()}
    page = f"/Annots [{' '.join(f'{number} 0 R' for number in notes)}]"
    assert text(at(72, 700, FERRY), page=page, objects=notes) == (
        f"{FERRY}\n\nNote: The hall is booked on Friday.\nNote: Ask Ines.\nNote: Wrong year?\n"
        "Note: Rich text & more"
    )


# Titles


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Report  on mills", "Report on mills"),
        ("Microsoft Word - Report on mills", "Report on mills"),
        ("Microsoft Word - report.doc", None),
        ("Untitled", None),
        ("untitled document", None),
        ("report_2.pdf", None),
        ("(anonymous)", None),
        ("a", None),  # the file's name
        ("", None),
    ],
)
def test_a_title_is_one_that_a_person_gave(title: str, expected: str | None) -> None:
    written = re.sub(r"([()])", r"\\\1", title)
    draft = read(
        at(72, 700, FERRY), trailer="/Info 90 0 R", objects={90: f"<< /Title ({written}) >>"}
    )
    assert draft.title == expected


# Hostile files


def test_cycles_are_bounded() -> None:
    loop = stream(
        "/X Do",
        "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 50 0 R >> >>",
    )
    field = f"<< {WIDGET} /Parent 60 0 R /Kids [60 0 R] >>"
    draft = read(
        at(72, 700, FERRY) + "/X Do",
        page="/Annots [60 0 R]",
        root="/Outlines 61 0 R /AcroForm << /Fields [60 0 R] >>",
        objects={
            2: "<< /Type /Pages /Count 3 /Kids [100 0 R 2 0 R 2 0 R] >>",
            50: loop,
            60: field,
            61: "<< /First 62 0 R /Last 62 0 R >>",
            62: "<< /Title (Time) /Parent 61 0 R /First 62 0 R /Next 62 0 R >>",
        },
    )
    assert draft.text == FERRY
    assert draft.remarks == ["pages 2-3 could not be read"]


def test_very_many_pages_are_refused() -> None:
    kids = "100 0 R " * 30_000
    with pytest.raises(Refused, match="has 30,000 pages"):
        read(FERRY, objects={2: f"<< /Type /Pages /Count 30000 /Kids [{kids}] >>"})


def test_a_page_of_very_many_characters_keeps_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "_MANY_CHARACTERS", 20)
    assert text(lines(FERRY, "It comes back.")) == f"{FERRY}\nIt comes back."


@pytest.mark.parametrize(
    "names", ["f_f_i /f_f /f_l", "uni006600660069 /uni00660066 /uni0066006C", "ffi /ff /fl"]
)
def test_ligatures_by_the_names_of_their_letters(names: str) -> None:
    font = f"/Encoding << /Differences [1 /{names}] >>"
    content = at(72, 700, "The gri\x01n medal, o\x02 we \x03y").replace("gri", "Gri")
    objects = {3: FONT.format("Helvetica").replace("/Encoding /WinAnsiEncoding", font)}
    assert pdf.read(file(content, objects=objects), "a.pdf").text == (
        "The Griffin medal, off we fly"
    )


def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    data = file(*(at(72, 700, f"The {word} leaves.") for word in ("ferry", "bus", "train")))
    whole = data[: data.index(b"xref")]
    assert pdf.read(whole, "a.pdf").text == (
        "The ferry leaves.\n\nThe bus leaves.\n\nThe train leaves."
    )
    draft = pdf.read(whole[: whole.index(b"104 0 obj") + 40], "a.pdf")
    assert draft.text == "The ferry leaves.\n\nThe bus leaves."
    assert draft.remarks == ["page 3 could not be read"]
