import io
import zipfile
from collections.abc import Mapping

import pytest

from maccli.reading.draft import Draft
from maccli.reading.encodings import Empty, Refused
from maccli.reading.formats import word
from maccli.reading.parts import package

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
NAMESPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    f'xmlns:r="{OFFICE}" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"'
)
# Part -> the kind of its relation to the document.
Parts = Mapping[str, tuple[str, str]]


def relations(items: Mapping[str, tuple[str, str]]) -> str:
    """A part of relations: id -> (kind, target)."""
    inside = "".join(
        f'<Relationship Id="{id}" Type="{OFFICE}/{kind}" Target="{target}"/>'
        for id, (kind, target) in items.items()
    )
    return f"<Relationships>{inside}</Relationships>"


def docx(body: str, parts: Parts | None = None, *, main: str = "document.xml") -> bytes:
    """A Word document; parts: name in word/ -> (kind, XML), each with its name as id."""
    parts = parts or {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_rels/.rels", relations({"r": ("officeDocument", f"word/{main}")}))
        archive.writestr(
            f"word/{main}", f"<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>"
        )
        related = {part: (kind, part) for part, (kind, _) in parts.items()}
        archive.writestr(f"word/_rels/{main}.rels", relations(related))
        for part, (_, xml) in parts.items():
            if xml:
                archive.writestr(part[1:] if part.startswith("/") else f"word/{part}", xml)
    return out.getvalue()


def root(tag: str, inside: str) -> str:
    return f"<{tag} {NAMESPACES}>{inside}</{tag}>"


def r(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def p(*runs: str, style: str = "", properties: str = "") -> str:
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    inside = "".join(run if run.startswith("<") else r(run) for run in runs)
    return f"<w:p><w:pPr>{named}{properties}</w:pPr>{inside}</w:p>"


def tbl(*rows: list[str], properties: str = "") -> str:
    """A table; a cell that does not begin with "<" is a paragraph's text."""
    inside = "".join(
        "<w:tr>"
        + "".join(f"<w:tc>{cell if cell.startswith('<') else p(cell)}</w:tc>" for cell in row)
        + "</w:tr>"
        for row in rows
    )
    return f"<w:tbl><w:tblPr>{properties}</w:tblPr>{inside}</w:tbl>"


def read(body: str, parts: Parts | None = None, **more: str) -> Draft:
    return word.read(docx(body, parts, **more), "a.docx")


def text_of(body: str, parts: Parts | None = None) -> str:
    return read(body, parts).text


STYLES = root(
    "w:styles",
    "".join(
        f'<w:style w:styleId="{id}"><w:name w:val="{name}"/>{more}</w:style>'
        for id, name, more in (
            ("Titel", "Title", ""),
            ("berschrift1", "heading 1", ""),
            ("Sub", "heading 2", ""),
            ("Clause", "Clause", '<w:pPr><w:outlineLvl w:val="1"/></w:pPr>'),
            ("Child", "Child", '<w:basedOn w:val="Clause"/>'),
            ("A", "A", '<w:basedOn w:val="B"/>'),
            ("B", "B", '<w:basedOn w:val="A"/>'),
            (
                "Item",
                "List Number",
                '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>',
            ),
        )
    ),
)


def numbered(number: str, level: int = 0) -> str:
    return f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'


def kind(id: str, *levels: tuple[str, str]) -> str:
    inside = "".join(
        f'<w:lvl w:ilvl="{at}"><w:start w:val="1"/><w:numFmt w:val="{format}"/>'
        f'<w:lvlText w:val="{pattern}"/></w:lvl>'
        for at, (format, pattern) in enumerate(levels)
    )
    return f'<w:abstractNum w:abstractNumId="{id}">{inside}</w:abstractNum>'


NUMBERING = root(
    "w:numbering",
    kind("k1", ("decimal", "%1."), ("lowerLetter", "%2)"), ("decimal", "%1.%3"))
    + kind("k2", ("bullet", "x"))
    + kind("k3", ("upperRoman", "Article %1:"))
    + '<w:num w:numId="1"><w:abstractNumId w:val="k1"/></w:num>'
    + '<w:num w:numId="2"><w:abstractNumId w:val="k2"/></w:num>'
    + '<w:num w:numId="3"><w:abstractNumId w:val="k3"/></w:num>'
    + '<w:num w:numId="4"><w:abstractNumId w:val="k1"/>'
    + '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride></w:num>',
)
LISTS = {"styles.xml": ("styles", STYLES), "numbering.xml": ("numbering", NUMBERING)}


def test_ampersands_and_angle_brackets_stay():
    assert text_of(p("R&amp;D at AT&amp;T, 1 &lt; 2 &gt; 0")) == "R&D at AT&T, 1 < 2 > 0"


def test_runs_are_joined_and_breaks_tabs_and_hyphens_kept():
    run = (
        "<w:r><w:t>well</w:t><w:noBreakHyphen/><w:t>kept co</w:t><w:softHyphen/><w:t>de</w:t>"
        "<w:tab/><w:t>x</w:t><w:br/><w:t>y\n z\xad</w:t></w:r>"
    )
    assert text_of(p(run)) == "well-kept code\tx\ny  z"


def test_symbols_and_formulas_become_characters():
    symbols = "".join(
        f'<w:r><w:sym w:font="{font}" w:char="{char}"/></w:r>'
        for font, char in (
            ("Symbol", "F061"),
            ("Wingdings", "F0FC"),
            ("Wingdings", "F04A"),
            ("Arial", "2192"),
            ("Symbol", "oops"),
        )
    )
    fraction = (
        "<m:oMath><m:r><m:t>x=</m:t></m:r><m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num>"
        "<m:den><m:sSup><m:e><m:r><m:t>c</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup>"
        "</m:sSup></m:den></m:f></m:oMath>"
    )
    assert text_of(p(symbols, " ", fraction)) == "α✓•→ x=(a+b)/(c^2)"


def test_tracked_changes_are_read_as_accepted():
    body = p(
        "Due on the ",
        "<w:del><w:r><w:delText>first</w:delText></w:r></w:del>",
        f"<w:ins>{r('fifteenth')}</w:ins>",
        f"<w:moveFrom>{r(' gone')}</w:moveFrom>",
        ".",
    )
    whole = f"<w:ins>{p('A new one.')}</w:ins><w:moveFrom>{p('Moved away.')}</w:moveFrom>"
    assert text_of(body + whole) == "Due on the fifteenth.\n\nA new one."


def test_a_paragraph_whose_end_was_deleted_goes_on_in_the_next():
    gone = "<w:rPr><w:del/></w:rPr>"
    assert text_of(p("One ", properties=gone) + p("line.")) == "One line."
    assert text_of(p("Alone", properties=gone)) == "Alone"


def test_hidden_text_is_not_shown():
    assert text_of(p("Seen", r(" hidden", "<w:vanish/>"), r(" too", '<w:vanish w:val="0"/>'))) == (
        "Seen too"
    )


def test_the_results_of_fields_are_kept_and_their_instructions_not():
    def field(instruction: str, result: str) -> str:
        return (
            '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
            f"{instruction}"
            '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
            f'{result}<w:r><w:fldChar w:fldCharType="end"/></w:r>'
        )

    inner = field("<w:r><w:instrText>MERGEFIELD x</w:instrText></w:r>", r("condition"))
    outer = field(f"<w:r><w:instrText>IF</w:instrText></w:r>{inner}", r("3 March 2031"))
    simple = f'<w:fldSimple w:instr="AUTHOR">{r("Ann")}</w:fldSimple>'
    assert text_of(p("Until ", outer, " by ", simple, ".")) == "Until 3 March 2031 by Ann."


def test_form_fields_show_their_choice():
    def field(inside: str) -> str:
        return (
            f'<w:r><w:fldChar w:fldCharType="begin"><w:ffData>{inside}</w:ffData></w:fldChar></w:r>'
            '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
        )

    yes = field("<w:checkBox><w:default w:val='0'/><w:checked/></w:checkBox>")
    no = field("<w:checkBox><w:default w:val='0'/></w:checkBox>")
    choice = field(
        "<w:ddList><w:result w:val='1'/><w:listEntry w:val='red'/><w:listEntry w:val='blue'/>"
        "</w:ddList>"
    )
    assert text_of(p(yes, " ", no, " ", choice)) == "☒ ☐ blue"


def test_content_controls_and_links_without_a_target_are_read():
    control = f"<w:sdt><w:sdtPr><w:alias w:val='x'/></w:sdtPr><w:sdtContent>{p('Halvorsen')}"
    link = f'<w:hyperlink r:id="nowhere">{r("a link")}</w:hyperlink>'
    assert text_of(f"{control}</w:sdtContent></w:sdt>{p(link)}") == "Halvorsen\n\na link"


def test_headings_are_known_by_their_styles_in_any_language():
    body = (
        p("The charter", style="Titel")
        + p("Governance", style="berschrift1")
        + p("Decisions", style="Sub")
        + p("Text.", style="A")
        + p("Quorum", style="Child")
        + p("Outlined", properties='<w:outlineLvl w:val="2"/>')
        + p("x" * 300, style="Sub")
    )
    draft = read(body, LISTS)
    assert draft.text.split("\n\n") == [
        *("# The charter", "# Governance", "## Decisions", "Text.", "## Quorum", "### Outlined"),
        "x" * 300,
    ]
    assert draft.title == "The charter"
    assert draft.marks[-1].heading == "Governance > Quorum > Outlined"


def test_headings_are_known_without_a_list_of_styles():
    body = p("Eins", style="berschrift1") + p("Two", style="Heading2")
    assert text_of(body) == "# Eins\n\n## Two"


def test_list_items_keep_their_numbers():
    body = (
        p("Bring:")
        + p("bread", properties=numbered("2"))
        + p("milk", properties=numbered("2"))
        + p("first", properties=numbered("1"))
        + p("detail", properties=numbered("1", 1))
        + p("deep", properties=numbered("1", 2))
        + p("second", style="Item")
        + p("seventh", properties=numbered("4"))
        + p("not one", style="Item", properties=numbered("0"))
        + p("Scope", style="Sub", properties=numbered("3"))
        + p("unknown list", properties=numbered("99"))
    )
    assert text_of(body, LISTS) == (
        "Bring:\n\n- bread\n- milk\n1. first\n  a) detail\n    1.1 deep\n2. second\n7. seventh\n\n"
        "not one\n\n## Article I: Scope\n\n- unknown list"
    )


def test_a_table_is_read_row_by_row():
    body = tbl(["Team", "Cups"], ["Maple Leafs", "13"], ["", ""], ["Kings", p("2") + p("won")])
    assert text_of(body) == "Team: Maple Leafs; Cups: 13\n\nTeam: Kings; Cups: 2, won"


def test_merged_cells_stand_in_every_row_they_reach_but_once_in_each():
    down = "<w:tcPr><w:vMerge w:val='restart'/></w:tcPr>" + p("North")
    below = "<w:tcPr><w:vMerge/></w:tcPr>" + p("")
    long = "<w:tcPr><w:vMerge w:val='restart'/></w:tcPr>" + p("long " * 30)
    wide = "<w:tcPr><w:gridSpan w:val='2'/></w:tcPr>" + p("Closed")
    body = tbl(
        ["Region", "Depot", "Hours"],
        [down, "Oslo", "9-5"],
        [below, "Bodø", "8-4"],
        [below, wide],
        ["South", "Rome", "7-3"],
        [below, "Bari", "6-2"],
        [long, "Nice", "1"],
        [below, "Pau", "2"],
    )
    assert text_of(body).splitlines() == [
        "Region: North; Depot: Oslo; Hours: 9-5",
        "Region: North; Depot: Bodø; Hours: 8-4",
        "Region: North; Depot: Closed",
        "Region: South; Depot: Rome; Hours: 7-3",
        "Depot: Bari; Hours: 6-2",  # merged with nothing above
        f"Region: {('long ' * 30).strip()}; Depot: Nice; Hours: 1",
        "Depot: Pau; Hours: 2",
    ]


def test_a_thousand_merged_rows_are_read():
    down = "<w:tcPr><w:vMerge w:val='restart'/></w:tcPr>" + p("North")
    below = "<w:tcPr><w:vMerge/></w:tcPr>" + p("")
    rows = [[down if row % 50 == 0 else below, f"r{row}"] for row in range(1000)]
    lines = text_of(tbl(*rows)).splitlines()
    assert (len(lines), lines[-1]) == (1000, "North: r999")


def test_nested_tables_and_tables_for_the_layout_keep_their_text():
    inner = tbl(["Captain", "Ines Okafor"], ["Mate", "Bo Lind"])
    assert text_of(tbl(["Crew", p("List:") + inner])) == (
        "Crew: List: Captain: Ines Okafor; Mate: Bo Lind"
    )
    layout = tbl([p("Part", style="Heading1") + p("One."), p("Two.")])
    assert text_of(layout) == "# Part\n\nOne.\n\nTwo."
    assert text_of(tbl([p("Alone") + inner])) == "Alone\n\nCaptain: Ines Okafor\nMate: Bo Lind"


def box(text: str) -> str:
    return f"<w:drawing><w:txbxContent>{p(text)}</w:txbxContent></w:drawing>"


def test_a_text_box_is_read_once():
    drawn = (
        f"<w:r><mc:AlternateContent><mc:Choice Requires='wps'>{box('The code is 4471.')}"
        f"</mc:Choice><mc:Fallback>{box('The code is 4471.')}</mc:Fallback>"
        "</mc:AlternateContent></w:r>"
    )
    old = f"<w:r><mc:AlternateContent><mc:Choice><a:x/></mc:Choice><mc:Fallback>{box('Old.')}"
    old += "</mc:Fallback></mc:AlternateContent></w:r>"
    assert text_of(p("Notice.", drawn) + p(old)) == "Notice.\n\nThe code is 4471.\n\nOld."


NOTES = root(
    "w:footnotes",
    '<w:footnote w:id="-1" w:type="separator">' + p("") + "</w:footnote>"
    '<w:footnote w:id="5">' + p("<w:r><w:footnoteRef/></w:r>", " Paid by Norrby.") + "</w:footnote>"
    '<w:footnote w:id="6">' + p("Nobody refers to it.") + "</w:footnote>",
)
ENDNOTES = root("w:endnotes", '<w:endnote w:id="5">' + p("See annex.") + "</w:endnote>")
COMMENTS = root(
    "w:comments",
    '<w:comment w:id="0" w:author="Ann">' + p("Really?") + p("Check.") + "</w:comment>"
    '<w:comment w:id="1">' + p("Nowhere.") + "</w:comment>",
)


def test_notes_and_comments_are_kept():
    body = p(
        "Nine in ten",
        "<w:r><w:endnoteReference w:id='5'/></w:r>",
        " agreed",
        "<w:r><w:footnoteReference w:id='5'/></w:r>",
        "<w:r><w:commentReference w:id='0'/></w:r>",
    ) + p("End.")
    parts = {
        "footnotes.xml": ("footnotes", NOTES),
        "endnotes.xml": ("endnotes", ENDNOTES),
        "comments.xml": ("comments", COMMENTS),
    }
    assert text_of(body, parts).split("\n\n") == [
        "Nine in ten[1] agreed[2]",
        "Comment by Ann: Really? Check.",
        "End.",
        "Note 1: See annex.",
        "Note 2: Paid by Norrby.",
        "Note: Nobody refers to it.",
        "Comment: Nowhere.",
    ]


def test_headers_and_footers_are_kept_once():
    def header(text: str) -> str:
        return root("w:hdr", p(text))

    parts = {
        "header1.xml": ("header", header("Norrby Glass")),
        "header2.xml": ("header", header("Norrby Glass")),
        "header3.xml": ("header", header("2")),
        "footer1.xml": ("footer", root("w:ftr", p("Confidential"))),
    }
    assert text_of(p("Text."), parts) == "Norrby Glass\n\nText.\n\nConfidential"


CHART = root(
    "c:chartSpace",
    "<c:title><a:t>Sales</a:t></c:title><c:ser><c:tx><c:pt idx='0'><c:v>2031</c:v></c:pt></c:tx>"
    "<c:cat><c:pt idx='0'><c:v>Oslo</c:v></c:pt><c:pt idx='1'><c:v>Rome</c:v></c:pt></c:cat>"
    "<c:val><c:pt idx='0'><c:v>4.2999999999999998</c:v></c:pt>"
    "<c:pt idx='1'><c:v>7</c:v></c:pt></c:val></c:ser>",
)
DIAGRAM = root(
    "dgm:dataModel",
    "<dgm:pt><dgm:t><a:p><a:t>Plan</a:t></a:p></dgm:t></dgm:pt>"
    "<dgm:pt type='pres'><dgm:t><a:p><a:t>Plan</a:t></a:p></dgm:t></dgm:pt>"
    "<dgm:pt><dgm:t><a:p><a:t>Do</a:t></a:p></dgm:t></dgm:pt>",
)


def test_charts_diagrams_and_descriptions_of_pictures_are_kept():
    body = p(
        "Look: ",
        "<w:r><w:drawing><wp:docPr descr='A red ferry at the quay'/></w:drawing></w:r>",
        "<w:r><w:drawing><wp:docPr descr='IMG_1.png'/>"
        "<c:chart r:id='chart.xml'/></w:drawing></w:r>",
        "<w:r><w:drawing><dgm:relIds r:dm='data.xml'/></w:drawing></w:r>",
        "<w:r><w:pict><v:shape><v:textpath string='DRAFT'/></v:shape></w:pict></w:r>",
    )
    parts = {"chart.xml": ("chart", CHART), "data.xml": ("diagramData", DIAGRAM)}
    assert text_of(body, parts) == (
        "Look: [Picture: A red ferry at the quay]DRAFT\n\nSales\n\n"
        "Category: Oslo; 2031: 4.3\nCategory: Rome; 2031: 7\n\n- Plan\n- Do"
    )


def test_furigana_follow_their_word():
    ruby = f"<w:ruby><w:rt>{r('かな')}</w:rt><w:rubyBase>{r('仮名')}</w:rubyBase></w:ruby>"
    assert text_of(p(ruby)) == "仮名(かな)"


def test_missing_pictures_and_odd_names_do_not_matter():
    parts = {"media/image1.png": ("image", ""), "NULL": ("image", "")}
    assert read(p("The ferry."), parts, main="document2.xml").text == "The ferry."


def test_strict_documents_are_read():
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(docx(p("Strict.")))) as source,
        zipfile.ZipFile(file, "w") as target,
    ):
        for name in source.namelist():
            xml = source.read(name).decode()
            for kind in ("wordprocessingml", "officeDocument"):
                xml = xml.replace(
                    f"http://schemas.openxmlformats.org/{kind}/2006/",
                    f"http://purl.oclc.org/ooxml/{kind}/",
                )
            target.writestr(name, xml)
    assert b"purl.oclc.org/ooxml/wordprocessingml" in zipfile.ZipFile(file).read(
        "word/document.xml"
    )
    assert word.read(file.getvalue(), "a.docx").text == "Strict."


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Minutes  of May", "Minutes of May"),
        ("Microsoft Word - Minutes", "Minutes"),
        ("Word Document", "Heading"),
        ("Untitled 1", "Heading"),
        ("", "Heading"),
    ],
)
def test_the_title_is_a_real_one(title: str, expected: str):
    core = f"<x xmlns:dc='http://purl.org/dc/elements/1.1/'><dc:title>{title}</dc:title></x>"
    body = p("Heading", style="Heading1")
    assert read(body, {"/docProps/core.xml": ("core", core)}).title == expected


