"""Chunks that a document's new version takes over from the stored one, in the transaction of `put`.

Their rows stay: only where they stand in the document changes. So their ids, modulations, keys and
places in the full-text index need no writing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from store.errors import ChunksGoneError
from store.records import KeptChunk


def check(
    connection: sqlite3.Connection, document_id: int | None, kept: Mapping[int, KeptChunk]
) -> None:
    """Make sure that every chunk of `kept` (by new position) is the document's, and once only.

    Raises:
        ChunksGoneError: one is not, or has another text: the document was replaced meanwhile.
    """
    query = "SELECT id, text FROM chunks WHERE document_id = ?"
    texts = dict(connection.execute(query, (document_id,)).fetchall()) if kept else {}
    for chunk in kept.values():
        if texts.pop(chunk.id, None) != chunk.text:
            raise ChunksGoneError(
                f"Chunk {chunk.id} cannot be kept: its document was replaced meanwhile",
                hint="Run the same command again.",
            )


def place(connection: sqlite3.Connection, document_id: int, kept: Mapping[int, KeptChunk]) -> None:
    """Put the chunks of `kept`, all that the document has left, at their new positions."""
    # Out of each other's way first: no two chunks may share a position even for a moment.
    connection.execute(
        "UPDATE chunks SET position = -1 - position WHERE document_id = ?", (document_id,)
    )
    connection.executemany(
        'UPDATE chunks SET position = ?, start = ?, "end" = ? WHERE id = ?',
        [(position, chunk.start, chunk.end, chunk.id) for position, chunk in kept.items()],
    )
