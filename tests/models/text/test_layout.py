"""Code, tables, lists and parts of documents: what stays together when a text is cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from models.text.chunking import split
from models.text.layout import blocks


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def cut(text: str, most: int, breaks: Sequence[int] = ()) -> list[str]:
    return [chunk.text for chunk in split(text, words, most, breaks)]


def leads(text: str, most: int) -> list[tuple[str, str]]:
    """The first line of each chunk, after what introduces it."""
    return [(c.lead, c.text.partition("\n")[0]) for c in split(text, words, most)]


def kinds(text: str) -> list[tuple[str, str]]:
    return [(kind, text[start:end].strip("\n")) for start, end, kind in blocks(text)]


def test_a_block_of_code_is_not_cut_where_it_fits() -> None:
    code = "```sh\n# not a heading\nmake. Then wait.\n\nmake install\n```"
    assert cut(f"One two three four.\n\n{code}\n\nThe end.", 12) == [
        "One two three four.",
        code,
        "The end.",
    ]


def test_longer_code_is_cut_at_line_ends() -> None:
    lines = [f"put {i} in. box" for i in range(6)]
    text = "\n".join(["Do this:", "", "~~~", *lines, "~~~"])
    assert cut(text, 11) == [
        "Do this:\n\n~~~\nput 0 in. box\nput 1 in. box",
        "put 2 in. box\nput 3 in. box",
        "put 4 in. box\nput 5 in. box\n~~~",
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a\n```\nb\n```\nc", ["```\nb\n```"]),
        ("````\n```\nb\n```\n````", ["````\n```\nb\n```\n````"]),
        ("```\nb\n~~~\nc\n```", ["```\nb\n~~~\nc\n```"]),
        ("- a\n\n  ```py\n  b\n  ```\n", ["  ```py\n  b\n  ```"]),
        ("a\n```\nb is never closed", []),
        ("````\nb\n```", []),
        ("One\n~~~\n\ntext\n\nTwo\n~~~\n\ntext", []),  # headings of reStructuredText
        ("say ```a``` and ```b```", []),
        ("```\r\nb\r\n```\r\n", ["```\r\nb\r\n```\r"]),
    ],
)
def test_blocks_of_code(text: str, code: list[str]) -> None:
    assert [part for kind, part in kinds(text) if kind == "code"] == code
    assert "\n".join(part for _, part in kinds(text)).replace("\n", "") == text.replace("\n", "")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("Team: Leafs; Cups: 13", ["Team: Leafs; Cups: 13"]),
        ("| a | b. C |\n|---|---|\nx", ["| a | b. C |", "|---|---|"]),
        ("name\ttown\nIda\tVarnholt", ["name\ttown", "Ida\tVarnholt"]),
        ("From: Ida B. Brandt\nTo: Tomas\n\nHello.", ["From: Ida B. Brandt", "To: Tomas"]),
        ("Leafs; TOR; 13\nHabs; MTL; 24", ["Leafs; TOR; 13", "Habs; MTL; 24"]),
        ("Note: this goes on\nin the next line.", []),
        ("1.\tA clause that goes on\nin the next line.", []),
        ("He came; he saw; he went.\nThen it rained.", []),
        ("- Team: Leafs; Cups: 13", []),
    ],
)
def test_rows(text: str, rows: list[str]) -> None:
    assert [part for kind, part in kinds(text) if kind == "row"] == rows


def test_rows_are_not_cut_in_the_middle() -> None:
    rows = [f"Name: St. No{i}. Also; Town: B{i}. C" for i in range(5)]
    assert cut("The towns:\n\n" + "\n".join(rows), 20) == [
        "The towns:\n\n" + "\n".join(rows[:2]),
        "\n".join(rows[2:4]),
        rows[4],
    ]


def test_lines_without_full_stops_are_cut_at_their_ends() -> None:
    lines = ["Salm Boats Ltd", "12 Quay Road", "Dorvik 4810", "Invoice 2026 17", "Total 96 crowns"]
    assert cut("\n".join(lines), 8) == [
        "\n".join(lines[:3]),
        "\n".join(lines[3:]),
    ]


@pytest.mark.parametrize("gap", ["\n", "\n\n"])
def test_a_list_keeps_the_line_that_introduces_it(gap: str) -> None:
    text = f"One two three. Four five six.\n\nThe fees are:{gap}- a b c d\n- e f g h\n- i j k l"
    chunks = split(text, words, 11)
    assert [(chunk.lead, chunk.text) for chunk in chunks] == [
        ("", "One two three. Four five six."),
        ("", f"The fees are:{gap}- a b c d"),
        ("The fees are:", "- e f g h\n- i j k l"),
    ]


def test_what_stands_directly_above_a_list_introduces_it() -> None:
    assert leads("Opening\n- a b c d\n- e f g h", 7) == [("", "Opening"), ("Opening", "- e f g h")]
    assert leads("It rained.\n\n- a b c d\n- e f g h", 7)[1] == ("", "- e f g h")


def test_a_list_inside_another_has_both_introductions() -> None:
    text = "The fees are:\n- Boats:\n    - one two three\n    - four five six\n- Cars:\n    - seven"
    assert leads(text, 9) == [
        ("", "The fees are:"),
        ("The fees are > Boats:", "- four five six"),
    ]
    assert leads(text, 3)[-1] == ("The fees are > Cars:", "- seven")


def test_a_numbered_list_goes_on_after_a_paragraph() -> None:
    text = "To leave:\n\n1. one two three\n\nfour five six seven\n\n2. eight nine ten"
    assert leads(text, 7)[1:] == [("", "four five six seven"), ("To leave:", "2. eight nine ten")]
    assert leads(text.replace("2.", "-"), 7)[-1] == ("", "- eight nine ten")


def test_a_heading_ends_a_list_and_a_later_sentence_of_an_item_does_not() -> None:
    text = "Bring:\n- a hat. It is cold there at night.\n\n# Way\n\n- one two three"
    assert leads(text, 7) == [
        ("", "Bring:"),
        ("Bring:", "It is cold there at night."),
        ("", "# Way"),
    ]


def test_rows_have_the_line_that_introduces_them() -> None:
    text = "The towns:\n\nName: A; Size: 1\nName: B; Size: 2\n\nName: C; Size: 3"
    assert leads(text, 6) == [
        ("", "The towns:"),
        ("The towns:", "Name: B; Size: 2"),
        ("", "Name: C; Size: 3"),
    ]


def test_headings_stay_with_what_follows() -> None:
    for heading in ("# A\n\n## B", "Title\n=====", "=====\nTitle\n====="):
        assert cut(f"One two three four.\n\n{heading}\n\nfive six seven eight.", 9)[1].startswith(
            heading
        )


def test_a_chunk_rather_ends_with_a_part() -> None:
    first, second = "One two three. Four.", "Five six. Seven eight nine. Ten eleven twelve."
    text = f"{first} {second}"
    assert cut(text, 8) == [f"{first} Five six.", "Seven eight nine. Ten eleven twelve."]
    assert cut(text, 8, [len(first) + 1]) == [first, second]
    # Parts that fit are packed together, and less than a quarter of a chunk is not worth one.
    assert cut(text, 20, [len(first) + 1]) == [text]
    assert cut(text, 19, [0, 4, 4, 10**6]) == [text]
    assert cut(f"One. {second}", 8, [5]) == ["One. Five six. Seven eight nine.", second[-18:]]


def test_a_sentence_does_not_go_on_in_the_next_part() -> None:
    text = "this page ends here\nthe next one begins with this"
    assert cut(text, 6, [text.index("the next")]) == [
        "this page ends here",
        "the next one begins with this",
    ]


def test_many_small_parts_make_few_chunks() -> None:
    text = " ".join(f"Page {i}." for i in range(100))
    breaks = [i for i in range(len(text)) if text.startswith("Page", i)]
    assert len(cut(text, 20, breaks)) == 10
