"""The keys of chunks, in blocks: rows of the table `key_blocks`. E: key size, n: keys.

A row holds up to 512 keys in the order of their chunks' ids: `first` and `last` id, how many, the
ids as int64 and the keys as float16 (both little-endian), and a checksum of the two. Ids only ever
grow, so a new document appends one row, and no row is written twice for it until the small rows at
the end hold 512 keys and become one. Removing chunks only lists their ids in `dead_keys`; when a
third of all keys is dead, the rows are written anew without them. The keys of chunks that a prune
dropped are listed there too, but stay while it can be undone.

Removing needs no NumPy, hence the imports inside functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Block = tuple[NDArray[np.int64], NDArray[np.float16]]
    Row = tuple[int, int, int, int, Any, Any]

ROW = 512
"""Keys of a full row."""

# Fold away when a third of the keys is dead, but not for the sake of a few.
_MIN_DEAD = 1024
_DEAD_SHARE = 3
_PIECE = 512

COLUMNS = "first, last, count, checksum, ids, keys"
# Keys that nothing needs any more: of chunks that are gone, or dropped for good.
USELESS = (
    "SELECT chunk_id FROM dead_keys LEFT JOIN chunks ON id = chunk_id "
    "WHERE id IS NULL OR pruned = 0"
)


class DamagedKeysError(Exception):
    """A row of keys is not what was written."""


def append(
    connection: sqlite3.Connection, ids: Sequence[int], keys: Sequence[NDArray[np.float16]]
) -> None:
    """Add the keys float16 [E] of new chunks, inside the transaction that adds the chunks."""
    import numpy as np

    if not ids:
        return
    _write(connection, np.array(ids, np.int64), np.stack(keys))
    _fold(connection, len(keys[0]))


def discard(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Mark the keys of chunks as dead, in the transaction that removes or drops the chunks."""
    connection.executemany(
        "INSERT OR IGNORE INTO dead_keys (chunk_id) VALUES (?)", ((chunk_id,) for chunk_id in ids)
    )


def worth_compacting(connection: sqlite3.Connection) -> bool:
    """Return whether so many keys are useless that `compact` is worth its time."""
    query = f"SELECT count(*) FROM (SELECT 1 FROM dead_keys LIMIT {_MIN_DEAD})"
    if connection.execute(query).fetchone()[0] < _MIN_DEAD:
        return False
    (dead,) = connection.execute(f"SELECT count(*) FROM ({USELESS})").fetchone()
    (total,) = connection.execute("SELECT coalesce(sum(count), 0) FROM key_blocks").fetchone()
    return bool(dead >= _MIN_DEAD and dead * _DEAD_SHARE >= total)