def test_a_part_that_cannot_be_read_is_reported_and_the_rest_read():
    draft = read(p("Text."), {"footnotes.xml": ("footnotes", "<broken")})
    assert draft.text == "Text."
    assert [remark.partition(": ")[0] for remark in draft.remarks] == [
        "a part of it is left out, its footnotes"
    ]
    assert read(p("Text.") + "<w:altChunk/><w:altChunk/>").remarks == [
        "holds a document of another format, which is left out: it is not there, or stands twice"
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.htm", "<html><body><p>The <b>ferry</b></p></body></html>"),
        ("a.mht", "MIME-Version: 1.0\nContent-Type: text/html\n\n<p>The <b>ferry</b></p>"),
        ("a.rtf", "{\\rtf1 The {\\b ferry}}"),
        ("a.txt", "The ferry"),
    ],
)
def test_a_document_of_another_format_is_read_in_its_place(name: str, content: str):
    chunk = f'<w:altChunk r:id="{name}"/>'
    draft = read(p("Before.") + chunk + p("After."), {name: ("aFChunk", content)})
    assert draft.text == "Before.\n\nThe ferry\n\nAfter."
    assert not draft.remarks


def test_a_field_without_an_end_hides_nothing_below_it():
    begin = '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
    half = '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
    end = '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    body = p("a", begin, f"<w:del>{end}</w:del>") + p("Until ", begin, half, r("March"), end)
    assert read(p(begin, begin) + body).text == "a\n\nUntil March"


