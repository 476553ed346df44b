"""What the tables in passages say to a question; meaning is left to words here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from models.judge.cells import NAMES, content, features
from models.judge.comparing import comparison
from models.judge.tables import MISFIT, fitting
from models.text.rows import rows

BUSES = (
    "line: 4; to: Harbour; first_bus: 05:40; every_min: 10; fare_eur: 2.10\n"
    "line: 9; to: Airport; first_bus: 04:20; every_min: 30; fare_eur: 5.80\n"
    "line: 12; to: Old Mill; first_bus: 09:00; every_min: 45; fare_eur: 2.80"
)
CRASHES = (
    "airline: Nordwind; fatalities_85_99: 12; fatalities_00_14: 0; seats: 1,500\n"
    "airline: Kenyan Air; fatalities_85_99: 3; fatalities_00_14: 283; seats: 900"
)


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return a vector for each text; all mean the same, so that words decide."""
    return np.ones((len(texts), 1), np.float32)


def best(question: str, *texts: str) -> str:
    fits = [(fit, value) for each in fitting(question, texts, embed) for value, fit in each.items()]
    return max(fits)[1]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("When does the first bus to the airport leave?", "04:20"),
        ("What is the fare to the Old Mill?", "2.80"),
        ("Which line goes to the harbour?", "4"),
        ("How many fatalities did Nordwind have from 1985 to 1999?", "12"),
        ("How many fatalities did Kenya Air have between 2000 and 2014?", "283"),
    ],
)
def test_a_row_and_a_column(question: str, answer: str) -> None:
    assert best(question, "Nothing here.", BUSES, CRASHES) == answer


def test_where_asks_for_the_column_of_places() -> None:
    meeting = "Event: General meeting; Date: 12 Jun 2026; Place: Boathouse; Organizer: Ines Vik"
    assert best("Where is the general meeting?", meeting) == "Boathouse"
    assert best("When is the general meeting?", meeting) == "12 Jun 2026"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            "Which has the higher fare, the one to the airport or the one to the Old Mill?",
            "airport",
        ),
        ("Is the fare lower to the Old Mill or to the harbour?", "harbour"),
        ("Which has more seats, Nordwind or Kenyan Air?", "Nordwind"),
        ("Which had more fatalities from 2000 to 2014: Nordwind or Kenyan Air?", "Kenyan Air"),
        ("Which first bus is earlier, that of line 4 or that of line 12?", "line 4"),
    ],
)
def test_two_rows_are_compared(question: str, answer: str) -> None:
    fits = fitting(question, ["Nothing here.", BUSES, CRASHES], embed)
    assert [value for each in fits for value, fit in each.items() if fit == 1.0] == [answer]
    assert not fits[0]


@pytest.mark.parametrize(
    "question",
    [
        "Which bus is it, the red or the blue one?",  # nothing to be ordered by
        "Which costs more, the tram, the bus or the boat or the train?",
        "Which costs more?",
        "Is it more or less than what we agreed on in the long meeting at the beginning of May?",
        "",
    ],
)
def test_other_questions_compare_nothing(question: str) -> None:
    assert comparison(question) is None


def test_times_and_changes_are_compared_where_they_are_asked_for() -> None:
    papers = (
        "paper: Courier; copies 2004: 2,101; copies 2013: 2,378; change: +13%\n"
        "paper: Herald; copies 2004: 1,119; copies 2013: 1,865; change: +67%"
    )
    for question, answer in (
        (
            "Which bus is the dearer fare, the one to the airport or the one to the Old Mill?",
            "airport",
        ),
        ("Which first bus is later, that to the airport or that to the Old Mill?", "Old Mill"),
        ("Whose copies rose more from 2004 to 2013, the Courier or the Herald?", "Herald"),
        ("Which has more copies in 2013, the Courier or the Herald?", "Courier"),
    ):
        fits = fitting(question, [BUSES, papers], embed)
        assert [v for each in fits for v, fit in each.items() if fit == 1.0] == [answer]
    level = papers.replace("+13%", "13").replace("+67%", "67")
    fits = fitting("Whose copies rose more, the Courier or the Herald?", [level], embed)
    assert all(fit < 1.0 for fit in fits[0].values())  # which column says so is not clear


def test_equal_or_missing_numbers_are_not_compared() -> None:
    level = "dish: Soup; price: 4.50\ndish: Salad; price: 4.50\ndish: Bread; price: free"
    for one, other in (("soup", "salad"), ("soup", "bread"), ("soup", "cake")):
        fits = fitting(f"Which price is higher, {one} or {other}?", [level], embed)
        assert all(fit < 1.0 for fit in fits[0].values())


def test_a_table_about_something_else_fits_less() -> None:
    [asked] = fitting("What is the fare to the airport?", [BUSES], embed)
    [other] = fitting("What did Ida Brandt say at the opening?", [BUSES], embed)
    assert max(asked.values()) > 0.3 > 0.1 > sum(other.values())


def test_what_is_said_of_another_row_is_no_answer() -> None:
    people = (
        "Name: Petra Odell; Title: Secretary; Birthday: 19 Mar 1974\n"
        "Name: Dan Farrow; Note: Has the key of the trailer. Allergic to bee stings."
    )
    [fits] = fitting("When is Dan Farrow's birthday?", [people], embed)
    assert fits["19 Mar 1974"] < -MISFIT and fits["Petra Odell"] < -MISFIT
    note = "Has the key of the trailer. Allergic to bee stings."
    assert fits.get(note, 0.0) >= 0 and fits.get("Dan Farrow", 0.0) >= 0
    [fits] = fitting("What is Dan Farrow allergic to?", [people], embed)
    assert min(fits.get(value, 0.0) for value in (note, "Dan Farrow")) >= 0


def test_without_tables_there_is_nothing() -> None:
    assert fitting("Who?", ["Ida Brandt opened it.", ""], embed) == [{}, {}]
    assert fitting("Who?", [], embed) == []


@pytest.mark.parametrize("question", ["", "the of a", "?", "2000"])
def test_any_question_will_do(question: str) -> None:
    [fits] = fitting(question, [BUSES], embed)
    assert all(-1 <= fit <= 1 for fit in fits.values())


def test_what_is_known_of_a_cell() -> None:
    known = features("When does the first bus to the airport leave?", rows(BUSES), embed)
    assert known.shape == (15, len(NAMES))
    time = known[7]  # the second row's third cell
    assert time[NAMES.index("row")] == known[:, NAMES.index("row")].max() > 0
    assert time[NAMES.index("name")] == 1.0 == time[NAMES.index("time")]
    assert known[6, NAMES.index("asked")] == 1.0  # "Airport" is what the question says itself


def test_words_with_other_endings_are_alike() -> None:
    assert content("The HTTPPort of maxRows") == {"httpport", "max", "rows"}
    known = features(
        "the Hawaiian fares", rows("State: Hawaii; fare: 3\nState: Iowa; fare: 4"), embed
    )
    assert known[1, NAMES.index("key")] == 1.0 and known[3, NAMES.index("key")] == 0.0
