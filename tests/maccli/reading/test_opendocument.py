import io
import zipfile

import pytest

from maccli.reading.draft import Draft
from maccli.reading.encodings import Empty, Refused
from maccli.reading.formats import opendocument, sheets
from maccli.reading.parts import grid
from store.marks import mark_at

ODF = "urn:oasis:names:tc:opendocument:xmlns"
NAMESPACES = (
    " ".join(
        f'xmlns:{prefix}="{ODF}:{name}:1.0"'
        for prefix, name in (
            *(("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing")),
            *(("style", "style"), ("presentation", "presentation"), ("svg", "svg-compatible")),
        )
    )
    + ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"'
)


def document(
    kind: str,
    body: str,
    *,
    automatic: str = "",
    styles: str = "",
    title: str = "",
    more: dict[str, str] | None = None,
) -> bytes:
    """An OpenDocument file: the XML of its body, of its styles, and other parts."""
    parts = {
        "content.xml": f"<office:document-content {NAMESPACES}><office:automatic-styles>{automatic}"
        f"</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}>"
        "</office:body></office:document-content>",
        "styles.xml": f"<office:document-styles {NAMESPACES}>{styles}</office:document-styles>",
        "meta.xml": f"<office:document-meta {NAMESPACES}><office:meta><dc:title>{title}</dc:title>"
        "</office:meta></office:document-meta>",
        **(more or {}),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, xml in parts.items():
            archive.writestr(name, xml)
    return out.getvalue()


def odt(body: str, **more: str) -> Draft:
    return opendocument.read(document("text", body, **more), "a.odt")  # type: ignore[arg-type]


def p(text: str, style: str = "Standard") -> str:
    return f'<text:p text:style-name="{style}">{text}</text:p>'


def test_paragraphs_keep_their_words_apart():
    text = odt(p("R&amp;D <text:span>at\n AT&amp;T</text:span><text:s text:c='3'/>two<text:tab/>x"
                 "<text:line-break/>co\xadde")).text  # fmt: skip
    assert text == "R&D at AT&T   two\tx\ncode"


def test_headings_sections_and_titles():
    style = '<style:style style:name="P1" style:parent-style-name="Title"/>'
    draft = odt(
        p("The charter", "P1")
        + '<text:section><text:h text:outline-level="2">Quorum</text:h></text:section>'
        + p("Five."),
        automatic=style,
    )
    assert draft.text == "# The charter\n\n## Quorum\n\nFive."
    assert draft.title == "The charter"
    assert draft.marks[-1].heading == "The charter > Quorum"
    assert odt(p("Text."), title="Minutes").title == "Minutes"
    assert odt(p("Text."), title="Untitled").title is None


LIST = (
    '<text:list-style style:name="L"><text:list-level-style-number text:level="1" '
    'style:num-format="1" style:num-suffix="."/><text:list-level-style-number text:level="2" '
    'style:num-format="a" style:num-prefix="(" style:num-suffix=")"/></text:list-style>'
    '<text:list-style style:name="B"><text:list-level-style-bullet text:level="1"/>'
    "</text:list-style>"
)


def test_lists_keep_their_numbers():
    inner = (
        "<text:list>"
        f"<text:list-item>{p('one a')}</text:list-item>"
        f"<text:list-item>{p('one b')}</text:list-item></text:list>"
    )
    items = (
        f"<text:list-item>{p('one')}{p('still one')}{inner}</text:list-item>"
        f"<text:list-item>{p('two')}</text:list-item>"
    )
    going_on = (
        f'<text:list text:style-name="L" text:continue-numbering="true"><text:list-item>'
        f"{p('three')}</text:list-item></text:list>"
    )
    dots = f'<text:list text:style-name="B"><text:list-item>{p("dot")}</text:list-item></text:list>'
    text = odt(f'<text:list text:style-name="L">{items}</text:list>{dots}{going_on}', styles=LIST)
    assert text.text == "1. one\n\nstill one\n\n  (a) one a\n  (b) one b\n2. two\n- dot\n3. three"


def test_tracked_deletions_and_hidden_text_are_not_shown():
    gone = (
        "<text:tracked-changes><text:changed-region><text:deletion>"
        f"{p('Deleted.')}</text:deletion></text:changed-region></text:tracked-changes>"
    )
    hidden = (
        '<style:style style:name="H"><style:text-properties text:display="none"/></style:style>'
    )
    body = p("Seen<text:change/><text:span text:style-name='H'> hidden</text:span>.")
    assert odt(gone + body + p("All hidden", "H"), automatic=hidden).text == "Seen."


def test_notes_comments_and_frames_stand_beside_the_text():
    note = (
        "<text:note><text:note-citation>1</text:note-citation><text:note-body>"
        f"{p('Paid by Norrby.')}</text:note-body></text:note>"
    )
    comment = (
        "<office:annotation><dc:creator>Ann</dc:creator><dc:date>2031-01-01</dc:date>"
        f"{p('Really?')}</office:annotation>"
    )
    frame = (
        f"<draw:frame><draw:text-box>{p('In a box.')}</draw:text-box></draw:frame>"
        "<draw:frame><draw:image/><svg:desc>The old quay</svg:desc></draw:frame>"
        f"<draw:custom-shape>{p('In a shape.')}</draw:custom-shape>"
    )
    assert odt(p(f"Agreed{note}.{comment}{frame}") + p("End.")).text.split("\n\n") == [
        "Agreed[1].",
        "Comment by Ann: Really?",
        "In a box.",
        "[Picture: The old quay]",
        "In a shape.",
        "End.",
        "Note 1: Paid by Norrby.",
    ]


def row(*cells: str) -> str:
    inside = "".join(
        cell if cell.startswith("<") else f"<table:table-cell>{p(cell)}</table:table-cell>"
        for cell in cells
    )
    return f"<table:table-row>{inside}</table:table-row>"


def test_tables_are_read_row_by_row_with_merged_cells_in_each():
    down = f'<table:table-cell table:number-rows-spanned="2">{p("North")}</table:table-cell>'
    wide = f'<table:table-cell table:number-columns-spanned="2">{p("closed")}</table:table-cell>'
    body = (
        f"<table:table-header-rows>{row('Region', 'Depot', 'Hours')}</table:table-header-rows>"
        + row(down, "Oslo", "9-5")
        + row("<table:covered-table-cell/>", wide, "<table:covered-table-cell/>")
    )
    assert odt(f"<table:table>{body}</table:table>").text == (
        "Region: North; Depot: Oslo; Hours: 9-5\nRegion: North; Depot: closed"
    )


def test_charts_and_formulas_are_read_from_their_own_parts():
    chart = f"<office:x {NAMESPACES}><table:table><table:table-header-rows>"
    chart += f"{row('', 'Sales')}</table:table-header-rows>{row('May', '7')}"
    more = {
        "Object 1/content.xml": f"{chart}</table:table></office:x>",
        "Object 2/content.xml": '<math xmlns="m"><semantics><mi>x</mi><annotation>x = 2'
        "</annotation></semantics></math>",
    }
    objects = "".join(
        f'<draw:frame><draw:object xlink:href="./Object {number}"/></draw:frame>'
        for number in (1, 2, 3)
    )
    file = document("text", p(objects), more=more)
    assert opendocument.read(file, "a.odt").text == "May; Sales: 7\n\nx = 2"


def test_headers_and_footers_are_kept_once():
    pages = "".join(
        f"<style:master-page><style:header>{p('Norrby Glass')}</style:header>"
        f"<style:footer>{p('Page <text:page-number>1</text:page-number>')}</style:footer>"
        f"<style:footer-left>{p('7')}</style:footer-left></style:master-page>"
        for _ in range(2)
    )
    assert odt(p("Text."), styles=pages).text == "Norrby Glass\n\nText.\n\nPage 1"


def test_a_document_is_read_without_styles_that_are_damaged() -> None:
    draft = odt(p("The ferry."), more={"styles.xml": "<broken"})
    assert draft.text == "The ferry."
    assert [remark.partition(": ")[0] for remark in draft.remarks] == [
        "a part of it is left out, its styles"
    ]


def test_slides_have_their_places_and_notes():
    def frame(text: str, y: str, more: str = "") -> str:
        return (
            f'<draw:frame svg:y="{y}" svg:x="1cm" {more}><draw:text-box>{p(text)}'
            "</draw:text-box></draw:frame>"
        )

    notes = f"<presentation:notes>{frame('Ask Ann.', '1cm')}</presentation:notes>"
    first = frame("low", "90mm") + frame("high", "1in") + frame(
        "Ferries", "12cm", 'presentation:class="title"'
    )  # fmt: skip
    body = f"<draw:page>{first}{notes}</draw:page><draw:page>{frame('More.', '1cm')}</draw:page>"
    draft = opendocument.read(document("presentation", body), "a.odp")
    assert draft.text == "# Ferries\n\nhigh\n\nlow\n\nNotes: Ask Ann.\n\nMore."
    mark = mark_at(draft.marks, draft.text, draft.text.index("More"))
    assert (mark.place, mark.heading, draft.title) == ("slide 2", "", "Ferries")


def value(kind: str, shown: str = "", **attributes: str) -> str:
    more = " ".join(f'office:{key.replace("_", "-")}="{text}"' for key, text in attributes.items())
    return f'<table:table-cell office:value-type="{kind}" {more}>{p(shown)}</table:table-cell>'


def test_sheets_know_their_rows_and_values():
    blank = '<table:table-row table:number-rows-repeated="5"><table:table-cell/></table:table-row>'
    line = row(
        "Rope<office:annotation><dc:creator>Ann</dc:creator><text:p>Dear.</text:p>"
        "</office:annotation>",
        value("float", "12,0", value="12"),
        value("date", "3.3.31", date_value="2031-03-03T14:30:00"),
        value("time", "14:30", time_value="PT14H30M00S"),
        value("percentage", "19 %", value="0.19"),
        value("currency", "7 €", value="7", currency="EUR"),
        value("boolean", "WAHR", boolean_value="true"),
        value("float", "odd", value="odd"),
    ).replace(p("Rope"), "Rope")
    line = line.replace("<office:annotation>", "</text:p><office:annotation>", 1).replace(
        "</office:annotation></text:p>", "</office:annotation>", 1
    )
    end = blank.replace('"5"', '"1048000"')
    file = document(
        "spreadsheet",
        f'<table:table table:name="One">{blank}{line}{end}</table:table>'
        f'<table:table table:name="Two">{row("Port", "Depth")}{row("Oslo", "9")}</table:table>',
    )
    draft = sheets.read(file, "a.ods")
    assert draft.text.split("\n\n") == [
        "Rope; 12; 2031-03-03 14:30; 14:30; 19%; 7 EUR; TRUE; odd",
        "Comment by Ann on A6: Dear.",
        "Port: Oslo; Depth: 9",
    ]
    assert mark_at(draft.marks, draft.text, 0).place == 'sheet "One", row 6'
    assert mark_at(draft.marks, draft.text, draft.text.index("Oslo")).place == 'sheet "Two", row 2'


def test_cells_that_are_repeated_without_end_are_left_out_and_said_so(
    monkeypatch: pytest.MonkeyPatch,
):
    again = (
        '<table:table-row table:number-rows-repeated="1000000"><table:table-cell '
        f'table:number-columns-repeated="10000">{p("x")}</table:table-cell></table:table-row>'
    )
    file = document("spreadsheet", f"<table:table table:name='S'>{row('a')}{again}</table:table>")
    draft = sheets.read(file, "a.ods")
    assert draft.text == "a"
    assert [remark.partition(":")[0] for remark in draft.remarks] == [
        'sheet "S" is left out from row 2 on'
    ]
    draft = odt(f"<table:table>{again}</table:table>")
    assert (draft.text.count("\n"), len(draft.remarks)) == (0, 1)
    monkeypatch.setattr(grid, "MAX_CHARACTERS", 0)
    with pytest.raises(Refused, match="from row 1 on"):
        sheets.read(file, "a.ods")


def test_what_cannot_be_read_is_refused_in_one_line():
    def refusal(data: bytes) -> str:
        with pytest.raises(Refused) as caught:
            opendocument.read(data, "a.odt")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    with pytest.raises(Empty, match="no text in it$"):
        odt(p(""))
    with pytest.raises(Empty, match="only pictures"):
        opendocument.read(document("text", "", more={"Pictures/1.png": "x"}), "a.odt")
    whole = document("text", p("Text."))
    assert refusal(b"x") == "is no OpenDocument file, whatever its name says"
    assert refusal(whole.replace(b"content.xml", b"kontent.xml")).startswith("is no OpenDocument")
    assert "cut off" in refusal(whole[: len(whole) // 2])
    secret = {"META-INF/manifest.xml": "<x><manifest:encryption-data/></x>"}
    assert "password" in refusal(document("text", "", more=secret))
    assert "nested without end" in refusal(
        document("text", "<text:section>" * 3000 + "</text:section>" * 3000)
    )
    assert "is not XML" in refusal(document("text", "<text:p>"))