def test_a_document_without_text_is_empty():
    with pytest.raises(Empty, match="has no text in it$"):
        read(p(""))
    with pytest.raises(Empty, match="only pictures"):
        read(p(""), {"media/image1.png": ("image", "x")})


def test_other_files_are_refused_by_name():
    def refusal(data: bytes) -> str:
        with pytest.raises(Refused) as caught:
            word.read(data, "a.docx")
        return str(caught.value)

    whole = docx(p("Text."))
    assert refusal(b"plain text") == "is no Word document, whatever its name says"
    sheet = whole.replace(b"word/document.xml", b"xl/worksheets.xml")
    assert refusal(sheet) == "is no Word document, whatever its name says"
    assert "cut off" in refusal(whole[: len(whole) // 2])
    encrypted = package.OLE + b"\0" * 600 + "EncryptedPackage".encode("utf-16-le")
    assert refusal(encrypted) == (
        "is a Word document protected with a password; save it without one first"
    )
    old = package.OLE + b"\0" * 600 + "WordDocument".encode("utf-16-le")
    assert "(.doc)" in refusal(old)


def test_damaged_and_endless_xml_is_refused_in_one_line():
    def refusal(body: str, before: str = "") -> str:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            xml = f"{before}<w:document {NAMESPACES}><w:body>{body}</w:body></w:document>"
            archive.writestr("word/document.xml", xml)
        with pytest.raises(Refused) as caught:
            word.read(out.getvalue(), "a.docx")
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "is not XML" in refusal("<w:p>")
    assert "nested without end" in refusal("<w:sdt>" * 5000 + "</w:sdt>" * 5000)
    entities = "".join(f'<!ENTITY e{level} "{f"&e{level - 1};" * 10}">' for level in range(1, 10))
    laughs = f'<!DOCTYPE x [<!ENTITY e0 "{"ha" * 50}">{entities}]>'
    assert "entities" in refusal(p("&e9;"), laughs)


def test_fifty_thousand_attributes_do_no_harm():
    many = " ".join(f'a{number}="x"' for number in range(50_000))
    assert text_of(p("Text.").replace("<w:p>", f"<w:p {many}>", 1)) == "Text."


def test_what_unpacks_to_very_much_is_refused(monkeypatch: pytest.MonkeyPatch):
    whole = docx(p("x" * 100_000))
    monkeypatch.setattr(package, "_HONEST", 10_000)
    monkeypatch.setattr(package, "_MAX_RATIO", 20)
    with pytest.raises(Refused, match="unpacks to"):
        word.read(whole, "a.docx")
    monkeypatch.setattr(package, "_MAX_RATIO", 10**6)
    monkeypatch.setattr(package, "MAX_XML", 50_000)
    with pytest.raises(Refused, match="too much for a Word document"):
        word.read(whole, "a.docx")
