"""The tokens of a modulation, and which of its chunks' tokens they stand for.

S: tokens of a modulation, T: tokens of a chunk, R: latent size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class TokenSet:
    """A modulation, and for each of its chunks which of the latents its tokens are.

    Attributes:
        latents: int8 [S, R]; the latents' values are `latents * scales[:, None]`.
        scales: float16 [S].
        members: by chunk id int64 [T], the rows that stand for the chunk's tokens.
    """

    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    members: dict[int, NDArray[np.int64]]

    def counts(self) -> NDArray[np.int64]:
        """Return how many tokens of its chunks each of the S tokens stands for, int64 [S]."""
        counts = np.zeros(len(self.latents), np.int64)
        for rows in self.members.values():
            counts += np.bincount(rows, minlength=len(counts))
        return counts


def union(parts: Sequence[TokenSet]) -> TokenSet:
    """Put the tokens of all parts side by side, without those that no chunk has any more."""
    counts = np.concatenate([part.counts() for part in parts])
    used = counts > 0  # the tokens of a removed chunk stand for nothing
    latents = np.concatenate([part.latents for part in parts])[used]
    scales = np.concatenate([part.scales for part in parts])[used]
    new = np.cumsum(used) - 1
    starts = np.cumsum([0, *(len(part.latents) for part in parts)])
    members = {
        chunk: new[rows + start]
        for part, start in zip(parts, starts[:-1].tolist(), strict=True)
        for chunk, rows in part.members.items()
    }
    return TokenSet(latents, scales, members)


def in_order(parts: Sequence[TokenSet]) -> list[TokenSet]:
    """Return the parts in the order of their first chunks."""
    return sorted(parts, key=lambda part: min(part.members))


def in_reading_order(
    labels: NDArray[np.int64], members: dict[int, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """Number labels int64 [S] anew, by where on average their tokens stand in the chunks."""
    number = int(labels.max()) + 1
    places, counts = np.zeros(number), np.zeros(number)
    for rows in members.values():
        read = labels[rows]
        places += np.bincount(read, np.arange(len(read)), number)
        counts += np.bincount(read, minlength=number)
    rank = np.empty(number, np.int64)
    rank[np.argsort(places / counts, kind="stable")] = np.arange(number)
    return rank[labels]


def quantise(
    z: NDArray[np.float32], step: float = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Round latents float32 [S, R] to int8 [S, R] with one scale a token, float16 [S].

    With `step`, values are at least that many root mean squares of their token apart, and the scale
    is the one with the least squared error: of values that round away from zero more lie below
    the step than above it, so the step itself would make a token larger than it was.
    """
    widths = np.maximum(np.abs(z).max(-1) / 127.0, step * np.sqrt((z * z).mean(-1)))
    # The smallest normal float16 keeps an all-zero token from a division by zero.
    tiny = np.finfo(np.float16).tiny
    scales = np.maximum(widths.astype(np.float16), tiny)
    latents = np.clip(np.rint(z / scales.astype(np.float32)[:, None]), -127, 127)
    if step:
        squares = np.einsum("sr,sr->s", latents, latents)
        fitted = np.einsum("sr,sr->s", latents, z) / np.maximum(squares, 1)
        scales = np.where(squares > 0, np.maximum(fitted.astype(np.float16), tiny), scales)
    return latents.astype(np.int8), scales.astype(np.float16)


def dequantise(latents: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """Return the latents that int8 [S, R] with scales float16 [S] stand for, float32 [S, R]."""
    return latents.astype(np.float32) * scales.astype(np.float32)[:, None]
