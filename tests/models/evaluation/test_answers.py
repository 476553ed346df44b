"""Scores, and answers behind text in the prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.errors import CheckpointError
from models.evaluation.answers import Score, figure, prompt_many, score
from models.rivals import text_prefix
from models.text.prompts import text_prompt

from ..conftest import Steps

TEXTS = ["The town of Varnholt opened a bridge.", "Who cut the ribbon? Ida Brandt."]


def test_a_score_is_strict_by_prefix_and_by_words() -> None:
    assert score("The Paris", ["paris"]) == Score(1, 1, 1)
    assert score("Paris, the capital", ["Paris"]) == Score(0, 1, pytest.approx(2 / 3))
    assert score("Rome", ["Paris", "Rome"]) == Score(1, 1, 1)


def test_a_figure_is_in_percent() -> None:
    value, low, high = figure([1.0, 0.0, 1.0, 1.0])
    assert value == 75
    assert 0 <= low < 75 < high <= 100
    assert figure([0.5] * 9) == (50, 50, 50)


def test_prompts_are_answered_alike_together_and_alone(build_memory: Any, tiny_llama: Path) -> None:
    memory = build_memory(tiny_llama)
    prompts = [memory.rag_prompt("Who?", TEXTS[:n]) for n in (2, 0, 1)]
    done = Steps()
    together = prompt_many(memory.lm, prompts, None, batch=2, progress=done)
    alone = [prompt_many(memory.lm, [prompt], None)[0] for prompt in prompts]
    assert together == alone
    assert done == [2, 1]
    assert not any("\n" in answer for answer in together)


def test_trained_constant_tokens_stand_in_front(
    build_memory: Any, tiny_llama: Path, tmp_path: Path
) -> None:
    memory = build_memory(tiny_llama)
    own = memory.stack.head.constant.detach().clone()
    file = tmp_path / "prefix.safetensors"
    save_file({text_prefix.TENSOR: own + 1}, file)
    prefix = text_prefix.load(file, memory)
    assert prefix.bias.shape == (1, memory.config.constant_tokens)
    assert torch.equal(memory.stack.head.constant, own)  # the checkpoint's own stay
    mine = memory.stack.constant_prefix(memory.lm)
    assert not torch.equal(prefix.keys[0], mine.keys[0])
    prompts = memory.lm.tokenize([text_prompt("Who?", TEXTS)] * 3)
    answers = prompt_many(memory.lm, prompts, prefix, batch=2)
    assert len(answers) == 3 and len(set(answers)) == 1


def test_the_best_text_stands_next_to_the_question() -> None:
    assert text_prompt("Who?", ["best", "next"]) == "next best\nQuestion: Who?\nAnswer:"


def test_constant_tokens_that_do_not_fit(
    build_memory: Any, tiny_llama: Path, tmp_path: Path
) -> None:
    memory = build_memory(tiny_llama)
    file = tmp_path / "prefix.safetensors"
    with pytest.raises(CheckpointError, match="no constant prefix tokens"):
        text_prefix.load(file, memory)
    save_file({"constant": torch.zeros(2, 3)}, file)
    with pytest.raises(CheckpointError, match=r"must be \[4, .*not \[2, 3\]"):
        text_prefix.load(file, memory)
    save_file({"other": torch.zeros(2, 3)}, file)
    with pytest.raises(CheckpointError, match="not nothing"):
        text_prefix.load(file, memory)
