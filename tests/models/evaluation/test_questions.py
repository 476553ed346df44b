from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from models.base.decode import generate_batch
from models.evaluation.questions import QuestionMaker, judge
from models.evaluation.spans import spans

TEXT = (
    "The Harrow Line was opened by Queen Edda in 1874. It is slow. "
    "The town of Varnholt built 12 bridges over the Elm."
)


def span(text: str) -> Any:
    (found,) = [s for s in spans(TEXT) if s.text == text]
    return found


@pytest.mark.parametrize(
    ("question", "answer", "verdict"),
    [
        ("When did Queen Edda open the Harrow Line?", "1874", "kept"),
        ("Who opened the Harrow Line?", "Queen Edda", "kept"),
        ("How many bridges did the town of Varnholt build?", "12 bridges", "kept"),
        ("How many bridges over its river has Varnholt?", "12 bridges", "form"),
        ("How many bridges did Varnholt build over its Elm?", "12 bridges", "kept"),
        ("Who built 12 bridges in Varnholt?", "12 bridges", "form"),
        ("Who was the first to open the Harrow Line?", "Queen Edda", "not in the text"),
        ("Who opened the Harrow Line?", "1874", "form"),
        ("When did she open the Harrow Line?", "1874", "form"),
        ("When was the Harrow Line opened", "1874", "form"),
        ("When?", "1874", "form"),
        ("When in 1874 did Queen Edda open the Harrow Line?", "1874", "holds the answer"),
        ("When was the railway line opened?", "1874", "names nothing"),
        ("When did Emperor Zaldon demolish the Harrow castle?", "1874", "not in the text"),
        ("How many of the 40 bridges did Varnholt build?", "12 bridges", "not in the text"),
    ],
)
def test_filters_that_need_no_model(question: str, answer: str, verdict: str) -> None:
    assert judge(question, span(answer), TEXT) == verdict


@pytest.fixture
def maker(build_memory: Any, tiny_llama: Path) -> QuestionMaker:
    return QuestionMaker(build_memory(tiny_llama))


def test_only_what_comes_back_from_the_text_is_kept(
    maker: QuestionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = {
        "1874": "did Queen Edda open the Harrow Line?",
        "12 bridges": "did the town of Varnholt build?",
        "Queen Edda": "Who opened the Harrow Line in 1874?",
    }
    answers = {"When": "1874", "How": "12", "Who": "the mayor"}
    seen: list[str] = []

    def generate(_: Any, prompts: Sequence[str]) -> list[str]:
        seen.extend(prompts)
        if not prompts or "Answer: " not in prompts[0]:
            return [answers[p.removeprefix("Question: ").split()[0]] for p in prompts]
        # Names are all asked for alike, but one.
        said = [p.split("Answer: ")[1].split("\n")[0] for p in prompts]
        return [
            questions.get(answer, "Which town built bridges over the Harrow?") for answer in said
        ]

    monkeypatch.setattr(maker, "_generate", generate)
    made = maker.make(TEXT, 9)
    assert [(one.question, one.answers) for one in made] == [
        ("When did Queen Edda open the Harrow Line?", ("1874",)),
        ("How many bridges did the town of Varnholt build?", ("12 bridges", "12")),
    ]
    assert all(TEXT[one.start : one.end] == one.answers[0] for one in made)
    assert maker.verdicts["kept"] == 2 and maker.verdicts["round trip"] == 1
    assert sum(maker.verdicts.values()) == 6
    # The question is written from its sentence alone; a sentence about "it" is not asked about.
    asked = [prompt for prompt in seen if "Answer: " in prompt]
    assert asked and not any("It is slow" in prompt for prompt in asked)
    assert [one.question for one in maker.make(TEXT, 1)] == [made[0].question]


def test_one_question_to_two_answers_asks_for_neither(
    maker: QuestionMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        maker, "_generate", lambda _, prompts: ["Who met in Varnholt?"] * len(prompts)
    )
    assert maker.make("Ida Brandt met Tomas Reyl in Varnholt.", 5) == []
    assert maker.verdicts == {"asked twice": 2, "holds the answer": 1}


def test_a_random_model_makes_nothing_but_does_not_fail(maker: QuestionMaker) -> None:
    assert maker.make(TEXT, 5) == []
    assert sum(maker.verdicts.values()) > 3 and not maker.verdicts["kept"]
    assert maker.make("Nothing here.", 5) == maker.make("", 5) == []


def test_a_shared_beginning_changes_no_answer(maker: QuestionMaker) -> None:
    lm = maker._lm
    begin = lm.tokenize(["The town of Varnholt opened a new bridge."])[0]
    ends = lm.tokenize(["Who opened it?", "The jury gave"])
    shared = lm.read(begin)
    prefix = shared._replace(bias=shared.bias.expand(2, -1))
    whole = generate_batch(lm, [[*begin, *end] for end in ends], None, 6)
    assert generate_batch(lm, ends, prefix, 6) == whole
    # A stop token ends it, and is left out.
    stop = whole[0][2]
    first = whole[0].index(stop)
    stopped = generate_batch(lm, ends, prefix, 6, stop={stop})
    assert stopped[0] == whole[0][:first]
