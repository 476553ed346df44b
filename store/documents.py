"""The tables of documents, chunks and history: plain SQL, in the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from store.opening import now
from store.records import Change, ChunkRow, Document, NewChunk

_DOCUMENT = (
    "id, source, title, content_hash, chunking, chunks, tokens, bytes, characters, media_type, "
    "encoding, added_at, updated_at, (SELECT count(*) FROM chunks WHERE document_id = documents.id "
    "AND pruned IS NOT NULL)"
)
_CHUNK = (
    'SELECT chunks.id, document_id, source, title, position, start, "end", text, chunks.tokens, '
    "chunks.bytes, chunks.pruned IS NOT NULL, (SELECT count(*) FROM chunks AS other WHERE "
    "other.merged_id = chunks.merged_id AND other.id <> chunks.id AND other.pruned IS NULL) "
    "FROM chunks JOIN documents ON documents.id = document_id"
)
_BATCH = 500  # far below SQLite's limit on parameters


@dataclass(frozen=True, slots=True)
class NewDocument:
    """What is known of a document before its chunks are counted."""

    source: str
    title: str | None
    content_hash: str
    chunking: str
    media_type: str
    encoding: str
    characters: int


def find(connection: sqlite3.Connection, source: str) -> Document | None:
    """The document with this source."""
    query = f"SELECT {_DOCUMENT} FROM documents WHERE source = ?"
    row = connection.execute(query, (source,)).fetchone()
    return Document(*row) if row else None


def page(
    connection: sqlite3.Connection, after: str | None, match: str | None, limit: int
) -> list[Document]:
    """The next `limit` documents in the order of sources, after the source `after`.

    Args:
        connection: to the index.
        after: where the page before ended; None for the first page.
        match: with `*` or `?` a pattern for the whole source, else a part of source or title,
            without regard to (ASCII) case.
        limit: the size of the page.
    """
    where: list[str] = []
    values: list[str | int] = []
    if after is not None:
        where.append("source > ?")
        values.append(after)
    if match is not None and ("*" in match or "?" in match):
        where.append("source GLOB ?")
        values.append(match.replace("[", "[[]"))
    elif match:
        where.append("(source LIKE ? ESCAPE '\\' OR title LIKE ? ESCAPE '\\')")
        escaped = match.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        values += [f"%{escaped}%"] * 2
    clause = f"WHERE {' AND '.join(where)} " if where else ""
    query = f"SELECT {_DOCUMENT} FROM documents {clause}ORDER BY source LIMIT ?"
    return [Document(*row) for row in connection.execute(query, (*values, limit))]


def write(
    connection: sqlite3.Connection,
    document: NewDocument,
    chunks: Sequence[NewChunk],
    blobs: Sequence[bytes],
) -> list[int]:
    """Write a document and its chunks, and return the chunks' ids, which grow.

    A document of the same source keeps its id; its chunks must be gone already.
    """
    time = now()
    values = {
        "source": document.source,
        "title": document.title,
        "content_hash": document.content_hash,
        "chunking": document.chunking,
        "chunks": len(chunks),
        "tokens": sum(len(chunk.scales) for chunk in chunks),
        "bytes": sum(map(len, blobs)),
        "text_bytes": sum(len(chunk.text.encode()) for chunk in chunks),
        "characters": document.characters,
        "media_type": document.media_type,
        "encoding": document.encoding,
        "added_at": time,
        "updated_at": time,
    }
    changed = ", ".join(
        f"{name} = excluded.{name}" for name in values if name not in ("source", "added_at")
    )
    row = connection.execute(
        f"INSERT INTO documents ({', '.join(values)}) VALUES ({', '.join('?' * len(values))}) "
        f"ON CONFLICT (source) DO UPDATE SET {changed} RETURNING id",
        tuple(values.values()),
    ).fetchone()
    document_id = row[0]
    ids: list[int] = []
    for position, (chunk, blob) in enumerate(zip(chunks, blobs, strict=True)):
        cursor = connection.execute(
            'INSERT INTO chunks (document_id, position, start, "end", text, tokens, bytes) '
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                document_id,
                position,
                chunk.start,
                chunk.end,
                chunk.text,
                len(chunk.scales),
                len(blob),
            ),
        )
        # After the trigger that feeds the full-text index, this is still the chunk's id.
        ids.append(int(cursor.lastrowid or 0))
    connection.executemany(
        "INSERT INTO modulations (chunk_id, data) VALUES (?, ?)", zip(ids, blobs, strict=True)
    )
    return ids


def delete_chunks(connection: sqlite3.Connection, document_id: int) -> list[int]:
    """Delete a document's chunks with their modulations.

    Returns:
        the ids, which grow, of those whose keys count: the keys of dropped ones are gone already.
    """
    query = "SELECT id FROM chunks WHERE document_id = ? AND pruned IS NULL ORDER BY id"
    ids = [row[0] for row in connection.execute(query, (document_id,))]
    connection.execute("DELETE FROM chunks WHERE document_id = ?", (document_id,))
    return ids


def delete(connection: sqlite3.Connection, document_id: int) -> None:
    """Delete a document whose chunks are gone."""
    connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))


def chunks_of(connection: sqlite3.Connection, document_id: int) -> list[ChunkRow]:
    """A document's chunks in the order of the text."""
    query = f"{_CHUNK} WHERE document_id = ? ORDER BY position"
    return [_chunk(row) for row in connection.execute(query, (document_id,))]


