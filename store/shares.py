"""Merged modulations on their way through an export: each travels once, before its first chunk.

An export numbers them from 0, as they come; chunks name them by these numbers.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from store import prunes
from store.codec import MAX_TOKENS, Codec
from store.documents import by_id
from store.portable import ValueRefused, arrays

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_IN_MEMORY = 1 << 24


class Arrived:
    """The merged modulations of an export that is being read, on the disk. A context manager.

    Args:
        shared: codec of merged modulations.
    """

    def __init__(self, shared: Codec) -> None:
        self._codec = shared
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        self._places: list[tuple[int, int, int]] = []  # offset, length, S
        self._here: dict[int, int] = {}

    def __enter__(self) -> Arrived:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, sizes: Any, data: bytes) -> None:
        """Take the next ones: how many latents each has, and a safetensors file with all.

        Raises:
            ValueRefused: they are not what an exporter writes.
        """
        if not (isinstance(sizes, list) and sizes and all(type(n) is int for n in sizes)):
            raise ValueRefused("merged modulations have no sizes")
        if not all(1 <= n <= MAX_TOKENS for n in sizes):
            raise ValueRefused(f"a merged modulation has {min(sizes)} to {max(sizes)} latents")
        total = sum(sizes)
        size = self._codec.latent_size
        tensors = arrays(
            data, {"latents": ("int8", (total, size)), "scales": ("float16", (total,))}
        )
        no_key = tensors["scales"][:0]
        at = 0
        for number in sizes:
            own = slice(at, at + number)
            try:
                blob = self._codec.encode(tensors["latents"][own], tensors["scales"][own], no_key)
            except ValueError as error:
                raise ValueRefused(str(error)) from error
            self._file.seek(0, 2)
            self._places.append((self._file.tell(), len(blob), number))
            self._file.write(blob)
            at += number

    def size(self, number: Any) -> int:
        """S of the merged modulation that the export gives this number.

        Raises:
            ValueRefused: none came that has it.
        """
        if type(number) is not int or not 0 <= number < len(self._places):
            raise ValueRefused(f"a chunk shares modulation {str(number)[:40]}, which did not come")
        return self._places[number][2]

    def take_in(
        self, connection: sqlite3.Connection, members: Sequence[tuple[int, int, bytes]]
    ) -> None:
        """Give chunks their parts. In a transaction that adds the chunks.

        Args:
            connection: to the index.
            members: chunk ids, the exports' numbers of what they share, and the parts as blobs.
        """
        for chunk_id, number, part in members:
            if number not in self._here or not self._same(connection, number, self._here[number]):
                cursor = connection.execute(
                    "INSERT INTO merged (prune_id, chunks, data) VALUES (0, 0, ?)",
                    (self._blob(number),),
                )
                self._here[number] = int(cursor.lastrowid or 0)
            merged_id = self._here[number]
            connection.execute(
                "INSERT INTO members (chunk_id, merged_id, data) VALUES (?, ?, ?)",
                (chunk_id, merged_id, part),
            )
            connection.execute(
                "UPDATE chunks SET merged_id = ? WHERE id = ?", (merged_id, chunk_id)
            )
        changed: list[int] = []
        for merged_id in {self._here[number] for _, number, _ in members}:
            chunks, _ = prunes.shared_by(connection, merged_id)
            connection.execute(
                "UPDATE merged SET chunks = ? WHERE id = ?", (len(chunks), merged_id)
            )
            changed += chunks
        prunes.resize(connection, changed)
        prunes.recount(connection, changed)

    def recognise(
        self, connection: sqlite3.Connection, document_id: int, numbers: Sequence[int | None]
    ) -> None:
        """Find out which merged modulations are in the store already: those of a document.

        Args:
            connection: to the index.
            document_id: of a document that the store holds as the export does.
            numbers: by position what its chunks share, None for nothing.
        """
        query = "SELECT position, merged_id FROM chunks WHERE merged_id NOT NULL AND document_id"
        for position, merged_id in by_id(connection, query, [document_id]):
            number = numbers[position] if position < len(numbers) else None
            if number is not None and number not in self._here:
                self.size(number)
                if self._same(connection, number, merged_id):
                    self._here[number] = merged_id

    def _same(self, connection: sqlite3.Connection, number: int, merged_id: int) -> bool:
        # Not one that an `undo` would take away, or that others have changed meanwhile.
        query = "SELECT 1 FROM merged WHERE id = ? AND prune_id = 0 AND data = ?"
        return connection.execute(query, (merged_id, self._blob(number))).fetchone() is not None

    def _blob(self, number: int) -> bytes:
        offset, length, _ = self._places[number]
        self._file.seek(offset)
        return self._file.read(length)


def places(which: NDArray[np.uint16], size: int) -> NDArray[np.int64]:
    """A chunk's places, int64 [T], in a merged modulation of `size` latents.

    Raises:
        ValueRefused: one lies beyond it.
    """
    import numpy as np

    if which.max() >= size:
        raise ValueRefused(f"a chunk points at latent {which.max()} of {size}")
    return which.astype(np.int64)
