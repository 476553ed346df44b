"""Answers to many questions at once, and their scores: what `mac eval` stands on.

Letters: B questions a batch, N questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from models.base.generate import generate_batch
from models.base.lm import BaseLM, Prefix
from models.evaluation.metrics import bootstrap_interval, exact_match, f1, prefix_match
from models.memory.answering import Answerer
from models.memory.modulation import Selected
from models.text.prompts import question_prompt

if TYPE_CHECKING:
    from models.paper.memory import PaperMemory

MAX_NEW_TOKENS = 24
"""The longest answer that is scored, in tokens."""
BATCH = 8
"""Questions that are decoded together."""
WHOLE_BATCH = 64
"""Questions that read a whole bank together: their tokens attend to all of it at once."""


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
    memory: Answerer,
    questions: Sequence[str],
    banks: Sequence[Sequence[Selected]],
    *,
    prompts: Sequence[Sequence[int]] | None = None,
    max_new_tokens: int = MAX_NEW_TOKENS,
    batch: int = BATCH,
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy answers to many questions, each from its own selected modulations.

    Args:
        memory: the checkpoint, of any stack.
        questions: the questions.
        banks: for each question at least one modulation.
        prompts: token ids that the LM reads behind the modulations; None: the bare questions.
        max_new_tokens: the longest answer.
        batch: B, questions decoded together; those with prefixes of similar size are.
        progress: told how many answers are done.
    """
    read = _bare(memory.lm, questions) if prompts is None else prompts

    def run(rows: list[int]) -> list[list[int]]:
        asked, own = [questions[i] for i in rows], [banks[i] for i in rows]
        return memory.answer_batch(asked, own, [read[i] for i in rows], max_new_tokens)

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
    progress: Callable[[int], None] | None = None,
) -> list[str]:
    """Greedy answers to many questions from one bank that all of them read whole.

    The paper's own setting: nothing is selected (arXiv 2403.04317, sections 3.2 and 3.3). The bank
    is read once, or once a layer, for every `WHOLE_BATCH` questions.

    Args:
        memory: a checkpoint of the paper's stack.
        questions: the questions.
        read: starts reading the bank in parts of bounded size.
        prompts: as for `answer_many`.
        max_new_tokens: the longest answer.
        batch: B, questions decoded together.
        progress: told how many answers are done.
    """
    behind = _bare(memory.lm, questions) if prompts is None else prompts
    parts = [
        memory.aggregate_whole(questions[start : start + WHOLE_BATCH], read)
        for start in range(0, len(questions), WHOLE_BATCH)
    ]
    latents = torch.cat(parts) if parts else torch.empty(0)

    def run(rows: list[int]) -> list[list[int]]:
        return memory.answer_aggregated(latents[rows], [behind[i] for i in rows], max_new_tokens)

    return _by_size(memory.lm, list(map(len, behind)), batch, run, progress)


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

    def run(rows: list[int]) -> list[list[int]]:
        shared = prefix
        if prefix is not None:
            shared = prefix._replace(bias=prefix.bias.expand(len(rows), -1))
        return generate_batch(lm, [prompts[i] for i in rows], shared, max_new_tokens)

    made = _by_size(lm, list(map(len, prompts)), batch, run, progress)
    return [text.split("\n")[0] for text in made]


def _bare(lm: BaseLM, questions: Sequence[str]) -> list[list[int]]:
    """Token ids of questions with nothing around them."""
    return lm.tokenize([question_prompt(question) for question in questions])


def _by_size(
    lm: BaseLM,
    sizes: Sequence[int],
    batch: int,
    run: Callable[[list[int]], list[list[int]]],
    progress: Callable[[int], None] | None,
) -> list[str]:
    """The texts that `run` makes of batches of places, those of similar size together."""
    out = [""] * len(sizes)
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        for i, row in zip(rows, run(rows), strict=True):
            out[i] = str(lm.tokenizer.decode(row)).strip()
        if progress is not None:
            progress(start + len(rows))
    return out
