"""What prunes have changed, in SQL: dropping, taking in merged modulations, undoing, forgetting.

A dropped chunk is only marked, and its key taken out of the key block. A merged modulation stands
beside those that it replaces. So a prune writes little more than what is new, undoing it is taking
that away, and only `forget` deletes what was there before.

Everything here is part of the caller's transaction. Whoever changes chunks calls `recount` in the
end, once for all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from store.documents import by_id

SIZE = (
    "CASE WHEN chunks.pruned IS NOT NULL THEN 0 WHEN chunks.merged_id IS NULL "
    "THEN (SELECT length(data) FROM modulations WHERE chunk_id = chunks.id) ELSE "
    "(SELECT length(members.data) + length(merged.data) / merged.chunks FROM members "
    "JOIN merged ON merged.id = members.merged_id WHERE members.chunk_id = chunks.id "
    "AND members.merged_id = chunks.merged_id) END"
)
"""The bytes of a row of `chunks`, as SQL: its own, or its part and share of what it shares."""


@dataclass(frozen=True, slots=True)
class Prune:
    """What a prune did, or would do.

    Attributes:
        at: when, ISO 8601 in UTC.
        strategy: how.
        target: what it was to leave, as `Target` writes it.
        seed: of what was left to chance.
        before: number of modulations before.
        after: number of modulations after it.
        bytes_before: their size on disk.
        bytes_after: their size on disk; of a merge that was not done yet, an estimate.
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
    """A merged modulation on its way into the store: its blob, and by chunk id each part's."""

    data: bytes
    members: dict[int, bytes]


def rows(connection: sqlite3.Connection) -> sqlite3.Cursor:
    """All chunks that are there: id, which merged modulation (0: its own), tokens and bytes."""
    return connection.execute(
        "SELECT id, coalesce(merged_id, 0), tokens, bytes FROM chunks WHERE pruned IS NULL "
        "ORDER BY id"
    )


def usage(connection: sqlite3.Connection) -> dict[int, tuple[float, str]]:
    """By chunk id, how much answers drew on it and when the last one did; used ones only."""
    query = "SELECT chunk_id, weight, last_used FROM usage"
    return {row[0]: (row[1], row[2]) for row in connection.execute(query)}


def use(connection: sqlite3.Connection, weights: Iterable[tuple[int, float]], time: str) -> None:
    """Count an answer for each of the chunks that are there: ids and their shares of it."""
    connection.executemany(
        "INSERT INTO usage (chunk_id, answers, weight, last_used) "
        "SELECT id, 1, ?, ? FROM chunks WHERE id = ? "
        "ON CONFLICT (chunk_id) DO UPDATE SET answers = answers + 1, "
        "weight = weight + excluded.weight, last_used = excluded.last_used",
        [(weight, time, chunk_id) for chunk_id, weight in weights],
    )


def begin(connection: sqlite3.Connection, prune: Prune) -> int:
    """Write that there was such a prune, and return its number."""
    values = (
        prune.at,
        prune.strategy,
        prune.target,
        prune.seed,
        prune.before,
        prune.after,
        prune.bytes_before,
        prune.bytes_after,
    )
    cursor = connection.execute(
        "INSERT INTO prunes (at, strategy, target, seed, before, after, bytes_before, bytes_after) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        values,
    )
    return int(cursor.lastrowid or 0)


def finish(connection: sqlite3.Connection, number: int, after: int, size: int) -> None:
    """Write what came out of a prune."""
    connection.execute(
        "UPDATE prunes SET after = ?, bytes_after = ? WHERE id = ?", (after, size, number)
    )


