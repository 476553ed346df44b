"""Approximate search: a graph of near keys, in a file beside the key file. E: key size, n: keys.

The graph is an HNSW graph (arXiv 1603.09320) over the keys as int8, made and searched by usearch,
which is an extra: this module is the only one that imports it, and only to make or search a graph.
It proposes chunks; relevance is then computed from their own keys, exactly as without a graph.

Why usearch: it searches a file through a memory map, so that a question reads the few thousand
vectors that it passes by, not all; it takes int8; it has wheels for Python 3.11 and later (13 MB
with what they need), and was last released in October 2026. On 20,000 keys of news (made as in
benchmarks/approximate.py) its int8 graph found 0.997 of the top 10 in 0.25 ms, 0.999 in 0.5 ms, as
float16 does in nearly twice the time and bytes. faiss-cpu is as well kept, but larger (19 MB), and
its inverted lists found 0.93 in 0.2 ms. hnswlib has no wheels, no memory map and nothing but
float32, and was last released in 2023.

    graph      as usearch writes it; a key's name in it is its chunk's id
    trailer    magic, format version, E, generation, store id, rows, last row's check, last id,
               number of keys, length and BLAKE2b digest of the graph, CRC-32

The trailer says which rows of which key file were put in. Rows are only ever appended, and the
check words of the key file form a chain (see keys.py), so a graph is right for the key file of its
generation in which its last row has its check; what has been added since lies behind that row, and
is read exactly. What has been removed is filtered out. Anything else is no graph of this store, and
counts as none.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from store.disk import require_space, sync_folder
from store.errors import StoreError
from store.keys import Behind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store.keys import Block

MAGIC = b"mac-near"
VERSION = 1
_FIELDS = struct.Struct("<8sIIQ16sQQQQQ32s")
_CHECKSUM = struct.Struct("<I")
_TRAILER = _FIELDS.size + _CHECKSUM.size
_NEIGHBOURS = 16  # of a key in the graph; twice as many in its lowest layer
_TRIED_TO_ADD = 64
_TRIED_TO_FIND = 256
# Components of a unit vector are about 1 / sqrt(E); what is five times that is cut off.
_WIDEST = 5.0
_PIECE = 1 << 22
_BYTES_A_KEY = 256  # beside the key: its neighbours, twice over


class DamagedGraphError(Exception):
    """The file is not one that `write` made, or was changed since."""


class Origin(NamedTuple):
    """Which keys are in a graph.

    Attributes:
        key_size: E.
        generation: of the key file.
        store_id: 16 bytes that tell the store from any other.
        end: the place in the key file up to which they were read.
    """

    key_size: int
    generation: int
    store_id: bytes
    end: Behind


class Graph:
    """A graph in a file, searched where it lies.

    Args:
        path: of the file.

    Attributes:
        origin: which keys it was made of.
        number: how many there are in it.

    Raises:
        DamagedGraphError: there is no such file, or it is no graph.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open(path, "rb") as file:
                status = os.fstat(file.fileno())
                self.size = status.st_size
                if self.size <= _TRAILER:
                    raise DamagedGraphError(f"{path} is cut short")
                file.seek(self.size - _TRAILER)
                trailer = file.read(_TRAILER)
                # Mapped, so that it stays the same file if another one takes its name.
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise DamagedGraphError(str(error)) from error
        fields = trailer[: _FIELDS.size]
        magic, version, key_size, generation, store_id, *numbers, self._digest = _FIELDS.unpack(
            fields
        )
        *end, self.number, self._length = numbers
        (checksum,) = _CHECKSUM.unpack(trailer[_FIELDS.size :])
        right = magic == MAGIC and version == VERSION and checksum == zlib.crc32(fields)
        if not right or self._length != self.size - _TRAILER:
            raise DamagedGraphError(f"{path} is cut short or of another format")
        self._file = os.fspath(path), status.st_ino, status.st_mtime_ns
        self.origin = Origin(key_size, generation, store_id, Behind(*end))
        self._index: Any = None

    def is_file(self, path: Path, status: os.stat_result) -> bool:
        """Whether the file of this path and status is the one that was opened."""
        return self._file == (os.fspath(path), status.st_ino, status.st_mtime_ns)

    def nearest(self, query: NDArray[np.float32], number: int) -> NDArray[np.int64]:
        """About the `number` chunks whose keys have the largest product with the query, growing.

        Removed chunks may be among them.

        Args:
            query: float32 [E].
            number: at least 1.

        Raises:
            ModuleNotFoundError: usearch is not installed.
            DamagedGraphError: usearch cannot read the graph.
        """
        if self._index is None:
            self._index = self._mapped()
        self._index.expansion_search = max(_TRIED_TO_FIND, 2 * number)
        found = self._index.search(_small(query[None])[0], min(number, self.number), threads=1)
        return np.sort(np.asarray(found.keys, np.int64))

    def ids(self) -> NDArray[np.int64]:
        """The chunks in it, int64 [n], growing.

        Raises:
            ModuleNotFoundError: usearch is not installed.
            DamagedGraphError: usearch cannot read the graph.
        """
        if self._index is None:
            self._index = self._mapped()
        return np.sort(np.asarray(self._index.keys, np.int64))

    def intact(self) -> bool:
        """Whether the graph is the one that was written. Reads all of it."""
        found = hashlib.blake2b(digest_size=32)
        with memoryview(self._map) as view:
            for start in range(0, self._length, _PIECE):
                found.update(view[start : min(start + _PIECE, self._length)])
        right: bool = found.digest() == self._digest
        return right

    def _mapped(self) -> Any:
        index = _empty(self.origin.key_size)
        try:
            index.view(memoryview(self._map)[: self._length])
        except RuntimeError as error:
            raise DamagedGraphError(f"{self.path}: {error}") from error
        if len(index) != self.number or index.ndim != self.origin.key_size:
            raise DamagedGraphError(f"{self.path} holds another number of keys than it says")
        return index


