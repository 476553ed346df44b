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
class Part:
    """A modulation, and for each of its chunks which of the latents its tokens are.

    Attributes:
        latents: int8 [S, R]; the latents' values are `latents * scales[:, None]`.
        scales: float16 [S].
        members: by chunk id int64 [T], places in the modulation.
    """

    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    members: dict[int, NDArray[np.int64]]

    def counts(self) -> NDArray[np.int64]:
        """How many tokens of its chunks each of the S tokens stands for, int64 [S]."""
        counts = np.zeros(len(self.latents), np.int64)
        for which in self.members.values():
            counts += np.bincount(which, minlength=len(counts))
        return counts


def union(parts: Sequence[Part]) -> Part:
    """The tokens of all parts side by side, without those that no chunk has any more."""
    counts = np.concatenate([part.counts() for part in parts])
    there = counts > 0  # a removed chunk's own tokens stand for nothing
    latents = np.concatenate([part.latents for part in parts])[there]
    scales = np.concatenate([part.scales for part in parts])[there]
    new = np.cumsum(there) - 1
    starts = np.cumsum([0, *(len(part.latents) for part in parts)])
    members = {
        chunk: new[which + start]
        for part, start in zip(parts, starts[:-1].tolist(), strict=True)
        for chunk, which in part.members.items()
    }
    return Part(latents, scales, members)


def in_order(parts: Sequence[Part]) -> list[Part]:
    """The parts in the order of their first chunks."""
    return sorted(parts, key=lambda part: min(part.members))


def in_reading_order(
    labels: NDArray[np.int64], members: dict[int, NDArray[np.int64]]
) -> NDArray[np.int64]:
    """The same labels, numbered by where on average their tokens stand in the chunks."""
    number = int(labels.max()) + 1
    places, counts = np.zeros(number), np.zeros(number)
    for which in members.values():
        own = labels[which]
        places += np.bincount(own, np.arange(len(own)), number)
        counts += np.bincount(own, minlength=number)
    rank = np.empty(number, np.int64)
    rank[np.argsort(places / counts, kind="stable")] = np.arange(number)
    return rank[labels]
