"""Stores and exports of schema version 1: without contexts, marks and copies."""

import shutil

import pytest

from store import Labels, Store, StoreError
from store.care.verify import verify as problems_of
from store.index import schema
from store.moving.export import copy, export
from store.moving.load import load
from tests.store import samples
from tests.store.index.test_opening import sql
from tests.store.old import age
from tests.store.samples import put, verify


@pytest.fixture
def old(path):
    """A store of version 1 with the documents a and b."""
    with samples.create(path) as store:
        put(store, "a", count=3)
        put(store, "b", count=2)
        store.relabel("b", Labels(tags=("new",)))
        made = [samples.chunk(n, "the same text", position=n) for n in range(2)]
        store.put("c", content_hash="", chunking="c1", chunks=made)
        store.remove("c")
    age(path)
    return path


def version_of(path):
    return sql(path, "PRAGMA user_version")[0][0]


def test_it_is_migrated_when_it_is_opened(old):
    assert version_of(old) == 1
    with Store.open(old) as store:
        assert store.stats().schema_version == schema.VERSION
        assert verify(store) == {"a": 1, "b": 1}
        assert list(problems_of(store)) == []
        (document, _) = store.documents()
        assert document.stale is None
        assert [(row.context, row.marks) for row in store.chunks(document.id)] == [("", ())] * 3
        assert len(store.search("chunk version")) == 5
        put(store, "a", version=2, count=1)
        assert verify(store) == {"a": 2, "b": 1}


def test_chunks_of_an_older_store_are_found_as_copies(path):
    with samples.create(path) as store:
        made = [samples.chunk(n, "the same text", position=n) for n in range(3)]
        store.put("a", content_hash="", chunking="c1", chunks=made)
    age(path)
    with Store.open(path) as store:
        assert store.copies([2]) == {2: [1, 3]}


def test_it_answers_without_permission_to_write(old, tmp_path, monkeypatch):
    monkeypatch.setattr("store.index.connection._writable", lambda _: False)
    with Store.open(old) as store:
        assert store.stats().schema_version == 1
        assert verify(store) == {"a": 1, "b": 1}
        assert list(problems_of(store)) == []
        assert len(store.search("chunk version", 3)) == 3
        assert store.coverage("version", [1]) == [1.0]
        assert store.copies([1]) == {1: []}
        for write in (
            lambda: put(store, "a", version=2),
            lambda: put(store, "new"),
            lambda: store.remove("a"),
            lambda: store.mark_stale("a", "gone"),
        ):
            with pytest.raises(StoreError, match="No permission to write"):
                write()
        copy(store, tmp_path / "copy")
    assert version_of(old) == version_of(tmp_path / "copy") == 1
    monkeypatch.undo()
    with Store.open(tmp_path / "copy") as store:
        assert store.stats().schema_version == schema.VERSION
        assert verify(store) == {"a": 1, "b": 1}


def test_its_exports_can_be_imported(old, tmp_path, monkeypatch):
    file = tmp_path / "notes.mac"
    with monkeypatch.context() as patch:
        patch.setattr("store.index.connection._writable", lambda _: False)
        with Store.open(old) as store:
            export(store, file)
    assert load(tmp_path / "new", file).added == 2
    with Store.open(tmp_path / "new") as store:
        assert verify(store) == {"a": 1, "b": 1}
        assert list(problems_of(store)) == []
    assert load(old, file).unchanged == 2


def test_a_failing_migration_leaves_it_as_it_was(old, tmp_path, monkeypatch):
    shutil.copytree(old, tmp_path / "before")
    monkeypatch.setattr(schema, "_CONTEXT_TRIGGERS", "CREATE TRIGGER oops;")
    with pytest.raises(StoreError):
        Store.open(old)
    monkeypatch.undo()
    assert version_of(old) == 1
    assert sql(old, "SELECT sql FROM sqlite_master") == sql(
        tmp_path / "before", "SELECT sql FROM sqlite_master"
    )
    with Store.open(old) as store:
        assert verify(store) == {"a": 1, "b": 1}
