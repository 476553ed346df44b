import datetime
import io
import zipfile
from collections.abc import Mapping

import pytest

from maccli.reading.draft import Draft
from maccli.reading.encodings import Empty, Refused
from maccli.reading.formats import sheets
from maccli.reading.parts import grid, package
from store.marks import mark_at

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
STYLES = "".join(f'<xf numFmtId="{id}"/>' for id in (0, 14, 20, 22))
GENERAL, DATE, TIME, MOMENT = range(4)


def relations(items: Mapping[str, tuple[str, str]]) -> str:
    inside = "".join(
        f'<Relationship Id="{id}" Type="{OFFICE}/{kind}" Target="/{target}"/>'
        for id, (kind, target) in items.items()
    )
    return (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f"{inside}</Relationships>"
    )


def cell(value: object, name: str) -> str:
    if isinstance(value, str) and value.startswith("<c"):
        return value.replace("<c", f'<c r="{name}"', 1)
    if isinstance(value, str):
        return f'<c r="{name}" t="inlineStr"><is><t>{value}</t></is></c>' if value else ""
    return f'<c r="{name}"><v>{value}</v></c>'


def rows(*lines: list[object], first: int = 1) -> str:
    """The XML of rows; a string that begins with "<c" is a cell's own XML."""
    return "".join(
        f'<row r="{number}">'
        + "".join(cell(value, f"{'ABCDEFGH'[at]}{number}") for at, value in enumerate(line))
        + "</row>"
        for number, line in enumerate(lines, start=first)
    )