def make(
    key_size: int,
    blocks: Iterable[Block],
    *,
    known: Graph | None = None,
    threads: int = 1,
    advance: Callable[[int], None] = lambda _: None,
) -> Any:
    """A graph in memory, for `write`: about 540 bytes a key of 384 numbers.

    With one thread the same keys in the same blocks always give the same graph.

    Args:
        key_size: E.
        blocks: ids int64 [n], keys float16 [n, E].
        known: a graph to begin with; its keys are not to be among the blocks.
        threads: to work with.
        advance: called with the number of keys added since the last call.

    Raises:
        ModuleNotFoundError: usearch is not installed.
        DamagedGraphError: the graph to begin with cannot be read.
    """
    index = _empty(key_size)
    if known is not None:
        try:
            index.load(memoryview(known._map)[: known._length])
        except RuntimeError as error:
            raise DamagedGraphError(f"{known.path}: {error}") from error
        index.expansion_add = _TRIED_TO_ADD
    for ids, keys in blocks:
        index.add(ids.astype(np.uint64), _small(keys.astype(np.float32)), threads=threads)
        advance(len(ids))
    return index


def write(path: Path, index: Any, origin: Origin) -> None:
    """Write a graph of `make`; it appears under its name when it is whole, and on the disk.

    Only one process may do so at a time.

    Raises:
        StoreError: there is not enough space.
    """
    partial = path.with_suffix(".partial")
    require_space(path.parent, len(index) * (origin.key_size + _BYTES_A_KEY))
    try:
        try:
            index.save(os.fspath(partial))
        except RuntimeError as error:
            raise StoreError(f"{partial} cannot be written: {error}") from error
        digest = hashlib.blake2b(digest_size=32)
        length = 0
        for piece in _pieces(partial):
            digest.update(piece)
            length += len(piece)
        numbers = (*origin.end, len(index), length)
        fields = _FIELDS.pack(MAGIC, VERSION, *origin[:3], *numbers, digest.digest())
        with open(partial, "ab") as file:
            file.write(fields + _CHECKSUM.pack(zlib.crc32(fields)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


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


def _small(vectors: NDArray[np.float32]) -> NDArray[np.int8]:
    """Directions as int8 [n, E]: what makes a sentence's key is its direction, not its length."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-6)
    steps = np.rint(unit * (127 * np.sqrt(vectors.shape[1]) / _WIDEST))
    small: NDArray[np.int8] = np.clip(steps, -127, 127).astype(np.int8)
    return small


def _pieces(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            yield piece
