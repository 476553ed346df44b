"""Files that must be on the disk, or fit on it."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from store.errors import StoreError

_SLACK = 1 << 20


def sync_file(path: Path) -> None:
    """Put a file's content on the disk."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Put a new file's name on the disk; where folders cannot be opened there is nothing to do."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_space(folder: Path, needed: int) -> None:
    """Raise `StoreError` unless `needed` bytes and a little more are free where `folder` lies."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SLACK:
        raise StoreError(
            f"Not enough space on the disk of {folder}: {needed + _SLACK:,} bytes are needed for "
            f"a while, {free:,} are free",
            hint="Free some space and run the same command again; nothing was changed.",
        )


def copy_database(source: sqlite3.Connection, target: Path) -> None:
    """Copy the state that `source` sees to the file `target`, which appears when it is whole.

    Raises:
        StoreError: there is not enough space.
    """
    pages, page = (
        int(source.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size")
    )
    require_space(target.parent, pages * page)
    partial = target.with_name(target.name + ".partial")
    _remove_database(partial)  # of a process that was killed; its journal would spoil the new file
    try:
        with closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        sync_file(partial)
        os.replace(partial, target)
    finally:
        _remove_database(partial)
    sync_folder(target.parent)


def _remove_database(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
