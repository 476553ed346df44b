"""A basis of the latents in which a store needs fewer bytes for the same answers.

Amortizer and prefix head are linear: latents z A, with A in the one and its inverse in the other,
give the same prefix. But a store rounds the numbers of all R components to the same step and then
codes them by how wide each is. So A makes answers depend on all components alike, and the
components uncorrelated: transform coding (Goyal, IEEE Signal Processing Magazine 18(5), 2001) with
the Fisher information of the answers as measure of the error.

Letters: n tokens, R latent size.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from models.latent.networks import LatentStack

SHARPNESS = 0.5
"""Power of the Fisher information: its estimate from few examples would leave too little to what it
thinks unimportant."""
LEAST = 0.1
"""Added to the Fisher information, in means of its diagonal."""


@torch.no_grad()
def change_basis(stack: LatentStack, samples: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Change the basis of a stack's latents; what it answers stays the same, up to rounding.

    Args:
        stack: changed in place.
        samples: latents and gradients of the answer loss, each [n, R], as
            `models.latent.objective.answer_gradients` returns them; of a few thousand tokens.
    """
    size, device = stack.config.latent_size, stack.head.weight.device
    second, information, mean = (torch.zeros(size, size).double() for _ in range(3))
    tokens = 0
    for latents, gradients in samples:
        z, g = latents.double().cpu(), gradients.double().cpu()
        second += z.T @ z
        information += g.T @ g
        mean += z.sum(0)
        tokens += len(z)
    covariance = second / tokens - torch.outer(mean[0], mean[0]) / tokens**2
    basis = _basis(covariance, information)
    stack.amortizer.weight.copy_(stack.amortizer.weight.double() @ basis.to(device))
    inverse = torch.linalg.inv(basis).to(device)
    stack.head.weight.copy_(inverse @ stack.head.weight.double())


def _basis(covariance: Tensor, information: Tensor) -> Tensor:
    """Return A [R, R] for latents with a covariance, and the Fisher information about them."""
    values, vectors = torch.linalg.eigh(
        information / information.diagonal().mean().clamp_min(1e-30)
    )
    weights = (values.clamp_min(0) + LEAST) ** (SHARPNESS / 2)
    root = vectors @ torch.diag(weights) @ vectors.T
    _, directions = torch.linalg.eigh(root @ covariance @ root)
    basis: Tensor = root @ directions.flip(-1)
    return basis
