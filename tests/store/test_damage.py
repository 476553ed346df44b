import errno
import os
import random
import sqlite3
import tempfile
from pathlib import Path

import pytest

from store import Store, StoreBusyError, StoreCorruptError, StoreError
from tests.store import samples
from tests.store.index.test_opening import sql
from tests.store.samples import put, verify


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


@pytest.mark.parametrize("table", ["modulations", "chunks_fts", "meta", "key_blocks", "usage"])
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
        put(store, "a", 2)  # which replaces the damaged one
        assert len(verify(store)) == 8


def places(path, table, column):
    """Where in the file the bytes of a column's blobs stand, for those in one piece."""
    data = (path / "index.db").read_bytes()
    connection = sqlite3.connect(path / "index.db")
    blobs = [row[0] for row in connection.execute(f"SELECT {column} FROM {table}")]
    connection.close()
    return [range(at, at + len(blob)) for blob in blobs if (at := data.find(blob)) >= 0]


@pytest.mark.parametrize(
    ("table", "column"), [("modulations", "data"), ("key_blocks", "keys"), ("key_blocks", "ids")]
)
def test_a_flipped_byte_in_a_blob(filled, table, column):
    blobs = places(filled, table, column)
    assert blobs
    index = filled / "index.db"
    good = index.read_bytes()
    for at in {blob[n] for blob in blobs[::5] for n in (0, len(blob) // 2, -1)}:
        data = bytearray(good)
        data[at] ^= 4
        index.write_bytes(data)
        with pytest.raises(StoreCorruptError, match="is damaged") as caught:
            use_everything(filled)
        assert_one_line(caught.value)
        assert "mac store verify --repair" in caught.value.hint


def test_a_flipped_byte_anywhere_is_one_line_or_does_no_harm_to_what_is_read(filled):
    """Of a flipped byte in a text only `verify` knows; nothing may come as a traceback."""
    index = filled / "index.db"
    good = index.read_bytes()
    noticed = 0
    chance = random.Random(0)
    for _ in range(400):
        data = bytearray(good)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        index.write_bytes(data)
        for log in ("index.db-wal", "index.db-shm"):
            (filled / log).unlink(missing_ok=True)
        try:
            use_everything(filled)
        except StoreError as error:
            noticed += 1
            assert "\n" not in str(error)
    assert noticed > 15


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 0.95])
def test_a_file_that_is_cut_off(filled, share):
    index = filled / "index.db"
    data = index.read_bytes()
    index.write_bytes(data[: int(share * len(data))])
    with pytest.raises(StoreCorruptError, match="is damaged") as caught:
        use_everything(filled)
        with Store.open(filled) as store:
            put(store, "new", count=3)
    assert_one_line(caught.value)


def test_a_full_disk_for_the_index(filled):
    with Store.open(filled) as store:
        before = verify(store)
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="No space left on the disk") as caught:
            for version in range(2, 50):
                put(store, "a", version, count=40)
                before["a"] = version
        assert caught.value.hint
        store.connection.execute("PRAGMA max_page_count = 100000")
        assert verify(store) == before
        put(store, "a", 100, count=40)
        assert verify(store) == before | {"a": 100}


def test_compaction_that_fails_is_not_the_callers_trouble(filled, monkeypatch, small_rows):
    def fail(*_):
        raise OSError(errno.ENOSPC, "full")

    with Store.open(filled) as store:
        with monkeypatch.context() as patch:
            patch.setattr("store.index.keys.compact", fail)
            for source in "abcd":
                assert store.remove(source)
        assert verify(store) == dict.fromkeys("efgh", 1)
        assert store.remove("e")
        assert verify(store) == dict.fromkeys("fgh", 1)
        assert store.connection.execute("SELECT count(*) FROM dead_keys").fetchone() == (0,)


def test_an_interrupt_undoes_the_document(filled, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with Store.open(filled) as store:
        monkeypatch.setattr("store.index.documents.count_more", interrupt)
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
