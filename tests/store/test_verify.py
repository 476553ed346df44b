import hashlib
import io
import sqlite3
import tracemalloc

import numpy as np
import pytest

from store import Store, StoreError
from store.exportfile import ExportFile
from tests.store import samples
from tests.store.samples import put, verify
from tests.store.test_damage import DAMAGES, damage_keys, no_rights, someone_else
from tests.store.test_opening import sql

__all__ = ["no_rights", "someone_else"]


@pytest.fixture
def filled(path):
    with samples.create(path) as store:
        for source in "abcdefgh":
            put(store, source, count=4)
        store.remove("b")
    return path


def problems(path):
    with Store.open(path) as store:
        return list(store.verify())


def kinds(path):
    return {problem.kind for problem in problems(path)}


def repaired(path, **options):
    """What a repair names as damaged; everything else is whole afterwards."""
    with Store.open(path) as store:
        damaged = list(store.repair(**options))
        left = {problem.source for problem in store.verify()}
        assert left == (set() if options else set(damaged))
        return damaged


def test_a_whole_store_has_no_problems(filled):
    advanced = []
    with Store.open(filled) as store:
        assert list(store.verify(advanced.append)) == []
        assert sum(advanced) == 28
        assert list(store.repair()) == []
        assert len(verify(store)) == 7


def test_an_empty_store_has_no_problems(path):
    samples.create(path).close()
    assert problems(path) == []


DAMAGED = [
    ("UPDATE modulations SET data = zeroblob(60) WHERE chunk_id = 3", "damaged: it starts with"),
    ("UPDATE modulations SET data = substr(data, 1, 40) WHERE chunk_id = 3", "damaged: "),
    ("UPDATE modulations SET data = 'text' WHERE chunk_id = 3", "is missing"),
    ("DELETE FROM modulations WHERE chunk_id = 3", "is missing"),
    (
        "UPDATE modulations SET data = (SELECT data FROM modulations WHERE chunk_id = 2) "
        "WHERE chunk_id = 3",
        "not the one that was written",
    ),
    ("UPDATE digests SET digest = zeroblob(16) WHERE chunk_id = 3", "not the one that was written"),
]


@pytest.mark.parametrize(("statement", "message"), DAMAGED)
def test_a_damaged_modulation_is_named_and_its_document_ingested_again(filled, statement, message):
    sql(filled, statement)
    found = [p for p in problems(filled) if p.kind == "modulation"]
    assert [(p.source, p.chunk, p.remedy) for p in found] == [("a", 3, "ingest")]
    assert found[0].message.startswith("a, chunk 2: ") and message in found[0].message
    assert repaired(filled) == ["a"]
    with Store.open(filled) as store:
        # An ingest that compares contents must not take the document for unchanged.
        assert store.document("a").content_hash == ""
        put(store, "a", 2, count=3)
        assert list(store.verify()) == []
        assert len(verify(store)) == 7


@pytest.mark.parametrize("statement", [statement for statement, _ in DAMAGED])
def test_damaged_documents_are_removed_only_if_asked(filled, statement):
    sql(filled, statement)
    assert repaired(filled, drop_damaged=True) == ["a"]
    with Store.open(filled) as store:
        assert verify(store) == dict.fromkeys("cdefgh", 1)
        assert store.history(1)[0].action == "removed"


