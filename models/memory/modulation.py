"""What one document becomes: quantised latents and a key, as the store keeps them. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rounding:
    """How the latents of a checkpoint are rounded; it was trained for it.

    Attributes:
        step: in root mean squares of a token's latents.
        threshold: from this part of a step on a number is rounded away from zero. Most numbers are
            near zero, and zero takes the fewest bits.
    """

    step: float = 0.5
    threshold: float = 0.5


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
        """Return the latents z, float32 [T, R]."""
        return dequantise(self.latents, self.scales)


def quantise(
    z: NDArray[np.float32], rounding: Rounding = Rounding()
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Return latents [T, R] as int8 [T, R] with one float16 scale a token, [T].

    A step is a share of the token's root mean square and not a 127th of its largest number: most
    numbers are then small, and an entropy coder has less than half to keep. The scale is the one
    with the least squared error: the numbers that round to the same one do not lie around it
    evenly, so the step itself would change the token's size.
    """
    size = np.maximum(np.abs(z).max(-1) / 127.0, rounding.step * np.sqrt(np.square(z).mean(-1)))
    # The smallest normal float16 keeps an all-zero token from a division by zero.
    tiny = np.finfo(np.float16).tiny
    step = np.maximum(size, tiny)
    steps = z / step[:, None]
    latents = np.clip(
        np.copysign(np.floor(np.abs(steps) + 1 - rounding.threshold), steps), -127, 127
    )
    squares = np.square(latents).sum(-1)
    fitted = np.where(squares > 0, (latents * z).sum(-1) / np.maximum(squares, 1), step)
    return latents.astype(np.int8), np.maximum(fitted.astype(np.float16), tiny)


def dequantise(latents: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the latents that int8 [T, R] with scales float16 [T] stand for, float32 [T, R]."""
    return latents.astype(np.float32) * scales.astype(np.float32)[:, None]


@dataclass(frozen=True, slots=True)
class Selected:
    """A modulation chosen for a question.

    Pruning may merge tokens. A row of latents then stands for n of the document's T tokens: it
    counts n times, at the mean of their places.

    Attributes:
        latents: int8 [U, R], U = T unless tokens were merged.
        scales: float16 [U].
        log_weight: added to the attention logits of its tokens in every layer.
        rows: int64 [T], for each of the document's tokens the row that stands for it, every row at
            least once; None where each token has its own.
    """

    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    log_weight: float
    rows: NDArray[np.int64] | None = None

    def counts(self) -> NDArray[np.int64]:
        """Return how many tokens each row stands for, int64 [U]."""
        if self.rows is None:
            return np.ones(len(self.latents), np.int64)
        return np.bincount(self.rows, minlength=len(self.latents))

    def before_end(self) -> NDArray[np.int64]:
        """Return how far before the document's end each row is, int64 [U]; the last is at 1."""
        if self.rows is None:
            return np.arange(len(self.latents), 0, -1)
        places = np.bincount(self.rows, np.arange(len(self.rows)), len(self.latents))
        return len(self.rows) - np.rint(places / self.counts()).astype(np.int64)

    def spread(self, mass: NDArray[np.float32]) -> NDArray[np.float32]:
        """Share out what each row got, [U], among the tokens that it stands for, [T]."""
        if self.rows is None:
            return mass
        return np.asarray((mass / self.counts())[self.rows], np.float32)
