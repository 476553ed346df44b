"""Connections to `index.db`, transactions, and files that must fit or stay on the disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from store.errors import StoreError, StoreNotFoundError, corrupt

INDEX_NAME = "index.db"
NEAR_NAME = "near.usearch"
"""The cache for approximate search, which may be deleted at any time."""

_SLACK = 1 << 20
_BATCH = 500  # far below SQLite's limit on parameters


def check_folder(folder: Path, *, create: bool) -> None:
    """Make sure that `folder` is a store, or with `create` a place for one (and make the folder).

    Raises:
        StoreNotFoundError: there is no store, and `create` is false.
        StoreError: `folder` is a file, or holds something else.
        StoreCorruptError: the store lost its index.
    """
    if folder.is_file():
        raise StoreError(
            f"{folder} is a file; a store is a folder", hint="Give the path of a folder."
        )
    if create:
        # Nothing is asked before: of several processes that start at once, any may make it.
        folder.mkdir(parents=True, exist_ok=True)
    elif not folder.is_dir():
        raise not_found(folder)
    names = os.listdir(folder)
    if INDEX_NAME in names or (folder / INDEX_NAME).exists():
        return
    if any(name.startswith((INDEX_NAME, NEAR_NAME)) for name in names):
        raise corrupt(folder, "index.db is missing")
    if not create:
        raise not_found(folder)
    if names:
        raise StoreError(
            f"{folder} is not a store and is not empty (it holds {sorted(names)[0]!r})",
            hint="Choose an empty folder, or one that does not exist yet.",
        )


def not_found(folder: Path) -> StoreNotFoundError:
    """Return the error for a folder without a store."""
    return StoreNotFoundError(
        f"There is no store at {folder}", hint="Ingest documents first; that makes the store."
    )


def connect(folder: Path, *, create: bool, timeout: float) -> tuple[sqlite3.Connection, bool]:
    """Open the database of the store in `folder`. Returns it and whether it can be written.

    The connection starts no transactions by itself and waits up to `timeout` seconds for locks.
    """
    index = folder / INDEX_NAME
    writable = _writable(folder) and (_writable(index) or not index.exists())
    if not writable:
        return _connect_read_only(index, timeout), False
    connection = _connect(index, "mode=rwc" if create else "mode=rw", timeout)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA cell_size_check = ON")
        # With WAL, NORMAL never damages the database; a power cut may undo the last commits.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
    except BaseException:
        connection.close()
        raise
    return connection, True


def _connect(index: Path, options: str, timeout: float) -> sqlite3.Connection:
    uri = f"{index.absolute().as_uri()}?{options}"
    return sqlite3.connect(uri, uri=True, timeout=timeout, isolation_level=None)


def _connect_read_only(index: Path, timeout: float) -> sqlite3.Connection:
    connection = _connect(index, "mode=ro", timeout)
    try:
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        log = index.with_name(INDEX_NAME + "-wal")
        refused = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if error.sqlite_errorcode & 0xFF not in refused or log.exists():
            raise
        # A WAL database wants to make its side files, which this folder does not allow. No log
        # means that nobody writes and that all is in index.db, so it can be read as it lies.
        return _connect(index, "mode=ro&immutable=1", timeout)
    except BaseException:
        connection.close()
        raise
    return connection


def _writable(path: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(path, os.W_OK, effective_ids=effective)


def use_wal(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to write-ahead logging, so that readers and one writer do not block each other.

    SQLite does not apply its busy timeout to this switch, hence the loop.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """Run the block in a write transaction: committed at its end, undone if it raises."""
    if connection.in_transaction:
        raise RuntimeError("a store cannot be written inside its own snapshot()")
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite may have rolled back by itself (a full disk), and then refuses to do it again.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


@contextmanager
def reading(connection: sqlite3.Connection) -> Iterator[None]:
    """Let everything read in the block be of one state of the store. Blocks may be nested."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # not after some errors
            connection.execute("COMMIT")


@contextmanager
def synchronous(connection: sqlite3.Connection) -> Iterator[None]:
    """Put transactions committed in the block on the disk, even if the power fails after it."""
    connection.execute("PRAGMA synchronous = FULL")
    try:
        yield
    finally:
        connection.execute("PRAGMA synchronous = NORMAL")


def by_id(
    connection: sqlite3.Connection, query: str, ids: Sequence[int]
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query that ends in a column's name, for those of `ids` that exist."""
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        yield from connection.execute(f"{query} IN ({', '.join('?' * len(batch))})", batch)


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """Return the value of an integer pragma."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def now() -> str:
    """Return the present time as the store writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def size_on_disk(folder: Path) -> int:
    """Return the bytes of a store's files; another process may remove its log meanwhile."""
    total = 0
    for path in folder.iterdir():
        if path.name.startswith((INDEX_NAME, NEAR_NAME)):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
    return total


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
