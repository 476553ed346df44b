"""Giving back the space of what was removed."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

from store import prunes
from store.database import BACKUP_PREFIX, GRAPH_PREFIX, INDEX_NAME, KEY_PREFIX
from store.disk import require_space
from store.keyblock import read_state
from store.schema import pragma


@dataclass(frozen=True, slots=True)
class Space:
    """What a vacuum gives back, in bytes.

    Attributes:
        total: the store's files now.
        index: pages of the index that hold nothing.
        keys: keys of removed chunks.
        undo: what is only there to undo prunes.
        files: copies of the index from before a migration; key files and graphs not in use.
    """

    total: int
    index: int
    keys: int
    undo: int
    files: int

    @property
    def reclaimable(self) -> int:
        """All of it; full-text search may give back a little more."""
        return self.index + self.keys + self.undo + self.files


def measure(connection: sqlite3.Connection, folder: Path) -> Space:
    """How much space a vacuum would give back at least."""
    state = read_state(connection)
    sizes = {path: path.stat().st_size for path in _files(folder)}
    keys = sizes.get(folder / f"{KEY_PREFIX}{state.generation:06d}.bin", 0)
    dead = min(state.dead, state.rows)
    return Space(
        total=sum(sizes.values()),
        index=pragma(connection, "freelist_count") * pragma(connection, "page_size"),
        keys=keys * dead // state.rows if state.rows else 0,
        undo=prunes.kept(connection),
        files=sum(sizes[path] for path in needless(folder, state.generation)),
    )


def needless(folder: Path, generation: int) -> list[Path]:
    """Files that the store of this generation of keys does not need."""
    kept = {f"{prefix}{generation:06d}.bin" for prefix in (KEY_PREFIX, GRAPH_PREFIX)}
    return [
        path
        for path in _files(folder)
        if path.name.startswith((BACKUP_PREFIX, KEY_PREFIX, GRAPH_PREFIX)) and path.name not in kept
    ]


def check_space(connection: sqlite3.Connection, folder: Path) -> None:
    """Make sure that there is space for `compact_index`.

    Raises:
        StoreError: there is none.
    """
    pages = pragma(connection, "page_count") - pragma(connection, "freelist_count")
    size = pages * pragma(connection, "page_size")
    temporary = _temporary_folder()
    same = temporary.stat().st_dev == folder.stat().st_dev
    # Once in the temporary file, once in the log, and the index may grow up to that size.
    require_space(folder, 2 * size if same else size)
    if not same:
        require_space(temporary, size)


def compact_index(connection: sqlite3.Connection) -> None:
    """Write the index anew without empty pages. Outside of transactions; see `check_space`.

    SQLite makes the new index in a temporary file and copies it through its log, so that a crash at
    any moment leaves the index as it was.
    """
    connection.execute("INSERT INTO chunks_fts (chunks_fts) VALUES ('optimize')")
    connection.execute("VACUUM")
    # Readers may keep the log from being emptied; then the next writer does it.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def _temporary_folder() -> Path:
    """Where SQLite puts temporary files."""
    named = [os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR")]
    for name in (*named, "/var/tmp", "/usr/tmp", "/tmp"):
        if name and os.path.isdir(name) and os.access(name, os.W_OK | os.X_OK):
            return Path(name)
    return Path(tempfile.gettempdir())


def _files(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if path.name.startswith((INDEX_NAME, KEY_PREFIX, GRAPH_PREFIX)) and path.is_file()
    ]
