import sqlite3
import tracemalloc

import numpy as np
import pytest

from store import Store, StoreError
from store.care.repair import repair
from store.care.vacuum import space, vacuum
from store.care.verify import verify as problems_of
from store.moving.export import copy, export
from store.moving.load import load
from tests.store import samples
from tests.store.index.test_opening import sql
from tests.store.samples import put, verify
from tests.store.test_damage import no_rights, someone_else

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
        return list(problems_of(store))


def kinds(path):
    return {problem.kind for problem in problems(path)}


def repaired(path, **options):
    """What a repair names as damaged; everything else is whole afterwards."""
    with Store.open(path) as store:
        damaged = list(repair(store, **options))
        left = {problem.source for problem in problems_of(store)}
        assert left == (set() if options else set(damaged))
        return damaged


def test_a_whole_store_has_no_problems(filled):
    advanced = []
    with Store.open(filled) as store:
        assert list(problems_of(store, advanced.append)) == []
        assert sum(advanced) == 28
        assert list(repair(store)) == []
        assert len(verify(store)) == 7


def test_a_document_may_be_removed_while_the_store_is_repaired(filled, monkeypatch):
    sql(filled, "UPDATE chunks SET text_hash = 0 WHERE id = 3")

    def meanwhile(store, advance):
        yield from problems_of(store, advance)
        with Store.open(filled) as other:
            assert other.remove("a")

    monkeypatch.setattr("store.care.repair.verify", meanwhile)
    with Store.open(filled) as store:
        assert list(repair(store)) == []
    assert problems(filled) == []


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
    ("UPDATE chunks SET digest = zeroblob(16) WHERE id = 3", "not the one that was written"),
    ("UPDATE chunks SET text = 'chunk 2 of A version 1' WHERE id = 3", "not the one that was"),
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
        assert list(problems_of(store)) == []
        assert len(verify(store)) == 7


@pytest.mark.parametrize("statement", [statement for statement, _ in DAMAGED])
def test_damaged_documents_are_removed_only_if_asked(filled, statement):
    sql(filled, statement)
    assert repaired(filled, drop_damaged=True) == ["a"]
    with Store.open(filled) as store:
        assert verify(store) == dict.fromkeys("cdefgh", 1)


def test_missing_chunks_are_not_hidden_by_a_repair(filled):
    sql(filled, "PRAGMA foreign_keys = ON", "DELETE FROM chunks WHERE id = 2")
    assert "a: 1 of its 4 chunks are missing" in [p.message for p in problems(filled)]
    with Store.open(filled) as store:
        assert list(repair(store)) == ["a"]
        assert [p.message for p in problems_of(store)] == ["a: 1 of its 4 chunks are missing"]


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE documents SET tokens = 1 WHERE source = 'c'", "totals"),
        ("UPDATE documents SET chunks = 1 WHERE source = 'c'", "totals"),
        ("UPDATE documents SET bytes = 0, text_bytes = 7 WHERE source = 'c'", "totals"),
        ("UPDATE chunks SET tokens = 1 WHERE id = 9", "totals"),
        ("UPDATE chunks SET bytes = 1 WHERE id = 9", "totals"),
        ("UPDATE documents SET expected = 1 WHERE source = 'c'", "totals"),
        ("INSERT INTO modulations VALUES (99, zeroblob(16))", "reference"),
        ("INSERT INTO document_tags VALUES ('red', 99)", "reference"),
        ("DELETE FROM dead_keys", "keys"),
        ("INSERT INTO dead_keys VALUES (9)", "keys"),
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


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE key_blocks SET keys = zeroblob(length(keys)) WHERE first = 9",
        "UPDATE key_blocks SET keys = substr(keys, 3) WHERE first = 9",
        "UPDATE key_blocks SET ids = zeroblob(length(ids)) WHERE first = 9",
        "UPDATE key_blocks SET last = last + 1 WHERE first = 9",
        "UPDATE key_blocks SET checksum = 7 WHERE first = 9",
        "DELETE FROM key_blocks WHERE first = 9",
    ],
)
def test_documents_whose_keys_are_lost_are_named(filled, statement):
    sql(filled, statement)
    found = problems(filled)
    assert {p.kind for p in found} == {"keys"}
    assert [p.source for p in found if p.remedy == "ingest"] == ["c"]
    assert repaired(filled) == ["c"]
    with Store.open(filled) as store:
        assert len(samples.all_keys(store)) == 24  # the others' are read again
        put(store, "c", 1, count=4)
        assert list(problems_of(store)) == []
        assert len(verify(store)) == 7


