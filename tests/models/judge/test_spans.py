"""Where an answer may begin and end."""

from __future__ import annotations

import pytest

from models.judge.spans import boundaries, crosses, tidied


@pytest.mark.parametrize(
    ("text", "cut", "whole"),
    [
        ("Set RESTIC_PASSWORD to 14.90 now", "TIC", "RESTIC_PASSWORD"),
        ("Set RESTIC_PASSWORD to 14.90 now", "90", "14.90"),
        ("It cost 1,240.50 in all", "1", "1,240.50"),
        ("- **22000/TCP**: the sync port", "**22000/TCP**: ", "22000/TCP"),
        ("Run `borg compact`.", "`borg compact`.", "borg compact"),
        ('editor "nano -w" is set', 'editor "nano -w"', 'editor "nano -w"'),
        ('They said "never again".', '"never again', "never again"),
        ("in 1994 (Paris)", "1994 (Paris)", "1994 (Paris)"),
        ("in 1994 (Paris)", "1994 (", "1994"),
        ("(see the map)", "the map)", "the map"),
        ("kept in .stversions, hidden", ".stversions,", ".stversions"),
        ("> the reply", "> the reply", "the reply"),
        ("...", "...", ""),
        ("Your name? ____", "____", ""),
        ("the year 19", "9", "19"),
    ],
)
def test_an_answer_is_whole_words_and_no_mark_up(text: str, cut: str, whole: str) -> None:
    start = text.index(cut)
    assert text[slice(*tidied(text, start, start + len(cut)))] == whole


def _reaches_over(text: str, part: str) -> bool:
    start = text.index(part)
    return crosses((start, start + len(part)), boundaries(text))


def test_an_answer_from_a_table_is_one_cell() -> None:
    text = "Bus times\nTo: Airport; First bus: 04:20; Fare: 5.80\nTo: Lighthouse; First bus: 08:15"
    for cell in ("Airport", "04:20", "5.80", "Lighthouse", "08:15"):
        assert not _reaches_over(text, cell)
    for more in ("04:20; Fare", "First bus: 04:20", "5.80\nTo", "Airport; First"):
        assert _reaches_over(text, more)


def test_an_answer_is_one_paragraph_but_any_lines_of_it() -> None:
    text = "The valve is in\nthe cellar: behind the door.\n \nA key hangs beside it."
    assert not _reaches_over(text, "in\nthe cellar: behind")
    assert _reaches_over(text, "door.\n \nA key")
