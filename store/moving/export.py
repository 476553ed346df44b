"""Writing a store elsewhere: into one file, or into another folder."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from store import log
from store.errors import StoreError, corrupt, translated
from store.index import keys, schema
from store.index.chunks import digest
from store.index.connection import (
    INDEX_NAME,
    pragma,
    require_space,
    sync_file,
    sync_folder,
    use_wal,
)

if TYPE_CHECKING:
    from store.store import Store

_CHUNKS = """
    SELECT source, position, merged_id IS NULL AND pruned IS NULL, digest, data,
        text, context, marks
    FROM chunks JOIN documents ON documents.id = document_id
    LEFT JOIN modulations ON chunk_id = chunks.id
"""


def export(store: Store, path: Path, *, force: bool = False, with_log: bool = False) -> int:
    """Write the whole store, as it is now, into one file, which appears when it is whole.

    The file is a SQLite database of the store's own schema, for `store.moving.load`.

    Args:
        store: the store.
        path: of the file.
        force: replace the file if it exists.
        with_log: also write the questions that were asked.

    Returns:
        the file's size in bytes.

    Raises:
        StoreError: the file exists, there is not enough space, or it cannot be written.
        StoreCorruptError: a modulation or a key is damaged.
    """
    path = path.absolute()
    if path.exists() and not force:
        raise StoreError(f"{path} exists already", hint="Add --force to replace it.")
    partial = path.with_name(f".{path.name}.partial")
    with translated(path):
        try:
            _write(store, partial, with_log=with_log)
            os.replace(partial, path)
        finally:
            _remove(partial)
        sync_folder(path.parent)
        return path.stat().st_size


def copy(store: Store, folder: Path) -> None:
    """Copy the store, as it is now, into `folder`, which appears when it is whole.

    The log is copied, too.

    Raises:
        StoreError: `folder` exists and is not an empty folder, or there is not enough space.
        StoreCorruptError: a modulation or a key is damaged.
    """
    folder = folder.absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(
            f"{folder} exists already", hint="Give the path of a folder that does not exist yet."
        )
    with translated(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            _write(store, partial / INDEX_NAME, with_log=True)
            with closing(sqlite3.connect(partial / INDEX_NAME, isolation_level=None)) as connection:
                use_wal(connection, timeout=30)
            sync_file(partial / INDEX_NAME)
            sync_folder(partial)
            os.replace(partial, folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _write(store: Store, path: Path, *, with_log: bool) -> None:
    """Write one state of the store's database to `path`, check it, and put it on the disk."""
    _remove(path)  # left by a process that was killed
    pages, size = (pragma(store.connection, name) for name in ("page_count", "page_size"))
    require_space(path.parent, pages * size)
    with schema.plain(store.connection):
        store.connection.execute("VACUUM INTO ?", (str(path),))
    if not with_log:
        _leave_out_log(path)
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        schema.present(connection)
        _check(store, connection)
    sync_file(path)


def _leave_out_log(path: Path) -> None:
    """Empty the log of a database that nobody else uses; no text of it stays in the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.present(connection)
        if not connection.execute("SELECT 1 FROM questions LIMIT 1").fetchone():
            return  # an older database has no such table to write to
        log.empty(connection)
        # Empty pages stay, unless they are most of the file: then the rest is soon written anew.
        if 2 * pragma(connection, "freelist_count") > pragma(connection, "page_count"):
            connection.execute("VACUUM")


def _check(store: Store, connection: sqlite3.Connection) -> None:
    """Raise `StoreCorruptError` if a text, a modulation or a key is not what was once written."""
    for source, position, unshared, stored, blob, *words in connection.execute(_CHUNKS):
        if stored != digest(blob, *words) or (unshared and blob is None):
            raise corrupt(
                store.path, f"{source}, chunk {position}: its text or modulation is damaged"
            )
    try:
        for _ in keys.stored(connection, store.key_size):
            pass
    except keys.DamagedKeysError as error:
        raise corrupt(store.path, str(error)) from error


def _remove(path: Path) -> None:
    for suffix in ("", "-journal", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
