"""A `latent` stack before any training: principal components, and an instruction as prefix.

Letters: X features a token, R latent size, P constant prefix tokens, n sampled tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.base.lm import BaseLM
from models.latent.features import compute, document_ids
from models.latent.networks import LatentStack, pack
from models.text.prompts import INSTRUCTION
from models.training.loss import answer_loss

SAMPLED_TOKENS = 20_000
"""n; the features of as many tokens of SmolLM2-135M take 0.9 GB."""
BATCH = 16
"""The examples of one backward pass."""


@torch.no_grad()
def initialise(
    stack: LatentStack,
    lm: BaseLM,
    texts: Sequence[str],
    examples: Sequence[tuple[str, str, str]] = (),
    *,
    seed: int = 0,
) -> float:
    """Set mean, scales, both projections and the constant prefix tokens from a text corpus.

    The amortizer becomes the R largest principal components of the normalised features and the
    prefix head their transpose: with R = X the two are each other's inverse, and a document's
    prefix is exactly the document's own keys and values. The scales decide what the components
    keep: features that answers depend on count for more than others.

    Args:
        stack: initialised in place.
        lm: the base LM that the features come from.
        texts: the corpus; only about n tokens of it are read.
        examples: text, question and answer of each, to learn what answers depend on; without any,
            all layers count the same.
        seed: of the randomised decomposition.

    Returns:
        The share of the normalised features' variance that the R components keep.
    """
    ids: list[list[int]] = []
    left = SAMPLED_TOKENS
    for row in document_ids(lm, texts, stack.config.chunk_tokens):
        ids.append(row)
        left -= len(row) - 1
        if left <= 0:
            break
    x = torch.cat(compute(lm, ids)).float()
    amortizer, head = stack.amortizer, stack.head
    amortizer.mean.copy_(x.mean(0))
    x -= amortizer.mean
    groups = 2 * lm.shape.layers
    spread = x.unflatten(-1, (groups, -1)).pow(2).mean((0, 2)).sqrt().clamp_min(1e-6)
    amortizer.scale.copy_(spread.repeat_interleave(len(amortizer.scale) // groups))
    head.constant.copy_(instruction_constant(stack, lm))
    if examples:
        # The square root stands between equal weights and those of the Fisher information, whose
        # estimate from few examples would leave too little to the features it thinks unimportant.
        weights = sensitivity(stack, lm, examples).sqrt()
        weights = (weights / weights.mean()).clamp_min(0.05)
        amortizer.scale.div_(weights)
        head.constant.mul_(weights)
    x /= amortizer.scale
    components, share = principal_components(x, stack.config.latent_size, seed)
    amortizer.weight.copy_(components)
    head.weight.copy_(components.T)
    head.bias.zero_()
    return share


def sensitivity(stack: LatentStack, lm: BaseLM, examples: Sequence[tuple[str, str, str]]) -> Tensor:
    """Return how much answers depend on each feature: the gradient's root mean square [X].

    Taken where the prefix is the text's own keys and values (so it is the diagonal of the empirical
    Fisher information), for normalised features.

    Args:
        stack: with mean, scales and constant tokens set.
        lm: the base LM.
        examples: text, question and answer of each example.
    """
    total = torch.zeros_like(stack.amortizer.mean)
    tokens = 0
    rows = document_ids(lm, [text for text, _, _ in examples], stack.config.chunk_tokens)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        x = [stack.amortizer.normalise(x.float()) for x in compute(lm, [rows[i] for i in part])]
        features, place, document = pack([[row] for row in x])
        with torch.enable_grad():
            features.requires_grad_(True)
            alone = features.new_zeros(len(part), 1)
            restored = stack.amortizer.restore(features)
            prefix = stack.attach(lm, restored, place, document, alone)
            loss = answer_loss(lm, prefix, [examples[i][1:] for i in part], reduction="sum")
            (gradient,) = torch.autograd.grad(loss, features)
        total += gradient.pow(2).sum((0, 1))
        tokens += sum(map(len, x))
    return (total / tokens).sqrt()


@torch.no_grad()
def instruction_constant(stack: LatentStack, lm: BaseLM) -> Tensor:
    """Return normalised features [P, X] of an instruction, with which constant tokens start."""
    wanted = stack.config.constant_tokens
    instruction = lm.tokenize([INSTRUCTION])[0]
    row = [lm.bos_id, *instruction[: wanted - 1]]
    row += instruction[-1:] * (wanted - len(row))
    return stack.amortizer.normalise(lm.features(lm.pad([row])).flatten(2)[0].float())


def principal_components(x: Tensor, rank: int, seed: int) -> tuple[Tensor, float]:
    """Return the first principal directions of centred rows, by randomised subspace iteration.

    (Halko, Martinsson, Tropp, arXiv 0909.4061, algorithm 4.4.)

    Args:
        x: [n, X], centred.
        rank: R.
        seed: of the random start.

    Returns:
        [X, R] with orthonormal columns, and the share of the variance they keep.
    """
    features = x.shape[1]
    if rank >= features:
        return torch.eye(features, device=x.device)[:, :rank], 1.0
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(features, min(rank + 32, features), generator=generator).to(x.device)
    for _ in range(4):
        q = torch.linalg.qr(x.T @ (x @ q)).Q
    projected = x @ q
    _, vectors = torch.linalg.eigh(projected.T @ projected)
    components = q @ vectors.flip(-1)[:, :rank]
    share = (x @ components).pow(2).sum() / x.pow(2).sum().clamp_min(1e-12)
    return components, float(share)
