"""What one document becomes: quantised latents and a key, as the store keeps them. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Modulation:
    """The memory of one document (a chunk of a file) of T tokens.

    Attributes:
        latents: int8 [T, R]; the latent values are `latents * scales[:, None]`.
        scales: float16 [T].
        key: float16 [E], the sentence embedding that a question is compared with.
    """

    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    key: NDArray[np.float16]

    def dequantised(self) -> NDArray[np.float32]:
        """The latents z, float32 [T, R]."""
        return self.latents.astype(np.float32) * self.scales.astype(np.float32)[:, None]


def quantise(z: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Int8 with one float16 scale a token: latents [T, R] to (int8 [T, R], float16 [T])."""
    scales = (np.abs(z).max(-1) / 127.0).astype(np.float16)
    # The smallest normal float16 keeps an all-zero token from a division by zero.
    scales = np.maximum(scales, np.finfo(np.float16).tiny)
    latents = np.clip(np.rint(z / scales.astype(np.float32)[:, None]), -127, 127)
    return latents.astype(np.int8), scales


@dataclass(frozen=True, slots=True)
class Selected:
    """A modulation chosen for a question.

    Attributes:
        latents: int8 [T, R].
        scales: float16 [T].
        log_weight: added to the attention logits of its T tokens in every layer.
    """

    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    log_weight: float