def restore(connection: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Let the keys of dropped chunks count again."""
    connection.executemany(
        "DELETE FROM dead_keys WHERE chunk_id = ?", ((chunk_id,) for chunk_id in ids)
    )


def useless(connection: sqlite3.Connection) -> int:
    """Return how many keys `compact` would fold away."""
    return int(connection.execute(f"SELECT count(*) FROM ({USELESS})").fetchone()[0])


def compact(connection: sqlite3.Connection, key_size: int) -> None:
    """Write all rows anew, full and without useless keys, inside a write transaction.

    Memory is that of a few rows.

    Raises:
        DamagedKeysError: a row is damaged.
    """
    import numpy as np

    dead = sorted_ids(connection, USELESS)
    ids, keys = np.empty(0, np.int64), np.empty((0, key_size), np.float16)
    for row in _rows(connection):
        old_ids, old_keys = decode(row, key_size)
        connection.execute("DELETE FROM key_blocks WHERE first = ?", (row[0],))
        alive = ~among(old_ids, dead)
        ids = np.concatenate((ids, old_ids[alive]))
        keys = np.concatenate((keys, old_keys[alive]))
        if len(ids) >= ROW:  # what is written begins with an id that was read already
            _write(connection, ids[:ROW], keys[:ROW])
            ids, keys = ids[ROW:], keys[ROW:]
    _write(connection, ids, keys)
    connection.execute(f"DELETE FROM dead_keys WHERE chunk_id IN ({USELESS})")


def mend(connection: sqlite3.Connection, key_size: int) -> list[int]:
    """Delete damaged rows and list dead keys again, inside a write transaction.

    Returns:
        the chunks that have no key any more, growing, apart from those that are dropped for good.
    """
    import numpy as np

    known = np.empty(0, np.int64)
    for row in _rows(connection):
        try:
            ids, _ = decode(row, key_size)
            if len(known) and ids[0] <= known[-1]:
                raise DamagedKeysError
        except DamagedKeysError:
            connection.execute("DELETE FROM key_blocks WHERE first = ?", (row[0],))
        else:
            known = np.concatenate((known, ids))
    chunks = sorted_ids(connection, "SELECT id FROM chunks")
    connection.execute("DELETE FROM dead_keys")
    connection.execute("INSERT INTO dead_keys SELECT id FROM chunks WHERE pruned IS NOT NULL")
    discard(connection, known[~among(known, chunks)].tolist())
    wanted = sorted_ids(connection, "SELECT id FROM chunks WHERE pruned IS NULL OR pruned <> 0")
    missing: list[int] = wanted[~among(wanted, known)].tolist()
    return missing


def stored(connection: sqlite3.Connection, key_size: int) -> Iterator[Block]:
    """Yield the keys row by row, dead ones included: ids int64 [n] and keys float16 [n, E].

    Raises:
        DamagedKeysError: a row is damaged.
    """
    last = 0
    for row in _rows(connection):
        ids, keys = decode(row, key_size)
        if ids[0] <= last:
            raise DamagedKeysError(f"the keys from chunk {ids[0]} on are out of order")
        last = int(ids[-1])
        yield ids, keys


def decode(row: Row, key_size: int) -> Block:
    """Return the ids int64 [n] and the keys float16 [n, E] of a row (`first, last, ...`).

    Raises:
        DamagedKeysError: it is not what was written.
    """
    import numpy as np

    first, last, count, checksum, ids, keys = row
    if not (isinstance(ids, bytes) and isinstance(keys, bytes) and ids) or (
        (len(ids), len(keys)) != (8 * (size := len(ids) // 8), 2 * size * key_size)
    ):
        raise DamagedKeysError(f"the keys from chunk {first} on have another size")
    if _checksum(ids, keys) != checksum:
        raise DamagedKeysError(f"the keys from chunk {first} on have another checksum")
    numbers = np.frombuffer(ids, "<i8").astype(np.int64, copy=False)
    right = (int(numbers[0]), int(numbers[-1]), size) == (first, last, count)
    if not right or not np.all(numbers[1:] > numbers[:-1]):
        raise DamagedKeysError(f"the keys from chunk {first} on are of other chunks")
    values = np.frombuffer(keys, "<f2").astype(np.float16, copy=False)
    return numbers, values.reshape(size, key_size)


def _rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """Yield all rows, in order; they may be deleted and added to meanwhile."""
    firsts = connection.execute("SELECT first FROM key_blocks ORDER BY first").fetchall()
    for first in firsts:
        yield connection.execute(
            f"SELECT {COLUMNS} FROM key_blocks WHERE first = ?", first
        ).fetchone()


def check_place(first: Any, last: Any, count: Any) -> None:
    """Raise `DamagedKeysError` if a row cannot have these ids and this number of keys."""
    numbers = all(isinstance(value, int) for value in (first, last, count))
    if not numbers or not 0 < count <= last - first + 1:
        raise DamagedKeysError(f"the keys from chunk {first} on are of other chunks")


def _fold(connection: sqlite3.Connection, key_size: int) -> None:
    """Make full rows of the small ones at the end, once they hold enough keys for one."""
    import numpy as np

    first, total = 0, 0
    places = connection.execute("SELECT first, last, count FROM key_blocks ORDER BY first DESC")
    with closing(places):
        for place, last, count in places:
            check_place(place, last, count)
            if count >= ROW:
                break
            first, total = place, total + count
    if total < ROW:
        return
    query = f"SELECT {COLUMNS} FROM key_blocks WHERE first >= ? ORDER BY first"
    blocks = [decode(row, key_size) for row in connection.execute(query, (first,))]
    connection.execute("DELETE FROM key_blocks WHERE first >= ?", (first,))
    ids, keys = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    _write(connection, ids, keys)


def _write(
    connection: sqlite3.Connection, ids: NDArray[np.int64], keys: NDArray[np.float16]
) -> None:
    """Write rows of ids [n] and keys [n, E]."""
    for start in range(0, len(ids), ROW):
        block = ids[start : start + ROW]
        data = block.astype("<i8").tobytes(), keys[start : start + ROW].astype("<f2").tobytes()
        values = int(block[0]), int(block[-1]), len(block), _checksum(*data), *data
        connection.execute(f"INSERT INTO key_blocks ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)", values)


def _checksum(ids: bytes, keys: bytes) -> int:
    """Return the sum of all words of 64 bits, those of each piece weighted by its place.

    zlib's CRC-32 would take as long as all else that is done to read and to score keys.
    """
    import numpy as np

    sums = [
        np.frombuffer(data + bytes(-len(data) % (8 * _PIECE)), "<u8")
        .reshape(-1, _PIECE)
        .sum(1, dtype=np.uint64)
        for data in (ids, keys)
    ]
    pieces = np.concatenate(sums)
    weights = 2 * np.arange(len(pieces), dtype=np.uint64) + 1
    return int((pieces * weights).sum(dtype=np.uint64).astype(np.int64))


def sorted_ids(
    connection: sqlite3.Connection, query: str, values: Sequence[str] = ()
) -> NDArray[np.int64]:
    """Return the ids that a query gives, growing: int64 [n]."""
    import numpy as np

    ids = np.fromiter((row[0] for row in connection.execute(query, values)), dtype=np.int64)
    ids.sort()
    return ids


def among(ids: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which of `ids` are among `chosen`, both growing: bool [n]."""
    import numpy as np

    if not len(ids) or not len(chosen) or not overlap(chosen, int(ids[0]), int(ids[-1])):
        return np.zeros(len(ids), dtype=np.bool_)
    at = np.searchsorted(chosen, ids).clip(max=len(chosen) - 1)
    return np.asarray(chosen[at] == ids)


def overlap(chosen: NDArray[np.int64], first: int, last: int) -> bool:
    """Return whether any of `chosen`, growing, lies between `first` and `last`."""
    import numpy as np

    at = int(np.searchsorted(chosen, first))
    return at < len(chosen) and int(chosen[at]) <= last