def chunks_by_id(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, ChunkRow]:
    """Those of the chunks that are there."""
    rows = map(_chunk, by_id(connection, f"{_CHUNK} WHERE chunks.id", ids))
    return {row.id: row for row in rows}


def _chunk(row: tuple[Any, ...]) -> ChunkRow:
    values = [*row[:-2], bool(row[-2]), row[-1]]
    return ChunkRow(*values)


def by_id(
    connection: sqlite3.Connection, query: str, ids: Sequence[int]
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query that ends in a column's name, for those of `ids` that are there."""
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        yield from connection.execute(f"{query} IN ({', '.join('?' * len(batch))})", batch)


def record(
    connection: sqlite3.Connection, action: Literal["added", "updated", "removed"], source: str
) -> None:
    """Write a line of history about a document: after writing it, or before deleting it."""
    connection.execute(
        "INSERT INTO history (at, action, source, content_hash, chunks, tokens) "
        "SELECT ?, ?, source, content_hash, chunks, tokens FROM documents WHERE source = ?",
        (now(), action, source),
    )


def history(connection: sqlite3.Connection, limit: int) -> list[Change]:
    """The last `limit` changes, the newest first."""
    query = (
        "SELECT id, at, action, source, content_hash, chunks, tokens FROM history "
        "ORDER BY id DESC LIMIT ?"
    )
    return [Change(*row) for row in connection.execute(query, (limit,))]


def totals(connection: sqlite3.Connection) -> dict[str, int]:
    """Sums over all documents, by the names they have in `Stats`."""
    names = ("documents", "chunks", "tokens", "text_bytes", "modulation_bytes")
    row = connection.execute(
        "SELECT count(*), coalesce(sum(chunks), 0), coalesce(sum(tokens), 0), "
        "coalesce(sum(text_bytes), 0), coalesce(sum(bytes), 0) FROM documents"
    ).fetchone()
    sums = dict(zip(names, row, strict=True))
    pruned, sharing, shared = connection.execute(
        "SELECT (SELECT count(*) FROM chunks WHERE pruned IS NOT NULL), count(*), "
        "count(DISTINCT merged_id) FROM chunks WHERE merged_id IS NOT NULL AND pruned IS NULL"
    ).fetchone()
    modulations = sums["chunks"] - pruned - sharing + shared
    return sums | {"pruned": pruned, "modulations": modulations}
