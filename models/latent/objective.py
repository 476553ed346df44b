"""The meta-training loss of the `latent` stack (arXiv 2403.04317, eq. 4, with a contrastive term).

Letters: G groups, D documents a group, N questions in all, T tokens, R latent size, E key size.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from models.base.lm import BaseLM
from models.latent.features import FeatureCache
from models.latent.networks import LatentStack, pack
from models.training.batches import Batch
from models.training.corpus import Corpus
from models.training.loss import IGNORE, Loss, answer_loss, as_rounded, rows_loss

NEGATIVES = 256
"""How many of the corpus's documents, the nearest, a question's own is set against."""


def amortize_batch(
    stack: LatentStack,
    features: list[Tensor],
    with_gradient: list[bool] | None = None,
    rounded: bool = False,
) -> list[Tensor]:
    """Return latents [T, R] of documents of any lengths.

    Backpropagation dropout (section 3.3 of the paper): the documents without gradient are amortized
    under stop-gradient, so that memory and time of the backward pass grow with the others only.

    Args:
        stack: whose amortizer.
        features: [T, X] of each document.
        with_gradient: which documents a gradient may reach; None: all.
        rounded: whether they are as inexact as a store keeps them.
    """
    out: list[Tensor] = [features[0]] * len(features)
    with_gradient = with_gradient or [True] * len(features)
    for gradient in (True, False):
        chosen = [i for i, reached in enumerate(with_gradient) if reached is gradient]
        if not chosen:
            continue
        with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
            z = stack.amortizer(torch.cat([features[i] for i in chosen]))
            if rounded:
                z = as_rounded(z, stack.config.rounding)
        for i, latents in zip(chosen, z.split([len(features[i]) for i in chosen]), strict=True):
            out[i] = latents
    return out


def loss(
    stack: LatentStack,
    lm: BaseLM,
    corpus: Corpus,
    cache: FeatureCache,
    batch: Batch,
    with_gradient: list[bool] | None = None,
    rounded: bool = False,
    continuation: float = 0.0,
) -> Loss:
    """Return the loss of one batch; gradients reach the stack's parameters only.

    `with_gradient` and `rounded` as in `amortize_batch`. `continuation` is the weight of
    `continued`, for one document a group.
    """
    z = amortize_batch(stack, _features(corpus, cache, batch), with_gradient, rounded)
    terms = loss_given_latents(stack, lm, corpus, batch, z)
    if not continuation:
        return terms
    firsts = lm.tokenize([corpus.chunks[group[0]] for group in batch.chunks])
    rest = continued(stack, lm, z[:: len(batch.chunks[0])], firsts)
    return replace(terms, continuation=continuation * rest)


def loss_given_latents(
    stack: LatentStack, lm: BaseLM, corpus: Corpus, batch: Batch, z: list[Tensor]
) -> Loss:
    """Return the loss of one batch behind the latents [T, R] of its documents, group by group."""
    device = lm.device
    groups = len(batch.chunks)
    keys = torch.stack([corpus.keys[c] for group in batch.chunks for c in group]).to(device)
    queries = stack.relevance.query(corpus.queries[batch.questions].to(device))
    scores = queries @ keys.T  # [N, G * D]
    n, d = len(batch.questions), len(batch.chunks[0])
    group_of = torch.arange(n, device=device) // (n // groups)
    inside = scores.view(n, groups, d)[torch.arange(n, device=device), group_of]
    bias = inside.masked_fill(~batch.visible.to(device), float("-inf")).log_softmax(-1)

    prefix = stack.prefix(lm, *pack([z[i : i + d] for i in range(0, len(z), d)]), bias)
    questions = [corpus.questions[q] for q in batch.questions]
    answer = answer_loss(lm, prefix, [(q.text, q.answers[0]) for q in questions])

    target = (queries * keys[group_of * d + batch.target.to(device)]).sum(-1, keepdim=True)
    return Loss(answer, _contrastive(corpus, batch, target, queries))


def answer_gradients(
    stack: LatentStack, lm: BaseLM, corpus: Corpus, cache: FeatureCache, batch: Batch
) -> tuple[Tensor, Tensor]:
    """Return the latents of a batch's documents, and the gradient of its answer loss there.

    Both are [n, R] for the n tokens of all documents, with the size of each token's latents taken
    out: a store rounds them by it.
    """
    exact = amortize_batch(stack, _features(corpus, cache, batch))
    with torch.enable_grad():
        z = [each.detach().requires_grad_() for each in exact]
        answer = loss_given_latents(stack, lm, corpus, batch, z).answer
        gradients = torch.cat(torch.autograd.grad(answer, z))
    latents = torch.cat(z).detach()
    size = latents.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)
    return latents / size, gradients * size


def _features(corpus: Corpus, cache: FeatureCache, batch: Batch) -> list[Tensor]:
    """Return features [T, X] of all documents of a batch, group by group."""
    chunks = [c for group in batch.chunks for c in group]
    return cache.get([corpus.chunks[c] for c in chunks], [corpus.contexts[c] for c in chunks])


def continued(stack: LatentStack, lm: BaseLM, z: list[Tensor], tokens: list[list[int]]) -> Tensor:
    """Return how surprising later halves of documents are after the earlier ones, in nats a token.

    The LM reads tokens in order, so the latents of the first tokens are the modulation of the
    first half. Without this term the LM, behind a modulation, forgets all but answering.

    Args:
        stack: whose prefix head.
        lm: the base LM.
        z: [T, R] latents of each document.
        tokens: of each document, at least T.
    """
    halves = [max(1, len(latents) // 2) for latents in z]
    bias = torch.zeros(len(z), 1, device=lm.device)
    prefix = stack.prefix(
        lm, *pack([[latents[:half]] for latents, half in zip(z, halves, strict=True)]), bias
    )
    later = [
        row[half : len(latents)] or row[-1:]
        for row, latents, half in zip(tokens, z, halves, strict=True)
    ]
    ids = lm.pad([row[:-1] or row for row in later])
    labels = torch.full(ids.shape, IGNORE, device=lm.device)
    for i, row in enumerate(later):
        labels[i, : len(row) - 1] = torch.tensor(row[1:], device=lm.device)
    if (labels == IGNORE).all():  # documents of a word or two
        return torch.zeros((), device=lm.device)
    return rows_loss(lm, prefix, ids, labels)


def _contrastive(corpus: Corpus, batch: Batch, target: Tensor, queries: Tensor) -> Tensor:
    """Return how surprising each question's own document is among the nearest of the corpus.

    The keys are fixed, so the negatives of a question may come from all documents and not only from
    the batch's. A document that holds the answer too is not a negative, and a question that does
    not say what it is about is left out.

    Args:
        corpus: with keys.
        batch: the questions.
        target: [N, 1] scores of the documents that answer the questions.
        queries: [N, E].
    """
    near = corpus.near(batch.questions, NEGATIVES)
    scores = (queries[:, None] @ corpus.keys[near].to(queries.device).transpose(1, 2))[:, 0]
    hidden = torch.zeros(scores.shape, dtype=torch.bool)
    for n, (question, row) in enumerate(zip(batch.questions, near.tolist(), strict=True)):
        answering = corpus.questions[question].chunk
        for i, chunk in enumerate(row):
            hidden[n, i] = chunk == answering or corpus.holds_answer(question, chunk)
    scores = scores.masked_fill(hidden.to(scores.device), float("-inf"))
    clear = [corpus.questions[q].standalone for q in batch.questions]
    surprise = torch.cat((target, scores), 1).log_softmax(-1)[:, 0].neg()
    weight = torch.tensor(clear, device=surprise.device, dtype=surprise.dtype)
    return (surprise * weight).sum() / weight.sum().clamp_min(1.0)
