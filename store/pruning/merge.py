"""Several modulations into one. S: tokens of a modulation, T: tokens of a chunk, R: latent size.

Modulations here have different lengths, unlike the paper's (arXiv 2403.04317, section 3.3 and
appendix), whose average is taken element by element. Two ways:

`average` does that, position by position, over the length of the longest: after the end of a
shorter one the others are averaged alone.

`merge` puts the tokens of all into one set and joins the two that are nearest, again and again,
until the wanted number is left. Nearest by Ward's criterion: joining i and j, which stand for
n_i and n_j tokens, adds n_i n_j / (n_i + n_j) |z_i - z_j|^2 to the squared error over all tokens.

`fit` loses as little as it can for a given number of bytes. Tokens of different texts are far
apart: half as many tokens cost more than all of them in steps a few times as wide (the wider the
steps, the fewer values there are, and the fewer bits they take). So it tries several numbers of
tokens, for each the finest steps that fit, and keeps the set with the least squared error. Tokens
that are alike are joined; the others stay apart, in coarser steps.

In both, a token that stands for several is their mean, each original token counting once, however
often modulations are merged again. What comes out does not depend on the order of what goes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from store.pruning.tokens import (
    TokenSet,
    dequantise,
    in_order,
    in_reading_order,
    quantise,
    union,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1024
# More tokens than these are not compared all with all: some parts are merged first.
_MOST = 4096
_RATIOS = (1.0, 0.8, 0.6, 0.4, 0.25)
# Widths of steps, in root mean squares of a token's values; 0 is as fine as 8 bits allow.
_STEPS = (0.0, *(0.1 * 1.15**n for n in range(28)))

# Below this share of its bytes a modulation answers too little for what it takes.
_WORTH = 0.25

Sizer = Callable[["NDArray[np.int8]", "NDArray[np.float16]"], int]


def average(parts: Sequence[TokenSet]) -> TokenSet:
    """Return the mean of the parts, position by position."""
    parts = in_order(parts)
    counts = [part.counts() for part in parts]
    lengths = [int(np.flatnonzero(count)[-1]) + 1 for count in counts]
    labels = np.concatenate([np.arange(length) for length in lengths])
    latents = np.concatenate([p.latents[:n] for p, n in zip(parts, lengths, strict=True)])
    scales = np.concatenate([p.scales[:n] for p, n in zip(parts, lengths, strict=True)])
    # A place that no chunk has any more, between others, keeps its own latents: no division by 0.
    weight = np.concatenate([c[:n] for c, n in zip(counts, lengths, strict=True)]).clip(min=1)
    members = {chunk: rows for part in parts for chunk, rows in part.members.items()}
    return TokenSet(*_means(latents, scales, weight, labels), members)


def merge(parts: Sequence[TokenSet], tokens: int) -> TokenSet:
    """Join the parts to one set of at most `tokens` tokens, at least 1."""
    if tokens < 1:
        raise ValueError(f"a modulation needs at least 1 token, not {tokens}")
    return _merged(_few(in_order(parts), tokens), tokens)


def concentrate(parts: Sequence[TokenSet], share: float, size: Sizer) -> TokenSet:
    """Do what `fit` does, but give some parts no bytes where less than a quarter is left.

    On 120 dev questions with the right document given, F1 is 70 whole, 67 at half of the bytes and
    34 to 38 at a quarter, so twice as much for its bytes; with still fewer, answers soon fail. The
    newest parts are kept; a token of the others becomes the nearest among theirs.

    Arguments as in `fit`.
    """
    parts = sorted(parts, key=lambda part: max(part.members))
    newest = max(1, math.ceil(len(parts) * min(1.0, share / _WORTH)))
    if newest == len(parts):
        return fit(parts, share, size)
    older, parts = parts[:-newest], parts[-newest:]
    older_bytes = sum(size(part.latents, part.scales) for part in older)
    bytes_left = sum(size(part.latents, part.scales) for part in parts)
    joined = fit(parts, min(1.0, share * (older_bytes + bytes_left) / bytes_left), size)
    z = dequantise(joined.latents, joined.scales)
    squares = np.einsum("sr,sr->s", z, z)
    members = dict(joined.members)
    for part in older:
        near = (squares - 2 * dequantise(part.latents, part.scales) @ z.T).argmin(1)
        members |= {chunk: near[rows] for chunk, rows in part.members.items()}
    return TokenSet(joined.latents, joined.scales, members)


def fit(parts: Sequence[TokenSet], share: float, size: Sizer) -> TokenSet:
    """Join the parts to one set that takes `share` of their bytes, with the least squared error.

    Tried on dev questions and found worse for the same bytes: steps without fitted scales (at half,
    F1 52 instead of 67), tokens left out and counted into others, small components left out.

    Args:
        parts: at least joined.
        share: above 0 and at most 1.
        size: how many bytes latents int8 [S, R] with scales float16 [S] take.
    """
    parts = in_order(parts)
    budget = share * sum(size(part.latents, part.scales) for part in parts)
    total = sum(len(part.latents) for part in parts)
    joined = union(_few(parts, max(1, round(share * total))))
    z, weight = dequantise(joined.latents, joined.scales), joined.counts()
    labels = np.arange(len(z))
    means, counts = _meanvalues(z, weight, labels)
    best, least = None, (True, np.inf)
    high = len(_STEPS) - 1
    for ratio in sorted({*(r for r in _RATIOS if r > share), share}, reverse=True):
        tokens = max(1, round(ratio * total))
        labels = _cluster(means, counts, tokens)[labels]
        means, counts = _meanvalues(z, weight, labels)
        if not least[0] and weight @ ((means[labels] - z) ** 2).sum(-1) >= least[1]:
            break  # fewer tokens alone cost more than that, and still fewer cost still more
        low = 0  # and `high`: with fewer tokens the steps that fit are no wider
        fitting = None
        while low < high:  # the finest steps that fit
            middle = (low + high) // 2
            tried = _quantised(joined, means, z, labels, _STEPS[middle])
            if size(*tried) <= budget:
                high, fitting = middle, tried
            else:
                low = middle + 1
        fits = fitting is not None
        if fitting is None:  # what is left are the widest steps, or those of more tokens
            fitting = _quantised(joined, means, z, labels, _STEPS[low])
            fits = size(*fitting) <= budget
        error = float(weight @ ((dequantise(*fitting)[labels] - z) ** 2).sum(-1))
        cost = not fits, error
        if best is None or cost < least:
            best, least = (fitting, labels), cost
    assert best is not None
    (latents, scales), labels = best
    order = in_reading_order(labels, joined.members)
    places = np.empty(len(latents), np.int64)
    places[order] = labels  # where in reading order each row stands
    latents, scales = latents[places], scales[places]
    return TokenSet(latents, scales, {chunk: order[rows] for chunk, rows in joined.members.items()})


def _few(parts: list[TokenSet], tokens: int) -> list[TokenSet]:
    """Merge some of the parts if they have too many tokens for one comparison."""
    while len(parts) > 2 and sum(len(part.latents) for part in parts) > _MOST:
        size, number = len(parts[0].latents), 1
        while number < 2 or (number < len(parts) and size + len(parts[number].latents) <= _MOST):
            size += len(parts[number].latents)
            number += 1
        parts = [_merged(parts[:number], max(tokens, _MOST // 2)), *parts[number:]]
    return parts


def _merged(parts: Sequence[TokenSet], tokens: int) -> TokenSet:
    joined = union(parts)
    labels = _cluster(dequantise(joined.latents, joined.scales), joined.counts(), tokens)
    labels = in_reading_order(labels, joined.members)
    means = _means(joined.latents, joined.scales, joined.counts(), labels)
    return TokenSet(*means, {chunk: labels[rows] for chunk, rows in joined.members.items()})


def _means(
    latents: NDArray[np.int8],
    scales: NDArray[np.float16],
    weight: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Return weighted means of the tokens with the same label (0 to the largest, none missing)."""
    z = dequantise(latents, scales)
    means, _ = _meanvalues(z, weight, labels)
    return _quantised(TokenSet(latents, scales, {}), means, z, labels, 0.0)


