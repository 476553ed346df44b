"""Reading the keys of chunks that can be found. E: key size, n: keys."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from store.index.connection import reading
from store.index.keys import (
    COLUMNS,
    USELESS,
    among,
    check_place,
    decode,
    overlap,
    sorted_ids,
)
from store.labels import Within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from store.index.keys import Block, Row


def live(
    connection: sqlite3.Connection,
    key_size: int,
    size: int,
    *,
    after: int = 0,
    chosen: NDArray[np.int64] | None = None,
    dropped: bool = False,
) -> Iterator[Block]:
    """Yield keys in the order of ids, at most `size` at a time: ids int64 [n], keys float16 [n, E].

    They are those of the moment of the first block, without what another process removes and folds
    away meanwhile. No transaction is open between two blocks.

    Args:
        connection: to the index.
        key_size: E.
        size: of a block.
        after: only of chunks with larger ids.
        chosen: only of these chunks, int64 [n], growing; None for all.
        dropped: also of chunks that a prune dropped, as long as it can be undone.

    Raises:
        DamagedKeysError: a row is damaged.
    """
    import numpy as np

    with reading(connection):
        query = USELESS if dropped else "SELECT chunk_id FROM dead_keys"
        dead = sorted_ids(connection, query)
        (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM chunks").fetchone()
    while True:
        with reading(connection):
            rows = _next_rows(connection, after, newest, size, chosen)
        blocks = []
        for row in rows:
            ids, keys = decode(row, key_size)
            alive = (ids > after) & (ids <= newest)
            if len(dead):
                alive &= ~among(ids, dead)
            if chosen is not None:
                alive &= among(ids, chosen)
            blocks.append((ids, keys) if alive.all() else (ids[alive], keys[alive]))
            after = max(after, int(ids[-1]))
        if not rows:
            return
        if len(blocks) == 1:
            ids, keys = blocks[0]
        else:
            ids, keys = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
        for start in range(0, len(ids), size):
            yield ids[start : start + size], keys[start : start + size]


def chosen_ids(connection: sqlite3.Connection, within: Within) -> NDArray[np.int64]:
    """Return the ids of the chunks of certain documents, without dropped ones: int64 [n]."""
    condition, values = within.condition()
    query = (
        "SELECT chunks.id FROM documents JOIN chunks ON document_id = documents.id "
        f"WHERE pruned IS NULL AND {condition}"
    )
    return sorted_ids(connection, query, values)


def _next_rows(
    connection: sqlite3.Connection,
    after: int,
    newest: int,
    size: int,
    chosen: NDArray[np.int64] | None,
) -> list[Row]:
    """Return rows with keys past `after`, until they hold `size` keys."""
    rows: list[Row] = []
    number = 0
    # The last row that begins before may reach beyond: another process may have folded rows.
    places = connection.execute(
        "SELECT first, last, count FROM key_blocks WHERE first <= ?2 AND first >= coalesce("
        "(SELECT max(first) FROM key_blocks WHERE first <= ?1), 0) ORDER BY first",
        (after, newest),
    )
    with closing(places):
        for first, last, count in places:
            check_place(first, last, count)
            if first <= after and last <= after:
                continue
            if chosen is not None and not overlap(chosen, first, last):
                continue
            query = f"SELECT {COLUMNS} FROM key_blocks WHERE first = ?"
            rows.append(connection.execute(query, (first,)).fetchone())
            number += count
            if number >= size:
                break
    return rows
