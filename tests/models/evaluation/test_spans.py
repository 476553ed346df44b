from __future__ import annotations

from itertools import pairwise

import pytest

from models.evaluation.spans import names_something, spans


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        (
            "The Harrow Line, 31 miles long, was opened by Queen Edda in 1874.",
            [
                ("name", "Harrow Line"),
                ("number", "31 miles"),
                ("name", "Queen Edda"),
                ("date", "1874"),
            ],
        ),
        (
            "On 4 May 2009 the storm Tilda hit Oldbridge.",
            [("date", "4 May 2009"), ("name", "Tilda"), ("name", "Oldbridge")],
        ),
        (
            "Repairs cost $7.25 million in March 2011.",
            [("number", "$7.25 million"), ("date", "March 2011")],
        ),
        ("Some 53% of 900 voters came.", [("number", "53%"), ("number", "900 voters")]),
        # Not a date of its own, not a name, not a number that counts something.
        ("In the recession of 2007-2009 He fell 3 times.", [("number", "3 times")]),
        ("Rain fell on Monday.", []),
        ("everything here is written small", []),
        ("", []),
    ],
)
def test_dates_numbers_and_names(sentence: str, expected: list[tuple[str, str]]) -> None:
    found = spans(sentence)
    assert [(span.kind, span.text) for span in found] == expected
    for span in found:
        assert sentence[span.start : span.end] == span.text
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_a_number_counts_with_and_without_what_it_counts() -> None:
    (miles,) = spans("It is 31 miles long.")
    assert miles.answers == ("31 miles", "31")
    (year,) = spans("It opened in 1874.")
    assert year.answers == ("1874",)


@pytest.mark.parametrize(
    ("question", "specific"),
    [
        ("When did the storm Tilda hit the town?", True),
        ("What happened in May 2009?", True),
        ("When did the storm hit the town?", False),
        ("Who was there?", False),
    ],
)
def test_a_question_names_something(question: str, specific: bool) -> None:
    assert names_something(question) is specific
