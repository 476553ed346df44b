"""Rebuilding what a store holds twice: keys, full-text search, digests and sums.

What it holds once, the modulations and the texts, cannot be rebuilt. Documents that lost some are
marked, so that ingesting them again is not taken for needless, or removed if that is asked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from store import digests, documents, prunes
from store.keyblock import KeyBlock, discard
from store.verify import Kind, Problem


@dataclass(slots=True)
class Damage:
    """What a verification found, as far as it is needed to repair it."""

    kinds: set[Kind] = field(default_factory=set)
    documents: dict[str, None] = field(default_factory=dict)
    sums: dict[str, None] = field(default_factory=dict)
    chunks: list[int] = field(default_factory=list)
    reindex: bool = False


def damage(problems: Iterable[Problem]) -> Damage:
    """Sum up what was found."""
    found = Damage()
    for problem in problems:
        found.kinds.add(problem.kind)
        found.reindex |= problem.kind == "index" and problem.remedy == "repair"
        if problem.remedy == "ingest" and problem.source is not None:
            found.documents[problem.source] = None
        elif problem.kind in ("totals", "digest"):
            if problem.chunk is not None:
                found.chunks.append(problem.chunk)
            if problem.source is not None:
                found.sums[problem.source] = None
    return found


def repair(
    connection: sqlite3.Connection,
    key_block: KeyBlock,
    tokens: Callable[[bytes], int],
    found: Damage,
    *,
    drop: bool,
) -> Sequence[str]:
    """Rebuild what can be rebuilt, inside a write transaction.

    Args:
        connection: to the index.
        key_block: the store's keys; call its `clean` once the transaction is committed.
        tokens: T of an encoded modulation, or a chunk's part of one, that decodes.
        found: what is wrong.
        drop: remove documents that lost modulations, and chunks that belong to no document.

    Returns:
        the sources of the documents that were marked or removed.
    """
    if found.reindex:
        connection.execute("REINDEX")
    # First of all: removing a chunk takes its words out of full-text search.
    if "search" in found.kinds:
        connection.execute("INSERT INTO chunks_fts (chunks_fts) VALUES ('rebuild')")
    if drop:
        connection.execute("DELETE FROM chunks WHERE document_id NOT IN (SELECT id FROM documents)")
    for table in ("modulations", "digests"):
        connection.execute(f"DELETE FROM {table} WHERE chunk_id NOT IN (SELECT id FROM chunks)")
    for chunk_id in found.chunks:
        _measure(connection, tokens, chunk_id)
    for source in found.sums.keys() - found.documents.keys():
        documents.count_again(connection, source)
    for source in found.documents:
        document = documents.find(connection, source)
        if document is None:
            continue
        if drop:
            documents.record(connection, "removed", source)
            discard(connection, documents.delete_chunks(connection, document.id))
            documents.delete(connection, document.id)
        else:
            connection.execute("UPDATE documents SET content_hash = '' WHERE source = ?", (source,))
    if found.kinds & {"keys", "reference"} or (drop and found.documents):
        key_block.rewrite(mend=True)
    return list(found.documents)


def _measure(connection: sqlite3.Connection, tokens: Callable[[bytes], int], chunk_id: int) -> None:
    """Write a chunk's sizes and the digest of its modulation, which was found to be readable."""
    query = "SELECT data FROM modulations WHERE chunk_id = ?"
    own = connection.execute(query, (chunk_id,)).fetchone()
    query = "SELECT data FROM members WHERE chunk_id = ? ORDER BY merged_id DESC LIMIT 1"
    found = own or connection.execute(query, (chunk_id,)).fetchone()
    if found:  # not of a chunk that was dropped for good
        connection.execute(
            "UPDATE chunks SET tokens = ? WHERE id = ?", (tokens(found[0]), chunk_id)
        )
    prunes.resize(connection, [chunk_id])
    if own:
        digests.write(connection, [(chunk_id, own[0])])
