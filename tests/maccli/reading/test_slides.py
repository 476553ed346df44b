import io
import zipfile
from collections.abc import Mapping

import pytest

from maccli.reading.draft import Draft
from maccli.reading.encodings import Empty, Refused
from maccli.reading.formats import slides
from maccli.reading.parts import package
from store.marks import mark_at

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
NAMESPACES = (
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    f'xmlns:r="{OFFICE}" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:n="http://schemas.microsoft.com/office/powerpoint/2018/8/main"'
)
# Part -> (slide that refers to it, kind of the relation, XML); slide 0 is the presentation.
Parts = Mapping[str, tuple[int, str, str]]


def root(tag: str, inside: str) -> str:
    return f"<{tag} {NAMESPACES}>{inside}</{tag}>"


def relations(items: Mapping[str, tuple[str, str]]) -> str:
    inside = "".join(
        f'<Relationship Id="{id}" Type="{OFFICE}/{kind}" Target="/{target}"/>'
        for id, (kind, target) in items.items()
    )
    return f"<Relationships>{inside}</Relationships>"


def pptx(*shapes: str, parts: Parts | None = None) -> bytes:
    """A presentation with the shapes of each slide; each part has its name as id."""
    parts = parts or {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        main = "ppt/presentation.xml"
        archive.writestr("_rels/.rels", relations({"r": ("officeDocument", main)}))
        ids = "".join(f'<p:sldId r:id="s{number}"/>' for number in range(1, len(shapes) + 1))
        archive.writestr(main, root("p:presentation", f"<p:sldIdLst>{ids}</p:sldIdLst>"))
        for number, inside in enumerate(("", *shapes)):
            related = {
                part: (kind, part) for part, (slide, kind, _) in parts.items() if slide == number
            }
            if number == 0:
                related |= {
                    f"s{number}": ("slide", f"ppt/slides/slide{number}.xml")
                    for number in range(1, len(shapes) + 1)
                }
                archive.writestr("ppt/_rels/presentation.xml.rels", relations(related))
                continue
            tree = f"<p:cSld><p:spTree>{inside}</p:spTree></p:cSld>"
            archive.writestr(f"ppt/slides/slide{number}.xml", root("p:sld", tree))
            archive.writestr(f"ppt/slides/_rels/slide{number}.xml.rels", relations(related))
        for part, (_, _, xml) in parts.items():
            archive.writestr(part, xml)
    return out.getvalue()


def para(text: str, settings: str = "", level: int = 0) -> str:
    inside = text if text.startswith("<") else f"<a:r><a:t>{text}</a:t></a:r>"
    return f'<a:p><a:pPr lvl="{level}">{settings}</a:pPr>{inside}</a:p>'


def shape(*lines: str, at: tuple[int, int] | None = None, ph: str = "", descr: str = "") -> str:
    """A shape at (millimetres from the top, from the left)."""
    place = f'<a:xfrm><a:off y="{at[0] * 36000}" x="{at[1] * 36000}"/></a:xfrm>' if at else ""
    inside = "".join(line if line.startswith("<a:p>") else para(line) for line in lines)
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr descr="{descr}"/><p:nvPr>{ph}</p:nvPr></p:nvSpPr>'
        f"<p:spPr>{place}</p:spPr><p:txBody>{inside}</p:txBody></p:sp>"
    )


TITLE = '<p:ph type="title"/>'
BODY = '<p:ph idx="1"/>'


def read(*shapes: str, parts: Parts | None = None) -> Draft:
    return slides.read(pptx(*shapes, parts=parts), "a.pptx")