def test_missing_chunks_are_not_hidden_by_a_repair(filled):
    sql(filled, "PRAGMA foreign_keys = ON", "DELETE FROM chunks WHERE id = 2")
    assert "a: 1 of its 4 chunks are missing" in [p.message for p in problems(filled)]
    with Store.open(filled) as store:
        assert list(store.repair()) == ["a"]
        assert [p.message for p in store.verify()] == ["a: 1 of its 4 chunks are missing"]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE documents SET tokens = 1 WHERE source = 'c'", "totals"),
        ("UPDATE documents SET chunks = 1 WHERE source = 'c'", "totals"),
        ("UPDATE documents SET bytes = 0, text_bytes = 7 WHERE source = 'c'", "totals"),
        ("UPDATE chunks SET tokens = 1 WHERE id = 9", "totals"),
        ("UPDATE chunks SET bytes = 1 WHERE id = 9", "totals"),
        ("DELETE FROM digests", "digest"),
        ("INSERT INTO digests VALUES (99, zeroblob(16))", "reference"),
        ("INSERT INTO modulations VALUES (99, zeroblob(16))", "reference"),
        ("DELETE FROM dead_keys", "keys"),
        ("INSERT INTO dead_keys VALUES (9, 9)", "keys"),
        ("UPDATE key_file SET row_count = row_count - 1", "keys"),
        ("UPDATE key_file SET generation = 7", "keys"),
        ("INSERT INTO chunks_fts (chunks_fts) VALUES ('delete-all')", "search"),
        ("DELETE FROM chunks_fts_docsize WHERE id = 9", "search"),
        (
            "INSERT INTO chunks_fts (chunks_fts, rowid, text) "
            "SELECT 'delete', id, text FROM chunks WHERE id = 9",
            "search",
        ),
        ("INSERT INTO chunks_fts (rowid, text) VALUES (77, 'stray')", "search"),
    ],
)
def test_what_is_held_twice_is_rebuilt(filled, statement, kind):
    sql(filled, statement)
    assert kind in kinds(filled)
    assert {p.remedy for p in problems(filled)} <= {"repair"}
    assert repaired(filled) == []
    with Store.open(filled) as store:
        assert verify(store) == dict.fromkeys("acdefgh", 1)


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_key_file_is_rebuilt(filled, how):
    damage_keys(filled, how)
    assert kinds(filled) == {"keys"}
    assert repaired(filled) == []
    assert problems(filled) == []


def test_keys_of_other_chunks_in_an_intact_file(filled):
    """The file is one that some program wrote; only a comparison with the modulations shows it."""
    with Store.open(filled) as store:
        block = store._key_block
        rows = [(ids, keys[::-1]) for ids, keys in block.in_file(100)]
        file = block._file(1)
        file.create()
        count, tail = file.append(0, 0, rows)
        tail -= (1 << 64) if tail >= 1 << 63 else 0
        store._connection.execute("UPDATE key_file SET row_count = ?, tail = ?", (count, tail))
        store._connection.execute("DELETE FROM dead_keys")
        assert [p.message for p in store.verify()] == [
            "The key file holds 28 keys that are not those of their chunks"
        ]
    assert repaired(filled) == []


def test_damaged_pages_are_told(filled):
    connection = sqlite3.connect(filled / "index.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_chunks_1'"
    (page,) = connection.execute(query).fetchone()
    connection.close()
    data = bytearray((filled / "index.db").read_bytes())
    data[page * 4096 - 40 : page * 4096] = bytes(40)
    (filled / "index.db").write_bytes(data)
    assert "index" in kinds(filled)


def test_a_store_that_cannot_be_written_can_be_verified(no_rights):
    with Store.open(no_rights / "bank") as store:
        assert not store.writable
        assert list(store.verify()) == []


@pytest.fixture
def all_imported(tmp_path):
    """Modules are imported when first used, which the user of `no_rights` may not be allowed to."""
    with samples.create(tmp_path / "warm") as store:
        put(store, "a", count=3)
        store.vacuum()
        with pytest.raises(StoreError, match="its check"):
            store.load(ExportFile(io.BytesIO(exported(store)), "x"))
        np.testing.assert_array_equal(samples.all_keys(store)[4], samples.all_keys(store)[4])


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.vacuum(),
        lambda store: store.load(ExportFile(io.BytesIO(exported(store)), "x")),
    ],
)
def test_writing_without_permission_is_refused_with_one_line(all_imported, no_rights, write):
    with Store.open(no_rights / "bank") as store:
        with pytest.raises(StoreError, match="No permission to write") as caught:
            write(store)
        assert caught.value.hint
        assert verify(store) == dict.fromkeys("abcd", 1)


