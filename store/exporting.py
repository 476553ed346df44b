"""Writing a store as one stream: JSON lines and safetensors parts, see docs/store-format.md."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from store import documents, portable, prunes
from store.errors import StoreError

if TYPE_CHECKING:
    from store.codec import Codec
    from store.opening import Identity

# A part is closed when it has so many chunks, or bytes of text or of arrays.
_PART_CHUNKS = 256
_PART_TEXT = 256 << 10
_PART_BYTES = 1 << 20


def write(
    file: IO[bytes],
    connection: sqlite3.Connection,
    codec: Codec,
    identity: Identity,
    advance: Callable[[int], None] | None = None,
) -> None:
    """Write everything, in the caller's read transaction. Memory is that of one part.

    Args:
        file: is written from the beginning to the end.
        connection: to the index.
        codec: of the store's modulations.
        identity: of the store.
        advance: called with the number of chunks written since the last call.

    Raises:
        BlobError: a modulation is damaged; `args[0]` says which.
        StoreError: the store is pruned, or a chunk is too large for the format.
        OSError: of the stream.
    """
    if prunes.any_replaced(connection):
        raise StoreError(
            "A pruned store cannot be exported: the format has no place for merged modulations",
            hint="Copy it as it is: mac store copy DIR. Or take the prune back first: "
            "mac store undo",
        )
    out = _Stream(file)
    totals = documents.totals(connection)
    counts = {"documents": totals["documents"], "chunks": totals["chunks"]}
    out.line(
        {
            portable.MAGIC: portable.FORMAT,
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
        for part in _parts(connection, layout, codec, document_id, source):
            out.part(part)
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
    query = "SELECT count(*) FROM chunks WHERE document_id = ?"
    (chunks,) = connection.execute(query, (row[0],)).fetchone()
    about = {
        "document": portable.as_json(layout.document, row[1:]),
        "related": portable.related(connection, layout.of_documents, row[0]),
        "chunks": chunks,
    }
    return row[0], about


class _Part:
    """Chunks on their way out: their rows as JSON, and their modulations."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.arrays: list[tuple[Any, Any, Any]] = []
        self._text = 0
        self._bytes = 0

    def add(self, row: dict[str, Any], latents: Any, scales: Any, key: Any) -> None:
        """Add a chunk with latents int8 [T, R], scales float16 [T] and key float16 [E]."""
        self.rows.append(row)
        self.arrays.append((latents, scales, key))
        self._text += len(row["text"])
        self._bytes += latents.nbytes + scales.nbytes + key.nbytes

    @property
    def full(self) -> bool:
        """Whether it is time for the next part."""
        many = len(self.rows) >= _PART_CHUNKS
        return many or self._text >= _PART_TEXT or self._bytes >= _PART_BYTES

    def tensors(self) -> bytes:
        """The modulations as a safetensors file, the tokens of all chunks one after the other."""
        import numpy as np
        from safetensors.numpy import save

        latents, scales, keys = zip(*self.arrays, strict=True)
        return save(
            {
                "latents": np.concatenate(latents),
                "scales": np.concatenate(scales),
                "keys": np.stack(keys),
            }
        )


def _parts(
    connection: sqlite3.Connection,
    layout: portable.Layout,
    codec: Codec,
    document_id: int,
    source: str,
) -> Iterator[_Part]:
    from store.codec import BlobError

    part = _Part()
    columns = layout.chunk.names.replace('"tokens"', "chunks.tokens")
    for chunk_id, position, blob, *values in connection.execute(
        f"SELECT chunks.id, position, data, {columns} FROM chunks "
        "LEFT JOIN modulations ON chunk_id = chunks.id WHERE document_id = ? ORDER BY position",
        (document_id,),
    ):
        try:
            latents, scales = codec.decode(blob or b"")
            key = codec.key(blob)
        except BlobError as error:
            raise BlobError(f"{source}, chunk {position}: {error}") from error
        row = portable.as_json(layout.chunk, values)
        row["tokens"] = len(latents)
        if own := portable.related(connection, layout.of_chunks, chunk_id):
            row["related"] = own
        part.add(row, latents, scales, key)
        if part.full:
            yield part
            part = _Part()
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

    def part(self, part: _Part) -> None:
        tensors = part.tensors()
        if len(tensors) > portable.MAX_PART:
            raise StoreError(f"A modulation of {len(tensors):,} bytes is too large to be exported")
        self.line({"part": part.rows, "bytes": len(tensors)})
        self._write(tensors)

    def check(self, record: dict[str, Any]) -> None:
        """Write a line with the digest of everything before it."""
        self.line({**record, "check": self._digest.hexdigest()})

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._file.write(data)
