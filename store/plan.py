"""What a prune is to do: which modulations go, or which become one. Nothing is written here.

n: chunks, m: modulations, E: key size.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from store import merge, neighbours, prunes
from store.errors import StoreError
from store.prunes import Merged
from store.target import Target
from store.tokens import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store.views import Views

_KEY_OVERHEAD = 16  # a blob's header


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """The modulations of a store, in the order of their first chunks.

    Attributes:
        ids: int64 [n], the chunks that are there, growing.
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
    def survey(cls, connection: sqlite3.Connection) -> Bank:
        """Read what there is."""
        row: Any = np.dtype((np.int64, 4))
        rows: NDArray[np.int64] = np.fromiter(prunes.rows(connection), row)
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
        """For each of the m modulations the ids of its chunks, growing."""
        order = np.argsort(self.owner, kind="stable")
        ends = np.cumsum(np.bincount(self.owner, minlength=len(self)))
        return [part.tolist() for part in np.split(self.ids[order], ends[:-1])]

    def same(self, other: Bank) -> bool:
        """Whether the same chunks are there with the same modulations."""
        return np.array_equal(self.ids, other.ids) and np.array_equal(self.merged, other.merged)


def to_drop(
    bank: Bank,
    target: Target,
    seed: int,
    used: Mapping[int, tuple[float, str]] | None,
) -> NDArray[np.int64]:
    """Which modulations must go: at random, or those that answers drew on least.

    Args:
        bank: the modulations.
        target: what is to be left.
        seed: of the draw.
        used: what `prunes.usage` says, to decide by that; None to draw at random.

    Raises:
        StoreError: not even one modulation would be left.
    """
    if used is None:
        order = np.random.default_rng(seed).permutation(len(bank))
    else:
        weight, latest = np.zeros(len(bank)), np.zeros(len(bank), np.int64)
        rank = {at: n for n, at in enumerate(sorted({at for _, at in used.values()}), start=1)}
        for chunk_id, owner in zip(bank.ids.tolist(), bank.owner.tolist(), strict=True):
            if chunk_id in used:
                weight[owner] += used[chunk_id][0]
                latest[owner] = max(latest[owner], rank[used[chunk_id][1]])
        order = np.lexsort((latest, weight))
    left = target.modulations(len(bank))
    if left is not None:
        return order[: len(bank) - left]
    assert target.size is not None
    excess = bank.size - target.size
    if excess <= 0:
        return order[:0]
    number = int(np.searchsorted(np.cumsum(bank.bytes[order]), excess)) + 1
    if number >= len(bank):
        raise _too_small(target, int(bank.bytes[order[-1]]))
    return order[:number]


def groups(
    bank: Bank, left: int, seed: int, vectors: NDArray[np.float16] | None
) -> list[list[int]]:
    """Which modulations become one, so that `left` are left; some may stay alone.

    Pairs first, then pairs of what has become of them.

    Args:
        bank: the modulations.
        left: at least 1.
        seed: of the draw.
        vectors: float16 [m, E], to merge those that are near; None to draw at random. Overwritten.
    """
    members = [[index] for index in range(len(bank))]
    turn = 0
    while len(members) > left:
        number = min(len(members) - left, len(members) // 2)
        if vectors is None:
            pairs = neighbours.random_pairs(len(members), number, seed + turn)
        else:
            pairs = neighbours.near_pairs(vectors, number, seed + turn)
        for one, other in pairs.tolist():
            if vectors is not None:
                a, b = len(members[one]), len(members[other])
                mean = vectors[one].astype(np.float32) * a + vectors[other].astype(np.float32) * b
                vectors[one] = mean / (a + b)
            members[one] = sorted(members[one] + members[other])
        gone = set(pairs[:, 1].tolist())
        stay = [index for index in range(len(members)) if index not in gone]
        members = [members[index] for index in stay]
        vectors = None if vectors is None else vectors[stay]
        turn += 1
    return members


def vectors(
    bank: Bank, blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]], key_size: int
) -> NDArray[np.float16]:
    """The mean of the keys of each modulation's chunks, float16 [m, E], each of length 1 before."""
    means = np.zeros((len(bank), key_size), np.float16)
    number = np.bincount(bank.owner, minlength=len(bank))
    for ids, keys in blocks:
        place = np.searchsorted(bank.ids, ids).clip(max=len(bank.ids) - 1)
        there = bank.ids[place] == ids
        owner = bank.owner[place[there]]
        z = keys[there].astype(np.float32)
        z /= np.linalg.norm(z, axis=1, keepdims=True).clip(min=1e-6)
        np.add.at(means, owner, (z / number[owner, None]).astype(np.float16))
    return means


