"""Writing a store as one stream: JSON lines and safetensors parts, see docs/store-format.md."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from store import overview, portable, prunes
from store.errors import StoreError

if TYPE_CHECKING:
    from store.opening import Identity
    from store.views import Views

# A part is closed when it has so many chunks, or bytes of text or of arrays.
_PART_CHUNKS = 256
_PART_TEXT = 256 << 10
_PART_BYTES = 1 << 20
PRUNED = ("dropped", "sharing")
"""How many of a document's chunks a prune dropped, or share a modulation; left out where none."""


def write(
    file: IO[bytes],
    connection: sqlite3.Connection,
    views: Views,
    identity: Identity,
    advance: Callable[[int], None] | None = None,
) -> None:
    """Write everything, in the caller's read transaction. Memory is that of one part.

    Args:
        file: is written from the beginning to the end.
        connection: to the index.
        views: of the store's modulations.
        identity: of the store.
        advance: called with the number of chunks written since the last call.

    Raises:
        BlobError: a modulation is damaged; `args[0]` says which.
        StoreError: a chunk is too large for the format.
        OSError: of the stream.
    """
    # What is not pruned is readable by older programs too.
    pruned = prunes.any_replaced(connection)
    out = _Stream(file)
    sent = _Sent(connection, views)
    totals = overview.totals(connection)
    counts = {"documents": totals["documents"], "chunks": totals["chunks"]}
    out.line(
        {
            portable.MAGIC: portable.PRUNED_FORMAT if pruned else portable.FORMAT,
            "fingerprint": identity.fingerprint,
            "model": identity.model,
            "key_size": identity.key_size,
            "latent_size": identity.latent_size,
            "created_at": identity.created_at,
            **counts,
        }
    )
    layout = portable.layout(connection)
    written = {"documents": 0, "chunks": 0}
    for (source,) in connection.execute("SELECT source FROM documents ORDER BY source"):
        found = record(connection, layout, source)
        assert found is not None
        document_id, about = found
        out.line(about)
        for part in _parts(connection, layout, views, sent, document_id, source):
            for line, tensors in (*part.shared, ({"part": part.rows}, part.tensors())):
                out.part(line, tensors)
            written["chunks"] += len(part.rows)
            if advance:
                advance(len(part.rows))
        out.check({})
        written["documents"] += 1
    out.check({"end": written})


def record(
    connection: sqlite3.Connection, layout: portable.Layout, source: str
) -> tuple[int, dict[str, Any]] | None:
    """A document's id and what an export says of it: its line, without its chunks."""
    row = connection.execute(
        f"SELECT id, {layout.document.names} FROM documents WHERE source = ?", (source,)
    ).fetchone()
    if row is None:
        return None
    query = (
        "SELECT count(*), count(pruned), count(*) FILTER (WHERE merged_id NOT NULL "
        "AND pruned IS NULL) FROM chunks WHERE document_id = ?"
    )
    chunks, *pruned = connection.execute(query, (row[0],)).fetchone()
    about = {
        "document": portable.as_json(layout.document, row[1:]),
        "related": portable.related(connection, layout.of_documents, row[0]),
        "chunks": chunks,
        **{name: count for name, count in zip(PRUNED, pruned, strict=True) if count},
    }
    return row[0], about


class _Sent:
    """Which merged modulations were written already, and by which numbers."""

    def __init__(self, connection: sqlite3.Connection, views: Views) -> None:
        self._connection = connection
        self._views = views
        self._numbers: dict[int, tuple[int, int]] = {}

    def number(self, merged_id: int) -> tuple[int, tuple[dict[str, Any], bytes] | None]:
        """The number of a merged modulation, and its line and tensors if they are still to come."""
        from safetensors.numpy import save

        if merged_id in self._numbers:
            return self._numbers[merged_id][0], None
        latents, scales = self._views.read_shared(self._connection, merged_id)
        number = len(self._numbers)
        self._numbers[merged_id] = number, len(latents)
        return number, ({"shared": [len(latents)]}, save({"latents": latents, "scales": scales}))

    def part(self, merged_id: int, chunk_id: int) -> tuple[Any, Any]:
        """A chunk's places [T] in a merged modulation that has its number, and its key.

        Raises:
            BlobError: they are missing or damaged.
        """
        from store.codec import BlobError

        for _, which, key in self._views.read_members(self._connection, merged_id, [chunk_id]):
            if which.max() >= self._numbers[merged_id][1]:
                raise BlobError("it points beyond its set")
            return which, key
        raise BlobError("its part of a merged modulation is missing")


