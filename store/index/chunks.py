"""The chunks, read by document or by id, and how much answers drew on them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from store.index.connection import by_id, now
from store.records import ChunkRow

_CHUNK = (
    'SELECT chunks.id, document_id, source, title, position, start, "end", text, chunks.tokens, '
    "chunks.bytes, chunks.pruned IS NOT NULL, (SELECT count(*) FROM chunks AS other WHERE "
    "other.merged_id = chunks.merged_id AND other.id <> chunks.id AND other.pruned IS NULL) "
    "FROM chunks JOIN documents ON documents.id = document_id"
)


def of_document(connection: sqlite3.Connection, document_id: int) -> list[ChunkRow]:
    """Return a document's chunks in the order of the text."""
    query = f"{_CHUNK} WHERE document_id = ? ORDER BY position"
    return [_chunk(row) for row in connection.execute(query, (document_id,))]


def by_ids(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, ChunkRow]:
    """Return those of the chunks that exist, by their ids."""
    rows = map(_chunk, by_id(connection, f"{_CHUNK} WHERE chunks.id", ids))
    return {row.id: row for row in rows}


def _chunk(row: tuple[Any, ...]) -> ChunkRow:
    values = [*row[:-2], bool(row[-2]), row[-1]]
    return ChunkRow(*values)


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
