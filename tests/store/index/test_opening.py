import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from store import (
    FingerprintMismatchError,
    Store,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreVersionError,
)
from store.index import schema
from tests.store import samples
from tests.store.samples import IDENTITY, put, verify


def sql(path, *statements):
    """Execute statements, and return the rows of the last one."""
    with closing(sqlite3.connect(path / "index.db", isolation_level=None)) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    return rows


def test_no_store(path):
    with pytest.raises(StoreNotFoundError, match="There is no store at") as caught:
        Store.open(path)
    assert caught.value.hint
    assert not path.exists()
    path.mkdir()
    with pytest.raises(StoreNotFoundError):
        Store.open(path)
    assert list(path.iterdir()) == []


def test_a_new_store_in_new_folders(tmp_path):
    with samples.create(tmp_path / "a" / "b #?%20é") as store:
        put(store, "x", count=1)
    with Store.open(tmp_path / "a" / "b #?%20é") as store:
        assert verify(store) == {"x": 1}


def test_an_unfinished_new_store_is_none(path):
    path.mkdir()
    (path / "index.db").touch()
    with pytest.raises(StoreNotFoundError):
        Store.open(path)
    with samples.create(path) as store:
        put(store, "x", count=1)


@pytest.mark.parametrize("missing", ["fingerprint", "key_size", "latent_size"])
def test_what_a_new_store_needs(path, missing):
    with pytest.raises(ValueError, match=missing):
        Store.open(path, **(IDENTITY | {missing: None}), create=True)
    assert not path.exists()


@pytest.mark.parametrize("size", [0, -1, 65536])
def test_impossible_sizes(path, size):
    with pytest.raises(ValueError, match=f"not {size}"):
        Store.open(path, **(IDENTITY | {"key_size": size}), create=True)


def test_a_file_is_no_store(path):
    path.write_text("hello")
    for create in (False, True):
        with pytest.raises(StoreError, match="is a file; a store is a folder"):
            Store.open(path, **IDENTITY, create=create)
    with pytest.raises(StoreError, match="part of this path is a file"):
        samples.create(path / "below")


def test_a_folder_of_something_else(path):
    path.mkdir()
    (path / "thesis.doc").write_text("important")
    with pytest.raises(StoreError, match=r"not empty \(it holds 'thesis.doc'\)") as caught:
        samples.create(path)
    assert caught.value.hint
    assert [p.name for p in path.iterdir()] == ["thesis.doc"]


def test_a_database_of_something_else(path):
    path.mkdir()
    sql(path, "CREATE TABLE bookmarks (url)")
    before = (path / "index.db").read_bytes()
    with pytest.raises(StoreError, match="a database of another program"):
        samples.create(path)
    assert (path / "index.db").read_bytes() == before


def test_another_fingerprint(path):
    samples.create(path, model="old").close()
    with pytest.raises(FingerprintMismatchError) as caught:
        Store.open(path, fingerprint="fp-2")
    error = caught.value
    assert (error.stored, error.wanted) == ("fp-1", "fp-2")
    assert "fp-1 (old), not with fp-2" in str(error) and error.hint
    with Store.open(path) as store:
        assert store.fingerprint == "fp-1"


@pytest.mark.parametrize(("name", "value"), [("key_size", 7), ("latent_size", 9)])
def test_another_size(path, name, value):
    samples.create(path).close()
    with pytest.raises(StoreError, match=f"size .*, not {value}"):
        Store.open(path, **(IDENTITY | {name: value}))


def test_a_newer_schema(path):
    samples.create(path).close()
    newer = schema.VERSION + 1
    sql(path, f"PRAGMA user_version = {newer}")
    with pytest.raises(StoreVersionError, match=f"schema version {newer}; .* up to {newer - 1}"):
        samples.create(path)


def next_migration(monkeypatch, body):
    """Let there be one more migration, which calls `body` with the database."""
    before, newest = schema.migrate, schema.VERSION + 1

    def migrate(database):
        done = schema.pragma(database.conn, "user_version")
        before(database)
        if done < newest:
            body(database)
        database.execute(f"PRAGMA user_version = {newest}")

    monkeypatch.setattr(schema, "migrate", migrate)
    monkeypatch.setattr(schema, "VERSION", newest)


def test_pending_migrations_are_applied_once(path, monkeypatch):
    with samples.create(path) as store:
        put(store, "a", count=2)
    calls = []

    def mood(database):
        calls.append(1)
        database["documents"].add_column("mood", str)

    next_migration(monkeypatch, mood)
    for _ in range(2):
        with Store.open(path) as store:
            assert verify(store) == {"a": 1}
            assert store.stats().schema_version == schema.VERSION
    assert calls == [1]


def test_a_failing_migration_changes_nothing(path, monkeypatch):
    samples.create(path).close()

    def half(database):
        database["documents"].add_column("mood", str)
        raise sqlite3.OperationalError("no such function: oops")

    with monkeypatch.context() as patch:
        next_migration(patch, half)
        with pytest.raises(StoreError, match="oops"):
            Store.open(path)
    with Store.open(path) as store:
        assert store.stats().schema_version == schema.VERSION
        assert "mood" not in store.database["documents"].columns_dict


def test_the_migrations_of_sqlite_utils_are_noted(store):
    applied = store.database["_sqlite_migrations"].rows
    names = [migration.__name__ for migration in schema.MIGRATIONS]
    assert [(row["migration_set"], row["name"]) for row in applied] == [("store", n) for n in names]
    assert not store.connection.in_transaction


def test_every_column_of_chunks_but_text_changes_without_the_full_text_index(store):
    """Else each prune would index the texts again: SQLite says how many rows it has changed."""
    put(store, "a", count=1)
    before = store.connection.total_changes
    store.connection.execute("UPDATE chunks SET bytes = 1, position = 7, pruned = 1")
    assert store.connection.total_changes == before + 1


def all_at_once(path, names, statement):
    """Open the store in a process for each name at the same moment, and run a statement there."""
    code = (
        "import sys; from tests.store import samples; from pathlib import Path\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "with samples.create(Path(sys.argv[1])) as store:\n"
        f"    {statement}\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        for name in names
    ]
    for worker in workers:
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()


def test_several_processes_make_the_store_at_once(path):
    all_at_once(path, "abcd", "samples.put(store, sys.argv[2], count=2)")
    with Store.open(path) as store:
        assert verify(store) == dict.fromkeys("abcd", 1)


@pytest.mark.parametrize("left", ["index.db-wal", "near.usearch"])
def test_the_index_went_missing(path, left):
    with samples.create(path) as store:
        put(store, "a", count=1)
    (path / "index.db").rename(path / left)
    for create in (False, True):
        with pytest.raises(StoreCorruptError, match="index.db is missing"):
            Store.open(path, **IDENTITY, create=create)
