"""Giving back the space of what was removed."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import corrupt, forbidden, translated
from store.index import keys
from store.index.connection import (
    pragma,
    reading,
    require_space,
    size_on_disk,
    synchronous,
    writing,
)
from store.pruning import prune, records

if TYPE_CHECKING:
    from store.store import Store


@dataclass(frozen=True, slots=True)
class Space:
    """What a vacuum frees, in bytes.

    Attributes:
        total: the store's files now.
        index: pages of the database that hold nothing.
        keys: keys of removed chunks.
        undo: what serves only to undo prunes.
    """

    total: int
    index: int
    keys: int
    undo: int

    @property
    def reclaimable(self) -> int:
        """All of it; full-text search may give back a little more."""
        return self.index + self.keys + self.undo


def space(store: Store) -> Space:
    """Return how much space `vacuum` would give back at least."""
    connection = store.connection
    with translated(store.path), reading(connection):
        return Space(
            total=size_on_disk(store.path),
            index=pragma(connection, "freelist_count") * pragma(connection, "page_size"),
            keys=keys.useless(connection) * (8 + 2 * store.key_size),
            undo=records.undo_bytes(connection),
        )


def vacuum(store: Store) -> int:
    """Free the space of what was removed, and return the bytes by which the store shrank.

    What serves only to undo prunes is deleted too. After a crash at any moment the store answers
    as before.

    Raises:
        StoreError: no permission to write, or not enough space for the work.
        StoreCorruptError: the keys or a merged modulation are damaged.
    """
    if not store.writable:
        raise forbidden(store.path)
    connection = store.connection
    before = space(store).total
    with translated(store.path):
        _check_space(connection, store.path)
    prune.forget(store)
    with translated(store.path):
        try:
            with synchronous(connection), writing(connection):
                keys.compact(connection, store.key_size)
        except keys.DamagedKeysError as error:
            raise corrupt(store.path, str(error)) from error
        _shrink(connection)
    return before - space(store).total


def _shrink(connection: sqlite3.Connection) -> None:
    """Write the database anew without empty pages. Outside of transactions; see `_check_space`.

    SQLite makes the new database in a temporary file and copies it through its log, so that a crash
    at any moment leaves the database as it was.
    """
    connection.execute("INSERT INTO chunks_fts (chunks_fts) VALUES ('optimize')")
    connection.execute("VACUUM")
    # Readers may keep the log from being emptied; then the next writer does it.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _check_space(connection: sqlite3.Connection, folder: Path) -> None:
    """Raise `StoreError` unless there is space for `_shrink`."""
    pages = pragma(connection, "page_count") - pragma(connection, "freelist_count")
    size = pages * pragma(connection, "page_size")
    temporary = _temporary_folder()
    same = temporary.stat().st_dev == folder.stat().st_dev
    # Once in the temporary file, once in the log, and the database may grow up to that size.
    require_space(folder, 2 * size if same else size)
    if not same:
        require_space(temporary, size)


def _temporary_folder() -> Path:
    """Return the folder where SQLite puts temporary files."""
    named = [os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR")]
    for name in (*named, "/var/tmp", "/usr/tmp", "/tmp"):
        if name and os.path.isdir(name) and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    return Path(tempfile.gettempdir())
