import errno
import os
import sqlite3
import tempfile
from pathlib import Path

import pytest

from store import Store, StoreBusyError, StoreCorruptError, StoreError
from tests.store import samples
from tests.store.samples import put, verify
from tests.store.test_opening import sql


@pytest.fixture
def filled(path):
    with samples.create(path) as store:
        for source in "abcdefgh":
            put(store, source, count=4)
    return path


def use_everything(path):
    with Store.open(path) as store:
        for document in store.documents():
            rows = store.chunks(document.id)
            store.modulations([row.id for row in rows])
        samples.all_keys(store)
        store.search("chunk")
        store.stats()


def assert_one_line(error):
    assert "\n" not in str(error) and str(error).startswith("The store ")
    assert error.hint and "\n" not in error.hint


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:50],
        lambda data: data[: len(data) // 2],
        lambda data: data[: 3 * 4096],
        lambda data: b"this is not a database at all" * 400,
        lambda data: data[:4096] + bytes(len(data) - 4096),
        lambda data: data[:100] + b"\xff" * (len(data) - 100),
    ],
)
def test_a_damaged_index(filled, damage):
    index = filled / "index.db"
    index.write_bytes(damage(index.read_bytes()))
    with pytest.raises(StoreCorruptError, match="is damaged") as caught:
        use_everything(filled)
    assert_one_line(caught.value)


def test_an_index_cut_to_nothing_is_not_taken_for_a_new_store(filled):
    (filled / "index.db").write_bytes(b"")
    for create in (False, True):
        with pytest.raises(StoreCorruptError, match="index.db is empty"):
            Store.open(filled, **samples.IDENTITY, create=create)


@pytest.mark.parametrize("table", ["modulations", "chunks_fts", "meta", "key_file", "history"])
def test_a_missing_table(filled, table):
    sql(filled, "PRAGMA foreign_keys = OFF", f"DROP TABLE {table}")
    with pytest.raises(StoreCorruptError, match=f"index.db lacks {table}") as caught:
        Store.open(filled)
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM meta WHERE key = 'store_id'",
        "UPDATE meta SET value = 'many' WHERE key = 'key_size'",
        "UPDATE meta SET value = '0' WHERE key = 'key_size'",
        "UPDATE meta SET value = 'ff' WHERE key = 'store_id'",
        "DELETE FROM key_file",
    ],
)
def test_damaged_facts(filled, statement):
    sql(filled, statement)
    with pytest.raises(StoreCorruptError):
        Store.open(filled)


def test_a_damaged_modulation_names_its_chunk(filled):
    sql(filled, "UPDATE modulations SET data = zeroblob(60) WHERE chunk_id = 3")
    with Store.open(filled) as store:
        with pytest.raises(StoreCorruptError, match="chunk 3") as caught:
            store.modulations([2, 3])
        assert_one_line(caught.value)
        assert len(store.modulations([2, 4])) == 2
        assert len(samples.all_keys(store)) == 32
        next(filled.glob("keys-*")).unlink()
        with pytest.raises(StoreCorruptError, match="chunk 3"):
            list(store.keys())
        put(store, "a", 2)  # which replaces the damaged one
        assert len(verify(store)) == 8


