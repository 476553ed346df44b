"""The chunks: reading and writing them, and how much answers drew on them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from store.errors import ChunksGoneError, DamagedRowError
from store.index.connection import by_id, now
from store.index.incoming import UNREADABLE, stored_marks
from store.labels import Within
from store.marks import decode
from store.records import ChunkRow, KeptChunk, NewChunk

_CHUNK = (
    'SELECT chunks.id, document_id, source, title, position, start, "end", text, chunks.tokens, '
    "chunks.bytes, chunks.pruned IS NOT NULL, (SELECT count(*) FROM chunks AS other WHERE "
    "other.merged_id = chunks.merged_id AND other.id <> chunks.id AND other.pruned IS NULL), "
    "context, marks, stale FROM chunks JOIN documents ON documents.id = document_id"
)


def digest(blob: bytes | None, text: str, context: str, marks: str) -> bytes:
    """Return the BLAKE2b digest, 16 bytes, of a chunk and of its own modulation's blob.

    Args:
        blob: its row in `modulations`; None if it has none (any more).
        text: of the chunk.
        context: what the model read before it.
        marks: as they are stored.
    """
    if not (context or marks):  # the digest that chunks had before there were any
        hashed = hashlib.blake2b(text.encode() + b"\0", digest_size=16)
    else:
        hashed = hashlib.blake2b(digest_size=16, person=b"with context")
        for part in (text.encode(), context.encode(), marks.encode()):
            hashed.update(len(part).to_bytes(8, "little") + part)
    hashed.update(blob or b"")
    return hashed.digest()


def text_hash(text: str) -> int:
    """Return 24 bits by which chunks of the same text are found; signed, as SQLite stores 3 bytes.

    Of a million chunks about one in twenty shares them with another text.
    """
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=3).digest(), signed=True)


def of_document(connection: sqlite3.Connection, document_id: int) -> list[ChunkRow]:
    """Return a document's chunks in the order of the text."""
    query = f"{_CHUNK} WHERE document_id = ? ORDER BY position"
    return [_chunk(row) for row in connection.execute(query, (document_id,))]


def by_ids(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, ChunkRow]:
    """Return those of the chunks that exist, by their ids."""
    rows = map(_chunk, by_id(connection, f"{_CHUNK} WHERE chunks.id", ids))
    return {row.id: row for row in rows}


def _chunk(row: tuple[Any, ...]) -> ChunkRow:
    *values, pruned, sharing, context, marks, stale = row
    try:
        values += [bool(pruned), sharing, context, decode(marks), stale]
    except UNREADABLE as error:
        raise DamagedRowError(f"the marks of chunk {row[0]} cannot be read") from error
    return ChunkRow(*values)


def with_text(connection: sqlite3.Connection, text: str, within: Within, limit: int) -> list[int]:
    """Return the chunks, at most `limit`, that have exactly this text."""
    condition, values = within.condition()
    query = (
        "SELECT chunks.id FROM chunks JOIN documents ON documents.id = document_id "
        f"WHERE text_hash = ? AND text = ? AND pruned IS NULL AND {condition} "
        "ORDER BY chunks.id LIMIT ?"
    )
    rows = connection.execute(query, (text_hash(text), text, *values, limit))
    return [row[0] for row in rows]


def sharers(connection: sqlite3.Connection, ids: Sequence[int], limit: int) -> list[int]:
    """Return at most `limit` other chunks that share a modulation with one of the chunks `ids`."""
    query = "SELECT merged_id FROM chunks WHERE merged_id IS NOT NULL AND id"
    matches: list[int] = []
    for merged_id in {row[0] for row in by_id(connection, query, ids)}:
        query = "SELECT id FROM chunks WHERE merged_id = ? AND pruned IS NULL ORDER BY id LIMIT ?"
        matches += [row[0] for row in connection.execute(query, (merged_id, limit + len(ids)))]
    return sorted(set(matches).difference(ids))[:limit]


def any_dropped(connection: sqlite3.Connection) -> bool:
    """Return whether there are chunks that a prune has dropped."""
    query = "SELECT 1 FROM chunks WHERE pruned IS NOT NULL LIMIT 1"
    return connection.execute(query).fetchone() is not None


def record_use(connection: sqlite3.Connection, weights: Mapping[int, float]) -> None:
    """Count an answer for each of the chunks that exist, given by id with its share of it."""
    connection.executemany(
        "INSERT INTO usage (chunk_id, answers, weight, last_used) "
        "SELECT id, 1, ?, ? FROM chunks WHERE id = ? "
        "ON CONFLICT (chunk_id) DO UPDATE SET answers = answers + 1, "
        "weight = weight + excluded.weight, last_used = excluded.last_used",
        [(weight, now(), chunk_id) for chunk_id, weight in weights.items()],
    )


