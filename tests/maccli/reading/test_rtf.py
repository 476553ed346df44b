import pytest

from maccli.reading.encodings import Empty, Refused
from maccli.reading.formats import rtf
from store.marks import mark_at

HEAD = (
    r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\froman\fcharset0 Times;}{\f1\fcharset128 MS"
    r" Gothic;}{\f2\fcharset2 Symbol;}{\f3\fcharset204 Times Cyr;}}{\colortbl;\red0;}"
    r"{\stylesheet{Normal;}{\s1 heading 1;}{\s2\b heading 2;}{\s3 Title;}}"
)


def read(body: str) -> str:
    return rtf.read((HEAD + body + "}").encode("latin-1"), "a.rtf").text


def test_paragraphs_and_special_characters():
    text = read(
        r"{\b R&D} at <AT&T>\par co\-de, well\_kept\~now\tab x\line y\par"
        "\r\n"
        r"\{braces\}, a\\b \endash  \ldblquote quoted\rdblquote\
new\par"
    )
    assert text.split("\n\n") == [
        "R&D at <AT&T>",
        "code, well-kept now\tx\ny",
        "{braces}, a\\b – “quoted”",
        "new",
    ]


def test_characters_in_every_way_they_can_be_written():
    assert read(r"caf\'e9, \u233?, \uc2\u233\'e9x!, \uc0\u-10179\u-8704!") == "café, é, é!, 😀!"
    assert read(r"{\f1 \'83A\'83\'5c\'8c\'ea} {\f3 \'cf\'f0} {\f2 \'61b}") == "アソ語 Пр αβ"
    assert rtf.read(rb"{\rtf1\mac na\'95ve}", "a.rtf").text == "naïve"
    assert rtf.read(rb"{\rtf1\ansicpg65001 \'c3\'a9}", "a.rtf").text == "é"
    assert rtf.read(rb"{\rtf1\ansicpg99999 \'e9}", "a.rtf").text == "é"
    assert rtf.read(rb"{\rtf1\ansicpg1250 \'9a}", "a.rtf").text == "š"


def test_headings_are_known_by_style_or_outline_level_and_give_the_title():
    body = (
        r"\pard\s1 Charter\par\pard\s2 Quorum\par\pard Five.\par\pard\outlinelevel2 Deep\par"
        rf"\pard\s2 {'x' * 300}\par"
    )
    draft = rtf.read((HEAD + body + "}").encode(), "a.rtf")
    assert draft.text.split("\n\n")[:4] == ["# Charter", "## Quorum", "Five.", "### Deep"]
    assert draft.text.endswith("\n\n" + "x" * 300)
    assert draft.title == "Charter"
    assert mark_at(draft.marks, draft.text, draft.text.index("Five")).heading == "Charter > Quorum"


@pytest.mark.parametrize(
    ("title", "expected"), [("Minutes", "Minutes"), ("Untitled", None), (r"\'c9t\'e9", "Été")]
)
def test_the_title_is_in_the_information(title: str, expected: str | None):
    info = rf"{{\info{{\title {title}}}{{\author Ann}}{{\*\company X}}{{\creatim\yr2031}}}}"
    draft = rtf.read((HEAD + info + r"Text.\par}").encode(), "a.rtf")
    assert (draft.title, draft.text) == (expected, "Text.")


def test_list_items_keep_their_numbers():
    body = (
        r"Bring:\par{\listtext\pard\plain \'b7\tab}bread\par{\pntext\f2\'b7\tab}milk\par"
        r"{\listtext\pard 1.\tab}one\par{\listtext\pard a)\tab}\ilvl1 sub\par\pard Text.\par"
    )
    assert read(body) == "Bring:\n\n- bread\n- milk\n1. one\n  a) sub\n\nText."


def row(*cells: str, merged: str = "") -> str:
    edges = "".join(
        (r"\clvmgf" if flag == "d" else r"\clvmrg" if flag == "u" else "") + rf"\cellx{at}"
        for at, flag in enumerate(merged.ljust(len(cells)))
    )
    inside = "".join(rf"\pard\intbl {cell}\cell" for cell in cells)
    return rf"\trowd{edges} {inside}{{\trowd{edges} \row}}"


def test_tables_are_read_row_by_row():
    body = (
        r"Hours:\par"
        + row("Region", "Depot", "Opens")
        + row("North", "Oslo", r"9\par daily", merged="d")
        + row("", r"a|b", "8", merged="u")
        + r"\pard Closed on Sundays.\par"
    )
    assert read(body) == (
        "Hours:\n\nRegion: North; Depot: Oslo; Opens: 9, daily\n"
        "Region: North; Depot: a|b; Opens: 8\n\nClosed on Sundays."
    )
    cut = HEAD + row("Captain", "Ines") + r"\trowd\pard\intbl Mate\cell\pard\intbl Bo"
    assert rtf.read(cut.encode(), "a.rtf").text == "Captain: Ines\nMate: Bo"
    nested = r"\pard\intbl\itap2 in\nestcell ner\nestcell{\*\nesttableprops x\nestrow}"
    assert read(row("Crew", nested + r"{\nonesttables\par}\pard\intbl after")) == (
        "Crew: in, ner, after"
    )


def test_notes_comments_boxes_headers_and_footers_are_kept():
    body = (
        r"{\header Norrby Glass\par}{\headerf Norrby Glass\par}{\footer {\field{\*\fldinst PAGE}"
        r"{\fldrslt 7}}\par}{\footerf Confidential\par}"
        r"Agreed{\super\chftn{\footnote\pard {\super\chftn} Paid by Norrby.}}"
        r"{\*\atnid A}{\*\atnauthor Ann}\chatn{\*\annotation{\*\atnref 1}\pard Really?}.\par"
        r"{\shp{\*\shpinst{\sp{\sn x}{\sv 1}}{\shptxt In a box.\par}}{\shprslt In a box.\par}}"
        r"{\field{\*\fldinst HYPERLINK x}{\fldrslt a link}} ends.\par"
    )
    assert read(body).split("\n\n") == [
        "Norrby Glass",
        "Agreed[1].",
        "Comment by Ann: Really?",
        "a link ends.",
        "In a box.",
        "Confidential",
        "Note 1: Paid by Norrby.",
    ]


def test_hidden_and_deleted_text_pictures_and_data_are_left_out():
    body = (
        r"Seen{\v  hidden}{\deleted  gone}{\v0  too}.{\*\unknown secret}"
        r"{\pict\pngblip 89504e470d0a1a0a}{\*\shppict{\pict 8950}}{\nonshppict{\pict 89}}"
        r"{\object\objemb{\*\objdata 0105}{\result  shown}}{\pict\bin4 }{\x}"
    )
    assert read(body) == "Seen too. shown"


def test_what_is_damaged_is_read_as_far_as_it_goes():
    assert rtf.read(rb"{\rtf1 One.\par Two", "a.rtf").text == "One.\n\nTwo"
    assert rtf.read(rb"{\rtf1 One.}}\par beyond\0", "a.rtf").text == "One."
    assert rtf.read(rb"{\rtf1 One\'zz \u\bin99999999 x", "a.rtf").text.startswith("One")
    deep = b"{" * 20_000
    assert rtf.read(rb"{\rtf1 " + deep + b"Deep.", "a.rtf").text == "Deep."


def test_other_files_and_empty_ones_are_refused():
    with pytest.raises(Refused, match="^is no RTF document, whatever its name says$"):
        rtf.read(b"plain", "a.rtf")
    with pytest.raises(Empty, match="no text in it$"):
        read("")
    with pytest.raises(Empty, match="only pictures"):
        read(r"{\pict 8950}")