def test_each_slide_has_its_place_title_and_list():
    draft = read(
        shape("R&amp;D &lt;2031&gt;", ph=TITLE)
        + shape("Ferries", para("Oslo", level=1), para("plain", "<a:buNone/>"), ph=BODY),
        shape("Second", ph=TITLE) + shape("Only one line.", ph=BODY),
        shape("No title."),
    )
    assert draft.text == (
        "# R&D <2031>\n\n- Ferries\n  - Oslo\n\nplain\n\n# Second\n\nOnly one line.\n\nNo title."
    )
    assert draft.title == "R&D <2031>"
    second = mark_at(draft.marks, draft.text, draft.text.index("Only"))
    assert (second.place, second.heading) == ("slide 2", "Second")
    third = mark_at(draft.marks, draft.text, draft.text.index("No title"))
    assert (third.place, third.heading) == ("slide 3", "")


def test_numbered_lines_keep_their_numbers():
    numbered = '<a:buAutoNum type="arabicPeriod"/>'
    lines = (para("one", numbered), para("sub", numbered, 1), para("two", numbered))
    begin = para("seven", '<a:buAutoNum startAt="7"/>')
    text = read(shape(*lines, "break", begin, para("dot", '<a:buChar char="x"/>'))).text
    assert text == "1. one\n  1. sub\n2. two\n\nbreak\n\n7. seven\n- dot"


def test_shapes_are_read_from_top_to_bottom_and_from_left_to_right():
    group = (
        "<p:grpSp><p:grpSpPr><a:xfrm><a:off x='0' y='1800000'/></a:xfrm></p:grpSpPr>"
        f"{shape('inner right', at=(1, 90))}{shape('inner left', at=(3, 5))}</p:grpSp>"
    )
    text = read(
        shape("bottom", at=(120, 5))
        + group
        + shape("right", at=(22, 100))
        + shape("left", at=(25, 5))
        + shape("Title", ph=TITLE)
    ).text
    assert text.split("\n\n") == [
        *("# Title", "left", "right", "inner left", "inner right", "bottom")
    ]


def test_the_place_of_a_placeholder_comes_from_the_layout_and_its_master():
    tree = "<p:cSld><p:spTree>{}</p:spTree></p:cSld>"
    layout = root(
        "p:sldLayout",
        tree.format(shape(at=(80, 5), ph='<p:ph idx="2"/>') + shape(ph='<p:ph type="body"/>')),
    )
    master = root("p:sldMaster", tree.format(shape(at=(10, 5), ph='<p:ph type="body"/>')))
    parts = {
        "ppt/layout.xml": (1, "slideLayout", layout),
        "ppt/_rels/layout.xml.rels": (9, "", relations({"m": ("slideMaster", "ppt/m.xml")})),
        "ppt/m.xml": (9, "", master),
    }
    inside = (
        shape("low", ph='<p:ph idx="2"/>')
        + shape("middle", at=(40, 5))
        + shape("high", ph='<p:ph type="body" idx="7"/>')
    )
    assert read(inside, parts=parts).text == "high\n\nmiddle\n\nlow"


def test_alternatives_fields_breaks_and_formulas_are_read():
    choice = (
        f"<mc:AlternateContent><mc:Choice Requires='a14'>{shape('Drawn once.')}</mc:Choice>"
        f"<mc:Fallback>{shape('Drawn once.')}</mc:Fallback></mc:AlternateContent>"
    )
    line = (
        "<a:r><a:t>On</a:t></a:r><a:br/><a:fld><a:t>3 March</a:t></a:fld>"
        "<a14:m><m:oMath><m:r><m:t> x=2</m:t></m:r></m:oMath></a14:m>"
    )
    assert read(choice + shape(para(line))).text == "Drawn once.\n\nOn\n3 March x=2"


def cell(text: str, attributes: str = "") -> str:
    return f"<a:tc {attributes}><a:txBody>{para(text)}</a:txBody></a:tc>"


