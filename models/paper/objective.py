"""The meta-training loss of the paper's stack (arXiv 2403.04317, eq. 4), and how it is made cheap.

Letters: N questions, K documents of the batch, T tokens of a modulation, d latent size, p the share
of documents without gradient.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from models.base.lm import BaseLM
from models.memory.modulation import Rounding
from models.paper.reading import Reader, collate
from models.paper.stack import PaperStack
from models.training.batches import Batch
from models.training.corpus import Corpus
from models.training.loss import Loss, as_rounded, real_tokens, rows_loss, supervised_rows


def draw_with_gradient(documents: int, dropped: float, rng: random.Random) -> list[bool]:
    """Draw which of K documents a gradient reaches (section 3.3).

    Their number is always the same: (1 - p) K, rounded, at least one.

    Args:
        documents: K.
        dropped: p, in [0, 1).
        rng: the source of randomness.
    """
    count = max(1, round((1 - dropped) * documents))
    chosen = set(rng.sample(range(documents), count))
    return [k in chosen for k in range(documents)]


def amortize(
    stack: PaperStack,
    rows: Sequence[Tensor],
    with_gradient: Sequence[bool],
    rounded: bool = False,
) -> Tensor:
    """Return the modulations [K, T, d] of K documents, with backpropagation dropout (section 3.3).

    Documents without gradient are amortized under stop-gradient, so that the backward pass costs
    memory and time for the others only. The gradient that flows back into one of these is
    multiplied by K over their number. As every document is equally likely to be among them, the
    gradient of the amortizer is then, in expectation, the one without dropout.

    Args:
        stack: the networks; only the amortizer is used.
        rows: what a `Reader` read, a row for each document.
        with_gradient: which documents a gradient may reach, at least one.
        rounded: whether latents are as inexact as a store keeps them.
    """
    out: list[Tensor] = [rows[0]] * len(rows)
    for gradient in (True, False):
        chosen = [i for i, reached in enumerate(with_gradient) if reached is gradient]
        if not chosen:
            continue
        with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
            z = stack.amortizer(collate([rows[i] for i in chosen]))
            if gradient and len(chosen) < len(rows):
                fixed = z.detach()
                z = fixed + (z - fixed) * (len(rows) / len(chosen))
        for i, latents in zip(chosen, z, strict=True):
            out[i] = latents
    latents = torch.stack(out)
    return as_rounded(latents, Rounding()) if rounded else latents


def visible(batch: Batch) -> Tensor:
    """Return which of the batch's K documents each question reads, bool [N, K].

    Of its own group a question reads what the batch says. It reads all documents of the other
    groups, too, unless it is to read its own document alone. In the paper questions read the whole
    batch.
    """
    groups = len(batch.chunks)
    n = len(batch.questions)
    everywhere = (batch.visible.sum(1) > 1)[:, None].expand(n, groups * batch.visible.shape[1])
    out = everywhere.clone().view(n, groups, -1)
    out[torch.arange(n), torch.arange(n) // (n // groups)] = batch.visible
    return out.flatten(1)


def loss(
    stack: PaperStack,
    lm: BaseLM,
    reader: Reader,
    corpus: Corpus,
    batch: Batch,
    with_gradient: Sequence[bool] | None = None,
    rounded: bool = False,
) -> Loss:
    """Return the loss of the answers under the aggregated modulations (eq. 4), the only term.

    Args:
        stack: the networks that learn.
        lm: the frozen base LM.
        reader: reads documents and questions for the amortizer.
        corpus: the corpus that the batch was drawn from.
        batch: N questions and G groups of documents, K in all, which together are the bank.
        with_gradient: see `amortize`; by default all.
        rounded: see `amortize`.
    """
    texts = [corpus.chunks[c] for group in batch.chunks for c in group]
    bank = amortize(stack, reader.read(texts), with_gradient or [True] * len(texts), rounded)
    questions = [corpus.questions[q] for q in batch.questions]
    queries = stack.question(collate(reader.read([q.text for q in questions])))
    latents = stack.aggregator(queries, bank, visible(batch).to(lm.device))
    pairs = [(q.text, q.answers[0]) for q in questions]
    ids, labels = supervised_rows(lm, pairs, start=stack.head.opening(lm))
    with stack.head.applied(lm, latents, real_tokens(labels)) as prefix:
        answer = rows_loss(lm, prefix, ids, labels)
    return Loss(answer, torch.zeros_like(answer))