def last(connection: sqlite3.Connection) -> tuple[int, Prune] | None:
    """The last prune that can be undone, and its number."""
    row = connection.execute(
        "SELECT id, at, strategy, target, seed, before, after, bytes_before, bytes_after "
        "FROM prunes ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return (row[0], Prune(*row[1:])) if row else None


def drop(connection: sqlite3.Connection, number: int, ids: Sequence[int]) -> None:
    """Mark chunks as dropped by a prune. Their keys are the caller's to discard."""
    connection.executemany(
        "UPDATE chunks SET pruned = ? WHERE id = ?", [(number, chunk_id) for chunk_id in ids]
    )
    resize(connection, ids)


def take_in(connection: sqlite3.Connection, number: int, merged: Iterable[Merged]) -> list[int]:
    """Put merged modulations in the place of what their chunks had, and return these chunks."""
    changed: list[int] = []
    for one in merged:
        changed += one.members
        cursor = connection.execute(
            "INSERT INTO merged (prune_id, chunks, data) VALUES (?, ?, ?)",
            (number, len(one.members), one.data),
        )
        merged_id = cursor.lastrowid
        connection.executemany(
            "INSERT INTO members (chunk_id, merged_id, data) VALUES (?, ?, ?)",
            [(chunk_id, merged_id, data) for chunk_id, data in one.members.items()],
        )
        connection.executemany(
            "UPDATE chunks SET merged_id = ? WHERE id = ?",
            [(merged_id, chunk_id) for chunk_id in one.members],
        )
        resize(connection, list(one.members))
    return changed


def dropped_by(connection: sqlite3.Connection, number: int) -> list[int]:
    """The chunks that a prune dropped and that are still there, in the order of their ids."""
    query = "SELECT id FROM chunks WHERE pruned = ? AND pruned IS NOT NULL ORDER BY id"
    return [row[0] for row in connection.execute(query, (number,))]


def any_dropped(connection: sqlite3.Connection) -> bool:
    """Whether there are chunks that a prune has dropped."""
    query = "SELECT 1 FROM chunks WHERE pruned IS NOT NULL LIMIT 1"
    return connection.execute(query).fetchone() is not None


def undo(connection: sqlite3.Connection, number: int) -> list[int]:
    """Take back the last prune. Bring back the keys of `dropped_by` before.

    Returns:
        the chunks that have their modulations back.
    """
    dropped = dropped_by(connection, number)
    connection.execute(
        "UPDATE chunks SET pruned = NULL WHERE pruned = ? AND pruned IS NOT NULL", (number,)
    )
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


_REPLACED = "SELECT id FROM chunks WHERE merged_id IS NOT NULL OR pruned IS NOT NULL"
_NOT_SHARED = (
    "NOT EXISTS (SELECT 1 FROM chunks WHERE id = members.chunk_id "
    "AND chunks.merged_id = members.merged_id AND pruned IS NULL)"
)


def kept(connection: sqlite3.Connection) -> int:
    """Bytes of the blobs that `forget` deletes."""
    unused = f"SELECT 1 FROM members WHERE merged_id = merged.id AND NOT {_NOT_SHARED}"
    queries = (
        f"SELECT sum(length(data)) FROM modulations WHERE chunk_id IN ({_REPLACED})",
        f"SELECT sum(length(data)) FROM members WHERE {_NOT_SHARED}",
        f"SELECT sum(length(data)) FROM merged WHERE NOT EXISTS ({unused})",
    )
    return sum(connection.execute(query).fetchone()[0] or 0 for query in queries)


def forget(connection: sqlite3.Connection) -> tuple[int, list[int]]:
    """Delete everything that is only there to undo a prune.

    Returns:
        the bytes of the blobs that were deleted, and which merged modulations have lost a chunk
        since they were made, and so may hold tokens that are nobody's.
    """
    freed = kept(connection)
    for table in ("modulations", "digests"):
        connection.execute(f"DELETE FROM {table} WHERE chunk_id IN ({_REPLACED})")
    connection.execute("UPDATE chunks SET merged_id = NULL, pruned = 0 WHERE pruned IS NOT NULL")
    # A trigger deletes the merged modulations that nobody shares any more.
    connection.execute(f"DELETE FROM members WHERE {_NOT_SHARED}")
    connection.execute("UPDATE merged SET prune_id = 0 WHERE prune_id <> 0")
    connection.execute("DELETE FROM prunes")
    shrunk = connection.execute(
        "SELECT id FROM merged WHERE chunks > (SELECT count(*) FROM members "
        "WHERE merged_id = merged.id)"
    ).fetchall()
    return freed, [row[0] for row in shrunk]


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


def any_replaced(connection: sqlite3.Connection) -> bool:
    """Whether a chunk is there that does not have the modulation that was made for it."""
    return connection.execute(f"{_REPLACED} LIMIT 1").fetchone() is not None


def shared_by(connection: sqlite3.Connection, merged_id: int) -> tuple[list[int], int]:
    """The chunks that share a merged modulation, and the bytes of its blob and of their parts."""
    query = "SELECT chunk_id, length(data) FROM members WHERE merged_id = ? ORDER BY chunk_id"
    parts = connection.execute(query, (merged_id,)).fetchall()
    query = "SELECT length(data) FROM merged WHERE id = ?"
    (size,) = connection.execute(query, (merged_id,)).fetchone()
    return [chunk for chunk, _ in parts], size + sum(length for _, length in parts)


def sharers(connection: sqlite3.Connection, ids: Sequence[int], limit: int) -> list[int]:
    """Chunks whose modulation is that of one of the chunks `ids`, at most `limit`, without them."""
    query = "SELECT merged_id FROM chunks WHERE merged_id IS NOT NULL AND id"
    found: list[int] = []
    for merged_id in {row[0] for row in by_id(connection, query, ids)}:
        query = "SELECT id FROM chunks WHERE merged_id = ? AND pruned IS NULL ORDER BY id LIMIT ?"
        found += [row[0] for row in connection.execute(query, (merged_id, limit + len(ids)))]
    return sorted(set(found).difference(ids))[:limit]


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
