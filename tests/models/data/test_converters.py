"""Rows of public data sets, in the layouts in which they are published, as our lines."""

from __future__ import annotations

from typing import Any

import pytest

from models.data.converters import FORMATS, MAX_WORDS, Row, lines, table
from models.errors import DataError

BRIDGE = "Ida Brandt opened the bridge in Varnholt in March."
SQUAD = {
    "id": "q1",
    "title": "Varnholt",
    "context": BRIDGE,
    "question": "Who opened the bridge?",
    "answers": {"answer_start": [0], "text": ["Ida Brandt"]},
}
TWEET = {
    "Question": "when was the bridge opened?",
    "Answer": ["in spring", "March"],
    "Tweet": BRIDGE,
    "qid": "a1",
}
TALE = {
    "story_name": "the-silver-mill",
    "story_section": "The miller had a silver wheel.",
    "question": "What did the miller have?",
    "answer1": "a silver wheel",
    "answer2": "",
    "answer4": None,
    "local-or-sum": "local",
    "ex-or-im": "explicit",
}
REPORT = {
    "table": {"uid": "t1", "table": [["", "2019"], ["Revenue", "1,2"]]},
    "paragraphs": [
        {"uid": "p2", "order": 2, "text": "It is reviewed on an annual basis."},
        {"uid": "p1", "order": 1, "text": "The plan is funded."},
    ],
    "questions": [
        {
            "question": "How often is it reviewed?",
            "answer": ["an annual basis"],
            "answer_type": "span",
            "answer_from": "text",
        },
        {
            "question": "What was the revenue?",
            "answer": ["1,2"],
            "answer_type": "span",
            "answer_from": "table",
        },
        {
            "question": "What is the change?",
            "answer": 3.5,
            "answer_type": "arithmetic",
            "answer_from": "table-text",
        },
    ],
}
BOOLQ = {"question": "is the bridge in varnholt", "passage": BRIDGE, "answer": True}
CONDAQA = {
    "sentence1": "The mill is not in use.",
    "sentence2": "Does the mill grind?",
    "label": "NO",
}
STRATEGYQA = {
    "qid": "b8",
    "term": "Mule",
    "description": "Animal",
    "question": "Can a mule have foals?",
    "answer": False,
    "facts": "Mules are sterile.",
}
PUBMEDQA = {
    "pubid": 1,
    "question": "Does rest help?",
    "context": {"contexts": ["We asked 40 people.", "Rest helped 30."], "labels": ["A", "B"]},
    "final_decision": "yes",
}
WIKITABLE = {
    "id": "nt-0",
    "question": "who came first?",
    "answers": ["Norway"],
    "table": {"header": ["Rank", "Team"], "rows": [["1", "Norway"], ["2", "Mali"]], "name": "t"},
}
FETAQA = {
    "feta_id": 1,
    "table_page_title": "Elm Cup",
    "table_section_title": "Results",
    "table_array": [["Year", "Winner"], ["2019", "Rovers"]],
    "question": "Who won in 2019?",
    "answer": "Rovers won the cup in 2019.",
}


@pytest.mark.parametrize(
    ("layout", "row", "question", "answers", "piece"),
    [
        ("squad", SQUAD, "Who opened the bridge?", ["Ida Brandt"], BRIDGE),
        ("tweetqa", TWEET, "when was the bridge opened?", ["March", "in spring"], BRIDGE),
        ("fairytaleqa", TALE, "What did the miller have?", ["a silver wheel"], "silver wheel."),
        ("tatqa", REPORT, "How often is it reviewed?", ["an annual basis"], "funded.\nIt is"),
        ("boolq", BOOLQ, "Is the bridge in varnholt?", ["Yes"], BRIDGE),
        ("condaqa", CONDAQA, "Does the mill grind?", ["No"], "not in use"),
        ("strategyqa", STRATEGYQA, "Can a mule have foals?", ["No"], "Mule: Animal. Mules are"),
        ("pubmedqa", PUBMEDQA, "Does rest help?", ["Yes"], "people.\nRest helped"),
        ("wikitablequestions", WIKITABLE, "who came first?", ["Norway"], "Norway"),
        (
            "fetaqa",
            FETAQA,
            "Who won in 2019?",
            ["Rovers won the cup in 2019."],
            "Elm Cup - Results",
        ),
    ],
)
def test_a_row_becomes_a_line(
    layout: str, row: Row, question: str, answers: list[str], piece: str
) -> None:
    made = list(lines("town", layout, [row], standalone=False))
    assert len(made) == 1
    line = made[0]
    assert (line["question"], line["answers"]) == (question, answers)
    assert piece in line["doc"]
    assert (line["id"], line["source"], line["split"]) == ("town-1", "town", "train")
    assert line["standalone"] is False


def test_every_layout_is_tested() -> None:
    cases = test_a_row_becomes_a_line.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {case[0] for case in cases} == set(FORMATS)


@pytest.mark.parametrize(
    ("layout", "row"),
    [
        ("squad", {**SQUAD, "answers": {"text": [], "answer_start": []}}),
        ("squad", {**SQUAD, "answers": {"text": ["the mayor"], "answer_start": [0]}}),
        ("squad", {**SQUAD, "context": f"{BRIDGE} {'word ' * MAX_WORDS}"}),
        ("condaqa", {**CONDAQA, "label": "DON'T KNOW"}),
        ("pubmedqa", {**PUBMEDQA, "final_decision": "maybe"}),
        ("wikitablequestions", {**WIKITABLE, "answers": []}),
    ],
)
def test_what_does_not_fit_is_left_out(layout: str, row: Row) -> None:
    assert list(lines("town", layout, [row], standalone=True)) == []


@pytest.mark.parametrize(
    ("layout", "row"),
    [
        ("squad", {"context": BRIDGE, "question": "Who?"}),
        ("squad", {**SQUAD, "context": None}),
        ("boolq", {**BOOLQ, "answer": "true"}),
        ("strategyqa", "a line of text"),
        ("wikitablequestions", {**WIKITABLE, "table": {"header": ["Rank"]}}),
    ],
)
def test_another_layout_is_named(layout: str, row: Any) -> None:
    with pytest.raises(DataError, match=f"town: row 1 is not laid out as {layout}") as caught:
        list(lines("town", layout, [row], standalone=True))
    assert "\n" not in str(caught.value)


def test_facts_may_be_a_list() -> None:
    row = {**STRATEGYQA, "facts": ["Mules are sterile.", "Foals are young."]}
    assert next(lines("x", "strategyqa", [row], standalone=True))["doc"].endswith(
        "Foals are young."
    )


def test_several_answers_of_a_table_are_one_list() -> None:
    row = {**WIKITABLE, "answers": ["Norway", "Mali"]}
    made = next(lines("x", "wikitablequestions", [row], standalone=True))
    assert made["answers"] == ["Norway, Mali"]


def test_tables_have_many_forms_and_one_table_has_one() -> None:
    tables = [[["Rank", "Team"], [str(n), "A, B"], ["7", "two\nlines"]] for n in range(60)]
    texts = [table(rows) for rows in tables]
    assert texts == [table(rows) for rows in tables]
    for piece in ('3,"A, B"', "| 3 | A, B |", "3\tA, B", "Rank: 3\nTeam: A, B"):
        assert any(piece.replace("3", str(n)) in text for n, text in enumerate(texts))
    assert all("two lines" in text for text in texts)
