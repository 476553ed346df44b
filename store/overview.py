"""Of the whole index: sums over all documents, and its last changes."""

from __future__ import annotations

import sqlite3

from store.records import Change


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


def history(connection: sqlite3.Connection, limit: int) -> list[Change]:
    """The last `limit` changes, the newest first."""
    query = (
        "SELECT id, at, action, source, content_hash, chunks, tokens, was FROM history "
        "ORDER BY id DESC LIMIT ?"
    )
    return [Change(*row) for row in connection.execute(query, (limit,))]