def write(
    connection: sqlite3.Connection,
    document_id: int,
    chunks: Sequence[NewChunk],
    blobs: Sequence[bytes],
) -> list[int]:
    """Write chunks of a document with their modulations, and return their ids, which grow."""
    ids: list[int] = []
    for chunk, blob in zip(chunks, blobs, strict=True):
        marks = stored_marks(chunk.marks, chunk.text)
        row = {
            "document_id": document_id,
            "position": chunk.position,
            "start": chunk.start,
            "end": chunk.end,
            "tokens": len(chunk.scales),
            "bytes": len(blob),
            "digest": digest(blob, chunk.text, chunk.context, marks),
            "text": chunk.text,
            "context": chunk.context,
            "marks": marks,
            "text_hash": text_hash(chunk.text),
        }
        ids.append(insert(connection, row))
    connection.executemany(
        "INSERT INTO modulations (chunk_id, data) VALUES (?, ?)", zip(ids, blobs, strict=True)
    )
    return ids


def insert(connection: sqlite3.Connection, row: Mapping[str, Any]) -> int:
    """Write a row of `chunks`, given by its columns, and return its id."""
    names = ", ".join(f'"{name}"' for name in row)
    cursor = connection.execute(
        f"INSERT INTO chunks ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
    )
    # After the trigger that feeds the full-text index, this is still the chunk's id.
    return int(cursor.lastrowid or 0)


def check_kept(
    connection: sqlite3.Connection, document_id: int | None, chunks: Iterable[KeptChunk]
) -> None:
    """Make sure that each of the chunks to keep is the document's, and is kept once only.

    Raises:
        ChunksGoneError: one is not, or has another text or context: the document was replaced
            meanwhile.
    """
    query = "SELECT id, text, context FROM chunks WHERE document_id = ?"
    stored = {row[0]: row[1:] for row in connection.execute(query, (document_id,))}
    for chunk in chunks:
        if stored.pop(chunk.id, None) != (chunk.text, chunk.context):
            raise ChunksGoneError(
                f"Chunk {chunk.id} cannot be kept: its document was replaced meanwhile",
                hint="Run the same command again.",
            )


def place_kept(
    connection: sqlite3.Connection, document_id: int | None, kept: Sequence[KeptChunk]
) -> None:
    """Put the kept chunks, all that the document has left, at their new positions.

    Their rows stay, and with them ids, modulations, keys and places in the full-text index.
    """
    # Out of each other's way first: no two chunks may share a position even for a moment.
    connection.execute(
        "UPDATE chunks SET position = -1 - position WHERE document_id = ?", (document_id,)
    )
    connection.executemany(
        'UPDATE chunks SET position = ?, start = ?, "end" = ? WHERE id = ?',
        [(chunk.position, chunk.start, chunk.end, chunk.id) for chunk in kept],
    )
    for chunk in kept:
        _mark_anew(connection, chunk)


def _mark_anew(connection: sqlite3.Connection, chunk: KeptChunk) -> None:
    """Write the marks of a kept chunk, if they are others; a wrong digest stays wrong."""
    query = "SELECT marks, digest FROM chunks WHERE id = ?"
    old, stored = connection.execute(query, (chunk.id,)).fetchone()
    marks = stored_marks(chunk.marks, chunk.text)
    if marks == old:
        return
    query = "SELECT data FROM modulations WHERE chunk_id = ?"
    (blob,) = connection.execute(query, (chunk.id,)).fetchone() or (None,)
    if stored == digest(blob, chunk.text, chunk.context, old):
        stored = digest(blob, chunk.text, chunk.context, marks)
    connection.execute(
        "UPDATE chunks SET marks = ?, digest = ? WHERE id = ?", (marks, stored, chunk.id)
    )


def any_taken(connection: sqlite3.Connection, document_id: int, chunks: Sequence[NewChunk]) -> bool:
    """Return whether a document has a chunk already where one of the new ones is to stand."""
    query = f"SELECT position FROM chunks WHERE document_id = {document_id} AND position"
    return any(by_id(connection, query, [chunk.position for chunk in chunks]))


def delete(
    connection: sqlite3.Connection, document_id: int | None, *, keep: Container[int] = ()
) -> list[int]:
    """Delete a document's chunks with their modulations, all but those to `keep`.

    Returns:
        their ids, which grow. Their keys are the caller's to discard.
    """
    query = "SELECT id FROM chunks WHERE document_id = ? ORDER BY id"
    ids = [row[0] for row in connection.execute(query, (document_id,)) if row[0] not in keep]
    connection.executemany("DELETE FROM chunks WHERE id = ?", [(chunk_id,) for chunk_id in ids])
    return ids
