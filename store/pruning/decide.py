"""What a prune does: which modulations go, or which become one. Nothing is written here.

n: chunks, m: modulations, E: key size.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from store.errors import StoreError
from store.index import blobs
from store.modulations.codec import Codec
from store.modulations.shared import encode_member
from store.pruning import merge, pairs, records
from store.pruning.records import Merged
from store.pruning.target import Target
from store.pruning.tokens import TokenSet

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OVERHEAD = 14  # of a blob: its header, which no merging makes smaller


@dataclass(frozen=True, slots=True, eq=False)
class Inventory:
    """The modulations of a store, in the order of their first chunks.

    Attributes:
        ids: int64 [n], the chunks that are not dropped, growing.
        merged: int64 [n], which merged modulation a chunk has, 0 where it has its own.
        owner: int64 [n], which of the m modulations that is.
        tokens: number of tokens of all chunks.
        bytes: int64 [m], the modulations' sizes.
    """

    ids: NDArray[np.int64]
    merged: NDArray[np.int64]
    owner: NDArray[np.int64]
    tokens: int
    bytes: NDArray[np.int64]

    @classmethod
    def take(cls, connection: sqlite3.Connection) -> Inventory:
        """Read what a store holds."""
        row: Any = np.dtype((np.int64, 4))
        rows: NDArray[np.int64] = np.fromiter(records.chunks_in_use(connection), row)
        ids, merged, tokens, sizes = rows.reshape(-1, 4).T
        # Merged modulations and chunks are numbered apart: the sign tells them from each other.
        _, first, owner = np.unique(
            np.where(merged > 0, -merged, ids), return_index=True, return_inverse=True
        )
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first)] = np.arange(len(first))
        owner = rank[owner.reshape(-1)]
        total = np.bincount(owner, sizes, len(first)).astype(np.int64)
        return cls(ids.copy(), merged.copy(), owner, int(tokens.sum()), total)

    def __len__(self) -> int:
        return len(self.bytes)

    @property
    def size(self) -> int:
        """Bytes of all modulations."""
        return int(self.bytes.sum())

    def chunks(self) -> list[list[int]]:
        """Return for each of the m modulations the ids of its chunks, growing."""
        order = np.argsort(self.owner, kind="stable")
        ends = np.cumsum(np.bincount(self.owner, minlength=len(self)))
        return [part.tolist() for part in np.split(self.ids[order], ends[:-1])]

    def same(self, other: Inventory) -> bool:
        """Return whether the other has the same chunks with the same modulations."""
        return np.array_equal(self.ids, other.ids) and np.array_equal(self.merged, other.merged)


def to_drop(
    inventory: Inventory,
    target: Target,
    seed: int,
    used: Mapping[int, tuple[float, str]] | None,
) -> NDArray[np.int64]:
    """Return which modulations must go: at random, or those that answers drew on least.

    Args:
        inventory: the modulations.
        target: what is left.
        seed: the random seed.
        used: what `records.usage` returns, to decide by that; None to draw at random.

    Raises:
        StoreError: not even one modulation would be left.
    """
    if used is None:
        order = np.random.default_rng(seed).permutation(len(inventory))
    else:
        weight, latest = np.zeros(len(inventory)), np.zeros(len(inventory), np.int64)
        rank = {at: n for n, at in enumerate(sorted({at for _, at in used.values()}), start=1)}
        for chunk_id, owner in zip(inventory.ids.tolist(), inventory.owner.tolist(), strict=True):
            if chunk_id in used:
                weight[owner] += used[chunk_id][0]
                latest[owner] = max(latest[owner], rank[used[chunk_id][1]])
        order = np.lexsort((latest, weight))
    left = target.modulations(len(inventory))
    if left is not None:
        return order[: len(inventory) - left]
    assert target.size is not None
    excess = inventory.size - target.size
    if excess <= 0:
        return order[:0]
    number = int(np.searchsorted(np.cumsum(inventory.bytes[order]), excess)) + 1
    if number >= len(inventory):
        raise _too_small(target, int(inventory.bytes[order[-1]]))
    return order[:number]


def groups(
    inventory: Inventory, left: int, seed: int, vectors: NDArray[np.float16] | None
) -> list[list[int]]:
    """Return which modulations become one, so that `left` are left; some may stay alone.

    Pairs first, then pairs of what has become of them.

    Args:
        inventory: the modulations.
        left: at least 1.
        seed: the random seed.
        vectors: float16 [m, E], to merge those that are near; None to draw at random. Overwritten.
    """
    members = [[index] for index in range(len(inventory))]
    turn = 0
    while len(members) > left:
        number = min(len(members) - left, len(members) // 2)
        if vectors is None:
            chosen = pairs.random_pairs(len(members), number, seed + turn)
        else:
            chosen = pairs.near_pairs(vectors, number, seed + turn)
        for i, j in chosen.tolist():
            if vectors is not None:
                a, b = len(members[i]), len(members[j])
                mean = vectors[i].astype(np.float32) * a + vectors[j].astype(np.float32) * b
                vectors[i] = mean / (a + b)
            members[i] = sorted(members[i] + members[j])
        gone = set(chosen[:, 1].tolist())
        stay = [index for index in range(len(members)) if index not in gone]
        members = [members[index] for index in stay]
        vectors = None if vectors is None else vectors[stay]
        turn += 1
    return members


def vectors(
    inventory: Inventory,
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]],
    key_size: int,
) -> NDArray[np.float16]:
    """Return the mean of the normalised keys of each modulation's chunks, float16 [m, E]."""
    means = np.zeros((len(inventory), key_size), np.float16)
    number = np.bincount(inventory.owner, minlength=len(inventory))
    for ids, keys in blocks:
        place = np.searchsorted(inventory.ids, ids).clip(max=len(inventory.ids) - 1)
        known = inventory.ids[place] == ids
        owner = inventory.owner[place[known]]
        z = keys[known].astype(np.float32)
        z /= np.linalg.norm(z, axis=1, keepdims=True).clip(min=1e-6)
        np.add.at(means, owner, (z / number[owner, None]).astype(np.float16))
    return means