def _meanvalues(
    z: NDArray[np.float32], weight: NDArray[np.int64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return weighted means of rows of z with equal labels, float32 [S', R], and the weights."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(int(labels.max()) + 1))
    sums = np.add.reduceat(z[order] * weight[order, None].astype(np.float32), starts)
    totals = np.add.reduceat(weight[order], starts)
    return (sums / totals[:, None]).astype(np.float32), totals


def _quantised(
    joined: TokenSet,
    means: NDArray[np.float32],
    z: NDArray[np.float32],
    labels: NDArray[np.int64],
    step: float,
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Round the means of the rows of z, those of `joined`, that have the same label."""
    latents, scales = quantise(means, step)
    if not step:
        # Where nothing was averaged nothing may be lost, not even by rounding.
        first = np.unique(labels, return_index=True)[1]
        differ = np.zeros(len(means), bool)
        differ[labels[(z != z[first[labels]]).any(-1)]] = True
        same = first[~differ]
        latents[~differ], scales[~differ] = joined.latents[same], joined.scales[same]
    return latents, scales


def _cluster(z: NDArray[np.float32], weight: NDArray[np.int64], tokens: int) -> NDArray[np.int64]:
    """Join the nearest of z [S, R] until at most `tokens` are left; return labels int64 [S]."""
    labels = np.arange(len(z))
    z, n = z.copy(), weight.astype(np.float32)
    while len(z) > tokens:
        cost, near = _nearest(z, n)
        # Pairs that are each other's nearest can be joined at once: with Ward's criterion nothing
        # gets nearer by it (reducibility). The dearer half waits for the result of the cheaper.
        numbers = np.arange(len(z))
        pairs = np.flatnonzero((near[near] == numbers) & (numbers < near))
        if not len(pairs):  # rounding can break the symmetry of equal distances
            pairs = np.array([cost.argmin()])
        pairs = pairs[np.lexsort((pairs, cost[pairs]))][: (len(z) - tokens + 1) // 2]
        others = near[pairs]
        total = n[pairs] + n[others]
        z[pairs] += (n[others] / total)[:, None] * (z[others] - z[pairs])
        n[pairs] = total
        stay = np.ones(len(z), bool)
        stay[others] = False
        new = np.cumsum(stay) - 1
        new[others] = new[pairs]
        labels = new[labels]
        z, n = z[stay], n[stay]
    return labels


def _nearest(
    z: NDArray[np.float32], n: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return what joining each token with its nearest costs [S], and which that is [S]."""
    squares = np.einsum("sr,sr->s", z, z)
    cost = np.empty(len(z), np.float32)
    near = np.empty(len(z), np.int64)
    for start in range(0, len(z), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(z)))
        d = np.maximum(squares[rows, None] + squares - 2 * (z[rows] @ z.T), 0)
        d *= n[rows, None] * n / (n[rows, None] + n)
        numbers = np.arange(rows.start, rows.stop)
        d[numbers - start, numbers] = np.inf
        near[rows] = d.argmin(1)
        cost[rows] = d[numbers - start, near[rows]]
    return cost, near
