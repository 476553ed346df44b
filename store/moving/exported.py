"""The rows of an export, each checked before it is believed.

No array is made before its size was compared with what the store's shapes allow.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from store.index import chunks, keys
from store.index.incoming import MAX_CONTEXT, check_marks, shown
from store.labels import Labels
from store.moving.untrusted import damaged, guarded, open_checked, quoted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.index.keys import Block
    from store.index.opening import Identity
    from store.modulations.codec import Codec

_LARGEST = (1 << 53) - 1
COLUMNS = (
    "source",
    "title",
    "content_hash",
    "chunking",
    "expected",
    "characters",
    "media_type",
    "encoding",
    "date",
    "added_at",
    "updated_at",
    "stale",
)
_OPTIONAL = ("title", "date", "stale")
# Everything that tells two states of a document apart, but for sizes on disk.
STATE = (
    f"SELECT {', '.join(COLUMNS)}, chunks, tokens, text_bytes, "
    "(SELECT count(*) FROM chunks WHERE document_id = documents.id AND pruned IS NOT NULL), "
    "(SELECT count(*) FROM chunks WHERE document_id = documents.id AND pruned IS NULL "
    "AND merged_id IS NOT NULL), "
    "(SELECT group_concat(tag) FROM (SELECT tag FROM document_tags "
    "WHERE document_id = documents.id ORDER BY tag)) FROM documents WHERE "
)
_CHUNKS = (
    'SELECT chunks.id, position, start, "end", tokens, pruned IS NOT NULL, chunks.merged_id, '
    "digest, text, context, marks, modulations.data, members.data FROM chunks "
    "LEFT JOIN modulations ON modulations.chunk_id = chunks.id "
    "LEFT JOIN members ON members.chunk_id = chunks.id AND members.merged_id = chunks.merged_id "
    "WHERE document_id = ? ORDER BY position"
)
SHARED = (
    "SELECT position, merged_id FROM chunks "
    "WHERE document_id = ? AND merged_id IS NOT NULL AND pruned IS NULL"
)


class ExportedChunk(NamedTuple):
    """A checked chunk of an export; one of `blob`, `merged_id` with `member`, and none is given."""

    position: int
    start: int
    end: int
    tokens: int
    text: str
    context: str
    marks: str
    key: NDArray[np.float16] | None
    blob: bytes | None
    merged_id: int | None
    member: bytes | None


class Export:
    """An exported store, read through a connection that cannot write and runs nothing of it.

    Attributes:
        size: of the file in bytes.
        identity: what the exported store is.
    """

    def __init__(
        self, name: str, size: int, connection: sqlite3.Connection, identity: Identity
    ) -> None:
        self.name = name
        self.size = size
        self.identity = identity
        self._connection = connection
        self._keys: Block | None = None
        self._merged_sizes: dict[int, int] = {}

    @cached_property
    def _codec(self) -> Codec:
        from store.modulations.codec import Codec

        return Codec(self.identity.latent_size)

    def document_ids(self) -> list[int]:
        """Return the numbers of all documents."""
        with guarded(self.name):
            query = "SELECT id FROM documents ORDER BY id"
            return [row[0] for row in self._connection.execute(query)]

    def state(self, document_id: int) -> tuple[Any, ...]:
        """Return the state of a document, as `STATE` has it; its source is a proper name."""
        with guarded(self.name):
            state: tuple[Any, ...] | None = self._connection.execute(
                f"{STATE} id = ?", (document_id,)
            ).fetchone()
        if state is None or not isinstance(state[0], str) or not state[0]:
            raise damaged(self.name, "a document has no name")
        return state

    def values(self, state: tuple[Any, ...]) -> dict[str, Any]:
        """Return the checked columns of a document."""
        values = dict(zip(COLUMNS, state[: len(COLUMNS)], strict=True))
        for name, value in values.items():
            if name in ("expected", "characters"):
                good = _whole(value)
            else:
                good = isinstance(value, str) or (value is None and name in _OPTIONAL)
            if good and name.endswith("_at"):
                good = _is_time(value)
            if good and name == "stale" and value is not None:
                good = value == shown(value)
            if not good:
                raise damaged(self.name, f"{name} of {quoted(state[0])} is {quoted(value)}")
        return values

    def tags(self, document_id: int, date: str | None) -> tuple[str, ...]:
        """Return the checked tags of a document with this date."""
        with guarded(self.name):
            query = "SELECT tag FROM document_tags WHERE document_id = ?"
            tags = [row[0] for row in self._connection.execute(query, (document_id,))]
        try:
            return Labels(tags=tuple(sorted(tags)), date=date).tags
        except (ValueError, TypeError) as error:
            raise damaged(self.name, f"a tag or date cannot be read: {error}") from error

    def shared(self, document_id: int) -> list[tuple[int, int]]:
        """Return position and merged modulation of the chunks that share one."""
        with guarded(self.name):
            rows: list[tuple[int, int]] = self._connection.execute(
                SHARED, (document_id,)
            ).fetchall()
        return rows

    def chunks(self, document_id: int, state: tuple[Any, ...]) -> Iterator[ExportedChunk]:
        """Yield the checked chunks of a document in the order of their positions.

        Raises:
            ExportFormatError: one is damaged, is missing, or does not fit.
        """
        expected, count = state[COLUMNS.index("expected")], state[len(COLUMNS)]
        source = quoted(state[0])
        last, number = -1, 0
        with guarded(self.name):
            for chunk_id, *row in self._connection.execute(_CHUNKS, (document_id,)):
                position = row[0]
                if not _whole(position) or not last < position < expected:
                    raise damaged(self.name, f"a chunk of {source} has no place in it")
                try:
                    yield self._chunk(chunk_id, row)
                except _RefusedError as error:
                    raise damaged(self.name, f"chunk {position} of {source}: {error}") from error
                last = position
                number += 1
        if number != count:
            raise damaged(self.name, f"{source} has {number} chunks instead of {count}")

    def merged(self, number: int) -> tuple[int, bytes]:
        """Return for how many chunks a modulation was merged, and its blob."""
        with guarded(self.name):
            query = "SELECT chunks, data FROM merged WHERE id = ?"
            row = self._connection.execute(query, (number,)).fetchone()
        if row is None or not _whole(row[0]) or not row[0] or not isinstance(row[1], bytes):
            raise damaged(self.name, f"there is no merged modulation {number}")
        return row[0], row[1]

    def _chunk(self, chunk_id: int, row: Sequence[Any]) -> ExportedChunk:
        from store.modulations.codec import MAX_TOKENS, BlobError

        *place, dropped, merged_id, digest, text, context, marks, blob, member = row
        position, start, end, tokens = place
        if not isinstance(text, str) or not (isinstance(blob, bytes) or blob is None):
            raise _RefusedError("it has no text")
        if not (_whole(start) and _whole(end) and start <= end):
            raise _RefusedError(f"it goes from {quoted(start)} to {quoted(end)}")
        if not (_whole(tokens) and 1 <= tokens <= MAX_TOKENS):
            raise _RefusedError(f"it has {quoted(tokens)} tokens")
        if not isinstance(context, str) or len(context) > MAX_CONTEXT:
            raise _RefusedError(f"what stands before it is {quoted(context)}")
        try:
            check_marks(marks if isinstance(marks, str) else "?", text)
        except ValueError as error:
            raise _RefusedError(str(error)) from error
        if digest != chunks.digest(blob, text, context, marks):
            raise _RefusedError("its text or modulation is not the one that was written")
        known = (position, start, end, tokens, text, context, marks)
        if dropped:
            return ExportedChunk(*known, None, None, None, None)
        try:
            key = self._key(chunk_id)
            if merged_id is not None:
                self._check_member(merged_id, member, tokens)
                return ExportedChunk(*known, key, None, merged_id, member)
            if blob is None:
                raise _RefusedError("its modulation is missing")
            if len(self._codec.decode(blob)[0]) != tokens:
                raise _RefusedError("its modulation is of another length")
        except BlobError as error:
            raise _RefusedError(f"its modulation is damaged: {error}") from error
        return ExportedChunk(*known, key, blob, None, None)

    def _check_member(self, merged_id: int, member: Any, tokens: int) -> None:
        from store.modulations.shared import decode_member

        if merged_id not in self._merged_sizes:
            data = self.merged(merged_id)[1]
            self._merged_sizes[merged_id] = len(self._codec.decode(data)[0])
        rows = decode_member(member if isinstance(member, bytes) else b"")
        if len(rows) != tokens or rows.max() >= self._merged_sizes[merged_id]:
            raise _RefusedError("its part of a merged modulation does not fit")

    def _key(self, chunk_id: int) -> NDArray[np.float16]:
        """Return the key float16 [E] of a chunk."""
        import numpy as np

        if self._keys is None or not self._keys[0][0] <= chunk_id <= self._keys[0][-1]:
            row = self._connection.execute(
                "SELECT first, last, count, checksum, ids, keys FROM key_blocks "
                "WHERE first <= ? ORDER BY first DESC LIMIT 1",
                (chunk_id,),
            ).fetchone()
            try:
                self._keys = keys.decode(row, self.identity.key_size) if row else None
            except (keys.DamagedKeysError, TypeError) as error:
                raise _RefusedError(f"its key is damaged: {error}") from error
        if self._keys is not None:
            ids, vectors = self._keys
            at = int(np.searchsorted(ids, chunk_id))
            if at < len(ids) and ids[at] == chunk_id and np.isfinite(vectors[at]).all():
                key: NDArray[np.float16] = vectors[at]
                return key
        raise _RefusedError("it has no key")


class _RefusedError(Exception):
    """A chunk cannot be taken over."""


@contextmanager
def opened(file: Path) -> Iterator[Export]:
    """Open an export; see `store.moving.untrusted.open_checked`."""
    with open_checked(file) as (name, size, connection, identity):
        yield Export(name, size, connection, identity)


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