def damage_keys(path, how):
    (file,) = path.glob("keys-*")
    data = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
        return
    if how == "middle":
        data[len(data) // 2] ^= 1
    elif how == "last":
        data[-1] ^= 1
    elif how == "cut":
        del data[len(data) // 2 :]
    elif how == "header":
        data[9] ^= 1
    elif how == "empty":
        data.clear()
    file.write_bytes(data)


DAMAGES = ["gone", "middle", "last", "cut", "header", "empty"]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_key_file_is_replaced_while_reading(filled, how):
    damage_keys(filled, how)
    with Store.open(filled) as store:
        assert len(verify(store)) == 8  # inside a snapshot nothing can be written
        assert len(samples.all_keys(store)) == 32
        assert [p.name for p in filled.glob("keys-*")] == ["keys-000002.bin"]
        assert len(verify(store)) == 8
        assert not store._key_block.damaged


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_key_file_is_replaced_while_writing(filled, how):
    damage_keys(filled, how)
    with Store.open(filled) as store:
        assert put(store, "a", 2, count=3) == "updated"
        assert put(store, "new", 1, count=3) == "added"
        assert len(verify(store)) == 9
    assert len(list(filled.glob("keys-*"))) == 1


def test_a_key_file_of_a_backup_is_noticed(filled):
    (file,) = filled.glob("keys-*")
    with Store.open(filled) as store:
        put(store, "a", 2, count=4)
        old = file.read_bytes()
        put(store, "b", 2, count=4)
    file.write_bytes(old)
    with Store.open(filled) as store:
        assert len(verify(store)) == 8


def test_an_index_of_a_backup_goes_with_newer_keys(filled):
    index = (filled / "index.db").read_bytes()
    with Store.open(filled) as store:
        put(store, "a", 2, count=4)
    (filled / "index.db").write_bytes(index)
    with Store.open(filled) as store:
        assert set(verify(store).values()) == {1}
        put(store, "b", 3, count=2)
        assert verify(store)["b"] == 3
        assert not store._key_block.damaged


def test_a_full_disk_for_the_index(filled):
    with Store.open(filled) as store:
        before = verify(store)
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="No space left on the disk") as caught:
            for version in range(2, 50):
                put(store, "a", version, count=40)
                before["a"] = version
        assert caught.value.hint
        store._connection.execute("PRAGMA max_page_count = 100000")
        assert verify(store) == before
        put(store, "a", 100, count=40)
        assert verify(store) == before | {"a": 100}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_key_file_that_cannot_be_written(filled, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    with Store.open(filled) as store:
        before = verify(store)
        for what in ("_write", "os.fsync"):
            with monkeypatch.context() as patch:
                patch.setattr(f"store.keys.{what}", fail)
                with pytest.raises(StoreError) as caught:
                    put(store, "a", 2, count=2)
            assert str(filled) in str(caught.value)
            assert not store._connection.in_transaction
            assert verify(store) == before


def test_compaction_that_fails_is_not_the_callers_trouble(filled, monkeypatch, eager_compaction):
    def fail(*_):
        raise OSError(errno.ENOSPC, "full")

    with Store.open(filled) as store:
        monkeypatch.setattr("store.keys.KeyFile.create", fail)
        for source in "abcd":
            assert store.remove(source)
        assert verify(store) == dict.fromkeys("efgh", 1)


def test_an_interrupt_undoes_the_document(filled, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with Store.open(filled) as store:
        monkeypatch.setattr("store.documents.record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put(store, "a", 2, count=2)
        assert set(verify(store).values()) == {1}


def test_busy(filled):
    with Store.open(filled, timeout=0.05) as store:
        other = sqlite3.connect(filled / "index.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusyError, match="Another process is writing") as caught:
                put(store, "a", 2)
            assert caught.value.hint
            assert len(verify_reading(store)) == 32
            other.execute("ROLLBACK")
        finally:
            other.close()
        put(store, "a", 2)


def verify_reading(store):
    return samples.all_keys(store)


def test_a_closed_store_is_a_mistake_of_the_caller(path):
    store = samples.create(path)
    store.close()
    with pytest.raises(sqlite3.ProgrammingError):
        store.document("a")


@pytest.fixture
def someone_else():
    """Run as a user without rights; a store made before is readable but not writable."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        base.chmod(0o755)
        with samples.create(base / "bank") as store:
            for source in "abcd":
                put(store, source, count=3)
        yield base
        for path in (base, base / "bank"):
            path.chmod(0o755)


@pytest.fixture
def no_rights(someone_else):
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield someone_else
        os.seteuid(0)
    else:
        (someone_else / "bank").chmod(0o555)
        (someone_else / "bank" / "index.db").chmod(0o444)
        someone_else.chmod(0o555)
        yield someone_else


def test_reading_needs_no_permission_to_write(no_rights):
    path = no_rights / "bank"
    with Store.open(path, fingerprint="fp-1") as store:
        assert not store.writable
        assert verify(store) == dict.fromkeys("abcd", 1)
        assert len(store.search("chunk")) == 12
        assert store.stats().documents == 4
        for write in (lambda: put(store, "a", 2), lambda: store.remove("a")):
            with pytest.raises(StoreError, match="No permission to write") as caught:
                write()
            assert caught.value.hint
    with pytest.raises(StoreError, match="No permission to write"):
        samples.create(no_rights / "new")


def test_reading_without_permission_and_without_key_file(someone_else):
    next((someone_else / "bank").glob("keys-*")).unlink()
    (someone_else / "bank").chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with Store.open(someone_else / "bank") as store:
            assert len(samples.all_keys(store)) == 12
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_reading_without_permission_while_another_writes(someone_else):
    with Store.open(someone_else / "bank") as writer:
        put(writer, "a", 2, count=3)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            with Store.open(someone_else / "bank") as store:
                assert len(samples.all_keys(store)) == 12
                assert store.document("a").content_hash == "2 3"
        finally:
            if root:
                os.seteuid(0)
