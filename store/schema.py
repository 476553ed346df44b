"""The tables of `index.db`: which there must be, and bringing an older index up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from store import migrations
from store.errors import StoreError, StoreVersionError, corrupt
from store.migrations import APPLICATION_ID

TABLES = frozenset(
    {
        "meta",
        "documents",
        "chunks",
        "modulations",
        "chunks_fts",
        "key_file",
        "dead_keys",
        "history",
        "document_tags",
        "digests",
        "prunes",
        "merged",
        "members",
        "usage",
    }
)

Migration = Callable[[sqlite3.Connection], None]
MIGRATIONS: tuple[Migration, ...] = (
    migrations.m001_documents,
    migrations.m002_full_text_search,
    migrations.m003_key_file,
    migrations.m004_history,
    migrations.m005_metadata,
    migrations.m006_integrity,
    migrations.m007_pruning,
)


def pragma(connection: sqlite3.Connection, name: str) -> int:
    """The value of an integer pragma."""
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of the store at `path`; 0 is a database with nothing in it yet.

    Raises:
        StoreError: the database belongs to another program.
        StoreVersionError: it was written by a newer version of this one.
    """
    found = pragma(connection, "user_version")
    if pragma(connection, "application_id") != APPLICATION_ID:
        if found or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise StoreError(
                f"{path / 'index.db'} is a database of another program, not a store",
                hint="Choose another folder for the store.",
            )
        return 0
    if found > len(MIGRATIONS):
        raise StoreVersionError(
            f"The store {path} has schema version {found}; this program knows versions up to "
            f"{len(MIGRATIONS)}",
            hint="Upgrade this program, or choose another folder for the store.",
        )
    return found


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the pending migrations. Call it inside a write transaction: it is all or nothing.

    The version is read again here, since another process may have migrated while this one waited.
    """
    done = pragma(connection, "user_version")
    for migration in MIGRATIONS[done:]:
        migration(connection)
    if done < len(MIGRATIONS):
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `StoreCorruptError` if a table, or the only row of one, is missing."""
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    missing = sorted(TABLES - found)
    if missing:
        raise corrupt(path, f"index.db lacks {', '.join(missing)}")
    if not connection.execute("SELECT 1 FROM key_file").fetchone():
        raise corrupt(path, "index.db does not say which key file is valid")