class _Part:
    """Chunks on their way out: their rows as JSON, and their modulations.

    Attributes:
        rows: of the chunks.
        shared: lines and tensors of the merged modulations that come before.
    """

    def __init__(self, latent_size: int, key_size: int) -> None:
        import numpy as np

        self.rows: list[dict[str, Any]] = []
        self.shared: list[tuple[dict[str, Any], bytes]] = []
        # With nothing in them for parts that have nothing.
        self._latents = [np.empty((0, latent_size), np.int8)]
        self._scales = [np.empty(0, np.float16)]
        self._keys = [np.empty((0, key_size), np.float16)]
        self._places = [np.empty(0, np.uint16)]
        self._text = 0
        self._bytes = 0

    def add(self, row: dict[str, Any], key: Any, own: Any = None, which: Any = None) -> None:
        """Add a chunk.

        Args:
            row: its columns.
            key: float16 [E], None if it was dropped.
            own: its latents int8 [T, R] and scales float16 [T], if it has them.
            which: the places [T] of its tokens in what it shares, if it does.
        """
        self.rows.append(row)
        self._text += len(row["text"])
        if key is not None:
            self._keys.append(key[None])
            self._bytes += key.nbytes
        if own is not None:
            self._latents.append(own[0])
            self._scales.append(own[1])
            self._bytes += own[0].nbytes + own[1].nbytes
        if which is not None:
            self._places.append(which.astype("<u2"))
            self._bytes += self._places[-1].nbytes

    @property
    def full(self) -> bool:
        """Whether it is time for the next part."""
        size = self._bytes + sum(len(tensors) for _, tensors in self.shared)
        many = len(self.rows) >= _PART_CHUNKS
        return many or self._text >= _PART_TEXT or size >= _PART_BYTES

    def tensors(self) -> bytes:
        """The modulations as a safetensors file, the tokens of all chunks one after the other."""
        import numpy as np
        from safetensors.numpy import save

        arrays: dict[str, list[Any]] = {
            "latents": self._latents,
            "scales": self._scales,
            "keys": self._keys,
        }
        if len(self._places) > 1:
            arrays["places"] = self._places
        return save({name: np.concatenate(pieces) for name, pieces in arrays.items()})


def _parts(
    connection: sqlite3.Connection,
    layout: portable.Layout,
    views: Views,
    sent: _Sent,
    document_id: int,
    source: str,
) -> Iterator[_Part]:
    from store.codec import BlobError

    codec = views.codec
    part = _Part(codec.latent_size, codec.key_size)
    columns = layout.chunk.names.replace('"tokens"', "chunks.tokens")
    for chunk_id, position, merged_id, pruned, *values in connection.execute(
        f"SELECT id, position, merged_id, pruned, {columns} FROM chunks "
        "WHERE document_id = ? ORDER BY position",
        (document_id,),
    ):
        row = portable.as_json(layout.chunk, values)
        if own := portable.related(connection, layout.of_chunks, chunk_id):
            row["related"] = own
        try:
            if pruned is not None:
                part.add({**row, "dropped": True}, None)
            elif merged_id is not None:
                number, coming = sent.number(merged_id)
                if coming:
                    part.shared.append(coming)
                which, key = sent.part(merged_id, chunk_id)
                part.add({**row, "tokens": len(which), "shared": number}, key, which=which)
            else:
                latents, scales, key = views.read_own(connection, chunk_id)
                part.add({**row, "tokens": len(latents)}, key, own=(latents, scales))
        except BlobError as error:
            raise BlobError(f"{source}, chunk {position}: {error}") from error
        if part.full:
            yield part
            part = _Part(codec.latent_size, codec.key_size)
    if part.rows:
        yield part


class _Stream:
    """A stream that knows the digest of everything written so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.blake2b(digest_size=32)

    def line(self, record: dict[str, Any]) -> None:
        data = json.dumps(record, ensure_ascii=False).encode() + b"\n"
        if len(data) > portable.MAX_LINE:
            raise StoreError(f"A chunk or its document is too large to be exported: {data[:80]!r}")
        self._write(data)

    def part(self, line: dict[str, Any], tensors: bytes) -> None:
        """Write a line that says how long the tensors behind it are, and these."""
        if len(tensors) > portable.MAX_PART:
            raise StoreError(f"A modulation of {len(tensors):,} bytes is too large to be exported")
        self.line({**line, "bytes": len(tensors)})
        self._write(tensors)

    def check(self, record: dict[str, Any]) -> None:
        """Write a line with the digest of everything before it."""
        self.line({**record, "check": self._digest.hexdigest()})

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)
