"""Latents as int8 with a scale a token, and back. S: tokens, R: latent size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def quantise(
    z: NDArray[np.float32], step: float = 0.0
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Int8 with one float16 scale a token: latents [S, R] to (int8 [S, R], float16 [S]).

    With `step`, values are at least so many root mean squares of their token apart, and the scale
    is then the one with the least squared error: of values that round away from zero more lie below
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


def values(latents: NDArray[np.int8], scales: NDArray[np.float16]) -> NDArray[np.float32]:
    """The latents that int8 [S, R] with scales float16 [S] stand for, float32 [S, R]."""
    return latents.astype(np.float32) * scales.astype(np.float32)[:, None]
