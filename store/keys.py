"""The key file: all keys of a store in one contiguous block. E: key size, W: 64-bit words a row.

    header   64 bytes: magic, format version, E, generation, store id, CRC-32
    row i    W words, little-endian: chunk id, key (E float16, padded to whole words), check

Rows are only ever appended and their ids only grow. The check words form a chain: check[i] =
check[i-1] minus the sum of row i's other words (modulo 2^64), check[-1] being taken from the
store id. So the check of the last row stands for everything before it: whoever knows how many
rows are valid and the last one's check (the database does, see keyblock.py) can tell at once
whether a file is the right one, and while reading whether any part of it was changed.

Blocks are read with `read`, not through a memory map: peak memory stays that of one block, and
a file cut short under a reader raises an error instead of killing the process.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from store.disk import sync_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Block = tuple[NDArray[np.int64], NDArray[np.float16]]

MAGIC = b"mac-keys"
VERSION = 1
_FIELDS = struct.Struct("<8sIIQ16s")
_CHECKSUM = struct.Struct("<I")
HEADER_SIZE = 64
_WORD = 1 << 64


class DamagedKeysError(Exception):
    """The file is missing, another one, cut short or changed: its keys cannot be used."""


class Behind(NamedTuple):
    """A place in a key file: how many rows lie before it, the last one's check, and its chunk."""

    rows: int
    tail: int
    last_id: int


NOTHING = Behind(0, 0, 0)


