"""The documents and the sums over their chunks, in the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from store.index.connection import now
from store.labels import Within
from store.records import Document, NewChunk

if TYPE_CHECKING:
    from sqlite_utils import Database

_DOCUMENT = (
    "id, source, title, content_hash, chunking, chunks, expected, tokens, bytes, characters, "
    "media_type, encoding, added_at, updated_at, date, "
    "(SELECT count(*) FROM chunks WHERE document_id = documents.id AND pruned IS NOT NULL), "
    "(SELECT group_concat(tag) FROM document_tags WHERE document_id = documents.id), stale"
)


@dataclass(frozen=True, slots=True)
class DocumentValues:
    """What is known of a document before its chunks are counted."""

    source: str
    title: str | None
    content_hash: str
    chunking: str
    expected: int
    media_type: str
    encoding: str
    characters: int


def find(connection: sqlite3.Connection, which: str | int) -> Document | None:
    """Return the document with this source, or with this id."""
    column = "id" if isinstance(which, int) else "source"
    query = f"SELECT {_DOCUMENT} FROM documents WHERE {column} = ?"
    row = connection.execute(query, (which,)).fetchone()
    return _document(row) if row else None


def page(
    connection: sqlite3.Connection,
    after: str | None,
    match: str | None,
    limit: int,
    within: Within,
) -> list[Document]:
    """Return the next `limit` documents in the order of sources, after the source `after`.

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
    """Make a document from a row of `_DOCUMENT`. No tag holds a comma, so commas separate them."""
    *values, tags, stale = row
    values += [tuple(sorted(tags.split(","))) if tags else (), stale]
    return Document(*values)


def count(connection: sqlite3.Connection, within: Within) -> int:
    """Return how many documents are chosen."""
    condition, values = within.condition()
    query = f"SELECT count(*) FROM documents WHERE {condition}"
    return int(connection.execute(query, values).fetchone()[0])


def below(
    connection: sqlite3.Connection, folder: str, separator: str
) -> list[tuple[str, str, str]]:
    """Return source, content hash and chunking of the documents whose source is in the folder."""
    first = folder.rstrip(separator) + separator
    last = first[:-1] + chr(ord(separator) + 1)
    query = (
        "SELECT source, content_hash, chunking FROM documents WHERE source > ? AND source < ? "
        "ORDER BY source"
    )
    return connection.execute(query, (first, last)).fetchall()


def write(database: Database, old: Document | None, document: DocumentValues) -> int:
    """Write a document in place of `old`, the one of the same source, and return its id.

    Its sums are those of no chunks; call `count_again` when these are written.
    """
    time = now()
    sums = dict.fromkeys(("chunks", "tokens", "bytes", "text_bytes"), 0)
    values: dict[str, Any] = {
        "source": document.source,
        "title": document.title,
        "content_hash": document.content_hash,
        "chunking": document.chunking,
        "expected": document.expected,
        "characters": document.characters,
        "media_type": document.media_type,
        "encoding": document.encoding,
        "added_at": old.added_at if old else time,
        "updated_at": time,
        "stale": None,
        **sums,
    }
    table = database.table("documents")
    if old is not None:
        table.upsert({"id": old.id, "date": old.date, **values}, pk="id")
        return old.id
    return int(table.insert(values).last_rowid or 0)


def count_again(connection: sqlite3.Connection, source: str) -> None:
    """Make a document's sums those of its chunks."""
    connection.execute(
        "UPDATE documents SET (chunks, tokens, bytes, text_bytes) = ("
        "SELECT count(*), coalesce(sum(tokens), 0), coalesce(sum(bytes), 0), "
        "coalesce(sum(length(CAST(text AS BLOB))), 0) FROM chunks WHERE document_id = documents.id"
        ") WHERE source = ?",
        (source,),
    )


def count_more(
    connection: sqlite3.Connection,
    document_id: int,
    chunks: Sequence[NewChunk],
    blobs: Sequence[bytes],
) -> None:
    """Add new chunks to a document's sums, in time that does not grow with the document."""
    sums = (
        len(chunks),
        sum(len(chunk.scales) for chunk in chunks),
        sum(map(len, blobs)),
        sum(len(chunk.text.encode()) for chunk in chunks),
    )
    connection.execute(
        "UPDATE documents SET chunks = chunks + ?, tokens = tokens + ?, bytes = bytes + ?, "
        "text_bytes = text_bytes + ?, updated_at = ?, stale = NULL WHERE id = ?",
        (*sums, now(), document_id),
    )


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
        "UPDATE documents SET source = ?, title = ?, media_type = ?, encoding = ?, stale = NULL "
        "WHERE id = ?",
        (source, title, media_type, encoding, document_id),
    )


def mark_stale(connection: sqlite3.Connection, document_id: int, reason: str | None) -> None:
    """Say why a document's file cannot be read any more; None if it can again."""
    connection.execute("UPDATE documents SET stale = ? WHERE id = ?", (reason, document_id))


def write_labels(
    connection: sqlite3.Connection, document_id: int, tags: tuple[str, ...], day: str | None
) -> None:
    """Replace the tags and the date of a document."""
    connection.execute("UPDATE documents SET date = ? WHERE id = ?", (day, document_id))
    connection.execute("DELETE FROM document_tags WHERE document_id = ?", (document_id,))
    connection.executemany(
        "INSERT INTO document_tags (tag, document_id) VALUES (?, ?)",
        [(tag, document_id) for tag in tags],
    )


def totals(connection: sqlite3.Connection) -> dict[str, int]:
    """Return sums over all documents and keys, by the names they have in `Stats`."""
    names = ("documents", "partial", "chunks", "tokens", "text_bytes", "modulation_bytes")
    row = connection.execute(
        "SELECT count(*), coalesce(sum(chunks < expected), 0), coalesce(sum(chunks), 0), "
        "coalesce(sum(tokens), 0), coalesce(sum(text_bytes), 0), coalesce(sum(bytes), 0) "
        "FROM documents"
    ).fetchone()
    sums = dict(zip(names, row, strict=True))
    pruned, sharing, shared, key_bytes = connection.execute(
        "SELECT (SELECT count(*) FROM chunks WHERE pruned IS NOT NULL), count(*), "
        "count(DISTINCT merged_id), "
        "(SELECT coalesce(sum(length(ids) + length(keys)), 0) FROM key_blocks) "
        "FROM chunks WHERE merged_id IS NOT NULL AND pruned IS NULL"
    ).fetchone()
    modulations = sums["chunks"] - pruned - sharing + shared
    return sums | {"pruned": pruned, "modulations": modulations, "key_bytes": key_bytes}
