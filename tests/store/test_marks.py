from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.marks import Mark, decode, encode, in_words, mark_at, marks_between

TEXT = "zero\none\ntwo\nthree\nfour\n"
MARKS = (Mark(0, "", "line 1"), Mark(9, "Two > Deep", "line 3"), Mark(19, "Two", "page 3"))


@pytest.mark.parametrize(
    ("offset", "heading", "place"),
    [
        (0, "", "line 1"),
        (4, "", "line 1"),
        (5, "", "line 2"),
        (9, "Two > Deep", "line 3"),
        (14, "Two > Deep", "line 4"),
        (24, "Two", "page 3"),
    ],
)
def test_lines_are_counted_from_a_mark_on(offset: int, heading: str, place: str) -> None:
    assert mark_at(MARKS, TEXT, offset) == Mark(offset, heading, place)


def test_before_the_first_mark_there_is_no_place() -> None:
    assert mark_at((), TEXT, 3) == Mark(3)
    assert mark_at(MARKS[1:], TEXT, 3) == Mark(3)


def test_only_a_number_at_the_end_is_counted() -> None:
    for place, later in (
        ('sheet "row 3", row 12', 'sheet "row 3", row 13'),
        ("arrow 2", "arrow 2"),
    ):
        assert mark_at((Mark(0, "", place),), TEXT, 5).place == later


def test_a_part_takes_its_marks_along() -> None:
    assert marks_between(MARKS, TEXT, 5, 14) == (
        Mark(0, "", "line 2"),
        Mark(4, "Two > Deep", "line 3"),
    )
    assert marks_between(MARKS, TEXT, 14, 19) == (Mark(0, "Two > Deep", "line 4"),)
    assert marks_between((), TEXT, 5, 14) == ()


@given(st.integers(0, len(TEXT) - 1), st.integers(0, len(TEXT) - 1), st.integers(0, len(TEXT) - 1))
def test_a_place_is_the_same_in_a_part(one: int, two: int, three: int) -> None:
    start, at, end = sorted((one, two, three))
    part = TEXT[start : end + 1]
    inside = mark_at(marks_between(MARKS, TEXT, start, end + 1), part, at - start)
    outside = mark_at(MARKS, TEXT, at)
    assert (inside.heading, inside.place) == (outside.heading, outside.place)


def test_marks_are_stored_and_read() -> None:
    assert decode(encode(MARKS)) == MARKS
    assert encode(()) == "" and decode("") == ()


@pytest.mark.parametrize("stored", ["{", "3", "[[0]]", '[["x", "", ""]]', "[0]"])
def test_damaged_marks_are_told(stored: str) -> None:
    with pytest.raises(ValueError, match="these marks are damaged"):
        decode(stored)


def test_places_in_words() -> None:
    assert in_words(Mark(0, "Retention", "line 40")) == '"Retention", line 40'
    assert in_words(Mark(0, "", "page 3")) == "page 3"
    assert in_words(Mark(0)) == ""
