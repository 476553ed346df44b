"""What prunes change, in SQL: dropping, sharing merged modulations, undoing, forgetting.

A dropped chunk is only marked, and its key listed as dead. A merged modulation stands beside those
that it replaces. So a prune writes little more than what is new, undoing it takes that away, and
only `forget` deletes what was replaced.

Everything here is part of the caller's transaction. After changing chunks, call `recount` once for
all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

from store.index import keys
from store.index.chunks import digest
from store.index.connection import by_id

SIZE = (
    "CASE WHEN chunks.pruned IS NOT NULL THEN 0 WHEN chunks.merged_id IS NULL "
    "THEN (SELECT length(data) FROM modulations WHERE chunk_id = chunks.id) ELSE "
    "(SELECT length(members.data) + length(merged.data) / merged.chunks FROM members "
    "JOIN merged ON merged.id = members.merged_id WHERE members.chunk_id = chunks.id "
    "AND members.merged_id = chunks.merged_id) END"
)
"""The bytes of a row of `chunks`, as SQL: its own, or its part and share of what it shares."""

_FIELDS = "at, strategy, target, seed, before, after, bytes_before, bytes_after"
_REPLACED = "SELECT id FROM chunks WHERE merged_id IS NOT NULL OR pruned IS NOT NULL"
_UNUSED_MEMBER = (
    "NOT EXISTS (SELECT 1 FROM chunks WHERE id = members.chunk_id "
    "AND chunks.merged_id = members.merged_id AND pruned IS NULL)"
)


@dataclass(frozen=True, slots=True)
class PruneRecord:
    """What a prune did, or would do.

    Attributes:
        at: when, ISO 8601 in UTC.
        strategy: one of `store.pruning.prune.STRATEGIES`.
        target: what was to be left, as `Target` writes it.
        seed: the random seed.
        before: number of modulations before.
        after: number of modulations afterwards.
        bytes_before: their size on disk before.
        bytes_after: their size on disk afterwards; an estimate for a merge that was not done yet.
    """

    at: str
    strategy: str
    target: str
    seed: int
    before: int
    after: int
    bytes_before: int
    bytes_after: int


class Merged(NamedTuple):
    """A merged modulation on its way into the store: its blob, and each chunk's part by id."""

    data: bytes
    members: dict[int, bytes]


def chunks_in_use(connection: sqlite3.Connection) -> sqlite3.Cursor:
    """Return id, merged modulation (0: its own), tokens and bytes of all chunks not dropped."""
    return connection.execute(
        "SELECT id, coalesce(merged_id, 0), tokens, bytes FROM chunks WHERE pruned IS NULL "
        "ORDER BY id"
    )


def usage(connection: sqlite3.Connection) -> dict[int, tuple[float, str]]:
    """Return by chunk id how much answers drew on it and when the last did; used chunks only."""
    query = "SELECT chunk_id, weight, last_used FROM usage"
    return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


def begin(connection: sqlite3.Connection, prune: PruneRecord) -> int:
    """Record a prune and return its number."""
    cursor = connection.execute(
        f"INSERT INTO prunes ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", astuple(prune)
    )
    return int(cursor.lastrowid or 0)


def finish(connection: sqlite3.Connection, number: int, after: int, size: int) -> None:
    """Record what a prune left."""
    connection.execute(
        "UPDATE prunes SET after = ?, bytes_after = ? WHERE id = ?", (after, size, number)
    )


def last(connection: sqlite3.Connection) -> tuple[int, PruneRecord] | None:
    """Return the number of the last prune that can be undone, and the prune."""
    query = f"SELECT id, {_FIELDS} FROM prunes ORDER BY id DESC LIMIT 1"
    row = connection.execute(query).fetchone()
    return (row[0], PruneRecord(*row[1:])) if row else None


def drop(connection: sqlite3.Connection, number: int, ids: Sequence[int]) -> None:
    """Mark chunks as dropped by a prune, and their keys as dead."""
    connection.executemany(
        "UPDATE chunks SET pruned = ? WHERE id = ?", [(number, chunk_id) for chunk_id in ids]
    )
    keys.discard(connection, ids)
    resize(connection, ids)


def share(connection: sqlite3.Connection, number: int, merged: Iterable[Merged]) -> list[int]:
    """Put merged modulations in the place of what their chunks had, and return these chunks."""
    changed: list[int] = []
    for modulation in merged:
        changed += modulation.members
        cursor = connection.execute(
            "INSERT INTO merged (prune_id, chunks, data) VALUES (?, ?, ?)",
            (number, len(modulation.members), modulation.data),
        )
        merged_id = cursor.lastrowid
        connection.executemany(
            "INSERT INTO members (chunk_id, merged_id, data) VALUES (?, ?, ?)",
            [(chunk_id, merged_id, data) for chunk_id, data in modulation.members.items()],
        )
        connection.executemany(
            "UPDATE chunks SET merged_id = ? WHERE id = ?",
            [(merged_id, chunk_id) for chunk_id in modulation.members],
        )
        resize(connection, list(modulation.members))
    return changed


