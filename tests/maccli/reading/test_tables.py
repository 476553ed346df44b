from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maccli.reading.formats.tables import read
from store.marks import mark_at


def rows(text: str, name: str = "a.csv") -> list[tuple[str, str]]:
    """The lines of a table, each with its place."""
    draft = read(text, name)
    result, start = [], 0
    for line in draft.text.split("\n"):
        result.append((mark_at(draft.marks, draft.text, start).place, line))
        start += len(line) + 1
    return result


@pytest.mark.parametrize(
    "text",
    [
        "Team,City,Cups\nLeafs,Toronto,13\nWings,Detroit,11\n",
        "Team;City;Cups\r\nLeafs;Toronto;13\r\nWings;Detroit;11",
        "Team\tCity\tCups\nLeafs\tToronto\t13\nWings\tDetroit\t11\n",
        "Team|City|Cups\nLeafs|Toronto|13\nWings|Detroit|11\n",
        '"Team","City","Cups"\n"Leafs","Toronto","13"\n"Wings", "Detroit" ,"11"\n',
        "Team,City,Cups,\nLeafs,Toronto,13,\nWings,Detroit,11,\n,,,\n",
        "Team,City,Cups\rLeafs,Toronto,13\rWings,Detroit,11\r",
    ],
)
def test_a_row_names_its_columns(text: str) -> None:
    assert rows(text) == [
        ("row 2", "Team: Leafs; City: Toronto; Cups: 13"),
        ("row 3", "Team: Wings; City: Detroit; Cups: 11"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sep=;\na;b\n1;2", [("row 2", "a: 1; b: 2")]),
        ("Ware;Preis\nTee;1,50\nBrot;2,75", [("row 2", "Ware: Tee; Preis: 1,50"),
                                            ("row 3", "Ware: Brot; Preis: 2,75")]),
        ("Prices of 2031\nTea,Bread\n1,2\n", [("row 1", "Prices of 2031"),
                                             ("row 3", "Tea: 1; Bread: 2")]),
        ("a,b\n1,2\n\n\n3,4", [("row 2", "a: 1; b: 2"), ("row 5", "a: 3; b: 4")]),
        ("a,b\n1,2,more\n3", [("row 2", "a: 1; b: 2; more"), ("row 3", "a: 3")]),
        ("Leafs,13\nWings,11", [("row 1", "Leafs: 13"), ("row 2", "Wings: 11")]),
        ("Land,2019,2020\nSkarn,5,6", [("row 2", "Land: Skarn; 2019: 5; 2020: 6")]),
        ("words\nof one\ncolumn", [("row 1", "words"), ("row 2", "of one"), ("row 3", "column")]),
        ('a,note\n1,"two\nlines, ""quoted"""\n2,x', [("row 2", 'a: 1; note: two lines, "quoted"'),
                                                    ("row 3", "a: 2; note: x")]),
        ('size,kind\n"5 inch,pipe\n7,hose', [("row 2", 'size: "5 inch; kind: pipe'),
                                            ("row 3", "size: 7; kind: hose")]),
    ],
)  # fmt: skip
def test_tables_of_all_sorts(text: str, expected: list[tuple[str, str]]) -> None:
    assert rows(text) == expected


def test_a_long_table_goes_on_as_it_began() -> None:
    body = "".join(f"{n},name {n},x\n" if n != 300 else ",,\n" for n in range(2, 500))
    found = rows("id,name,\n" + body)
    assert found[0] == ("row 2", "id: 2; name: name 2; x")
    assert found[400] == ("row 403", "id: 403; name: name 403; x")
    assert len(found) == 497
    headless = rows("".join(f"{n},{n}\n" for n in range(100)))
    assert headless[99] == ("row 100", "99: 99")


@given(
    st.lists(st.lists(st.text("ab\"', ;\n\u00e9", max_size=5), min_size=1, max_size=4), max_size=8),
    st.sampled_from([".csv", ".tsv", ".jsonl"]),
)
def test_no_table_loses_a_word(cells: list[list[str]], suffix: str) -> None:
    text = "\n".join(",".join(row) for row in cells)
    draft = read(text, f"a{suffix}")
    assert Counter(c for c in draft.text if c in "abé") >= Counter(c for c in text if c in "abé")


def test_json_lines_name_their_keys() -> None:
    text = (
        '{"id": 1, "who": {"name": "Ines", "ranks": ["captain", "mate"]}, "gone": null}\n\n'
        "no json\n"
        '{"says": [{"role": "user", "text": "two\\nlines"}], "ok": true, "n": 1.10}\n"words"\n'
    )
    assert rows(text, "a.jsonl") == [
        ("line 1", "id: 1; who.name: Ines; who.ranks: captain, mate"),
        ("line 2", ""),
        ("line 3", "no json"),
        ("line 4", "says.1.role: user; says.1.text: two lines; ok: true; n: 1.10"),
        ("line 5", "words"),
        ("line 6", ""),
    ]


def test_a_json_list_of_flat_objects_is_a_table() -> None:
    text = json.dumps([{"a": 1, "b": {"c": "x"}}, {}, {"a": 2, "tags": ["p", "q"]}], indent=1)
    assert rows(text, "a.json") == [("row 1", "a: 1; b.c: x"), ("row 3", "a: 2; tags: p, q")]
    assert rows('{"a": 1}\n{"a": 2}\n', "a.json")[:2] == [("line 1", "a: 1"), ("line 2", "a: 2")]
    assert rows('[{"k": 1, "k": 2}]', "a.json") == [("row 1", "k: 1; k: 2")]


@pytest.mark.parametrize(
    "text",
    ['{\n "a": [1, 2]\n}\n', "[1, 2]", "[]", '[{"a": [{"b": 1}]}]', '{"a": ', "[" * 100_000],
)
def test_other_json_stays(text: str) -> None:
    assert read(text, "a.json").text == text


def test_embedded_pictures_are_left_out_of_tables() -> None:
    blob = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ" * 8
    draft = read(f"name,picture\nKite,{blob}\n", "a.csv")
    assert draft.text == "name: Kite; picture: [data]"
    assert read(json.dumps([{"a": blob}]), "a.json").text == "a: [data]"
    assert len(draft.remarks) == 1


def test_halves_of_pairs_do_not_stop_a_file() -> None:
    assert rows('{"a": "\\ud83d x"}', "a.jsonl") == [("line 1", "a: \ud83d x")]


def test_a_quotation_mark_may_stand_behind_a_backslash() -> None:
    text = '"Name","Note"\n"Ann","say \\"hi\\", ok"\n"Bo","x"\n'
    assert rows(text) == [
        ("row 2", 'Name: Ann; Note: say "hi", ok'),
        ("row 3", "Name: Bo; Note: x"),
    ]
    folders = '"Name","Folder"\n"Ann","C:\\a\\","x"\n"Bo","C:\\b\\","y"\n'
    assert [line for _, line in rows(folders)] == [
        "Name: Ann; Folder: C:\\a\\; x",
        "Name: Bo; Folder: C:\\b\\; y",
    ]


def test_letters_that_json_writes_as_numbers_are_read() -> None:
    text = '{"a": ["caf\\u00e9 \\ud83d\\ude00 \\u0022 \\\\u00e9 \\n"]}'
    assert read(text, "a.json").text == '{"a": ["café \U0001f600 \\u0022 \\\\u00e9 \\n"]}'