def test_a_part_of_a_document_is_no_problem(filled):
    made = samples.chunks("long", 1, 9)
    with Store.open(filled) as store:
        store.put("long", content_hash="1 9", chunking="c1", chunks=made[:4], expected=9)
        assert list(problems_of(store)) == []
    sql(filled, "UPDATE chunks SET position = 9 WHERE id = 36")
    assert [p.source for p in problems(filled) if p.kind == "document"] == ["long"]
    assert repaired(filled) == ["long"]


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
        assert list(problems_of(store)) == []


@pytest.fixture
def all_imported(tmp_path):
    """Modules are imported when first used, which the user of `no_rights` may not be allowed to."""
    with samples.create(tmp_path / "warm") as store:
        put(store, "a", count=3)
        vacuum(store)
        put(store, "z", count=3)
        export(store, tmp_path / "file")
        np.testing.assert_array_equal(samples.all_keys(store)[4], samples.all_keys(store)[4])
    load(tmp_path / "warmer", tmp_path / "file")
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:2]:
        parent.chmod(0o755)
    return tmp_path / "file"


def test_writing_without_permission_is_refused_with_one_line(all_imported, no_rights):
    def write_load():
        load(no_rights / "bank", all_imported)

    with Store.open(no_rights / "bank") as store:
        for write in (lambda: vacuum(store), write_load):
            with pytest.raises(StoreError, match="No permission to write") as caught:
                write()
            assert caught.value.hint
        assert verify(store) == dict.fromkeys("abcd", 1)


def test_repair_needs_permission(filled, monkeypatch):
    sql(filled, "UPDATE documents SET tokens = 1 WHERE source = 'c'")
    with Store.open(filled) as store:
        store.connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError, match="No permission to write"):
            repair(store)


def test_memory_is_that_of_one_modulation(path):
    with samples.create(path) as store:
        for n in range(30):
            put(store, f"doc{n}", count=40)
        list(problems_of(store))  # imports
        tracemalloc.start()
        try:
            small = [tracemalloc.get_traced_memory(), list(problems_of(store))]
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert small[1] == [] and peak < 1_000_000


def test_vacuum_gives_space_back(path):
    with samples.create(path) as store:
        for n in range(40):
            put(store, f"doc{n}", count=40)
        for n in range(39):
            store.remove(f"doc{n}")
        before = space(store)
        assert before.keys == 520 * (8 + 2 * samples.E) and before.index > 50_000
        freed = vacuum(store)
        assert freed >= before.reclaimable * 0.9
        assert space(store).reclaimable == 0 and space(store).total == before.total - freed
        assert list(problems_of(store)) == []
        assert verify(store) == {"doc39": 1}
        put(store, "new", count=2)
        assert list(problems_of(store)) == []


def test_vacuum_needs_space(filled, monkeypatch):
    monkeypatch.setattr(
        "store.index.connection.shutil.disk_usage", lambda _: type("U", (), {"free": 100})
    )
    with Store.open(filled) as store:
        before = verify(store)
        with pytest.raises(StoreError, match="Not enough space on the disk") as caught:
            vacuum(store)
        assert caught.value.hint
        assert verify(store) == before


def test_readers_go_on_during_a_vacuum(filled):
    with Store.open(filled) as reader, Store.open(filled) as store, reader.snapshot():
        assert len(list(reader.documents())) == 7
        vacuum(store)
        assert len(samples.all_keys(reader)) == 28


def test_copy(filled, tmp_path):
    with Store.open(filled) as store:
        copy(store, tmp_path / "deep" / "copy")
        put(store, "later", count=2)
        with Store.open(tmp_path / "deep" / "copy", fingerprint="fp-1") as copied:
            assert verify(copied) == dict.fromkeys("acdefgh", 1)
            assert list(problems_of(copied)) == []
            mode = copied.connection.execute("PRAGMA journal_mode").fetchone()
            assert mode == ("wal",)  # readers and a writer do not block each other there either
        with pytest.raises(StoreError, match="exists already"):
            copy(store, tmp_path / "deep" / "copy")
        (tmp_path / "empty").mkdir()
        copy(store, tmp_path / "empty")
        assert not list(tmp_path.glob(".*")) and not list((tmp_path / "deep").glob(".*"))


def test_a_store_folder_that_is_a_symlink(filled, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(filled, target_is_directory=True)
    with Store.open(link) as store:
        put(store, "new", count=2)
        vacuum(store)
        copy(store, tmp_path / "copy")
        assert list(problems_of(store)) == []
    assert link.is_symlink() and problems(filled) == []
    broken = tmp_path / "broken"
    broken.symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError):
        Store.open(broken)