def undo(connection: sqlite3.Connection, number: int) -> list[int]:
    """Take back the last prune, and return the chunks that have their modulations again."""
    query = "SELECT id FROM chunks WHERE pruned = ? AND pruned IS NOT NULL ORDER BY id"
    dropped = [row[0] for row in connection.execute(query, (number,))]
    connection.executemany(
        "UPDATE chunks SET pruned = NULL WHERE id = ?", [(chunk_id,) for chunk_id in dropped]
    )
    keys.restore(connection, dropped)
    query = (
        "SELECT chunk_id FROM members WHERE merged_id IN (SELECT id FROM merged WHERE prune_id = ?)"
    )
    changed = [row[0] for row in connection.execute(query, (number,))]
    # Before it, a chunk had the newest of the other modulations it is in, or else its own.
    connection.executemany(
        "UPDATE chunks SET merged_id = (SELECT max(merged_id) FROM members "
        "WHERE chunk_id = chunks.id AND merged_id <> chunks.merged_id) WHERE id = ?",
        [(chunk_id,) for chunk_id in changed],
    )
    connection.execute("DELETE FROM merged WHERE prune_id = ?", (number,))
    connection.execute("DELETE FROM prunes WHERE id = ?", (number,))
    restored = sorted({*dropped, *changed})
    resize(connection, restored)
    return restored


def undo_bytes(connection: sqlite3.Connection) -> int:
    """Return the bytes of the blobs that `forget` deletes."""
    unused = f"SELECT 1 FROM members WHERE merged_id = merged.id AND NOT {_UNUSED_MEMBER}"
    queries = (
        f"SELECT sum(length(data)) FROM modulations WHERE chunk_id IN ({_REPLACED})",
        f"SELECT sum(length(data)) FROM members WHERE {_UNUSED_MEMBER}",
        f"SELECT sum(length(data)) FROM merged WHERE NOT EXISTS ({unused})",
    )
    return sum(connection.execute(query).fetchone()[0] or 0 for query in queries)


def forget(connection: sqlite3.Connection) -> tuple[int, list[int]]:
    """Delete everything that serves only to undo a prune.

    Returns:
        the bytes of the blobs that were deleted, and the merged modulations that have lost a chunk
        since they were made, and so may hold tokens that no chunk has.
    """
    freed = undo_bytes(connection)
    _digest_texts(connection)
    connection.execute(f"DELETE FROM modulations WHERE chunk_id IN ({_REPLACED})")
    connection.execute("UPDATE chunks SET merged_id = NULL, pruned = 0 WHERE pruned IS NOT NULL")
    # A trigger deletes the merged modulations that no chunk shares any more.
    connection.execute(f"DELETE FROM members WHERE {_UNUSED_MEMBER}")
    connection.execute("UPDATE merged SET prune_id = 0 WHERE prune_id <> 0")
    connection.execute("DELETE FROM prunes")
    shrunk = connection.execute(
        "SELECT id FROM merged WHERE chunks > (SELECT count(*) FROM members "
        "WHERE merged_id = merged.id)"
    ).fetchall()
    return freed, [row[0] for row in shrunk]


def _digest_texts(connection: sqlite3.Connection) -> None:
    """Take the modulations that `forget` deletes out of their chunks' digests.

    A digest that is wrong stays wrong: nothing may hide damage.
    """
    rows = connection.execute(
        "SELECT id, text, context, marks, data, digest FROM chunks "
        "JOIN modulations ON chunk_id = id WHERE merged_id IS NOT NULL OR pruned IS NOT NULL"
    )
    while batch := rows.fetchmany(500):
        connection.executemany(
            "UPDATE chunks SET digest = ? WHERE id = ?",
            [
                (digest(None, *words), chunk_id)
                for chunk_id, *words, data, stored in batch
                if stored == digest(data, *words)
            ],
        )


def replace(connection: sqlite3.Connection, merged_id: int, merged: Merged) -> None:
    """Write a merged modulation anew, under the same number."""
    connection.execute(
        "UPDATE merged SET chunks = ?, data = ? WHERE id = ?",
        (len(merged.members), merged.data, merged_id),
    )
    connection.executemany(
        "UPDATE members SET data = ? WHERE chunk_id = ? AND merged_id = ?",
        [(data, chunk_id, merged_id) for chunk_id, data in merged.members.items()],
    )
    resize(connection, list(merged.members))


def shared_by(connection: sqlite3.Connection, merged_id: int) -> tuple[list[int], int]:
    """Return the chunks that share a merged modulation, and the bytes of its blob and parts."""
    query = "SELECT chunk_id, length(data) FROM members WHERE merged_id = ? ORDER BY chunk_id"
    parts = connection.execute(query, (merged_id,)).fetchall()
    query = "SELECT length(data) FROM merged WHERE id = ?"
    (size,) = connection.execute(query, (merged_id,)).fetchone()
    return [chunk for chunk, _ in parts], size + sum(length for _, length in parts)


def resize(connection: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Set the sizes of chunks whose modulation has changed."""
    connection.executemany(
        f"UPDATE chunks SET bytes = {SIZE} WHERE id = ?", [(chunk_id,) for chunk_id in ids]
    )


def recount(connection: sqlite3.Connection, ids: Sequence[int]) -> None:
    """Set the sizes of the documents of chunks whose modulation has changed."""
    query = "SELECT DISTINCT document_id FROM chunks WHERE id"
    documents = {row[0] for row in by_id(connection, query, ids)}
    connection.executemany(
        "UPDATE documents SET bytes = (SELECT coalesce(sum(bytes), 0) FROM chunks "
        "WHERE document_id = documents.id) WHERE id = ?",
        [(document,) for document in documents],
    )
