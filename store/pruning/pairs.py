"""Which modulations are merged: pairs of near ones among many. n: vectors, E: key size.

All pairs of 100,000 vectors would be 10^10 products of E numbers. So vectors are cut into cells of
at most `CELL`, near ones together; inside a cell every pair is looked at, block by block. Vectors
without a partner are cut into other cells and tried again. Memory stays that of one cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CELL = 32768
_NEAREST = 8
_PRODUCTS = 1 << 22  # held at a time


def near_pairs(vectors: NDArray[np.float16], number: int, seed: int) -> NDArray[np.int64]:
    """Return disjoint pairs of near vectors, the nearest first.

    Args:
        vectors: float16 [n, E]; near is what has a large cosine.
        number: how many pairs, at most n // 2.
        seed: seed of the cuts into cells, if there are more vectors than fit into one cell.

    Returns:
        int64 [number, 2].
    """
    rng = np.random.default_rng(seed)
    free = np.arange(len(vectors))
    pieces: list[NDArray[np.int64]] = []
    while number > 0:
        pairs = _match(vectors, free, rng)[:number]
        pieces.append(pairs)
        number -= len(pairs)
        free = np.setdiff1d(free, pairs)
    return np.concatenate(pieces) if pieces else np.empty((0, 2), np.int64)


def random_pairs(n: int, number: int, seed: int) -> NDArray[np.int64]:
    """Return `number` disjoint random pairs of 0 to n - 1, int64 [number, 2]."""
    return np.random.default_rng(seed).permutation(n)[: 2 * number].reshape(-1, 2)


def _match(
    vectors: NDArray[np.float16], free: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Pair vectors of `free` with one of their nearest each, greedily, the nearest pair first."""
    edges = [_edges(vectors, cell) for cell in _cells(vectors, free, rng)]
    left, right, cosine = (np.concatenate(part) for part in zip(*edges, strict=True))
    order = np.lexsort((right, left, -cosine))
    taken = bytearray(len(vectors))
    pairs = []
    for i, j in zip(left[order].tolist(), right[order].tolist(), strict=True):
        if not (taken[i] or taken[j]):
            taken[i] = taken[j] = 1
            pairs.append((i, j))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _cells(
    vectors: NDArray[np.float16], rows: NDArray[np.int64], rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Cut `rows` in halves, across the line from one random vector to another, until they fit."""
    if len(rows) <= CELL:
        yield rows
        return
    first, second = vectors[rng.choice(rows, 2, replace=False)].astype(np.float32)
    direction = first - second
    along = np.concatenate(
        [
            vectors[rows[start : start + CELL]].astype(np.float32) @ direction
            for start in range(0, len(rows), CELL)
        ]
    )
    order = np.argsort(along, kind="stable")
    middle = len(rows) // 2
    for half in (order[:middle], order[middle:]):
        yield from _cells(vectors, np.sort(rows[half]), rng)


def _edges(
    vectors: NDArray[np.float16], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return each vector's nearest in its cell: smaller and larger number, and cosine."""
    z = vectors[rows].astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True).clip(min=1e-6)
    k = min(_NEAREST, len(rows) - 1)
    near = np.empty((len(rows), k), np.int64)
    cosine = np.empty((len(rows), k), np.float32)
    step = max(1, _PRODUCTS // len(rows))
    for start in range(0, len(rows), step):
        products = z[start : start + step] @ z.T
        numbers = np.arange(len(products))
        products[numbers, numbers + start] = -np.inf
        best = np.argpartition(products, len(rows) - k, axis=1)[:, len(rows) - k :]
        near[start : start + step] = best
        cosine[start : start + step] = products[numbers[:, None], best]
    left = np.repeat(np.arange(len(rows)), k)
    right = near.reshape(-1)
    code = np.minimum(left, right) * len(rows) + np.maximum(left, right)
    _, first = np.unique(code, return_index=True)
    return (
        rows[code[first] // len(rows)],
        rows[code[first] % len(rows)],
        cosine.reshape(-1)[first],
    )
