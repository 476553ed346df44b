"""The keys of a store: the key file and what the database says about it, kept in step.

The database's `key_file` row names the valid file (a generation), how many of its rows are valid,
and the last one's check; `dead_keys` lists ranges of chunk ids whose rows no longer count. A
writer, alone under SQLite's write lock, appends its rows behind the valid ones, flushes them, and
commits the new count with its document; if it dies before, the rows behind the count mean nothing
and are overwritten. Valid rows are never touched, so a reader needs no lock. Removing only marks
ids. When many are marked, the live rows are written to a file of the next generation and the
database is switched to it; the same mends a missing or damaged file, from the copies of the keys
in the modulations' blobs.

Removing needs no NumPy, hence the imports inside functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from store.database import GRAPH_PREFIX, KEY_PREFIX, reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.codec import Codec
    from store.copies import Copies
    from store.keys import Behind, Block, KeyFile
    from store.labels import Within

_BLOCK = 4096
_NEWEST = (1 << 63) - 1
# Compact when a third of the rows is dead, but not for the sake of a few.
_MIN_DEAD = 1024
_DEAD_SHARE = 3
# Fewer than one in so many keys are rather looked up one by one than by reading the whole file.
_SPARSE = 32


class _State(NamedTuple):
    generation: int
    rows: int
    dead: int
    tail: int


def discard(connection: sqlite3.Connection, ids: Sequence[int]) -> bool:
    """Mark the keys of chunks `ids` (growing) as dead, in the transaction that removes the chunks.

    Returns:
        whether so many are dead now that `KeyBlock.rewrite` is worth its time.
    """
    ranges: list[list[int]] = []
    for chunk_id in ids:
        if ranges and chunk_id == ranges[-1][1] + 1:
            ranges[-1][1] = chunk_id
        else:
            ranges.append([chunk_id, chunk_id])
    connection.executemany("INSERT INTO dead_keys (first, last) VALUES (?, ?)", ranges)
    connection.execute("UPDATE key_file SET dead = dead + ?", (len(ids),))
    state = read_state(connection)
    return state.dead >= _MIN_DEAD and state.dead * _DEAD_SHARE >= state.rows


def read_state(connection: sqlite3.Connection) -> _State:
    """What the database says about the key file."""
    query = "SELECT generation, row_count, dead, tail FROM key_file"
    generation, rows, dead, tail = connection.execute(query).fetchone()
    return _State(generation, rows, dead, tail % (1 << 64))  # SQLite's integers are signed


class KeyBlock:
    """The keys of one store, through its connection.

    Args:
        connection: to the store's index.
        folder: of the store.
        codec: of the store's modulations.
        store_id: 16 bytes that tell this store from any other.

    Attributes:
        damaged: whether `blocks` last met a key file that it could not use.
    """

    def __init__(
        self, connection: sqlite3.Connection, folder: Path, codec: Codec, store_id: bytes
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._codec = codec
        self._store_id = store_id
        self.damaged = False

    def generation(self) -> int:
        """The number of the valid file."""
        return read_state(self._connection).generation

    def prepare(self) -> bool:
        """Make sure that keys can be appended. In a write transaction, before chunks are added.

        Returns:
            whether the file had to be written anew, so that `clean` should be called.
        """
        state = read_state(self._connection)
        file = self._file(state.generation)
        if not file.usable(state.rows, state.tail):
            if state.rows:
                self.rewrite()
                return True
            file.create()
        return False

    def append(self, ids: Sequence[int], keys: Sequence[NDArray[np.float16]]) -> None:
        """Add the keys float16 [E] of new chunks, inside the transaction that adds the chunks.

        Call `prepare` before, in the same transaction.
        """
        import numpy as np

        if not ids:
            return
        state = read_state(self._connection)
        file = self._file(state.generation)
        block = np.array(ids, dtype=np.int64), np.stack(keys)
        rows, tail = file.append(state.rows, state.tail, [block])
        self._write_state(_State(state.generation, rows, state.dead, tail))

    def rewrite(self, *, mend: bool = False, restoring: int | None = None) -> None:
        """Write the live keys to a new file and switch to it. Inside a write transaction.

        Call `clean` once it is committed.

        Args:
            mend: take the keys from the modulations, whatever the present file holds, and leave
                out those of modulations that cannot be read.
            restoring: the prune of which the dropped chunks, still marked so, get their keys back.
        """
        from store.keys import interleaved

        generation = read_state(self._connection).generation + 1
        file = self._file(generation)
        file.create()  # a file of this name can only be left from a rewrite that was not committed
        keys = self._copies.blocks(0, _NEWEST, _BLOCK, skip=True) if mend else self.blocks(_BLOCK)
        if restoring is not None:
            keys = interleaved(keys, self._copies.blocks(0, _NEWEST, _BLOCK, prune=restoring))
        rows, tail = file.append(0, 0, keys)
        self._write_state(_State(generation, rows, 0, tail))
        self._connection.execute("DELETE FROM dead_keys")

    def clean(self) -> None:
        """Delete the files of generations before the valid one. Outside of transactions."""
        generation = read_state(self._connection).generation
        for prefix in (KEY_PREFIX, GRAPH_PREFIX):
            for path in self._folder.glob(f"{prefix}*.bin"):
                number = path.stem.removeprefix(prefix)
                if number.isdecimal() and int(number) < generation:
                    path.unlink(missing_ok=True)

    def blocks(self, size: int, behind: Behind | None = None) -> Iterator[Block]:
        """All keys in the order of ids, `size` at a time: ids int64 [n] and keys float16 [n, E].

        No transaction is open between two blocks. Where the file cannot be used the keys come from
        the database, more slowly, and `damaged` is set.

        Args:
            size: of a block.
            behind: only keys behind this place of the file.
        """
        from store.keys import DamagedKeysError

        self.damaged = False
        seen = behind.last_id if behind else 0
        state, first, last, newest = self._snapshot()
        while True:
            try:
                for ids, keys in self._live(state, first, last, size, behind):
                    yield ids, keys
                    seen = int(ids[-1])
                return
            except DamagedKeysError:
                generation = state.generation
                state, first, last, newest = self._snapshot()
                if seen or state.generation == generation:
                    break
                # Another process has switched to a new file in between: once more from the start.
        self.damaged = True
        yield from self._copies.blocks(seen, newest, size)

    def picked(self, ids: NDArray[np.int64], size: int) -> Iterator[Block]:
        """The keys of those of the chunks `ids`, int64 [n], growing, that are there."""
        return self._copies.picked(ids, size)

    def reaches(self, end: Behind) -> bool:
        """Whether the valid keys reach this place of the file, or go on behind it."""
        state = read_state(self._connection)
        return end.rows <= state.rows and self._file(state.generation).usable(end.rows, end.tail)

    def in_file(self, size: int, behind: Behind | None = None) -> Iterator[Block]:
        """The live keys as the file holds them; like `blocks`, but never from the database.

        Raises:
            DamagedKeysError: what follows cannot be used.
        """
        state, first, last, _ = self._snapshot()
        return self._live(state, first, last, size, behind)

    def _live(
        self,
        state: _State,
        first: NDArray[np.int64],
        last: NDArray[np.int64],
        size: int,
        behind: Behind | None,
    ) -> Iterator[Block]:
        from store.keys import NOTHING, live

        file = self._file(state.generation)
        for ids, keys in file.blocks(state.rows, state.tail, size, behind or NOTHING):
            mask = live(ids, first, last)
            if mask is None:
                yield ids, keys
            elif mask.any():
                yield ids[mask], keys[mask]

    def blocks_within(self, size: int, within: Within) -> Iterator[Block]:
        """Do what `blocks` does for the chunks of certain documents only."""
        from store.keys import among

        with reading(self._connection):
            chosen = self._chosen(within)
            rows = read_state(self._connection).rows
        if len(chosen) * _SPARSE < rows:
            self.damaged = False
            yield from self._copies.picked(chosen, size)
            return
        for ids, keys in self.blocks(size):
            mask = among(ids, chosen)
            if mask.any():
                yield ids[mask], keys[mask]

    def _chosen(self, within: Within) -> NDArray[np.int64]:
        """The ids of those documents' chunks, growing, int64 [n]."""
        import numpy as np

        condition, values = within.condition()
        query = (
            "SELECT chunks.id FROM documents JOIN chunks ON document_id = documents.id "
            f"WHERE pruned IS NULL AND {condition}"
        )
        rows = self._connection.execute(query, values)
        ids = np.fromiter((row[0] for row in rows), dtype=np.int64)
        ids.sort()
        return ids

    @cached_property
    def _copies(self) -> Copies:
        from store.copies import Copies

        return Copies(self._connection, self._folder, self._codec)

    def _snapshot(self) -> tuple[_State, NDArray[np.int64], NDArray[np.int64], int]:
        """The state, the first and last ids of the dead ranges, and the newest chunk's id."""
        import numpy as np

        with reading(self._connection):
            state = read_state(self._connection)
            query = "SELECT first, last FROM dead_keys ORDER BY first"
            ranges = np.array(self._connection.execute(query).fetchall(), dtype=np.int64)
            query = "SELECT coalesce(max(id), 0) FROM chunks"
            newest = int(self._connection.execute(query).fetchone()[0])
        first, last = ranges.reshape(-1, 2).T
        return state, first, last, newest

    def _file(self, generation: int) -> KeyFile:
        from store.keys import KeyFile

        path = self._folder / f"{KEY_PREFIX}{generation:06d}.bin"
        return KeyFile(path, self._codec.key_size, generation, self._store_id)

    def _write_state(self, state: _State) -> None:
        tail = state.tail - (1 << 64) if state.tail >= 1 << 63 else state.tail
        self._connection.execute(
            "UPDATE key_file SET generation = ?, row_count = ?, dead = ?, tail = ?",
            (state.generation, state.rows, state.dead, tail),
        )
