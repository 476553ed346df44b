"""Answers to many questions at once, and their scores: what `mac eval` stands on.

Letters: B questions a batch, N questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from models.generate import generate_batch
from models.lm import BaseLM, Prefix
from models.memory import Memory
from models.metrics import bootstrap_interval, exact_match, f1, prefix_match
from models.modulation import Selected
from models.objective import question_prompt

MAX_NEW_TOKENS = 24
"""The longest answer that is scored, in tokens."""
BATCH = 8
"""Questions that are decoded together."""


class Score(NamedTuple):
    """Of one answer, in [0, 1]: SQuAD's strict exact match, prefix match, F1; see `metrics`."""

    exact: float
    prefix: float
    f1: float


class Figure(NamedTuple):
    """A mean over questions in percent, and its bootstrap 95 % interval."""

    value: float
    low: float
    high: float


def score(predicted: str, answers: Sequence[str]) -> Score:
    """Score one answer."""
    return Score(
        exact_match(predicted, answers), prefix_match(predicted, answers), f1(predicted, answers)
    )


def figure(values: Sequence[float]) -> Figure:
    """The mean of scores in [0, 1], [N], in percent; the same values give the same interval.

    Raises:
        ValueError: there are none.
    """
    low, high = bootstrap_interval(values, seed=0)
    return Figure(100 * sum(values) / len(values), 100 * low, 100 * high)


def answer_many(
    memory: Memory,
    questions: Sequence[str],
    banks: Sequence[Sequence[Selected]],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy answers to many questions, each from its own selected modulations.

    Args:
        memory: the checkpoint.
        questions: the questions.
        banks: for each question at least one modulation.
        max_new_tokens: the longest answer.
        batch: B, questions decoded together; those with prefixes of similar size are.
        progress: told how many answers are done.
    """
    prompts = memory.lm.tokenize([question_prompt(q) for q in questions])
    sizes = [sum(len(s.latents) for s in bank) for bank in banks]
    out = [""] * len(questions)
    order = sorted(range(len(questions)), key=sizes.__getitem__)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        prefix = memory.prefix([banks[i] for i in rows])
        ids = generate_batch(memory.lm, [prompts[i] for i in rows], prefix, max_new_tokens)
        for i, row in zip(rows, ids, strict=True):
            out[i] = str(memory.lm.tokenizer.decode(row)).strip()
        if progress is not None:
            progress(start + len(rows))
    return out


@torch.no_grad()
def prompt_many(
    lm: BaseLM,
    prompts: Sequence[Sequence[int]],
    prefix: Prefix | None,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy continuations of prompts with the text in them, up to the first line's end.

    Args:
        lm: the base LM.
        prompts: token ids.
        prefix: one that all share (trained constant prefix tokens), or none.
        max_new_tokens: the longest answer.
        batch: B, prompts decoded together.
        progress: told how many answers are done.
    """
    out = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        shared = prefix
        if prefix is not None:
            shared = prefix._replace(bias=prefix.bias.expand(len(rows), -1))
        ids = generate_batch(lm, [prompts[i] for i in rows], shared, max_new_tokens)
        for i, row in zip(rows, ids, strict=True):
            out[i] = str(lm.tokenizer.decode(row)).strip().split("\n")[0]
        if progress is not None:
            progress(start + len(rows))
    return out
