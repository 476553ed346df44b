from __future__ import annotations

import pytest

from maccli.reading.draft import Draft, Loaded, header_row, one_line, row_line
from models.text.rows import Cell, rows
from store.marks import Mark, mark_at


def places(draft: Draft) -> list[tuple[str, str, str]]:
    """The blocks of a draft: their first words, headings and places."""
    ends = [mark.start for mark in draft.marks[1:]] + [len(draft.text)]
    return [
        (draft.text[mark.start : end].strip(), mark.heading, mark.place)
        for mark, end in zip(draft.marks, ends, strict=True)
    ]


def test_headings_make_a_path() -> None:
    draft = Draft()
    for text, level in (
        ("Rules", 1),
        ("Boats", 2),
        ("Deep", 5),
        ("Crews ", 2),
        ("", 1),
        ("End", 1),
    ):
        draft.heading(text, level)
    draft.paragraph("  x\n")
    assert draft.text == "# Rules\n\n## Boats\n\n##### Deep\n\n## Crews\n\n# End\n\n  x"
    paths = ["Rules", "Rules > Boats", "Rules > Boats > Deep", "Rules > Crews", "End"]
    assert [mark.heading for mark in draft.marks] == paths


def test_a_place_holds_until_the_next() -> None:
    draft = Draft()
    draft.paragraph("Before.")
    draft.heading("H", 1)
    draft.place("page 2")
    draft.paragraph("A.")
    draft.paragraph("B.")
    draft.place("page 3", fresh=True)
    draft.paragraph("C.")
    assert places(draft) == [
        ("# H", "H", ""),
        ("A.\n\nB.", "H", "page 2"),
        ("C.", "", "page 3"),
    ]


def test_lists_and_code_keep_their_form() -> None:
    draft = Draft()
    draft.paragraph("Bring:")
    draft.item("a\ncoat")
    draft.item("two", depth=1, sign="1.")
    draft.paragraph("End.")
    draft.code("x\n```\ny", "py")
    assert draft.text == "Bring:\n\n- a coat\n  1. two\n\nEnd.\n\n````py\nx\n```\ny\n````"


TABLE = [["Crew of 2031", ""], ["Name", "Age"], ["Ines", "41"], ["", ""], ["Olaf", "27"]]


def test_a_table_says_names_and_rows() -> None:
    draft = Draft()
    draft.place('sheet "Crew"')
    draft.table(TABLE, first=5, place='sheet "Crew"')
    draft.paragraph("Below.")
    assert places(draft) == [
        ("Crew of 2031", "", 'sheet "Crew", row 5'),
        ("Name: Ines; Age: 41", "", 'sheet "Crew", row 7'),
        ("Name: Olaf; Age: 27", "", 'sheet "Crew", row 9'),
        ("Below.", "", 'sheet "Crew"'),
    ]


def test_rows_without_a_gap_are_one_block_and_are_counted() -> None:
    draft = Draft()
    draft.table([["a", "b"], ["1", "2"], ["3", "4"]], first=1)
    assert draft.text == "a: 1; b: 2\na: 3; b: 4"
    assert mark_at(draft.marks, draft.text, 12).place == "row 3"


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        ([["Name", "Age"], ["Ines", "41"]], 0),
        ([["Title", ""], ["Name", "Age"], ["Ines", "41"]], 1),
        ([["A"], ["", ""], ["B", ""], ["Name", "Age"], ["Ines", "41"]], 3),
        ([["Q1", "Q2"], ["5", "6"]], 0),
        ([["", "2019", "2020"], ["Skarn", "5", "6"]], 0),
        ([["Born", "2019"], ["Ines", "2020"]], None),
        ([["12.5", "x"], ["13", "y"]], None),
        ([["2031-03-03", "Tea"], ["2031-03-04", "Bread"]], None),
        ([["€ 5", "Tea"], ["€ 6", "Bread"]], None),
        ([["tea", "hot"], ["water", "hot"]], None),
        ([["tea", "tea"], ["water", "hot"]], None),
        ([["Name", "Points", "Points"], ["Ines", "4", "5"]], 0),
        ([["Name", "Age"], ["Ines", "41"], ["Name", "Age"]], 0),
        ([["Name", "Age"]], None),
        ([["Name"], ["Ines"]], None),
        ([], None),
    ],
)
def test_the_row_of_names_is_found(rows: list[list[str]], header: int | None) -> None:
    assert header_row(rows) == header


def test_a_reader_may_know_the_row_of_names() -> None:
    assert header_row([["1", "2"], ["3", "4"]], True) == 0
    assert header_row([["Name", "Age"], ["Ines", "41"]], False) is None


def test_lines_of_rows() -> None:
    assert row_line(["a", "", "c"], ["1", "2", "", "4"]) == "a: 1; 2; 4"
    assert row_line([], ["Name:", "Ines"]) == "Name: Ines"
    assert row_line([], ["x", "", "y"]) == "x; y"
    assert one_line(" a\n\u00a0 b\t") == "a b"


def test_lines_of_rows_are_read_back() -> None:
    names, cells = ["line", "to", "fare (EUR)"], ["4", "Old Mill", "2.10"]
    assert rows(row_line(names, cells)) == [[*map(Cell, names, cells)]]


def test_a_verbatim_text_keeps_its_marks() -> None:
    draft = Draft()
    draft.paragraph("First.")
    draft.verbatim("one\ntwo", [Mark(0, "", "line 1"), Mark(4, "T", "line 2")])
    draft.paragraph("Last.")
    assert draft.text == "First.\n\none\ntwo\n\nLast."
    assert draft.marks[:2] == (Mark(8, "", "line 1"), Mark(12, "T", "line 2"))
    assert mark_at(draft.marks, draft.text, len(draft.text) - 1).place == ""


def test_a_document_in_a_document_keeps_its_places() -> None:
    inner = Draft()
    inner.verbatim("\n\n# One\nx\n", [Mark(0, "", "line 1"), Mark(2, "One", "line 3")])
    inner.remarks.append("is damaged")
    outer = Draft()
    outer.heading("Mail", 1)
    outer.append(inner, 'attachment "a.md"')
    outer.append(Draft(), "nothing")
    outer.paragraph("End.")
    assert outer.text == "# Mail\n\n# One\nx\n\nEnd."
    assert places(outer) == [
        ("# Mail", "Mail", ""),
        ("# One\nx", "One", 'attachment "a.md", line 3'),
        ("End.", "", ""),
    ]
    assert outer.remarks == ['attachment "a.md": is damaged']


def test_a_document_without_marks_is_placed_whole() -> None:
    inner, outer = Draft(), Draft()
    inner.paragraph("Words.")
    outer.append(inner, "message 2")
    assert places(outer) == [("Words.", "", "message 2")]


def test_remarks_become_one_line() -> None:
    assert Loaded("x", None, "text/plain", "utf-8").remark is None
    assert Loaded("x", None, "text/plain", "utf-8", ("a", "b")).remark == "a; b"
