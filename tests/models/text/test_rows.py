"""Rows of tables in texts, and the numbers in their cells."""

from __future__ import annotations

import pytest

from models.text.rows import Cell, number, rows


def test_a_row_is_a_line_that_names_two_things_at_least() -> None:
    text = "Fares\n\nline: 4; to: Old Mill; first: 05:40\nNote: closed on Sunday\nline: 7; to: Quay"
    assert rows(text) == [
        [Cell("line", "4"), Cell("to", "Old Mill"), Cell("first", "05:40")],
        [Cell("line", "7"), Cell("to", "Quay")],
    ]


@pytest.mark.parametrize(
    "text", ["", "Two sentences; nothing: else.", "https://example.org; a", "; : ; : "]
)
def test_other_lines_are_none(text: str) -> None:
    assert rows(text) == []


def test_an_empty_cell_is_left_out() -> None:
    assert rows("a: 1; b: ; c: 2") == [[Cell("a", "1"), Cell("c", "2")]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("1,500", 1500),
        ("2,101,017", 2101017),
        ("1.500,50", 1500.5),
        ("1,301.52", 1301.52),
        ("3,4", 3.4),
        ("11.0616", 11.0616),
        ("£22.00", 22),
        ("-45%", -45),
        ("\u221245 %", -45),
        ("5.80 EUR", 5.8),
        ("05:40", 340),
        ("1.2.3", 123),
        ("", None),
        ("no", None),
        ("2026-11-30", None),
        ("12 of the 30 members", None),
    ],
)
def test_numbers(text: str, value: float | None) -> None:
    assert number(text) == value
