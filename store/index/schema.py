"""The tables of `index.db`, made by the migrations of sqlite-utils.

The schema version is SQLite's `user_version`, the number of migrations the database has seen, so
that opening a store needs no sqlite-utils. To change the schema, append a migration; never edit
one that was released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from store.errors import StoreError, StoreVersionError, corrupt
from store.index.chunks import text_hash
from store.index.connection import pragma

if TYPE_CHECKING:
    from sqlite_utils import Database

APPLICATION_ID = 0x6D616321  # "mac!": tells our database from any other SQLite database
VERSION = 3
TABLES = frozenset(
    {
        "meta",
        "documents",
        "document_tags",
        "chunks",
        "chunks_fts",
        "modulations",
        "key_blocks",
        "dead_keys",
        "prunes",
        "merged",
        "members",
        "usage",
        "questions",
    }
)

# sqlite-utils has no word for AUTOINCREMENT, which promises that an id is never given twice:
# blocks of keys rely on chunks' ids growing. The index on days is the expression of labels.py,
# letter by letter. Modulations lie apart from the chunks, so that reading texts and places does
# not page through the blobs.
_TABLES = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL UNIQUE,
    title TEXT,
    content_hash TEXT NOT NULL,
    chunking TEXT NOT NULL,
    expected INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    text_bytes INTEGER NOT NULL,
    characters INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    encoding TEXT NOT NULL,
    date TEXT,
    added_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
);
CREATE INDEX documents_day ON documents (coalesce(date, substr(added_at, 1, 10)));
CREATE INDEX documents_partial ON documents (id) WHERE chunks < expected;
CREATE TABLE merged (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    prune_id INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    document_id INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    merged_id INTEGER REFERENCES merged (id),
    pruned INTEGER,
    digest BLOB NOT NULL,
    text TEXT NOT NULL,
    UNIQUE (document_id, position)
);
CREATE INDEX chunks_merged ON chunks (merged_id, pruned) WHERE merged_id IS NOT NULL;
CREATE INDEX chunks_pruned ON chunks (document_id, pruned) WHERE pruned IS NOT NULL;
CREATE TABLE prunes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    strategy TEXT NOT NULL,
    target TEXT NOT NULL,
    seed INTEGER NOT NULL,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL,
    bytes_before INTEGER NOT NULL,
    bytes_after INTEGER NOT NULL
);
"""

_TRIGGERS = """
CREATE TRIGGER chunks_fts_insert AFTER INSERT ON chunks BEGIN
    INSERT INTO chunks_fts (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER chunks_fts_delete AFTER DELETE ON chunks BEGIN
    INSERT INTO chunks_fts (chunks_fts, rowid, text) VALUES ('delete', old.id, old.text);
END;
CREATE TRIGGER chunks_fts_update AFTER UPDATE OF text ON chunks BEGIN
    INSERT INTO chunks_fts (chunks_fts, rowid, text) VALUES ('delete', old.id, old.text);
    INSERT INTO chunks_fts (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER merged_unused AFTER DELETE ON members
WHEN NOT EXISTS (SELECT 1 FROM members WHERE merged_id = old.merged_id) BEGIN
    DELETE FROM merged WHERE id = old.merged_id;
END;
"""


# The columns come behind the text: they are read with it. Full-text search is made anew over both.
_CONTEXT = """
ALTER TABLE chunks ADD COLUMN context TEXT NOT NULL DEFAULT '';
ALTER TABLE chunks ADD COLUMN marks TEXT NOT NULL DEFAULT '';
ALTER TABLE chunks ADD COLUMN text_hash INTEGER;
ALTER TABLE documents ADD COLUMN stale TEXT;
UPDATE chunks SET text_hash = text_hash(text);
CREATE INDEX chunks_text_hash ON chunks (text_hash);
DROP TRIGGER chunks_fts_insert;
DROP TRIGGER chunks_fts_delete;
DROP TRIGGER chunks_fts_update;
DROP TABLE chunks_fts;
"""
_CONTEXT_TRIGGERS = """
CREATE TRIGGER chunks_fts_insert AFTER INSERT ON chunks BEGIN
    INSERT INTO chunks_fts (rowid, text, context) VALUES (new.id, new.text, new.context);
END;
CREATE TRIGGER chunks_fts_delete AFTER DELETE ON chunks BEGIN
    INSERT INTO chunks_fts (chunks_fts, rowid, text, context)
    VALUES ('delete', old.id, old.text, old.context);
END;
CREATE TRIGGER chunks_fts_update AFTER UPDATE OF text, context ON chunks BEGIN
    INSERT INTO chunks_fts (chunks_fts, rowid, text, context)
    VALUES ('delete', old.id, old.text, old.context);
    INSERT INTO chunks_fts (rowid, text, context) VALUES (new.id, new.text, new.context);
END;
"""
_QUESTIONS = """
CREATE TABLE questions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    asked_at TEXT NOT NULL,
    question TEXT NOT NULL,
    answer TEXT NOT NULL,
    outcome TEXT NOT NULL,
    probability REAL,
    model TEXT NOT NULL,
    seconds REAL NOT NULL,
    sources TEXT NOT NULL
)
"""
_NO_QUESTIONS = (
    "CREATE TEMP VIEW questions AS SELECT 0 AS id, '' AS asked_at, '' AS question, '' AS answer, "
    "'' AS outcome, NULL AS probability, '' AS model, 0.0 AS seconds, '[]' AS sources WHERE 0"
)
# In the connection's own schema; a name without a schema means these before those of the file.
_PRESENTED = {
    1: (
        "CREATE TEMP VIEW chunks AS "
        "SELECT *, '' AS context, '' AS marks, NULL AS text_hash FROM main.chunks",
        "CREATE TEMP VIEW documents AS SELECT *, NULL AS stale FROM main.documents",
        _NO_QUESTIONS,
    ),
    2: (_NO_QUESTIONS,),
}
_TOKENIZER = "porter unicode61 remove_diacritics 2"


