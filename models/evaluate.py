"""Answers to many questions at once, and their scores: what benchmarks stand on.

Letters: B questions a batch, D documents, C chunks of the bank, E key size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from models.generate import generate_batch
from models.lm import Prefix
from models.memory import Memory
from models.metrics import exact_match, f1
from models.modulation import Selected
from models.objective import question_prompt


class Score(NamedTuple):
    """Strict exact match and F1 of one answer in [0, 1]; SQuAD's, best over the answers."""

    exact: float
    f1: float


def score(predicted: str, answers: Sequence[str]) -> Score:
    """Score one answer."""
    return Score(exact_match(predicted, answers), f1(predicted, answers))


def answer_many(
    memory: Memory,
    questions: Sequence[str],
    banks: Sequence[Sequence[Selected]],
    *,
    max_new_tokens: int = 24,
    batch: int = 8,
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
    memory: Memory,
    prompts: Sequence[Sequence[int]],
    prefix: Prefix | None,
    *,
    max_new_tokens: int = 24,
    batch: int = 8,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy continuations of prompts with the text in them, up to the first line's end.

    Args:
        memory: for its base LM.
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
        ids = generate_batch(memory.lm, [prompts[i] for i in rows], shared, max_new_tokens)
        for i, row in zip(rows, ids, strict=True):
            out[i] = str(memory.lm.tokenizer.decode(row)).strip().split("\n")[0]
        if progress is not None:
            progress(start + len(rows))
    return out
