"""Answers many questions at once, and scores the answers.

Letters: B questions a batch, N questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch

from models.base.decode import generate_batch
from models.base.lm import BaseLM, Prefix
from models.evaluation.metrics import bootstrap_interval, exact_match, f1, prefix_match
from models.memory.answering import Answerer
from models.memory.modulation import Selected
from models.memory.protocol import Progress
from models.paper.memory import PaperMemory
from models.text.prompts import question_prompt

MAX_NEW_TOKENS = 24
"""The most tokens of an answer that is scored."""
BATCH = 8
"""The number of questions that are decoded together."""
WHOLE_BATCH = 64
"""The number of questions that read a whole bank together: their tokens attend to all of it."""


class Score(NamedTuple):
    """The scores of an answer, in [0, 1]: strict exact match, prefix match, F1; see `metrics`."""

    exact: float
    prefix: float
    f1: float


class Figure(NamedTuple):
    """The mean over questions in percent, and its bootstrap 95 % interval."""

    value: float
    low: float
    high: float


def score(predicted: str, answers: Sequence[str]) -> Score:
    """Score an answer."""
    return Score(
        exact_match(predicted, answers), prefix_match(predicted, answers), f1(predicted, answers)
    )


def figure(values: Sequence[float]) -> Figure:
    """Return the mean of scores in [0, 1], [N], in percent; equal values give equal intervals.

    Raises:
        ValueError: there are none.
    """
    low, high = bootstrap_interval(values, seed=0)
    return Figure(100 * sum(values) / len(values), 100 * low, 100 * high)


def answer_many(
    memory: Answerer,
    questions: Sequence[str],
    banks: Sequence[Sequence[Selected]],
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> list[str]:
    """Return greedy answers to many questions, each from its own selected modulations.

    Args:
        memory: the checkpoint, of any stack.
        questions: the questions.
        banks: at least one modulation for each question.
        prompts: token ids that the LM reads under the modulations; None: the bare questions.
        max_new_tokens: the most tokens of an answer.
        batch: B, questions decoded together, those with prefixes of similar size.
        progress: is advanced by each answer.
    """
    ids = _bare(memory.lm, questions) if prompts is None else prompts

    def run(rows: list[int]) -> list[list[int]]:
        return memory.answer_batch(
            [questions[i] for i in rows],
            [banks[i] for i in rows],
            [ids[i] for i in rows],
            max_new_tokens,
        )

    sizes = [sum(len(s.latents) for s in bank) for bank in banks]
    return _by_size(memory.lm, sizes, batch, run, progress)


def answer_from_whole(
    memory: PaperMemory,
    questions: Sequence[str],
    read: Callable[[], Iterable[Sequence[Selected]]],
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> list[str]:
    """Return greedy answers to many questions, each from all modulations of a bank.

    This is the paper's setting: nothing is selected (arXiv 2403.04317, sections 3.2 and 3.3). The
    bank is read once, or once a layer, for every `WHOLE_BATCH` questions.

    Args:
        memory: a checkpoint of the paper's stack.
        questions: the questions.
        read: starts reading the bank in parts of bounded size.
        prompts: see `answer_many`.
        max_new_tokens: the most tokens of an answer.
        batch: B, questions decoded together.
        progress: is advanced by each answer.
    """
    ids = _bare(memory.lm, questions) if prompts is None else prompts
    parts = [
        memory.aggregate_whole(questions[start : start + WHOLE_BATCH], read)
        for start in range(0, len(questions), WHOLE_BATCH)
    ]
    latents = torch.cat(parts) if parts else torch.empty(0)

    def run(rows: list[int]) -> list[list[int]]:
        return memory.answer_aggregated(latents[rows], [ids[i] for i in rows], max_new_tokens)

    return _by_size(memory.lm, list(map(len, ids)), batch, run, progress)


@torch.no_grad()
def prompt_many(
    lm: BaseLM,
    prompts: Sequence[Sequence[int]],
    prefix: Prefix | None,
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> list[str]:
    """Return the first line of the greedy continuation of each prompt, with the text in it.

    Args:
        lm: the base LM.
        prompts: token ids.
        prefix: a prefix that all share (trained constant prefix tokens), or None.
        max_new_tokens: the most tokens of an answer.
        batch: B, prompts decoded together.
        progress: is advanced by each answer.
    """

    def run(rows: list[int]) -> list[list[int]]:
        shared = prefix
        if prefix is not None:
            shared = prefix._replace(bias=prefix.bias.expand(len(rows), -1))
        return generate_batch(lm, [prompts[i] for i in rows], shared, max_new_tokens)

    texts = _by_size(lm, list(map(len, prompts)), batch, run, progress)
    return [text.split("\n")[0] for text in texts]


def _bare(lm: BaseLM, questions: Sequence[str]) -> list[list[int]]:
    """Return the token ids of questions with nothing in front of them."""
    return lm.tokenize([question_prompt(question) for question in questions])


def _by_size(
    lm: BaseLM,
    sizes: Sequence[int],
    batch: int,
    run: Callable[[list[int]], list[list[int]]],
    progress: Progress | None,
) -> list[str]:
    """Return the texts that `run` generates for batches of rows of similar size."""
    out = [""] * len(sizes)
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        for i, row in zip(rows, run(rows), strict=True):
            out[i] = str(lm.tokenizer.decode(row)).strip()
        if progress is not None:
            progress.advance(len(rows))
    return out
