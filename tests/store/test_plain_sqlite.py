"""A store's index is an ordinary SQLite database, as README says: sqlite-utils reads it."""

import sqlite_utils

from tests.store.samples import put


def test_sqlite_utils_reads_documents_and_chunks(store, path):
    put(store, "notes.txt", version=2, count=3)
    database = sqlite_utils.Database(path / "index.db")
    try:
        assert [row["source"] for row in database["documents"].rows] == ["notes.txt"]
        texts = [row["text"] for row in database["chunks"].rows]
    finally:
        database.close()
    assert texts == [f"chunk {n} of notes.txt version 2" for n in range(3)]