def m001_store(database: Database) -> None:
    """Make all tables.

    chunks: `merged_id` says which shared modulation is the chunk's (NULL: its own), `pruned` which
    prune dropped it (0: one that can no longer be undone, NULL: it is in use).
    members: a chunk may have several; the one with the chunk's `merged_id` is valid, older ones
    are kept to undo a prune.
    key_blocks: see keys.py.
    """
    from sqlite_utils.db import ForeignKey

    def cascade(table: str, column: str, other: str) -> ForeignKey:
        return ForeignKey(table, column, other, "id", on_delete="CASCADE")

    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.executescript(_TABLES)
    database.table("meta").create({"key": str, "value": str}, pk="key", not_null={"value"})
    database.table("document_tags").create(
        {"tag": str, "document_id": int},
        pk=("tag", "document_id"),
        foreign_keys=[cascade("document_tags", "document_id", "documents")],
    ).create_index(["document_id"])
    database.table("modulations").create(
        {"chunk_id": int, "data": bytes},
        pk="chunk_id",
        not_null={"data"},
        foreign_keys=[cascade("modulations", "chunk_id", "chunks")],
    )
    database.table("members").create(
        {"chunk_id": int, "merged_id": int, "data": bytes},
        pk=("chunk_id", "merged_id"),
        not_null={"data"},
        foreign_keys=[
            cascade("members", "chunk_id", "chunks"),
            cascade("members", "merged_id", "merged"),
        ],
    ).create_index(["merged_id"])
    database.table("usage").create(
        {"chunk_id": int, "answers": int, "weight": float, "last_used": str},
        pk="chunk_id",
        not_null={"answers", "weight", "last_used"},
        foreign_keys=[cascade("usage", "chunk_id", "chunks")],
    )
    # The small columns come first: to read them, SQLite need not fetch the pages of the blobs.
    database.table("key_blocks").create(
        {"first": int, "last": int, "count": int, "checksum": int, "ids": bytes, "keys": bytes},
        pk="first",
        not_null={"last", "count", "checksum", "ids", "keys"},
    )
    database.table("dead_keys").create({"chunk_id": int}, pk="chunk_id")
    # The texts stay in `chunks` and are not stored twice. The triggers are our own: those of
    # sqlite-utils index a text again whenever any column of its chunk changes.
    database.table("chunks").enable_fts(["text"], tokenize=_TOKENIZER)
    database.executescript(_TRIGGERS)


def m002_context(database: Database) -> None:
    """Add what stands before a chunk and where its parts stand, and find equal texts.

    chunks: `context` is what the model read before the text, `marks` where the parts of the text
    stand (`store.marks`), `text_hash` what finds chunks of the same text.
    documents: `stale` says why the file cannot be read any more.
    """
    database.conn.create_function("text_hash", 1, text_hash, deterministic=True)
    database.executescript(_CONTEXT)
    database.table("chunks").enable_fts(["text", "context"], tokenize=_TOKENIZER)
    database.executescript(_CONTEXT_TRIGGERS)


def m003_questions(database: Database) -> None:
    """Add the log: a row for each question that was asked (`store.log`)."""
    database.execute(_QUESTIONS)


MIGRATIONS = (m001_store, m002_context, m003_questions)


def migrate(database: Database, to: int = VERSION) -> None:
    """Apply the pending migrations. Call it inside a write transaction: it is all or nothing.

    Args:
        database: of the store.
        to: the schema version that it shall have; an older one only shows what that looked like.
    """
    from sqlite_utils import Migrations

    migrations = Migrations("store")
    for migration in MIGRATIONS[:to]:
        migrations()(migration)
    migrations.apply(database)
    database.execute(f"PRAGMA user_version = {to}")


def version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version of the store at `path`; 0 for a database with nothing in it yet.

    Raises:
        StoreError: the database belongs to another program.
        StoreVersionError: it was written by a newer version of this one.
    """
    number = pragma(connection, "user_version")
    if pragma(connection, "application_id") != APPLICATION_ID:
        if number or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise StoreError(
                f"{path / 'index.db'} is a database of another program, not a store",
                hint="Choose another folder for the store.",
            )
        return 0
    if number > VERSION:
        raise StoreVersionError(
            f"The store {path} has schema version {number}; this program knows versions up to "
            f"{VERSION}",
            hint="Upgrade this program, or choose another folder for the store.",
        )
    return number


def present(connection: sqlite3.Connection) -> None:
    """Let a database of an older version, which cannot be migrated, be read as one of this."""
    for statement in _PRESENTED.get(pragma(connection, "user_version"), ()):
        connection.execute(statement)


@contextmanager
def plain(connection: sqlite3.Connection) -> Iterator[None]:
    """Take back in this block what `present` did: SQLite copies no table whose name is a view's."""
    for name in ("chunks", "documents", "questions"):
        connection.execute(f"DROP VIEW IF EXISTS temp.{name}")
    try:
        yield
    finally:
        present(connection)


def check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `StoreCorruptError` if a table is missing."""
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    later = {"questions"} if pragma(connection, "user_version") < 3 else set()
    missing = sorted(TABLES - later - names)
    if missing:
        raise corrupt(path, f"index.db lacks {', '.join(missing)}")