def exported(store):
    """An export in which one document is another than the store's."""
    lines = io.BytesIO()
    store.export(lines)
    data = lines.getvalue().replace(b'"content_hash": "1 3"', b'"content_hash": "2 3"')
    first, _, rest = data.partition(b'{"check": "')
    check = hashlib.blake2b(first, digest_size=32).hexdigest().encode()
    return first + b'{"check": "' + check + rest[64:]


def test_repair_needs_permission(filled, monkeypatch):
    sql(filled, "UPDATE documents SET tokens = 1 WHERE source = 'c'")
    with Store.open(filled) as store:
        store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="No permission to write"):
            store.repair()


def test_memory_is_that_of_one_modulation(path):
    with samples.create(path) as store:
        for n in range(30):
            put(store, f"doc{n}", count=40)
        list(store.verify())  # imports
        tracemalloc.start()
        try:
            small = [tracemalloc.get_traced_memory(), list(store.verify())]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert small[1] == [] and peak < 1_000_000


def test_vacuum_gives_space_back(path, eager_compaction):
    with samples.create(path) as store:
        for n in range(40):
            put(store, f"doc{n}", count=40)
        for n in range(39):
            store.remove(f"doc{n}")
        (path / "index.db.backup-v4").write_bytes(bytes(5000))
        (path / "keys-000099.bin").write_bytes(bytes(700))
        space = store.space()
        assert space.files == 5700 and space.index > 50_000
        freed = store.vacuum()
        assert freed >= space.reclaimable * 0.9
        assert store.space().reclaimable == 0 and store.space().total == space.total - freed
        assert list(store.verify()) == []
        assert verify(store) == {"doc39": 1}
        assert len(list(path.glob("keys-*"))) == 1
        put(store, "new", count=2)
        assert list(store.verify()) == []


def test_vacuum_needs_space(filled, monkeypatch):
    monkeypatch.setattr("store.disk.shutil.disk_usage", lambda _: type("U", (), {"free": 100}))
    with Store.open(filled) as store:
        before = verify(store)
        with pytest.raises(StoreError, match="Not enough space on the disk") as caught:
            store.vacuum()
        assert caught.value.hint
        assert verify(store) == before


def test_readers_go_on_during_a_vacuum(filled):
    with Store.open(filled) as reader, Store.open(filled) as store, reader.snapshot():
        assert len(list(reader.documents())) == 7
        store.vacuum()
        assert len(samples.all_keys(reader)) == 28


def test_copy(filled, tmp_path):
    with Store.open(filled) as store:
        store.copy(tmp_path / "deep" / "copy")
        put(store, "later", count=2)
        with Store.open(tmp_path / "deep" / "copy", fingerprint="fp-1") as copy:
            assert verify(copy) == dict.fromkeys("acdefgh", 1)
            assert list(copy.verify()) == []
            assert not copy._key_block.damaged
        with pytest.raises(StoreError, match="is there already"):
            store.copy(tmp_path / "deep" / "copy")
        (tmp_path / "empty").mkdir()
        store.copy(tmp_path / "empty")
        assert not list(tmp_path.glob(".*")) and not list((tmp_path / "deep").glob(".*"))


def test_copy_without_a_key_file(filled, tmp_path):
    next(filled.glob("keys-*")).unlink()
    with Store.open(filled) as store:
        store.copy(tmp_path / "copy")
    assert problems(tmp_path / "copy") == []


def test_a_store_folder_that_is_a_symlink(filled, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(filled, target_is_directory=True)
    with Store.open(link) as store:
        put(store, "new", count=2)
        store.vacuum()
        store.copy(tmp_path / "copy")
        assert list(store.verify()) == []
    assert link.is_symlink() and problems(filled) == []
    broken = tmp_path / "broken"
    broken.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError):
        Store.open(broken)
