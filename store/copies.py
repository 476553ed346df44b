"""The copies of chunks' keys in their modulations: slower to read than the key file.

n: chunks, E: key size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from store.codec import BlobError
from store.documents import by_id
from store.errors import StoreCorruptError, corrupt
from store.views import key_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from store.codec import Codec
    from store.keys import Block

# A merged modulation's chunks have their keys in their parts of it.
_BLOBS = (
    "SELECT id, coalesce(members.data, modulations.data) FROM chunks "
    "LEFT JOIN modulations ON modulations.chunk_id = id "
    "LEFT JOIN members ON members.chunk_id = id AND members.merged_id = chunks.merged_id "
)


class Copies:
    """The keys as the modulations have them.

    Args:
        connection: to the store's index.
        folder: of the store.
        codec: of the store's modulations.
    """

    def __init__(self, connection: sqlite3.Connection, folder: Path, codec: Codec) -> None:
        self._connection = connection
        self._folder = folder
        self._codec = codec

    def blocks(
        self, after: int, newest: int, size: int, *, prune: int | None = None, skip: bool = False
    ) -> Iterator[Block]:
        """Keys in the order of ids, `size` at a time: ids int64 [n] and keys float16 [n, E].

        Args:
            after: only of chunks with larger ids.
            newest: the largest id.
            size: of a block.
            prune: of the chunks that this prune dropped; None for those that are there.
            skip: leave out those that cannot be read.

        Raises:
            StoreCorruptError: a key cannot be read.
        """
        query = f"{_BLOBS} WHERE id > ? AND id <= ? AND pruned IS ? ORDER BY id LIMIT ?"
        while rows := self._connection.execute(query, (after, newest, prune, size)).fetchall():
            after = rows[-1][0]
            yield from self._decoded(rows, skip=skip)

    def picked(self, chosen: NDArray[np.int64], size: int) -> Iterator[Block]:
        """The same for those of the chunks `chosen`, int64 [n], growing, that are there."""
        for start in range(0, len(chosen), size):
            batch = chosen[start : start + size].tolist()
            query = f"{_BLOBS} WHERE pruned IS NULL AND id"
            yield from self._decoded(sorted(by_id(self._connection, query, batch)), skip=False)

    def _decoded(self, rows: Sequence[tuple[int, bytes | None]], *, skip: bool) -> Iterator[Block]:
        """A block of ids and blobs, or none if nothing is left of it."""
        ids: list[int] = []
        keys: list[NDArray[np.float16]] = []
        for chunk_id, blob in rows:
            try:
                keys.append(self._key(chunk_id, blob))
            except StoreCorruptError:
                if skip:
                    continue
                raise
            ids.append(chunk_id)
        if ids:
            yield np.array(ids, dtype=np.int64), np.stack(keys)

    def _key(self, chunk_id: int, blob: bytes | None) -> NDArray[np.float16]:
        try:
            return key_of(blob or b"", self._codec)
        except BlobError as error:
            raise corrupt(self._folder, f"chunk {chunk_id}: {error}") from error
