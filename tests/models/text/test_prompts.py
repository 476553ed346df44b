"""The prompts that trained checkpoints know: a change of one changes answers."""

import pytest

from models.text.prompts import (
    context,
    few_shot_prompt,
    few_shot_text,
    in_context,
    question_prompt,
    question_request,
    text_prompt,
)


def test_a_question_is_one_line() -> None:
    assert question_prompt(" Who\n won? ") == "Question: Who won?\nAnswer:"


def test_the_best_text_stands_next_to_the_question() -> None:
    assert text_prompt("Who?", ["best", "next"]) == "next best\nQuestion: Who?\nAnswer:"
    assert few_shot_prompt("Who?", ["best", "next"]).endswith(
        "\n\nText: next best\nQuestion: Who?\nAnswer:"
    )


def test_questions_may_follow_a_shared_text() -> None:
    assert few_shot_text("best") + question_prompt("Who?") == few_shot_prompt("Who?", ["best"])


def test_a_request_for_a_question_ends_where_it_begins() -> None:
    wanted = "Text: It opened in 1874.\nAnswer: 1874\nQuestion: When"
    assert question_request("It opened in 1874.", "1874", " When") == wanted


@pytest.mark.parametrize(
    ("title", "heading", "lead", "expected"),
    [
        (None, "", "", ""),
        ("Harbour rules", "Fees > Late", "", "Harbour rules > Fees > Late\n"),
        ("Harbour rules", "HARBOUR RULES > Fees", "", "Harbour rules > Fees\n"),
        (None, "Fees", "You pay:\n", "Fees\nYou pay:\n"),
        ("  ", "", "You pay:", "You pay:\n"),
        ("A\n title", " > ", "", "A title\n"),
        ("x" * 90, "", "", "x" * 80 + "\n"),
        ("word " * 20, "", "", ("word " * 16).strip() + "\n"),
        ("T", f"{'a' * 100} > {'b' * 100} > c", "", f"T > {'b' * 100} > c\n"),
        ("T", "", "the fee " * 40, "T\n" + ("the fee " * 20).strip() + "\n"),
    ],
)
def test_a_context_says_where_a_chunk_stands(
    title: str | None, heading: str, lead: str, expected: str
) -> None:
    assert context(title, heading, lead) == expected


def test_each_text_has_a_context_or_none_has() -> None:
    assert in_context(["a", "b"], ()) == ["a", "b"]
    assert in_context(["a", "b"], ["T\n", ""]) == ["T\na", "b"]
    with pytest.raises(ValueError, match="shorter"):
        in_context(["a"], ["", ""])
