"""The meta-training loss of the `latent` stack (arXiv 2403.04317, eq. 4, with a contrastive term).

Letters: G groups, D documents a group, N questions in all, T tokens, R latent size, E key size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from models.base.lm import BaseLM, Prefix
from models.latent.features import FeatureCache
from models.latent.networks import LatentStack, pack
from models.memory.modulation import STEP
from models.training.batches import Batch
from models.training.corpus import Corpus

IGNORE = -100
NEGATIVES = 256
"""How many of the corpus's documents, the nearest, a question's own is set against."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The two terms, each a scalar; `answer` in nats a token, `relevance` in nats a question."""

    answer: Tensor
    relevance: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised. The terms share only the relevance weights, so neither outweighs."""
        return self.answer + self.relevance


def question_prompt(question: str) -> str:
    """What the base LM reads behind the prefix; the answer follows."""
    return f"Question: {' '.join(question.split())}\nAnswer:"


def supervised_rows(
    lm: BaseLM,
    pairs: list[tuple[str, str]],
    *,
    prompt: Callable[[str], str] = question_prompt,
    max_tokens: int = 128,
    start: Sequence[int] = (),
) -> tuple[Tensor, Tensor]:
    """Token ids and labels of question-answer pairs.

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
    """How surprising the answers are behind the prefix, in nats a token.

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
    """Bool [N, T], which tokens are no padding, of labels [N, T] of `supervised_rows`."""
    # A row's padding begins behind its last label.
    return (labels != IGNORE).flip(1).cumsum(1).flip(1) > 0


def rows_loss(
    lm: BaseLM, prefix: Prefix | None, ids: Tensor, labels: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """`answer_loss` of rows that are made already, ids and labels [N, T] of `supervised_rows`."""
    wanted = labels != IGNORE
    hidden = lm.forward(ids, prefix, real=real_tokens(labels))[wanted]
    return F.cross_entropy(lm.logits(hidden).float(), labels[wanted], reduction=reduction)


def amortize_batch(
    stack: LatentStack,
    features: list[Tensor],
    kept: list[bool],
    noise: torch.Generator | None = None,
) -> list[Tensor]:
    """Latents [T, R] of documents of any lengths.

    Backpropagation dropout (section 3.3 of the paper): a document that is not kept is amortized
    under stop-gradient, so that memory and time of the backward pass grow with the kept ones only.

    Args:
        stack: whose amortizer.
        features: [T, X] of each document.
        kept: which documents a gradient may reach.
        noise: draws the uniform noise of a quantisation step, so that training sees latents as
            inexact as a store keeps them; None leaves them exact.
    """
    out: list[Tensor] = [features[0]] * len(features)
    for keep in (True, False):
        chosen = [i for i, k in enumerate(kept) if k is keep]
        if not chosen:
            continue
        with torch.set_grad_enabled(keep and torch.is_grad_enabled()):
            z = stack.amortizer(torch.cat([features[i] for i in chosen]))
            if noise is not None:
                z = as_rounded(z, noise)
        for i, latents in zip(chosen, z.split([len(features[i]) for i in chosen]), strict=True):
            out[i] = latents
    return out


def quantisation_step(z: Tensor) -> Tensor:
    """How far apart the values are that a store rounds latents [T, R] to, [T, 1]."""
    return STEP * z.detach().square().mean(-1, keepdim=True).sqrt()


def as_rounded(z: Tensor, noise: torch.Generator) -> Tensor:
    """Latents [..., T, R] as inexact as a store keeps them: with the uniform noise of a step."""
    drawn = torch.rand(z.shape, generator=noise, device=z.device)
    return z + quantisation_step(z) * drawn.sub(0.5)


def loss(
    stack: LatentStack,
    lm: BaseLM,
    corpus: Corpus,
    cache: FeatureCache,
    batch: Batch,
    kept: list[bool] | None = None,
    noise: torch.Generator | None = None,
) -> Loss:
    """The loss of one batch; gradients reach the stack's parameters only.

    `kept` and `noise` as in `amortize_batch`; by default all documents are kept and exact.
    """
    device = lm.device
    texts = [corpus.chunks[c] for group in batch.chunks for c in group]
    features = cache.get(texts)
    z = amortize_batch(stack, features, kept or [True] * len(texts), noise)
    groups = len(batch.chunks)

    keys = torch.stack([corpus.keys[c] for group in batch.chunks for c in group]).to(device)
    queries = stack.relevance.query(corpus.queries[batch.questions].to(device))
    scores = queries @ keys.T  # [N, G * D]
    n, d = len(batch.questions), len(batch.chunks[0])
    group_of = torch.arange(n, device=device) // (n // groups)
    inside = scores.view(n, groups, d)[torch.arange(n, device=device), group_of]
    bias = inside.masked_fill(~batch.visible.to(device), float("-inf")).log_softmax(-1)

    prefix = stack.prefix(lm, *pack([z[i : i + d] for i in range(0, len(z), d)]), bias)
    asked = [corpus.questions[q] for q in batch.questions]
    answer = answer_loss(lm, prefix, [(q.text, q.answers[0]) for q in asked])

    own = (queries * keys[group_of * d + batch.own.to(device)]).sum(-1, keepdim=True)
    return Loss(answer, _contrastive(corpus, batch, own, queries))


def _contrastive(corpus: Corpus, batch: Batch, own: Tensor, queries: Tensor) -> Tensor:
    """How surprising each question's own document is among the nearest of the whole corpus.

    The keys are fixed, so the negatives of a question may come from all documents and not only from
    the batch's. A document that holds the answer too is no negative, and a question that does not
    say what it is about is left out.

    Args:
        corpus: with keys.
        batch: the questions.
        own: [N, 1] scores of the questions' own documents.
        queries: [N, E].
    """
    near = corpus.near(batch.questions, NEGATIVES)
    scores = (queries[:, None] @ corpus.keys[near].to(queries.device).transpose(1, 2))[:, 0]
    hidden = torch.zeros(scores.shape, dtype=torch.bool)
    for n, (question, row) in enumerate(zip(batch.questions, near.tolist(), strict=True)):
        asked = corpus.questions[question]
        for i, chunk in enumerate(row):
            hidden[n, i] = chunk == asked.chunk or corpus.holds_answer(question, chunk)
    scores = scores.masked_fill(hidden.to(scores.device), float("-inf"))
    clear = [corpus.questions[q].standalone for q in batch.questions]
    surprise = torch.cat((own, scores), 1).log_softmax(-1)[:, 0].neg()
    weight = torch.tensor(clear, device=surprise.device, dtype=surprise.dtype)
    return (surprise * weight).sum() / weight.sum().clamp_min(1.0)
