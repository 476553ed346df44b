"""Rebuilding what a store can compute from the rest: full-text search, the list of keys, sums.

Texts, modulations and keys are stored once and cannot be computed. Documents that lost some are
marked, so that ingesting them again is not skipped, or removed if that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from store.care.verify import Kind, verify
from store.errors import translated
from store.index import documents, keys
from store.index.chunks import delete, text_hash
from store.index.connection import synchronous, writing
from store.index.incoming import UNREADABLE
from store.marks import decode
from store.pruning import records

if TYPE_CHECKING:
    from store.records import Advance
    from store.store import Store

_ORPHANS = {
    "chunks": ("document_id", "documents"),
    "modulations": ("chunk_id", "chunks"),
    "members": ("chunk_id", "chunks"),
    "usage": ("chunk_id", "chunks"),
    "document_tags": ("document_id", "documents"),
}


def repair(
    store: Store, *, drop_damaged: bool = False, advance: Advance | None = None
) -> Sequence[str]:
    """Rebuild what can be rebuilt, in one transaction.

    Args:
        store: the store.
        drop_damaged: remove documents whose chunks, modulations or keys are damaged. Otherwise they
            stay, marked as changed, so that ingesting them again replaces them.
        advance: as for `verify`, which is done first.

    Returns:
        the sources of the damaged documents.

    Raises:
        StoreError: no permission to write, or no space left.
    """
    kinds: set[Kind] = set()
    damaged: dict[str, None] = {}
    sums: dict[str, None] = {}
    measured: list[int] = []
    lost: list[int] = []
    reindex = False
    for problem in verify(store, advance):
        kinds.add(problem.kind)
        reindex |= problem.kind == "index" and problem.remedy == "repair"
        if problem.source is None:
            continue
        if problem.remedy == "ingest":
            damaged[problem.source] = None
            lost += [problem.chunk] if problem.chunk is not None else []
        else:
            sums[problem.source] = None
            measured += [problem.chunk] if problem.chunk is not None else []
    if not kinds:
        return []
    connection = store.connection
    with translated(store.path), synchronous(connection), writing(connection):
        if reindex:
            connection.execute("REINDEX")
        # First of all: removing a chunk takes its words out of full-text search.
        if "search" in kinds:
            connection.execute("INSERT INTO chunks_fts (chunks_fts) VALUES ('rebuild')")
        for table, (column, parent) in _ORPHANS.items() if "reference" in kinds else ():
            connection.execute(
                f"DELETE FROM {table} WHERE {column} NOT IN (SELECT id FROM {parent})"
            )
        for chunk_id in lost:
            _forget_marks(store, chunk_id)
        for chunk_id in measured:
            _measure(store, chunk_id)
        for source in sums:
            _count_again(store, source)
        for source in damaged:
            _remove(store, source) if drop_damaged else _mark(store, source)
        if kinds & {"keys", "reference"} or (drop_damaged and damaged):
            keys.mend(connection, store.key_size)
    return list(damaged)


def _measure(store: Store, chunk_id: int) -> None:
    """Write the sizes of a chunk whose modulation is readable."""
    query = "SELECT data FROM modulations WHERE chunk_id = ?"
    row = store.connection.execute(query, (chunk_id,)).fetchone()
    if row:  # a merged chunk may have only its part of a shared modulation
        store.connection.execute(
            "UPDATE chunks SET tokens = ? WHERE id = ?", (store.codec.tokens(row[0]), chunk_id)
        )
    query = "SELECT text FROM chunks WHERE id = ?"
    row = store.connection.execute(query, (chunk_id,)).fetchone()
    if row:  # another process may have removed it
        store.connection.execute(
            "UPDATE chunks SET text_hash = ? WHERE id = ?", (text_hash(row[0]), chunk_id)
        )
        records.resize(store.connection, [chunk_id])


def _forget_marks(store: Store, chunk_id: int) -> None:
    """Take away a damaged chunk's marks if they keep it from being read; it stays damaged."""
    query = "SELECT marks FROM chunks WHERE id = ?"
    row = store.connection.execute(query, (chunk_id,)).fetchone()
    try:
        decode(row[0] if row else "")
    except UNREADABLE:
        store.connection.execute("UPDATE chunks SET marks = '' WHERE id = ?", (chunk_id,))


def _count_again(store: Store, source: str) -> None:
    documents.count_again(store.connection, source)
    store.connection.execute(
        "UPDATE documents SET expected = max(expected, chunks) WHERE source = ?", (source,)
    )


def _mark(store: Store, source: str) -> None:
    store.connection.execute("UPDATE documents SET content_hash = '' WHERE source = ?", (source,))


def _remove(store: Store, source: str) -> None:
    document = documents.find(store.connection, source)
    if document is not None:
        keys.discard(store.connection, delete(store.connection, document.id))
        documents.delete(store.connection, document.id)
