"""Approximate search: a cache file that proposes near keys. E: key size, n: keys.

`near.usearch` is an HNSW graph (arXiv 1603.09320) over the directions of the keys as int8, made and
searched by usearch, an extra that only this module imports. The graph proposes chunks; relevance is
then computed from their keys in the database, exactly as without it. After the graph stands a
trailer: a token that the database knows too, up to which chunk keys are in it, how many, the
graph's length and digest, and a checksum. The cache fits the store if the tokens are equal and the
store is still of the checkpoint that it was made for. Keys added since are read besides it, those
of removed chunks are left out, and without a cache that fits everything is read as usual; so the
file may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import time
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from store.errors import StoreError, corrupt, forbidden, translated
from store.index import keys, live_keys
from store.index.connection import NEAR_NAME, reading, require_space, sync_folder, writing
from store.labels import EVERYTHING, Within
from store.records import Indexed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store.index.keys import Block
    from store.records import Advance
    from store.store import Store

PROPOSED = 4
"""How many times as many chunks as are wanted the cache proposes: it is not exact."""
_MAGIC = b"mac-near"
_FIELDS = struct.Struct("<8s16sQQQ32s")
_CHECKSUM = struct.Struct("<I")
_TRAILER = _FIELDS.size + _CHECKSUM.size
_NEIGHBOURS = 16  # of a key in the graph; twice as many in its lowest layer
_TRIED_TO_ADD = 64
_TRIED_TO_FIND, _ONE_IN = 256, 128  # keys: at least so many, and one in so many
# Components of a unit vector are about 1 / sqrt(E); what is five times that is cut off.
_WIDEST = 5.0
_BLOCK = 4096
_LEFT_SECONDS = 3600
_BYTES_A_KEY = 256  # beside the key: its neighbours, twice over


class _Cache(NamedTuple):
    """A cache file that fits the store; `last` is the newest chunk in it."""

    map: mmap.mmap
    token: bytes
    last: int
    number: int
    length: int
    digest: bytes


# The graphs that were used last, by their stores' folders: to open one takes 0.2 s at 1,000,000
# keys, and a server opens its stores for every question. Threads take turns with them.
_GRAPHS: OrderedDict[Path, tuple[_Cache, Any]] = OrderedDict()
_MOST_GRAPHS = 4
_TURN = Lock()


def likely_keys(
    store: Store,
    query: NDArray[np.float32],
    number: int,
    extra_ids: Iterable[int] = (),
    within: Within = EVERYTHING,
) -> Iterator[Block]:
    """Return keys among which the `number` with the largest product with a query very likely are.

    Where there is no cache, or not all documents may be drawn from, these are all keys.

    Args:
        store: the store.
        query: float32 [E].
        number: how many are wanted.
        extra_ids: other chunks whose keys are wanted.
        within: the documents that the keys may be of.
    """
    near = None if within else near_keys(store, query, PROPOSED * number, extra_ids)
    return store.keys(within=within) if near is None else near


def nearest(
    store: Store,
    query: NDArray[np.float32],
    number: int,
    extra_ids: Iterable[int] = (),
    within: Within = EVERYTHING,
) -> Block:
    """Return the `number` keys with the largest product with a query, and those of `extra_ids`.

    Arguments as for `likely_keys`. The first are exactly those, unless a cache proposes them.
    """
    extra = np.array(sorted(extra_ids), np.int64)
    ids, vectors = np.empty(0, np.int64), np.empty((0, store.key_size), np.float16)
    products = np.empty(0, np.float32)
    for block_ids, block in likely_keys(store, query, number, extra.tolist(), within):
        ids, vectors = np.concatenate((ids, block_ids)), np.concatenate((vectors, block))
        products = np.concatenate((products, block.astype(np.float32) @ query))
        kept = np.isin(ids, extra)
        kept[np.lexsort((ids, -products))[:number]] = True
        ids, vectors, products = ids[kept], vectors[kept], products[kept]
    return ids, vectors


def near_keys(
    store: Store, query: NDArray[np.float32], wanted: int, extra_ids: Iterable[int] = ()
) -> Iterator[Block] | None:
    """Return the keys among which those with the largest product with a query very likely are.

    Args:
        store: the store.
        query: float32 [E].
        wanted: how many the graph is to propose; a few times what is needed.
        extra_ids: other chunks whose keys are wanted.

    Returns:
        blocks of ids int64 [n], growing, and keys float16 [n, E]: what the graph proposes, and all
        that were added since it was made. None where all keys must be read: there is no cache that
        fits, usearch is not installed, or `wanted` is more than a quarter of the store.

    Raises:
        StoreCorruptError: some of the keys are damaged.
    """
    with translated(store.path), reading(store.connection):
        cache = _open(store)
        viewed = _view(cache, store) if cache else None
        if cache is None or viewed is None:
            return None
        graph = viewed[1]  # usearch does not hold on to the map, `viewed` does
        others = np.array([i for i in extra_ids if i <= cache.last], np.int64)
        needed = wanted
        while 4 * wanted <= cache.number:
            tried = max(_TRIED_TO_FIND, 2 * wanted, cache.number // _ONE_IN)
            with _TURN:
                graph.expansion_search = tried
                matches = graph.search(_directions(query[None])[0], wanted, threads=1)
            proposed = np.sort(np.asarray(matches.keys, np.int64))
            chosen = np.union1d(proposed, others)
            blocks = list(_live(store, chosen=chosen))
            alive = sum(int(np.isin(ids, proposed).sum()) for ids, _ in blocks)
            if alive >= needed:
                return _then(blocks, store, cache.last)
            wanted *= 4  # too many of them were removed
    return None


def build(store: Store, *, threads: int = 1, advance: Advance | None = None) -> Indexed:
    """Make the cache file, or add to it what is new; without keys there is none.

    The store can be read and written meanwhile. With one thread the same keys give the same graph.

    Args:
        store: the store.
        threads: to work with.
        advance: called with the number of keys put in since the last call.

    Raises:
        ModuleNotFoundError: usearch is not installed.
        StoreError: no permission to write, not enough space, or the store's keys are damaged.
    """
    if not store.writable:
        raise forbidden(store.path)
    path = store.path / NEAR_NAME
    graph, last = _empty(store.key_size), 0
    with translated(store.path):
        cache = _open(store)
        if cache is not None and _intact(cache):
            graph.load(memoryview(cache.map)[: cache.length])
            graph.expansion_add = _TRIED_TO_ADD
            last = cache.last
        # Keys of dropped chunks too: undoing the prune brings them back.
        for ids, values in _live(store, after=last, dropped=True):
            graph.add(ids.astype(np.uint64), _directions(values), threads=threads)
            last = int(ids[-1])
            if advance is not None:
                advance(len(ids))
        if not len(graph):
            path.unlink(missing_ok=True)
            return Indexed(0, 0, 0)
        _remove_leftovers(path)
        require_space(store.path, len(graph) * (store.key_size + _BYTES_A_KEY))
        token = os.urandom(16)
        partial = path.with_name(f"{path.name}.{token.hex()}.partial")
        try:
            _write(partial, graph, token, last)
            # Only one process at a time changes the token and the file, so the two stay equal.
            with writing(store.connection):
                store.connection.execute(
                    "INSERT OR REPLACE INTO meta (key, value) VALUES ('near', ?)",
                    (f"{token.hex()} {store.fingerprint}",),
                )
                os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(store.path)
        query = "SELECT count(*) FROM chunks WHERE pruned IS NULL AND id > ?"
        (later,) = store.connection.execute(query, (last,)).fetchone()
        return Indexed(len(graph), later, path.stat().st_size)


def _then(blocks: list[Block], store: Store, last: int) -> Iterator[Block]:
    yield from blocks
    yield from _live(store, after=last)


def _live(store: Store, **which: Any) -> Iterator[Block]:
    with translated(store.path):
        try:
            yield from live_keys.live(store.connection, store.key_size, _BLOCK, **which)
        except keys.DamagedKeysError as error:
            raise corrupt(store.path, str(error)) from error


def _open(store: Store) -> _Cache | None:
    """Return the cache file, if there is one that fits the store."""
    query = "SELECT value FROM meta WHERE key IN ('near', 'fingerprint') ORDER BY key DESC"
    values = [str(row[0]) for row in store.connection.execute(query)]
    if len(values) < 2:
        return None
    try:
        with open(store.path / NEAR_NAME, "rb") as file:
            # Mapped, so that it stays the same file if another one takes its name.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError):  # the latter if it is empty
        return None
    if len(mapped) <= _TRAILER:
        return None
    fields = mapped[-_TRAILER : -_CHECKSUM.size]
    magic, token, last, number, length, digest = _FIELDS.unpack(fields)
    right = magic == _MAGIC and values[0] == f"{token.hex()} {values[1]}"
    (checksum,) = _CHECKSUM.unpack(mapped[-_CHECKSUM.size :])
    if not right or length != len(mapped) - _TRAILER or checksum != zlib.crc32(fields):
        return None
    return _Cache(mapped, token, last, number, length, digest)


def _intact(cache: _Cache) -> bool:
    """Return whether the graph is the one that was written. Reads all of it."""
    with memoryview(cache.map) as view:
        return hashlib.blake2b(view[: cache.length], digest_size=32).digest() == cache.digest


def _view(cache: _Cache, store: Store) -> tuple[_Cache, Any] | None:
    """Return the graph where it lies, and in what; None if usearch is missing or cannot read it."""
    with _TURN:
        known = _GRAPHS.pop(store.path, None)
        if known is None or known[0].token != cache.token:
            try:
                graph = _empty(store.key_size)
                graph.view(memoryview(cache.map)[: cache.length])
            except (ModuleNotFoundError, RuntimeError):
                return None
            if (len(graph), graph.ndim) != (cache.number, store.key_size):
                return None
            known = cache, graph
        _GRAPHS[store.path] = known
        if len(_GRAPHS) > _MOST_GRAPHS:
            _GRAPHS.popitem(last=False)
        return known


def _write(path: Path, graph: Any, token: bytes, last: int) -> None:
    """Write a cache file, and put it on the disk."""
    try:
        graph.save(os.fspath(path))
    except RuntimeError as error:
        raise StoreError(f"{path} cannot be written: {error}") from error
    with open(path, "r+b") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).digest()
        fields = _FIELDS.pack(_MAGIC, token, last, len(graph), file.tell(), digest)
        file.write(fields + _CHECKSUM.pack(zlib.crc32(fields)))
        file.flush()
        os.fsync(file.fileno())


def _remove_leftovers(path: Path) -> None:
    """Remove what a process left that was killed while it wrote; a young file is being written."""
    for partial in path.parent.glob(f"{path.name}.*.partial"):
        with suppress(FileNotFoundError):
            if time.time() - partial.stat().st_mtime > _LEFT_SECONDS:
                partial.unlink()


def _empty(key_size: int) -> Any:
    from usearch.index import Index

    return Index(
        ndim=key_size,
        metric="ip",
        dtype="i8",
        connectivity=_NEIGHBOURS,
        expansion_add=_TRIED_TO_ADD,
        expansion_search=_TRIED_TO_FIND,
    )


def _directions(vectors: NDArray[np.floating[Any]]) -> NDArray[np.int8]:
    """Return directions as int8 [n, E]: what makes a sentence's key is not its length."""
    values = vectors.astype(np.float32)
    unit = values / np.linalg.norm(values, axis=1, keepdims=True).clip(min=1e-6)
    steps = np.rint(unit * (127 * np.sqrt(vectors.shape[1]) / _WIDEST))
    small: NDArray[np.int8] = np.clip(steps, -127, 127).astype(np.int8)
    return small
