"""Another basis of the latents: the same answers, in fewer bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.latent.basis import change_basis
from models.latent.memory import LatentMemory
from models.memory.modulation import dequantise, quantise
from store.modulations.codec import Codec

TEXT = "The town of Varnholt opened a new bridge over the Elm in March."


@pytest.fixture
def samples(tiny_llama: Path, build_memory: Any) -> tuple[LatentMemory, torch.Tensor, torch.Tensor]:
    """A memory, latents of correlated components, and gradients that need some of them most."""
    memory: LatentMemory = build_memory(tiny_llama)
    size = memory.config.latent_size
    rng = np.random.default_rng(3)
    mixed = rng.normal(size=(size, size)) * np.linspace(0.2, 2, size)
    latents = rng.normal(size=(2000, size)) @ mixed
    gradients = rng.normal(size=(2000, size)) * np.geomspace(0.01, 10, size)[::-1]
    return memory, torch.from_numpy(latents).float(), torch.from_numpy(gradients).float()


def test_the_prefix_stays(samples: Any) -> None:
    memory, latents, gradients = samples
    stack = memory.stack
    with torch.no_grad():
        stack.head.weight.normal_(generator=torch.Generator().manual_seed(1))
        x = torch.randn(9, stack.config.features, generator=torch.Generator().manual_seed(2))
        before = stack.head(stack.amortizer(x))
        weight = stack.amortizer.weight.clone()
        change_basis(stack, [(latents, gradients)])
        after = stack.head(stack.amortizer(x))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-3)
    assert not torch.allclose(stack.amortizer.weight, weight)


def turned(samples: Any, *, pieces: int = 1) -> torch.Tensor:
    """The basis A that was chosen, [R, R]."""
    memory, latents, gradients = samples
    with torch.no_grad():
        before = memory.stack.amortizer.weight.double().clone()
        parts = zip(latents.chunk(pieces), gradients.chunk(pieces), strict=True)
        change_basis(memory.stack, parts)
        return torch.linalg.lstsq(before, memory.stack.amortizer.weight.double()).solution


def test_components_are_uncorrelated_and_the_widest_come_first(samples: Any) -> None:
    latents = samples[1].double() @ turned(samples)
    covariance = torch.cov(latents.T)
    variances = covariance.diagonal()
    scale = (variances[:, None] * variances).sqrt()
    assert (covariance / scale - torch.eye(len(variances))).abs().max() < 1e-3
    assert (variances.diff() < 0).all()


def test_samples_may_come_in_pieces(samples: Any, tiny_llama: Path, build_memory: Any) -> None:
    again = (build_memory(tiny_llama), *samples[1:])
    torch.testing.assert_close(turned(samples), turned(again, pieces=7))


def test_the_same_damage_to_answers_takes_fewer_bytes(samples: Any) -> None:
    _, latents, gradients = samples
    codec, basis = Codec(latents.shape[1]), turned(samples).float()

    def stored(z: torch.Tensor, back: torch.Tensor) -> tuple[int, float]:
        """Bytes of latents, and how much the loss may change by their rounding."""
        pair = quantise(z.numpy())
        error = torch.from_numpy(dequantise(*pair)) @ back - latents
        return len(codec.encode(*pair)), float((error * gradients).sum(1).square().mean())

    plain, damage = stored(latents, torch.eye(latents.shape[1]))
    smaller, less = stored(latents @ basis, torch.linalg.inv(basis))
    assert smaller <= plain and less < damage