def test_tables_charts_and_descriptions_are_read():
    rows = "".join(
        f"<a:tr>{row}</a:tr>"
        for row in (
            cell("") + cell("2030") + cell("2031"),
            cell("Oslo", 'rowSpan="2"') + cell("4") + cell("5"),
            cell("", 'vMerge="1"') + cell("6", 'gridSpan="2"') + cell("", 'hMerge="1"'),
        )
    )
    frame = f"<p:graphicFrame><a:tbl><a:tblPr firstRow='1'/>{rows}</a:tbl></p:graphicFrame>"
    drawn = "<p:graphicFrame><c:chart r:id='ppt/chart.xml'/></p:graphicFrame>"
    photo = "<p:pic><p:nvPicPr><p:cNvPr descr='The old quay'/></p:nvPicPr></p:pic>"
    chart = root(
        "c:chartSpace",
        "<c:ser><c:tx><c:v>Sales</c:v></c:tx><c:cat><c:pt idx='0'><c:v>May</c:v></c:pt></c:cat>"
        "<c:val><c:pt idx='0'><c:v>7</c:v></c:pt></c:val></c:ser>",
    )
    text = read(frame + drawn + photo, parts={"ppt/chart.xml": (1, "chart", chart)}).text
    assert text.split("\n\n") == [
        "Oslo; 2030: 4; 2031: 5\nOslo; 2030: 6",
        "Category: May; Sales: 7",
        "[Picture: The old quay]",
    ]


def test_notes_and_comments_follow_their_slide():
    notes = root(
        "p:notes",
        shape("7", ph='<p:ph type="sldNum"/>')
        + shape("Ask Ann.", "Wait.", ph='<p:ph type="body"/>'),
    )
    old = root("p:cmLst", '<p:cm authorId="0"><p:text>Too long?</p:text></p:cm>')
    new = root(
        "n:cmLst",
        '<n:cm authorId="{A}"><n:replyLst><n:reply authorId="0">'
        f"<n:txBody>{para('Yes.')}</n:txBody></n:reply></n:replyLst>"
        f"<n:txBody>{para('Source?')}</n:txBody></n:cm>",
    )
    parts = {
        "ppt/notes.xml": (1, "notesSlide", notes),
        "ppt/old.xml": (1, "comments", old),
        "ppt/new.xml": (1, "comments", new),
        "ppt/a.xml": (0, "commentAuthors", root("p:l", '<p:cmAuthor id="0" name="Bo"/>')),
        "ppt/b.xml": (0, "authors", root("n:l", '<n:author id="{A}" name="Ann"/>')),
    }
    assert read(shape("Text."), shape("More."), parts=parts).text.split("\n\n") == [
        "Text.",
        "Notes: Ask Ann.\nWait.",
        "Comment by Bo: Too long?",
        "Comment by Ann: Source?",
        "Comment by Bo: Yes.",
        "More.",
    ]


def test_footers_are_kept_once_and_slide_numbers_left_out():
    slide = shape("Text.", at=(50, 0))
    slide += shape("Norrby Glass", ph='<p:ph type="ftr"/>') + shape("1", ph='<p:ph type="sldNum"/>')
    assert read(slide, slide).text == "Text.\n\nNorrby Glass\n\nText."


def test_a_missing_slide_is_reported_and_the_others_read():
    file = pptx(shape("One."), shape("Two."))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            if name != "ppt/slides/slide1.xml":
                target.writestr(name, source.read(name))
    draft = slides.read(out.getvalue(), "a.pptx")
    assert draft.text == "Two."
    assert [remark[:24] for remark in draft.remarks] == ["slide 1 is left out: it "]


def test_what_is_no_presentation_or_has_no_text_is_refused():
    def refusal(data: bytes) -> str:
        with pytest.raises(Refused) as caught:
            slides.read(data, "a.pptx")
        return str(caught.value)

    with pytest.raises(Empty, match="no text in it$"):
        read("")
    assert refusal(b"x") == "is no PowerPoint presentation, whatever its name says"
    whole = pptx(shape("Text."))
    assert "cut off" in refusal(whole[: len(whole) // 2])
    assert "password" in refusal(package.OLE + "EncryptedPackage".encode("utf-16-le"))
    assert "(.ppt)" in refusal(package.OLE + "PowerPoint Document".encode("utf-16-le"))
    assert "nested without end" in refusal(pptx("<p:grpSp>" * 3000 + "</p:grpSp>" * 3000))