class KeyFile:
    """One generation of a store's key file.

    Args:
        path: of the file.
        key_size: E.
        generation: number of the file in the store's life.
        store_id: 16 bytes that tell this store from any other.
    """

    def __init__(self, path: Path, key_size: int, generation: int, store_id: bytes) -> None:
        self.path = path
        size = 8 + 2 * (key_size + -key_size % 4) + 8
        self._row = np.dtype(
            {
                "names": ["id", "key", "check"],
                "formats": ["<i8", ("<f2", (key_size,)), "<u8"],
                "offsets": [0, 8, size - 8],
                "itemsize": size,
            }
        )
        fields = _FIELDS.pack(MAGIC, VERSION, key_size, generation, store_id)
        self._header = (fields + _CHECKSUM.pack(zlib.crc32(fields))).ljust(HEADER_SIZE, b"\0")
        self._seed = int.from_bytes(store_id[:8], "little")

    def usable(self, rows: int, tail: int) -> bool:
        """Whether the file holds `rows` rows of which the last one's check is `tail`."""
        try:
            with self._open(rows, tail):
                return True
        except DamagedKeysError:
            return False

    def create(self) -> None:
        """Make the file anew, without rows."""
        self.path.unlink(missing_ok=True)
        with open(self.path, "xb", buffering=0) as file:
            _write(file, self._header)
        sync_folder(self.path.parent)

    def append(
        self, rows: int, tail: int, blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float16]]]
    ) -> tuple[int, int]:
        """Write keys behind the first `rows` rows, and see to it that they are on the disk.

        What stood there before was never committed and is overwritten.

        Args:
            rows: number of valid rows.
            tail: the last valid row's check (of no importance if `rows` is 0).
            blocks: ids int64 [n], growing, and keys float16 [n, E].

        Returns:
            the new number of rows and the new tail.
        """
        tail = tail if rows else self._seed
        with open(self.path, "r+b", buffering=0) as file:
            file.seek(HEADER_SIZE + rows * self._row.itemsize)
            for ids, keys in blocks:
                if not len(ids):
                    continue
                block = np.zeros(len(ids), dtype=self._row)
                block["id"] = ids
                block["key"] = keys
                sums = self._sums(block)  # the check words are still zero
                block["check"] = np.uint64(tail) - np.cumsum(sums, dtype=np.uint64)
                _write(file, block.tobytes())
                rows += len(ids)
                tail = int(block["check"][-1])
            os.fsync(file.fileno())
        return rows, tail

    def blocks(
        self, rows: int, tail: int, size: int, behind: Behind = NOTHING
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Read the first `rows` rows, `size` at a time: ids int64 [n] and keys float16 [n, E].

        The keys may be a strided view; each block has memory of its own.

        Args:
            rows: number of valid rows.
            tail: the last one's check.
            size: of a block.
            behind: only rows behind these.

        Raises:
            DamagedKeysError: what follows cannot be used. The blocks before were right.
        """
        if behind.rows >= rows:
            return
        with self._open(rows, tail) as file:
            file.seek(HEADER_SIZE + behind.rows * self._row.itemsize)
            check, last = behind.tail if behind.rows else self._seed, behind.last_id
            for start in range(behind.rows, rows, size):
                block = np.empty(min(size, rows - start), dtype=self._row)
                _read(file, block.view(np.uint8))
                checks, ids = block["check"], block["id"].astype(np.int64)
                before = np.concatenate((np.array([check], dtype=np.uint64), checks[:-1]))
                if not np.array_equal(self._sums(block), before):
                    raise DamagedKeysError(f"{self.path} was changed")
                if ids[0] <= last or not np.all(np.diff(ids) > 0):
                    raise DamagedKeysError(f"{self.path} is out of order")
                check, last = int(checks[-1]), int(ids[-1])
                yield ids, block["key"]

    def _open(self, rows: int, tail: int) -> FileIO:
        """Open the file for reading and check its header, its length and its last row."""
        try:
            file = open(self.path, "rb", buffering=0)  # noqa: SIM115 (handed to the caller)
        except FileNotFoundError as error:
            raise DamagedKeysError(f"{self.path} is missing") from error
        except OSError as error:
            raise DamagedKeysError(str(error)) from error
        try:
            header = np.empty(HEADER_SIZE, dtype=np.uint8)
            _read(file, header)
            if header.tobytes() != self._header:
                raise DamagedKeysError(f"{self.path} belongs to something else")
            if rows:
                file.seek(HEADER_SIZE + (rows - 1) * self._row.itemsize)
                row = np.empty(1, dtype=self._row)
                _read(file, row.view(np.uint8))
                if int(row["check"][0]) != tail:
                    raise DamagedKeysError(f"{self.path} is of another state of the store")
        except BaseException:
            file.close()
            raise
        return file

    def _sums(self, block: NDArray[np.void]) -> NDArray[np.uint64]:
        words = block.view(np.uint8).view("<u8").reshape(len(block), -1)
        sums: NDArray[np.uint64] = words.sum(axis=1, dtype=np.uint64)
        return sums


def live(
    ids: NDArray[np.int64], first: NDArray[np.int64], last: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    """Which of `ids` lie in none of the ranges `first[i]` to `last[i]` (sorted, apart).

    Returns:
        bool [n], or None if all do.
    """
    low, high = np.searchsorted(last, ids[0]), np.searchsorted(first, ids[-1], side="right")
    if low >= high:
        return None
    at = np.searchsorted(first, ids, side="right") - 1
    return np.asarray((at < 0) | (ids > last[at]))


def among(ids: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `ids` are among `chosen`; both grow. Returns bool [n]."""
    if not len(chosen):
        return np.zeros(len(ids), dtype=np.bool_)
    at = np.searchsorted(chosen, ids).clip(max=len(chosen) - 1)
    return np.asarray(chosen[at] == ids)


def interleaved(left: Iterator[Block], right: Iterator[Block]) -> Iterator[Block]:
    """Two streams of keys, both in the order of ids and without an id in common, as one."""
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        last = min(one[0][-1], other[0][-1])
        m, n = (int(np.searchsorted(block[0], last, side="right")) for block in (one, other))
        ids = np.concatenate((one[0][:m], other[0][:n]))
        keys = np.concatenate((one[1][:m], other[1][:n]))
        order = ids.argsort()
        yield ids[order], keys[order]
        one = (one[0][m:], one[1][m:]) if m < len(one[0]) else next(left, None)
        other = (other[0][n:], other[1][n:]) if n < len(other[0]) else next(right, None)
    for first, rest in ((one, left), (other, right)):
        if first is not None:
            yield first
            yield from rest


def _write(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _read(file: FileIO, into: NDArray[np.uint8]) -> None:
    view = into.data
    while view:
        try:
            count = file.readinto(view)
        except OSError as error:
            raise DamagedKeysError(str(error)) from error
        if not count:
            raise DamagedKeysError(f"{file.name} is cut short")
        view = view[count:]