def xlsx(
    pages: Mapping[str, str],
    after: str = "",
    parts: Mapping[str, tuple[str, str]] | None = None,
) -> bytes:
    """A workbook of sheets: name -> XML of the rows; parts of the first: name -> (kind, XML)."""
    parts = parts or {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("_rels/.rels", relations({"r": ("officeDocument", "xl/workbook.xml")}))
        names = list(pages)
        entries = "".join(
            f'<sheet name="{name}" sheetId="{at}" r:id="s{at}"/>' for at, name in enumerate(names)
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{entries}</sheets></workbook>',
        )
        related = {f"s{at}": ("worksheet", f"xl/worksheets/{at}.xml") for at in range(len(names))}
        related["styles"] = ("styles", "xl/styles.xml")
        archive.writestr("xl/_rels/workbook.xml.rels", relations(related))
        archive.writestr(
            "xl/styles.xml", f'<styleSheet xmlns="{MAIN}"><cellXfs>{STYLES}</cellXfs></styleSheet>'
        )
        for at, name in enumerate(names):
            archive.writestr(
                f"xl/worksheets/{at}.xml",
                f'<worksheet xmlns="{MAIN}"><sheetData>{pages[name]}</sheetData>{after}'
                "</worksheet>",
            )
        archive.writestr(
            "xl/worksheets/_rels/0.xml.rels",
            relations({part: (kind, part) for part, (kind, _) in parts.items()}),
        )
        for part, (_, xml) in parts.items():
            archive.writestr(part, xml)
    return out.getvalue()


def read(*lines: list[object], first: int = 1, after: str = "") -> Draft:
    return sheets.read(xlsx({"Prices": rows(*lines, first=first)}, after), "a.xlsx")


def place(draft: Draft, words: str) -> str:
    return mark_at(draft.marks, draft.text, draft.text.index(words)).place


def test_each_row_names_its_columns_and_knows_its_sheet_and_row():
    file = xlsx(
        {
            "Prices": rows(["Item", "Price"], ["Rope &amp; sail", 12], ["Oar", 7.5], first=3),
            "Empty": "",
            "More": rows(["Port", "Depth"], ["Oslo", 9]),
        }
    )
    draft = sheets.read(file, "a.xlsx")
    assert (
        draft.text == "Item: Rope & sail; Price: 12\nItem: Oar; Price: 7.5\n\nPort: Oslo; Depth: 9"
    )
    assert place(draft, "Rope") == 'sheet "Prices", row 4'
    assert place(draft, "Oar") == 'sheet "Prices", row 5'
    assert place(draft, "Oslo") == 'sheet "More", row 2'


def test_dates_times_and_truths_are_read_as_such():
    line = [
        f'<c s="{DATE}"><v>47910</v></c>',
        f'<c s="{TIME}"><v>0.604166666666667</v></c>',
        f'<c s="{MOMENT}"><v>47910.5</v></c>',
        '<c t="b"><v>1</v></c>',
        0.30000000000000004,
        1e6,
    ]
    assert read(line).text == "2031-03-03; 14:30; 2031-03-03 12:00; TRUE; 0.3; 1000000"
    assert grid.in_words(datetime.timedelta(hours=36, seconds=5)) == "36:00:05"


def test_several_tables_in_a_sheet_have_their_own_headers():
    draft = read(
        ["Prices of 2031"],
        [],
        ["Item", "Price"],
        ["Oar", 7],
        [],
        ["Rope", 3],
        [],
        ["Port", "Ferries", "Depth"],
        ["Oslo", 4, 9],
    )
    assert draft.text.split("\n\n") == [
        *("Prices of 2031", "Item: Oar; Price: 7", "Item: Rope; Price: 3"),
        "Port: Oslo; Ferries: 4; Depth: 9",
    ]
    assert place(draft, "Rope") == 'sheet "Prices", row 6'
    assert place(draft, "Oslo") == 'sheet "Prices", row 9'


def test_an_empty_row_between_rows_of_words_is_no_end():
    text = read(["Name", "Role"], ["Ann", "Cook"], [], ["Bo", "Mate"], ["Cid", "Boy"]).text
    assert text == "Name: Ann; Role: Cook\n\nName: Bo; Role: Mate\nName: Cid; Role: Boy"


def test_a_cell_merged_downwards_stands_in_every_row():
    merged = '<mergeCells count="1"><mergeCell ref="A2:A3"/></mergeCells>'
    draft = read(["Region", "Depot"], ["North", 1], ["", 2], ["South", 3], after=merged)
    assert draft.text.splitlines()[1] == "Region: North; Depot: 2"


def test_formulas_that_were_never_calculated_and_errors_are_told():
    draft = read(
        ["Item", "Price"],
        ["Oar", "<c><f>1+1</f></c>"],
        ["Rope", "<c><f>1+2</f><v></v></c>"],
        ["Sail", "<c><f>1+3</f><v>4</v></c>"],
        ["Mast", '<c t="e"><f>1/0</f><v>#DIV/0!</v></c>'],
    )
    assert draft.text.splitlines()[2] == "Item: Sail; Price: 4"
    assert draft.remarks == [
        'sheet "Prices": 2 formulas were never calculated; open the file and save it once',
        'sheet "Prices": 1 cell holds an error in the place of a value',
    ]


def test_comments_and_text_boxes_follow_the_rows():
    threads = sheets._THREADED.strip("{}")
    parts = {
        "xl/comments.xml": (
            "comments",
            f'<comments xmlns="{MAIN}"><authors><author>Ann</author></authors><commentList>'
            '<comment ref="B2" authorId="0"><text><r><t>Too</t></r><r><t> dear?</t></r></text>'
            '</comment><comment ref="A1" authorId="7"><text><t>[Threaded comment] x</t></text>'
            "</comment></commentList></comments>",
        ),
        "xl/thread.xml": (
            "threadedComment",
            f'<ThreadedComments xmlns="{threads}"><threadedComment ref="A1" personId="p">'
            "<text>Yes.</text></threadedComment></ThreadedComments>",
        ),
        "xl/persons/person.xml": ("x", '<l><person id="p" displayName="Bo"/></l>'),
        "xl/drawing.xml": (
            "drawing",
            '<d xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main">'
            "<a:p><a:r><a:t>In a box.</a:t></a:r></a:p></d>",
        ),
    }
    file = xlsx({"Prices": rows(["Item", "Price"], ["Oar", 7])}, parts=parts)
    draft = sheets.read(file, "a.xlsx")
    assert draft.text.split("\n\n") == [
        "Item: Oar; Price: 7",
        "Comment by Ann on B2: Too dear?",
        "Comment by Bo on A1: Yes.",
        "In a box.",
    ]
    assert place(draft, "In a box") == 'sheet "Prices"'


def test_a_sheet_as_wide_as_it_is_long_is_left_out_and_said_so():
    far = '<row r="1"><c r="A1"><v>1</v></c></row><row r="99999"><c r="XFD99999"><v>2</v></c></row>'
    draft = sheets.read(xlsx({"Far": far, "Prices": rows(["Oar", 7])}), "a.xlsx")
    assert draft.text == "Oar: 7"
    assert draft.remarks == [
        'sheet "Far" is left out: it spreads its cells over 99,999 rows and 16,384 columns'
    ]
    with pytest.raises(Refused, match="^has no text that can be read: sheet .Far. is left out"):
        sheets.read(xlsx({"Far": far}), "a.xlsx")


def test_very_many_empty_rows_cost_nothing():
    far = rows(["First"]) + '<row r="300000"><c r="A300000"><v>7</v></c></row>'
    draft = sheets.read(xlsx({"Long": far}), "a.xlsx")
    assert draft.text.split() == ["First", "7"]
    assert place(draft, "7") == 'sheet "Long", row 300000'


def test_rows_beyond_the_limit_are_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grid, "MAX_CHARACTERS", 75)
    page = rows(*[[f"row {number}", number] for number in range(10, 20)])
    draft = sheets.read(xlsx({"One": page, "Two": page}), "a.xlsx")
    assert draft.text.splitlines()[-1] == "row 12: 12"  # a row takes 12, and as much for names
    assert [remark.partition(":")[0] for remark in draft.remarks] == [
        'sheet "One" is left out from row 4 on',
        'sheet "Two" is left out from row 1 on',
    ]


def test_what_is_no_workbook_is_refused_by_name():
    def refusal(data: bytes) -> str:
        with pytest.raises(Refused) as caught:
            sheets.read(data, "a.xlsx")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    with pytest.raises(Empty, match="no text in it$"):
        read([])
    assert refusal(b"x") == "is no spreadsheet, whatever its name says"
    assert refusal(package.OLE + "EncryptedPackage".encode("utf-16-le")) == (
        "is a spreadsheet protected with a password; save it without one first"
    )
    assert "(.doc)" in refusal(package.OLE + "WordDocument".encode("utf-16-le"))
    assert refusal(package.OLE + bytes(600) + "Workbook".encode("utf-16-le")).startswith(
        "is damaged"
    )
    whole = xlsx({"Prices": rows(["Oar", 7])})
    assert "cut off" in refusal(whole[: len(whole) // 2])
    assert refusal(whole.replace(b"xl/workbook.xml", b"xl/morebook.xml")).startswith("is ")
