"""Taking over the modulations of another checkpoint, made in a store of their own beside this one.

The texts of a store are amortized anew into a second store (the *draft*) in a folder within the
first. When every document is there, its chunks take the place of the first store's in one
transaction: documents keep their ids and all that is known of them, and a crash leaves the store as
it was before or after.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from store.errors import corrupt, translated
from store.index import keys, live_keys
from store.index.connection import (
    INDEX_NAME,
    pragma,
    reading,
    require_space,
    synchronous,
    writing,
)
from store.index.opening import check_unchanged

if TYPE_CHECKING:
    from store.records import ChunkRow
    from store.store import Store

DRAFT = "rebuild"
"""The folder of the draft within the folder of the store."""

_BEGINS_LINE = re.compile(r"(?:#{1,6}|[-*+•]|\d{1,3}[.)])[ \t]")

# Documents that the draft lacks, has only a part of, or has with another content.
_OPEN = """
    SELECT 1 FROM main.documents AS documents
    LEFT JOIN draft.documents AS rebuilt USING (source)
    WHERE rebuilt.content_hash IS NOT documents.content_hash OR rebuilt.chunks < rebuilt.expected
"""
# A document of which only a part was stored stays one: its source has more than the draft.
_ADOPT = (
    "DELETE FROM main.chunks",
    "DELETE FROM main.key_blocks",
    "DELETE FROM main.dead_keys",
    "DELETE FROM main.prunes",  # every chunk has a modulation of its own again
    'INSERT INTO main.chunks (id, document_id, position, start, "end", text, context, marks, '
    "text_hash, tokens, bytes, digest) "
    'SELECT :base + c.id, d.id, position, start, "end", text, context, marks, text_hash, '
    "c.tokens, c.bytes, digest "
    "FROM draft.chunks AS c JOIN draft.documents AS rebuilt ON rebuilt.id = c.document_id "
    "JOIN main.documents AS d USING (source) ORDER BY c.id",
    "INSERT INTO main.modulations (chunk_id, data) SELECT :base + chunk_id, data "
    "FROM draft.modulations WHERE :base + chunk_id IN (SELECT id FROM main.chunks)",
    "UPDATE main.documents SET (expected, chunks, tokens, bytes, text_bytes, chunking) = ("
    "SELECT rebuilt.chunks + main.documents.expected - main.documents.chunks, chunks, tokens, "
    "bytes, text_bytes, chunking FROM draft.documents AS rebuilt "
    "WHERE rebuilt.source = main.documents.source)",
    "INSERT OR REPLACE INTO main.meta (key, value) SELECT key, value FROM draft.meta "
    "WHERE key IN ('fingerprint', 'model', 'key_size', 'latent_size')",
)


def document_text(chunks: Sequence[ChunkRow]) -> str:
    """Return a document's text as far as it is stored, each chunk at its offset.

    Between two chunks stood white space, which is not stored. More than one character of it ended a
    paragraph; a single one becomes a space, or a line's end before a heading or an item of a list.
    Chunks that overlap are taken one after the other.
    """
    pieces: list[str] = []
    at = 0
    for chunk in chunks:
        gap = max(0, chunk.start - at)
        ends_line = gap > 1 or _BEGINS_LINE.match(chunk.text)
        pieces.append("\n" * min(gap, 2) + " " * (gap - 2) if ends_line else " " * gap)
        pieces.append(chunk.text)
        at = max(at, chunk.start) + len(chunk.text)
    return "".join(pieces)


def adopt(store: Store, draft: Store) -> bool:
    """Put the chunks of a store of the same documents in the place of this store's.

    This store then is one of the draft's checkpoint; what else is known of its documents stays. It
    happens in one transaction. Afterwards both are to be closed.

    Returns:
        whether it was done: not if the draft lacks a document, or has it with another content.

    Raises:
        StoreError: no permission to write, or not enough space.
        StoreCorruptError: the draft's keys are damaged.
    """
    connection = store.connection
    with translated(store.path):
        connection.execute("ATTACH DATABASE ? AS draft", (str(draft.path / INDEX_NAME),))
        try:
            pages = pragma(connection, "draft.page_count")
            size = pragma(connection, "draft.page_size")
            require_space(store.path, 2 * pages * size)  # in the log, and then in the database
            with reading(draft.connection), synchronous(connection), writing(connection):
                check_unchanged(connection, store.path, store.identity)
                if connection.execute(f"{_OPEN} LIMIT 1").fetchone():
                    return False
                _adopt(store, draft)
        finally:
            connection.execute("DETACH DATABASE draft")
    return True


def _adopt(store: Store, draft: Store) -> None:
    connection = store.connection
    # Ids are never given twice: the keys are in their order.
    query = "SELECT coalesce(max(seq), 0) FROM main.sqlite_sequence WHERE name = 'chunks'"
    (base,) = connection.execute(query).fetchone()
    for statement in _ADOPT:
        connection.execute(statement, {"base": base} if ":base" in statement else {})
    try:
        for ids, vectors in live_keys.live(draft.connection, draft.key_size, keys.ROW):
            present = _present(connection, (ids + base).tolist())
            pairs = zip((ids + base).tolist(), vectors, strict=True)
            chosen = [(chunk_id, key) for chunk_id, key in pairs if chunk_id in present]
            keys.append(connection, [i for i, _ in chosen], [key for _, key in chosen])
    except keys.DamagedKeysError as error:
        raise corrupt(draft.path, str(error)) from error


def _present(connection: sqlite3.Connection, ids: Sequence[int]) -> set[int]:
    query = "SELECT id FROM main.chunks WHERE id BETWEEN ? AND ?"
    return {row[0] for row in connection.execute(query, (ids[0], ids[-1]))}
