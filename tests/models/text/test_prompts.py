"""The prompts that trained checkpoints know: a change of one changes answers."""

from models.text.prompts import (
    few_shot_prompt,
    few_shot_text,
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