def merged(
    connection: sqlite3.Connection,
    codec: Codec,
    inventory: Inventory,
    chosen: Sequence[Sequence[int]],
    *,
    averaged: bool,
) -> Iterator[Merged]:
    """Yield the merged modulations of the groups that `groups` chose.

    Args:
        connection: to the database, in a transaction.
        codec: of the store's modulations.
        inventory: the modulations, as they are in that transaction.
        chosen: the groups.
        averaged: position by position; else `merge.concentrate`, which makes a group of one
            modulation smaller, too.

    Raises:
        BlobError: a modulation is damaged.
    """
    # Each group keeps the share of its bytes that is left of the number of modulations.
    share = len(chosen) / sum(map(len, chosen))
    chunks = inventory.chunks()
    merged_id = np.zeros(len(inventory), np.int64)
    merged_id[inventory.owner] = inventory.merged
    for group in chosen:
        parts = [_read(connection, codec, int(merged_id[i]), chunks[i]) for i in group]
        if averaged:
            joined = merge.average(parts)
        else:
            joined = merge.concentrate(parts, share, lambda latents, _: codec.size(latents))
        yield _encoded(codec, joined)


def compacted(
    connection: sqlite3.Connection, codec: Codec, merged_id: int, chunks: Sequence[int]
) -> Merged:
    """Return a merged modulation without the tokens that none of `chunks`, its chunks, has."""
    tokens = _read(connection, codec, merged_id, chunks)
    return _encoded(codec, merge.merge([tokens], len(tokens.latents)))


def estimate(inventory: Inventory, left: int) -> int:
    """Return about how many bytes the modulations have once merged until `left` are left."""
    fixed = _fixed(inventory)
    touched = min(1.0, 2 * (len(inventory) - left) / len(inventory))
    latents = max(0, inventory.size - fixed) * left / len(inventory)
    # About a byte says which of the merged tokens stands for a token.
    return round(fixed + latents + touched * inventory.tokens)


def fitting(inventory: Inventory, target: Target) -> int:
    """Return about how many modulations can be left within the size that is wanted.

    Raises:
        StoreError: one merged modulation of all would be larger.
    """
    assert target.size is not None
    if inventory.size <= target.size:
        return len(inventory)
    left = bisect_right(
        range(1, len(inventory) + 1), target.size, key=lambda n: estimate(inventory, n)
    )
    if not left:
        raise _too_small(target, estimate(inventory, 1))
    return left


def fewer(inventory: Inventory, target: Target, left: int, size: int) -> int:
    """Return how many to leave instead of `left`, which gave `size` bytes: more than is wanted.

    Raises:
        StoreError: it cannot be fewer.
    """
    assert target.size is not None
    if left == 1:
        raise _too_small(target, size)
    fixed = _fixed(inventory)
    scaled = left * max(0, target.size - fixed) // max(1, size - fixed)
    return max(1, min(left - 1, scaled))


def _fixed(inventory: Inventory) -> int:
    return min(inventory.size, len(inventory.ids) * _OVERHEAD)


def _read(
    connection: sqlite3.Connection, codec: Codec, merged_id: int, chunks: Sequence[int]
) -> TokenSet:
    """Read a modulation with what its chunks have of it."""
    if not merged_id:
        (chunk,) = chunks
        latents, scales = blobs.read_own(connection, codec, chunk)
        return TokenSet(latents, scales, {chunk: np.arange(len(latents))})
    latents, scales = blobs.read_shared(connection, codec, merged_id)
    return TokenSet(latents, scales, dict(blobs.read_members(connection, merged_id, chunks)))


def _encoded(codec: Codec, tokens: TokenSet) -> Merged:
    members = {chunk: encode_member(rows) for chunk, rows in tokens.members.items()}
    return Merged(codec.encode(tokens.latents, tokens.scales), members)


def _too_small(target: Target, least: int) -> StoreError:
    return StoreError(
        f"The modulations cannot be made as small as {target}: about {least:,} B would be left",
        hint="Name a larger size; merging keeps a part of every chunk, `random` and `usage` do "
        "not.",
    )
