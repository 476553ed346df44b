"""The tables of documents, chunks and history: plain SQL, in the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from store import digests
from store.labels import Within
from store.opening import now
from store.records import ChunkRow, Document, NewChunk

_DOCUMENT = (
    "id, source, title, content_hash, chunking, chunks, tokens, bytes, characters, media_type, "
    "encoding, added_at, updated_at, date, "
    "(SELECT count(*) FROM chunks WHERE document_id = documents.id AND pruned IS NOT NULL), "
    "(SELECT group_concat(tag) FROM document_tags WHERE document_id = documents.id)"
)
_CHUNK = (
    'SELECT chunks.id, document_id, source, title, position, start, "end", text, chunks.tokens, '
    "chunks.bytes, chunks.pruned IS NOT NULL, (SELECT count(*) FROM chunks AS other WHERE "
    "other.merged_id = chunks.merged_id AND other.id <> chunks.id AND other.pruned IS NULL) "
    "FROM chunks JOIN documents ON documents.id = document_id"
)
_WRITTEN = {"start", "end", "text", "tokens"}
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
    return _document(row) if row else None


def page(
    connection: sqlite3.Connection,
    after: str | None,
    match: str | None,
    limit: int,
    within: Within,
) -> list[Document]:
    """The next `limit` documents in the order of sources, after the source `after`.

    Args:
        connection: to the index.
        after: where the page before ended; None for the first page.
        match: with `*` or `?` a pattern for the whole source, else a part of source or title,
            without regard to (ASCII) case.
        limit: the size of the page.
        within: only documents with these tags and dates.
    """
    condition, given = within.condition()
    where = [condition]
    values: list[str | int] = [*given]
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
    query = f"SELECT {_DOCUMENT} FROM documents WHERE {' AND '.join(where)} ORDER BY source LIMIT ?"
    return [_document(row) for row in connection.execute(query, (*values, limit))]


def _document(row: tuple[Any, ...]) -> Document:
    """A document from a row of `_DOCUMENT`. A tag has no comma in it, so commas part them."""
    *values, tags = row
    values.append(tuple(sorted(tags.split(","))) if tags else ())
    return Document(*values)


def below(
    connection: sqlite3.Connection, folder: str, separator: str
) -> list[tuple[str, str, str]]:
    """Source, content hash and chunking of the documents whose source lies in the folder."""
    first = folder.rstrip(separator) + separator
    last = first[:-1] + chr(ord(separator) + 1)
    query = (
        "SELECT source, content_hash, chunking FROM documents WHERE source > ? AND source < ? "
        "ORDER BY source"
    )
    return connection.execute(query, (first, last)).fetchall()


def write(
    connection: sqlite3.Connection,
    document: NewDocument,
    chunks: Sequence[NewChunk],
    blobs: Sequence[bytes],
    positions: Sequence[int],
) -> tuple[int, list[int]]:
    """Write a document and its chunks. Returns its id and those of the chunks, which grow.

    A document of the same source keeps its id; none of its chunks may stand at `positions`.
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
    return document_id, write_chunks(connection, document_id, positions, chunks, blobs)


def write_chunks(
    connection: sqlite3.Connection,
    document_id: int,
    positions: Sequence[int],
    chunks: Sequence[NewChunk],
    blobs: Sequence[bytes | None],
) -> list[int]:
    """Write chunks of a document at their positions, and return their ids, which grow.

    A chunk whose blob is None has no modulation of its own.
    """
    ids: list[int] = []
    for position, chunk, blob in zip(positions, chunks, blobs, strict=True):
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
                len(blob or b""),
            ),
        )
        # After the trigger that feeds the full-text index, this is still the chunk's id.
        ids.append(int(cursor.lastrowid or 0))
    own = [(i, blob) for i, blob in zip(ids, blobs, strict=True) if blob is not None]
    connection.executemany("INSERT INTO modulations (chunk_id, data) VALUES (?, ?)", own)
    digests.write(connection, own)
    return ids


def write_columns(connection: sqlite3.Connection, values: Mapping[str, Any]) -> int:
    """Write a document given as columns, its sums being zero, and return its id.

    A document of the same source keeps its id; its chunks must be gone already.
    """
    row = {**values, "chunks": 0, "tokens": 0, "bytes": 0, "text_bytes": 0}
    names = [f'"{name}"' for name in row]
    changed = ", ".join(f"{name} = excluded.{name}" for name in names if name != '"source"')
    found = connection.execute(
        f"INSERT INTO documents ({', '.join(names)}) VALUES ({', '.join('?' * len(row))}) "
        f"ON CONFLICT (source) DO UPDATE SET {changed} RETURNING id",
        tuple(row.values()),
    ).fetchone()
    return int(found[0])


def set_columns(connection: sqlite3.Connection, chunk_id: int, values: Mapping[str, Any]) -> None:
    """Set those of a chunk's columns that `write_chunks` knows nothing of."""
    others = {name: value for name, value in values.items() if name not in _WRITTEN}
    if others:
        changed = ", ".join(f'"{name}" = ?' for name in others)
        connection.execute(
            f"UPDATE chunks SET {changed} WHERE id = ?", (*others.values(), chunk_id)
        )


def count_again(connection: sqlite3.Connection, source: str) -> None:
    """Make a document's sums those of its chunks."""
    connection.execute(
        "UPDATE documents SET (chunks, tokens, bytes, text_bytes) = ("
        "SELECT count(*), coalesce(sum(tokens), 0), coalesce(sum(bytes), 0), "
        "coalesce(sum(length(CAST(text AS BLOB))), 0) FROM chunks WHERE document_id = documents.id"
        ") WHERE source = ?",
        (source,),
    )


def delete_chunks(
    connection: sqlite3.Connection, document_id: int, *, keep: Container[int] = ()
) -> list[int]:
    """Delete a document's chunks with their modulations, all but those to `keep`.

    Returns:
        the ids, which grow, of those whose keys count: the keys of dropped ones are gone already.
    """
    query = "SELECT id, pruned IS NULL FROM chunks WHERE document_id = ? ORDER BY id"
    rows = [row for row in connection.execute(query, (document_id,)) if row[0] not in keep]
    connection.executemany("DELETE FROM chunks WHERE id = ?", [row[:1] for row in rows])
    return [chunk_id for chunk_id, there in rows if there]


def delete(connection: sqlite3.Connection, document_id: int) -> None:
    """Delete a document whose chunks are gone."""
    connection.execute("DELETE FROM documents WHERE id = ?", (document_id,))


def rename(
    connection: sqlite3.Connection,
    document_id: int,
    source: str,
    title: str | None,
    media_type: str,
    encoding: str,
) -> None:
    """Change what a document is called and what it is read from. Its source must be free."""
    connection.execute(
        "UPDATE documents SET source = ?, title = ?, media_type = ?, encoding = ? WHERE id = ?",
        (source, title, media_type, encoding, document_id),
    )


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
    connection: sqlite3.Connection,
    action: Literal["added", "updated", "renamed", "removed"],
    source: str,
    was: str | None = None,
) -> None:
    """Write a line of history about a document: after writing it, or before deleting it."""
    connection.execute(
        "INSERT INTO history (at, action, source, content_hash, chunks, tokens, was) "
        "SELECT ?, ?, source, content_hash, chunks, tokens, ? FROM documents WHERE source = ?",
        (now(), action, was, source),
    )
