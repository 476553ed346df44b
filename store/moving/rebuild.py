"""Taking over the modulations of another checkpoint, made in a store of their own beside this one.

The texts of a store are amortized anew into a second store (the *draft*) in a folder within the
first. When every document is there, its chunks take the place of the first store's in one
transaction: documents keep their ids and all that is known of them, and a crash leaves the store as
it was before or after.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from store.database import INDEX_NAME, synchronous, writing
from store.disk import require_space
from store.opening import check_unchanged

if TYPE_CHECKING:
    from store.keyblock import KeyBlock
    from store.opening import Identity
    from store.records import ChunkRow

DRAFT = "rebuild"

_BEGINS_LINE = re.compile(r"(?:#{1,6}|[-*+•]|\d{1,3}[.)])[ \t]")

# Documents that the draft lacks, or has with another content.
_OPEN = """
    SELECT 1 FROM main.documents AS documents
    LEFT JOIN draft.documents AS made USING (source)
    WHERE made.content_hash IS NOT documents.content_hash
"""


def text(chunks: Sequence[ChunkRow]) -> str:
    """A document's text as far as it is stored, each chunk at its offset.

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


@contextmanager
def attached(connection: sqlite3.Connection, draft: Path) -> Iterator[None]:
    """The draft's index under the name `draft` in statements of `connection`."""
    connection.execute("ATTACH DATABASE ? AS draft", (str(draft / INDEX_NAME),))
    try:
        yield
    finally:
        connection.execute("DETACH DATABASE draft")


def adopt(
    connection: sqlite3.Connection, folder: Path, identity: Identity, key_block: KeyBlock
) -> bool:
    """Put the attached draft's chunks in the place of the store's, in one transaction.

    Args:
        connection: to the store's index.
        folder: of the store.
        identity: of the store when it was opened.
        key_block: of keys of the draft's size, for the store's folder.

    Returns:
        whether it was done: not if a document is missing in the draft, or has changed since.

    Raises:
        StoreError: not enough space.
    """
    pages = connection.execute("PRAGMA draft.page_count").fetchone()[0]
    size = connection.execute("PRAGMA draft.page_size").fetchone()[0]
    require_space(folder, 2 * pages * size)  # in the log, and then in the index
    with synchronous(connection), writing(connection):
        check_unchanged(connection, folder, identity)
        if connection.execute(f"{_OPEN} LIMIT 1").fetchone():
            return False
        # Ids are never given twice: the key file relies on it.
        query = "SELECT coalesce(max(seq), 0) FROM main.sqlite_sequence WHERE name = 'chunks'"
        (base,) = connection.execute(query).fetchone()
        connection.execute("DELETE FROM main.chunks")
        connection.execute(
            "DELETE FROM main.prunes"
        )  # every chunk has a modulation of its own again
        connection.execute(
            'INSERT INTO main.chunks (id, document_id, position, start, "end", text, tokens, bytes)'
            ' SELECT ? + c.id, d.id, position, start, "end", text, c.tokens, c.bytes '
            "FROM draft.chunks AS c JOIN draft.documents AS made ON made.id = c.document_id "
            "JOIN main.documents AS d USING (source) ORDER BY c.id",
            (base,),
        )
        for table, column in (("modulations", "data"), ("digests", "digest")):
            connection.execute(
                f"INSERT INTO main.{table} (chunk_id, {column}) SELECT ? + chunk_id, {column} "
                f"FROM draft.{table} WHERE ? + chunk_id IN (SELECT id FROM main.chunks)",
                (base, base),
            )
        connection.execute(
            "UPDATE main.documents SET (chunks, tokens, bytes, text_bytes, chunking) = ("
            "SELECT chunks, tokens, bytes, text_bytes, chunking FROM draft.documents AS made "
            "WHERE made.source = main.documents.source)"
        )
        connection.execute(
            "INSERT OR REPLACE INTO main.meta (key, value) SELECT key, value FROM draft.meta "
            "WHERE key IN ('fingerprint', 'model', 'key_size', 'latent_size')"
        )
        key_block.rewrite(mend=True)
    key_block.clean()
    return True
