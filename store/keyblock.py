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
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from store.database import KEY_PREFIX, reading
from store.errors import corrupt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.codec import Codec
    from store.keys import KeyFile

    Block = tuple[NDArray[np.int64], NDArray[np.float16]]

_BLOCK = 4096
# Compact when a third of the rows is dead, but not for the sake of a few.
_MIN_DEAD = 1024
_DEAD_SHARE = 3


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

    def rewrite(self, *, restoring: int | None = None) -> None:
        """Write the live keys to a new file and switch to it. Inside a write transaction.

        Call `clean` once it is committed.

        Args:
            restoring: the prune of which the dropped chunks, still marked so, get their keys back.
        """
        generation = read_state(self._connection).generation + 1
        file = self._file(generation)
        file.create()  # a file of this name can only be left from a rewrite that was not committed
        blocks = self.blocks(_BLOCK)
        if restoring is not None:
            from store.keys import interleaved

            newest = self._snapshot()[-1]
            dropped = self._from_modulations(0, newest, _BLOCK, prune=restoring)
            blocks = interleaved(blocks, dropped)
        rows, tail = file.append(0, 0, blocks)
        self._write_state(_State(generation, rows, 0, tail))
        self._connection.execute("DELETE FROM dead_keys")

    def clean(self) -> None:
        """Delete the files of generations before the valid one. Outside of transactions."""
        generation = read_state(self._connection).generation
        for path in self._folder.glob(f"{KEY_PREFIX}*.bin"):
            number = path.stem.removeprefix(KEY_PREFIX)
            if number.isdecimal() and int(number) < generation:
                path.unlink(missing_ok=True)

    def blocks(self, size: int) -> Iterator[Block]:
        """All keys in the order of ids, `size` at a time: ids int64 [n] and keys float16 [n, E].

        No transaction is open between two blocks. Where the file cannot be used the keys come from
        the database, more slowly, and `damaged` is set.
        """
        from store.keys import DamagedKeysError, live

        self.damaged = False
        seen = 0
        state, first, last, newest = self._snapshot()
        while True:
            try:
                rows = self._file(state.generation).blocks(state.rows, state.tail, size)
                for ids, keys in rows:
                    mask = live(ids, first, last)
                    if mask is None:
                        yield ids, keys
                    elif mask.any():
                        yield ids[mask], keys[mask]
                    seen = int(ids[-1])
                return
            except DamagedKeysError:
                generation = state.generation
                state, first, last, newest = self._snapshot()
                if seen or state.generation == generation:
                    break
                # Another process has switched to a new file in between: once more from the start.
        self.damaged = True
        yield from self._from_modulations(seen, newest, size)

    def _from_modulations(
        self, after: int, newest: int, size: int, *, prune: int | None = None
    ) -> Iterator[Block]:
        """The keys of the chunks that are there, or of those that `prune` dropped."""
        import numpy as np

        from store.codec import BlobError
        from store.views import key_of

        query = (
            "SELECT id, coalesce(modulations.data, members.data) FROM chunks "
            "LEFT JOIN modulations ON modulations.chunk_id = id "
            "LEFT JOIN members ON members.chunk_id = id AND members.merged_id = chunks.merged_id "
            "WHERE id > ? AND id <= ? AND pruned IS ? ORDER BY id LIMIT ?"
        )
        while True:
            ids: list[int] = []
            keys: list[NDArray[np.float16]] = []
            for chunk_id, blob in self._connection.execute(query, (after, newest, prune, size)):
                try:
                    keys.append(key_of(blob or b"", self._codec))
                except BlobError as error:
                    raise corrupt(self._folder, f"chunk {chunk_id}: {error}") from error
                ids.append(chunk_id)
            if not ids:
                return
            after = ids[-1]
            yield np.array(ids, dtype=np.int64), np.stack(keys)

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
