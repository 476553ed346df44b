"""The migrations that make the tables of `index.db`, one after the other.

A store's schema version is SQLite's `user_version`: the number of migrations it has seen. To
change the schema, append a function and list it in schema.py; never edit one that was released.
"""

from __future__ import annotations

import sqlite3

from store import digests

APPLICATION_ID = 0x6D616321  # "mac!": tells our index from any other SQLite database


def m001_documents(connection: sqlite3.Connection) -> None:
    """Documents, their chunks, the chunks' modulations, and what the store is."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
    )
    connection.execute(
        """
        CREATE TABLE documents (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            source TEXT NOT NULL UNIQUE,
            title TEXT,
            content_hash TEXT NOT NULL,
            chunking TEXT NOT NULL,
            chunks INTEGER NOT NULL,
            tokens INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            text_bytes INTEGER NOT NULL,
            characters INTEGER NOT NULL,
            media_type TEXT NOT NULL,
            encoding TEXT NOT NULL,
            added_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        )
        """
    )
    # AUTOINCREMENT: an id is never given twice. The key file relies on it (see keyblock.py).
    connection.execute(
        """
        CREATE TABLE chunks (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            document_id INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
            position INTEGER NOT NULL,
            start INTEGER NOT NULL,
            "end" INTEGER NOT NULL,
            text TEXT NOT NULL,
            tokens INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            UNIQUE (document_id, position)
        )
        """
    )
    # Apart from the chunks, so that reading texts and places does not page through the blobs.
    connection.execute(
        """
        CREATE TABLE modulations (
            chunk_id INTEGER PRIMARY KEY REFERENCES chunks (id) ON DELETE CASCADE,
            data BLOB NOT NULL
        )
        """
    )


def m002_full_text_search(connection: sqlite3.Connection) -> None:
    """Full-text search over the chunks' texts, which stay in `chunks` and are not stored twice."""
    connection.execute(
        """
        CREATE VIRTUAL TABLE chunks_fts USING fts5 (
            text, content = 'chunks', content_rowid = 'id',
            tokenize = 'porter unicode61 remove_diacritics 2'
        )
        """
    )
    forget = "INSERT INTO chunks_fts (chunks_fts, rowid, text) VALUES ('delete', old.id, old.text);"
    learn = "INSERT INTO chunks_fts (rowid, text) VALUES (new.id, new.text);"
    for event, statements in (
        ("INSERT", learn),
        ("DELETE", forget),
        ("UPDATE OF text", forget + learn),
    ):
        name = event.split()[0].lower()
        connection.execute(
            f"CREATE TRIGGER chunks_fts_{name} AFTER {event} ON chunks BEGIN {statements} END"
        )


def m003_key_file(connection: sqlite3.Connection) -> None:
    """Which key file is valid, how much of it, and which of its keys were removed."""
    connection.execute(
        """
        CREATE TABLE key_file (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            generation INTEGER NOT NULL,
            row_count INTEGER NOT NULL,
            dead INTEGER NOT NULL,
            tail INTEGER NOT NULL
        )
        """
    )
    connection.execute("INSERT INTO key_file VALUES (1, 1, 0, 0, 0)")
    connection.execute("CREATE TABLE dead_keys (first INTEGER PRIMARY KEY, last INTEGER NOT NULL)")


def m004_history(connection: sqlite3.Connection) -> None:
    """What was added, updated and removed, and when."""
    connection.execute(
        """
        CREATE TABLE history (
            id INTEGER PRIMARY KEY,
            at TEXT NOT NULL,
            action TEXT NOT NULL,
            source TEXT NOT NULL,
            content_hash TEXT NOT NULL,
            chunks INTEGER NOT NULL,
            tokens INTEGER NOT NULL
        )
        """
    )


def m005_metadata(connection: sqlite3.Connection) -> None:
    """Tags and dates of documents; the name that a renamed document had before."""
    connection.execute("ALTER TABLE documents ADD COLUMN date TEXT")
    # The day that --since and --until look at; labels.py has the same expression.
    connection.execute(
        "CREATE INDEX documents_day ON documents (coalesce(date, substr(added_at, 1, 10)))"
    )
    connection.execute(
        """
        CREATE TABLE document_tags (
            tag TEXT NOT NULL,
            document_id INTEGER NOT NULL REFERENCES documents (id) ON DELETE CASCADE,
            PRIMARY KEY (tag, document_id)
        ) WITHOUT ROWID
        """
    )
    connection.execute("CREATE INDEX document_tags_document ON document_tags (document_id)")
    connection.execute("ALTER TABLE history ADD COLUMN was TEXT")


def m006_integrity(connection: sqlite3.Connection) -> None:
    """A digest of every modulation, in a table of its own: the blobs need not be written again."""
    connection.execute(
        """
        CREATE TABLE digests (
            chunk_id INTEGER PRIMARY KEY REFERENCES chunks (id) ON DELETE CASCADE,
            digest BLOB NOT NULL
        )
        """
    )
    query = "SELECT chunk_id, data FROM modulations JOIN chunks ON id = chunk_id"
    digests.write(connection, connection.execute(query))


def m007_pruning(connection: sqlite3.Connection) -> None:
    """Modulations that several chunks share, what a prune changed, what answers have used."""
    connection.execute(
        """
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
        )
        """
    )
    connection.execute(
        """
        CREATE TABLE merged (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            prune_id INTEGER NOT NULL,
            chunks INTEGER NOT NULL,
            data BLOB NOT NULL
        )
        """
    )
    # A chunk may be here several times: the newest is valid, the others are for `undo`.
    connection.execute(
        """
        CREATE TABLE members (
            chunk_id INTEGER NOT NULL REFERENCES chunks (id) ON DELETE CASCADE,
            merged_id INTEGER NOT NULL REFERENCES merged (id) ON DELETE CASCADE,
            data BLOB NOT NULL,
            PRIMARY KEY (chunk_id, merged_id)
        )
        """
    )
    connection.execute("CREATE INDEX members_merged ON members (merged_id)")
    connection.execute(
        """
        CREATE TRIGGER merged_unused AFTER DELETE ON members
        WHEN NOT EXISTS (SELECT 1 FROM members WHERE merged_id = old.merged_id)
        BEGIN DELETE FROM merged WHERE id = old.merged_id; END
        """
    )
    connection.execute(
        """
        CREATE TABLE usage (
            chunk_id INTEGER PRIMARY KEY REFERENCES chunks (id) ON DELETE CASCADE,
            answers INTEGER NOT NULL,
            weight REAL NOT NULL,
            last_used TEXT NOT NULL
        )
        """
    )
    # merged_id: which shared modulation is the chunk's, NULL where it has its own. pruned: which
    # prune dropped it, 0 one that can no longer be undone, NULL where it is there.
    connection.execute("ALTER TABLE chunks ADD COLUMN merged_id INTEGER REFERENCES merged (id)")
    connection.execute("ALTER TABLE chunks ADD COLUMN pruned INTEGER")
    connection.execute(
        "CREATE INDEX chunks_merged ON chunks (merged_id, pruned) WHERE merged_id IS NOT NULL"
    )
    connection.execute(
        "CREATE INDEX chunks_pruned ON chunks (document_id, pruned) WHERE pruned IS NOT NULL"
    )
