"""The answer loss that every method of meta-training minimises (arXiv 2403.04317, eq. 4).

Letters: N questions, T tokens, R latent size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base.lm import BaseLM, Prefix
from models.memory.modulation import Rounding
from models.text.prompts import question_prompt

IGNORE = -100
"""The label of a token that is not part of an answer."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The terms, each a scalar.

    Attributes:
        answer: in nats a token.
        relevance: in nats a question.
        continuation: in nats a token, times its weight; 0 where texts are not continued.
    """

    answer: Tensor
    relevance: Tensor
    continuation: Tensor | float = 0.0

    @property
    def total(self) -> Tensor:
        """The loss that is minimised.

        Answer and relevance have only the relevance weights in common, so no factor balances them.
        """
        return self.answer + self.relevance + self.continuation


def supervised_rows(
    lm: BaseLM,
    pairs: list[tuple[str, str]],
    *,
    prompt: Callable[[str], str] = question_prompt,
    max_tokens: int = 128,
    start: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Return token ids and labels of question-answer pairs.

    Args:
        lm: whose tokens.
        pairs: questions and answers.
        prompt: makes a question the text that the answer follows.
        max_tokens: the longest row; a longer prompt loses its beginning.
        start: tokens that every row begins with, where no prefix stands in front.

    Returns:
        ids [N, T] and labels [N, T], where labels[i, t] is the token that should follow ids[i, t]
        if that is part of the answer (its end included), else `IGNORE`.
    """
    prompts = lm.tokenize([prompt(q) for q, _ in pairs])
    answers = lm.tokenize([" " + a.strip() for _, a in pairs], max_tokens // 2)
    rows, labels = [], []
    for row, answer in zip(prompts, answers, strict=True):
        row = [*start, *row[-(max_tokens - len(start) - len(answer)) :]]
        rows.append(row + answer)
        labels.append([IGNORE] * (len(row) - 1) + answer + [lm.eos_id])
    targets = torch.full((len(rows), max(map(len, rows))), IGNORE)
    for i, label in enumerate(labels):
        targets[i, : len(label)] = torch.tensor(label)
    return lm.pad(rows), targets.to(lm.device)


def answer_loss(
    lm: BaseLM,
    prefix: Prefix | None,
    pairs: list[tuple[str, str]],
    *,
    prompt: Callable[[str], str] = question_prompt,
    max_tokens: int = 128,
    start: Sequence[int] = (),
    reduction: str = "mean",
) -> Tensor:
    """Return how surprising the answers are after the prefix, in nats a token.

    Args:
        lm: the base LM.
        prefix: of the N pairs' groups; None where nothing stands in front.
        pairs: questions and answers.
        prompt: see `supervised_rows`.
        max_tokens: see `supervised_rows`.
        start: see `supervised_rows`.
        reduction: "mean" over the answers' tokens, or their "sum".
    """
    ids, labels = supervised_rows(lm, pairs, prompt=prompt, max_tokens=max_tokens, start=start)
    return rows_loss(lm, prefix, ids, labels, reduction=reduction)


def real_tokens(labels: Tensor) -> Tensor:
    """Return which tokens are not padding, bool [N, T], from labels [N, T] of `supervised_rows`."""
    # A row's padding begins after its last label.
    return (labels != IGNORE).flip(1).cumsum(1).flip(1) > 0


def rows_loss(
    lm: BaseLM, prefix: Prefix | None, ids: Tensor, labels: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """Return the `answer_loss` of ids and labels [N, T] that `supervised_rows` has made."""
    wanted = labels != IGNORE
    hidden = lm.forward(ids, prefix, real=real_tokens(labels))[wanted]
    return F.cross_entropy(lm.logits(hidden).float(), labels[wanted], reduction=reduction)


def as_rounded(z: Tensor, rounding: Rounding) -> Tensor:
    """Return latents [..., T, R] as a store keeps them, see `models.memory.modulation.quantise`.

    Gradients pass as if nothing was rounded (straight-through, arXiv 1308.3432).
    """
    exact = z.detach()
    steps = exact / (rounding.step * exact.square().mean(-1, keepdim=True).sqrt()).clamp_min(1e-6)
    whole = torch.copysign((steps.abs() + 1 - rounding.threshold).floor(), steps)
    squares = whole.square().sum(-1, keepdim=True)
    scale = (whole * exact).sum(-1, keepdim=True) / squares.clamp_min(1)
    return z + (whole * scale - exact)