def merged(
    connection: sqlite3.Connection,
    views: Views,
    bank: Bank,
    chosen: Sequence[Sequence[int]],
    *,
    averaged: bool,
) -> Iterator[Merged]:
    """The merged modulations of the groups that `groups` chose, one after the other.

    Args:
        connection: to the index, in a transaction.
        views: to decode and encode.
        bank: the modulations, as they are in that transaction.
        chosen: the groups.
        averaged: position by position; else `merge.concentrate`, which makes a group of one
            smaller, too.

    Raises:
        BlobError: a modulation is damaged.
    """
    # Each group keeps the share of its bytes that there will be of modulations.
    share = len(chosen) / sum(map(len, chosen))
    chunks = bank.chunks()
    merged_id = np.zeros(len(bank), np.int64)
    merged_id[bank.owner] = bank.merged
    for group in chosen:
        parts: list[Part] = []
        keys: dict[int, NDArray[np.float16]] = {}
        for index in group:
            part, own = _read(connection, views, int(merged_id[index]), chunks[index])
            parts.append(part)
            keys |= own
        if averaged:
            one = merge.average(parts)
        else:
            one = merge.concentrate(parts, share, lambda latents, _: views.shared.size(latents))
        yield encoded(views, one, keys)


def compacted(
    connection: sqlite3.Connection, views: Views, merged_id: int, chunks: Sequence[int]
) -> Merged:
    """A merged modulation without the tokens that are of none of `chunks`, which still share it."""
    part, keys = _read(connection, views, merged_id, chunks)
    return encoded(views, merge.merge([part], len(part.latents)), keys)


def encoded(views: Views, part: Part, keys: Mapping[int, NDArray[np.float16]]) -> Merged:
    """A merged modulation and its chunks' parts of it as blobs."""
    members = {chunk: views.encode_member(w, keys[chunk]) for chunk, w in part.members.items()}
    return Merged(views.encode_shared(part.latents, part.scales), members)


def estimate(bank: Bank, left: int, key_size: int) -> int:
    """About how many bytes the modulations have once merged until `left` are left."""
    fixed = _fixed(bank, key_size)
    touched = min(1.0, 2 * (len(bank) - left) / len(bank))
    latents = max(0, bank.size - fixed) * left / len(bank)
    # About a byte says which of the merged tokens stands for a token.
    return round(fixed + latents + touched * bank.tokens)


def fitting(bank: Bank, target: Target, key_size: int) -> int:
    """About how many modulations can be left within the size that is wanted.

    Raises:
        StoreError: one merged modulation of all would be larger.
    """
    assert target.size is not None
    if bank.size <= target.size:
        return len(bank)
    left = bisect_right(
        range(1, len(bank) + 1), target.size, key=lambda n: estimate(bank, n, key_size)
    )
    if not left:
        raise _too_small(target, estimate(bank, 1, key_size))
    return left


def fewer(bank: Bank, target: Target, key_size: int, left: int, size: int) -> int:
    """How many to leave instead of `left`, which gave `size` bytes: more than is wanted.

    Raises:
        StoreError: it cannot be fewer.
    """
    assert target.size is not None
    if left == 1:
        raise _too_small(target, size)
    fixed = _fixed(bank, key_size)
    scaled = left * max(0, target.size - fixed) // max(1, size - fixed)
    return max(1, min(left - 1, scaled))


def _fixed(bank: Bank, key_size: int) -> int:
    return min(bank.size, len(bank.ids) * (2 * key_size + _KEY_OVERHEAD))


def _read(
    connection: sqlite3.Connection, views: Views, merged_id: int, chunks: Sequence[int]
) -> tuple[Part, dict[int, NDArray[np.float16]]]:
    """A modulation and the keys float16 [E] of its chunks."""
    if not merged_id:
        (chunk,) = chunks
        latents, scales, key = views.read_own(connection, chunk)
        return Part(latents, scales, {chunk: np.arange(len(latents))}), {chunk: key}
    latents, scales = views.read_shared(connection, merged_id)
    members, keys = {}, {}
    for chunk, which, key in views.read_members(connection, merged_id, chunks):
        members[chunk], keys[chunk] = which, key
    return Part(latents, scales, members), keys


def _too_small(target: Target, least: int) -> StoreError:
    return StoreError(
        f"The modulations cannot be made as small as {target}: about {least:,} B would be left",
        hint="Name a larger size; merging keeps every chunk's key, `random` and `usage` do not.",
    )
