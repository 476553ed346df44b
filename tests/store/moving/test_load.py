import random
import sqlite3
import struct
import tracemalloc
from contextlib import closing

import pytest

from store import (
    ExportFormatError,
    FingerprintMismatchError,
    Labels,
    Store,
    StoreCorruptError,
    StoreError,
)
from store.care.verify import verify as problems_of
from store.moving.export import export
from store.moving.load import load
from tests.store import samples
from tests.store.index.test_opening import sql
from tests.store.samples import put, verify

SOURCES = ["a", "b/../../etc/passwd", "/abs\n\x1b[2J", "ü 東京", "-", "empty"]
SOURCES += ["'); DROP TABLE documents; --", '"; ATTACH DATABASE "x" AS y; --']


@pytest.fixture
def filled(path):
    with samples.create(path, model="tiny") as store:
        for source in SOURCES:
            put(store, source, count=0 if source == "empty" else 4)
        store.relabel("a", Labels(tags=("red", "x'; --"), date="2020-05-06"))
        yield store


@pytest.fixture
def file(filled, tmp_path):
    export(filled, tmp_path / "notes.mac")
    return tmp_path / "notes.mac"


@pytest.fixture
def other(tmp_path):
    with samples.create(tmp_path / "other") as store:
        yield store


def imported(folder, file, policy="replace"):
    done = load(folder, file, policy)
    return done.added, done.updated, done.unchanged, done.skipped


def change(file, *statements):
    """Let another program write to an export."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def refused(folder, file, match):
    """Import what is no good: one clear line, and a store in which nothing is wrong."""
    with pytest.raises(ExportFormatError, match=match) as caught:
        load(folder, file)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable() and caught.value.hint
    assert str(file) in str(caught.value)
    if (folder / "index.db").exists():
        with Store.open(folder) as store:
            assert list(problems_of(store)) == []
            return verify(store)
    return {}


def test_an_import_is_the_same_store(filled, file, tmp_path):
    before = sorted(p.name for p in tmp_path.iterdir())
    advanced = []
    load(tmp_path / "other", file, "replace", advanced.append)
    assert sum(advanced) == file.stat().st_size
    with Store.open(tmp_path / "other") as other:
        assert list(problems_of(other)) == []
        assert verify(other) == verify(filled) and other.model == "tiny"
        for document in filled.documents():
            twin = other.document(document.source)
            for name in ("title", "content_hash", "chunking", "added_at", "bytes", "tags", "date"):
                assert getattr(twin, name) == getattr(document, name)
        for word in ("chunk", "東京", "passwd"):
            assert [s for _, s in filled.search(word)] == [s for _, s in other.search(word)]
    # Sources are names: nothing was written under them, and nothing beside the export.
    assert {p.name for p in tmp_path.iterdir()} == {*before, "other"}


def test_an_export_appears_when_it_is_whole(filled, file, tmp_path):
    before = file.read_bytes()
    with pytest.raises(StoreError, match="exists already") as caught:
        export(filled, file)
    assert caught.value.hint and file.read_bytes() == before
    put(filled, "new", count=2)
    assert export(filled, file, force=True) == file.stat().st_size
    assert file.read_bytes() != before
    assert not [p for p in tmp_path.iterdir() if "partial" in p.name]
    sql(filled.path, "UPDATE modulations SET data = zeroblob(50) WHERE chunk_id = 2")
    with pytest.raises(StoreCorruptError, match="a, chunk 1: "):
        export(filled, tmp_path / "second.mac")
    with pytest.raises(StoreError):
        export(filled, tmp_path / "nowhere" / "second.mac")
    assert {p.name for p in tmp_path.iterdir()} == {"bank", "notes.mac"}


def test_an_export_needs_space(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "store.index.connection.shutil.disk_usage", lambda _: type("U", (), {"free": 100})
    )
    with pytest.raises(StoreError, match="Not enough space on the disk"):
        export(filled, tmp_path / "x.mac")
    assert {p.name for p in tmp_path.iterdir()} == {"bank"}


def test_it_is_complete_by_running_it_again(filled, file, other):
    before = file.read_bytes()
    change(file, "UPDATE chunks SET digest = zeroblob(16) WHERE id = 14")
    there = refused(other.path, file, "not the one that was written")
    assert 0 < len(there) < len(SOURCES)
    file.write_bytes(before)
    added, updated, unchanged, skipped = imported(other.path, file)
    assert (added, updated, unchanged, skipped) == (len(SOURCES) - len(there), 0, len(there), 0)
    assert imported(other.path, file) == (0, 0, len(SOURCES), 0)
    assert verify(other) == verify(filled)


def test_a_store_with_damaged_keys_takes_nothing(file, other, monkeypatch):
    monkeypatch.setattr("store.index.keys.ROW", 6)  # the first document makes a full row
    put(other, "its own", count=3)
    sql(other.path, "UPDATE key_blocks SET keys = zeroblob(length(keys))")
    with pytest.raises(StoreCorruptError, match="the keys from chunk 1 on"):
        load(other.path, file)
    assert [document.source for document in other.documents()] == ["its own"]


def test_existing_documents_are_replaced_or_skipped(filled, file, other):
    put(other, "a", 7, count=2)
    put(other, "mine", 1, count=2)
    assert imported(other.path, file, "skip") == (len(SOURCES) - 1, 0, 0, 1)
    assert verify(other)["a"] == 7
    assert imported(other.path, file) == (0, 1, len(SOURCES) - 1, 0)
    assert verify(other) == verify(filled) | {"mine": 1}
    assert list(problems_of(other)) == []


def test_a_part_of_a_document_stays_one(filled, other, tmp_path):
    made = samples.chunks("long", 1, 9)
    filled.put("long", content_hash="1 9", chunking="c1", chunks=made[:4], expected=9)
    export(filled, tmp_path / "x.mac")
    load(other.path, tmp_path / "x.mac")
    document = other.document("long")
    assert document.partial and (document.chunks, document.expected) == (4, 9)
    other.extend("long", content_hash="1 9", chunks=made[4:])
    assert list(problems_of(other)) == [] and verify(other) == verify(filled)


def test_another_checkpoint_is_refused_with_the_way_out(file, tmp_path):
    options = samples.IDENTITY | {"fingerprint": "fp-2"}
    with Store.open(tmp_path / "new", **options, create=True) as store:
        with pytest.raises(FingerprintMismatchError) as caught:
            load(store.path, file)
        assert "mac store rebuild" in caught.value.hint and "fp-1 (tiny)" in str(caught.value)
        assert verify(store) == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{}" * 100,
        b"\x28\xb5\x2f\xfd" + bytes(200),
        b"PK\x03\x04" + bytes(200),
        b"SQLite format 3\0" + bytes(200),
        random.Random(0).randbytes(9000),
    ],
)
def test_other_files_are_no_exports(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    refused(tmp_path / "new", tmp_path / "x", "is not an export of a store")
    assert not (tmp_path / "new").exists()


def test_files_that_are_no_files(tmp_path):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(StoreError, match="cannot be read") as caught:
            load(tmp_path / "new", path)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_store_in_use_is_no_export(filled, tmp_path):
    filled.close()
    refused(tmp_path / "new", filled.path / "index.db", "the database of a store in use")


def header(offset, value):
    def write(file):
        data = bytearray(file.read_bytes())
        data[offset : offset + len(value)] = value
        file.write_bytes(data)

    return write


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "cut short"),
        (lambda file: file.write_bytes(file.read_bytes()[:5000]), "cut short"),
        (lambda file: file.write_bytes(file.read_bytes() + b"PK\x03\x04"), "something was added"),
        (header(28, struct.pack(">I", 1 << 31)), "cut short"),
        (header(68, b"abcd"), "is not an export"),
        (header(60, struct.pack(">I", 7)), "of schema version 7"),
        (header(60, struct.pack(">I", 0)), "its header"),
        (header(56, struct.pack(">I", 2)), "its header"),
        (header(100, bytes(200)), "is damaged"),
    ],
)
def test_headers(file, tmp_path, damage, match):
    damage(file)
    refused(tmp_path / "new", file, match)
    assert not (tmp_path / "new").exists()


SCHEMAS = [
    "CREATE TRIGGER evil AFTER INSERT ON documents BEGIN DELETE FROM meta; END",
    "CREATE VIEW evil AS SELECT load_extension('evil')",
    "CREATE TABLE evil (x)",
    "CREATE INDEX evil ON documents (title)",
    "CREATE INDEX evil ON documents (upper(title))",
    "CREATE VIRTUAL TABLE evil USING fts5 (x)",
    "DROP TABLE usage",
    "DROP TRIGGER chunks_fts_insert",
    "ALTER TABLE documents ADD COLUMN evil TEXT",
    "ALTER TABLE documents RENAME COLUMN title TO evil",
    "ALTER TABLE chunks RENAME TO pieces",
    "DROP INDEX chunks_merged",
]


@pytest.mark.parametrize("statement", SCHEMAS)
def test_schemas_that_are_not_a_stores(file, tmp_path, statement):
    change(file, statement)
    refused(tmp_path / "new", file, "is not a store's|is missing")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sqlite_master SET sql = replace(sql, 'source TEXT', 'source BLOB') "
        "WHERE name = 'documents'",
        "UPDATE sqlite_master SET sql = 'CREATE VIEW usage AS SELECT 1', type = 'view' "
        "WHERE name = 'usage'",
        "UPDATE sqlite_master SET sql = 'garbage' WHERE name = 'usage'",
        "UPDATE sqlite_master SET sql = replace(sql, 'DELETE FROM merged', 'DELETE FROM meta') "
        "WHERE name = 'merged_unused'",
        "UPDATE sqlite_master SET rootpage = 99999 WHERE name = 'meta'",
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = "
        "'chunks') WHERE name = 'modulations'",
    ],
)
def test_schemas_written_by_hand(file, tmp_path, statement):
    change(file, "PRAGMA writable_schema = ON", statement)
    refused(tmp_path / "new", file, "is damaged")


LONG = "x" * 1000
ROWS = [
    ("DELETE FROM meta WHERE key = 'fingerprint'", "which store it is of"),
    ("UPDATE meta SET value = 'many' WHERE key = 'key_size'", "which store it is of"),
    ("UPDATE meta SET value = '99999999999' WHERE key = 'latent_size'", "which store it is of"),
    ("UPDATE meta SET value = '0' WHERE key = 'key_size'", "which store it is of"),
    ("UPDATE meta SET value = 'x' || char(27) WHERE key = 'model'", "which store it is of"),
    ("UPDATE meta SET value = x'ff' WHERE key = 'fingerprint'", "which store it is of"),
    ("UPDATE meta SET value = 7 WHERE key = 'key_size'", "its sizes"),
    ("UPDATE documents SET source = '' WHERE id = 2", "has no name"),
    ("UPDATE documents SET source = x'00ff' WHERE id = 2", "has no name"),
    ("UPDATE documents SET source = CAST(x'ff' AS TEXT) WHERE id = 2", "is damaged"),
    ("UPDATE documents SET title = x'00' WHERE id = 2", "title of"),
    ("UPDATE documents SET title = CAST(x'fe' AS TEXT) WHERE id = 2", "is damaged"),
    ("UPDATE documents SET expected = 1 WHERE id = 2", "has no place"),
    ("UPDATE documents SET expected = -1 WHERE id = 2", "expected of"),
    ("UPDATE documents SET expected = 1e300 WHERE id = 2", "expected of"),
    ("UPDATE documents SET chunks = 9 WHERE id = 2", "4 chunks instead of 9"),
    ("UPDATE documents SET chunks = 'x' WHERE id = 2", "4 chunks instead of x"),
    ("UPDATE documents SET characters = 'many' WHERE id = 2", "characters of"),
    ("UPDATE documents SET characters = 9223372036854775807 WHERE id = 2", "characters of"),
    ("UPDATE documents SET updated_at = 'yesterday' WHERE id = 2", "updated_at of"),
    ("UPDATE documents SET date = 'now' WHERE id = 2", "a tag or date"),
    ("INSERT INTO document_tags VALUES ('A, B', 2)", "a tag or date"),
    ("INSERT INTO document_tags VALUES (x'00', 2)", "a tag or date"),
    ("UPDATE chunks SET position = -1 WHERE id = 6", "has no place"),
    ("UPDATE chunks SET position = 9 WHERE id = 6", "has no place"),
    ("UPDATE chunks SET position = 'x' WHERE id = 6", "has no place"),
    ('UPDATE chunks SET start = 99, "end" = 9 WHERE id = 6', "it goes from 99 to 9"),
    ("UPDATE chunks SET start = -1 WHERE id = 6", "it goes from -1"),
    ('UPDATE chunks SET "end" = 9223372036854775807 WHERE id = 6', "it goes from"),
    ("UPDATE chunks SET tokens = 0 WHERE id = 6", "0 tokens"),
    ("UPDATE chunks SET tokens = 3 WHERE id = 6", "of another length"),
    ("UPDATE chunks SET tokens = 1 << 40 WHERE id = 6", "tokens"),
    ("UPDATE chunks SET text = 'other' WHERE id = 6", "not the one that was written"),
    ("UPDATE chunks SET text = x'00' WHERE id = 6", "it has no text"),
    ("UPDATE chunks SET digest = 'x' WHERE id = 6", "not the one that was written"),
    ("UPDATE chunks SET merged_id = 77 WHERE id = 6", "no merged modulation 77"),
    ("UPDATE chunks SET document_id = 99 WHERE id = 6", "3 chunks instead of 4"),
    ("UPDATE modulations SET data = zeroblob(60) WHERE chunk_id = 6", "not the one that was"),
    ("UPDATE modulations SET data = 'x' WHERE chunk_id = 6", "is damaged"),
    ("DELETE FROM modulations WHERE chunk_id = 6", "not the one that was written"),
    ("DELETE FROM chunks WHERE id = 6", "3 chunks instead of 4"),
    ("UPDATE key_blocks SET keys = zeroblob(length(keys)) WHERE first = 5", "its key is damaged"),
    ("UPDATE key_blocks SET keys = 'x' WHERE first = 5", "its key is damaged"),
    ("UPDATE key_blocks SET count = 1 << 60 WHERE first = 5", "its key is damaged"),
    ("UPDATE key_blocks SET checksum = 'x' WHERE first = 5", "its key is damaged"),
    ("DELETE FROM key_blocks WHERE first = 5", "it has no key"),
]


@pytest.mark.parametrize(("statement", "match"), ROWS)
def test_rows_that_no_store_has(file, other, statement, match):
    put(other, "mine", count=2)
    change_rows(file, statement)
    left = refused(other.path, file, match)
    assert left["mine"] == 1 and left.keys() <= {"mine", "a"}


def change_rows(file, statement):
    """Change rows of an export behind the back of full-text search."""
    triggers = {}
    with closing(sqlite3.connect(file)) as connection:
        for name in ("chunks_fts_delete", "chunks_fts_update"):
            query = "SELECT sql FROM sqlite_master WHERE name = ?"
            (triggers[name],) = connection.execute(query, (name,)).fetchone()
    drops = [f"DROP TRIGGER {name}" for name in triggers]
    change(file, *drops, statement, *triggers.values())


def test_claims_cost_no_memory(file, tmp_path):
    """A blob with a right digest that claims the longest modulation there is."""
    from store.index.chunks import digest
    from store.modulations import codec

    blob = codec.seal(codec._FIELDS.pack(codec.MAGIC, codec.VERSION, 0, 1 << 16, samples.R), b"1")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        (text,) = connection.execute("SELECT text FROM chunks WHERE id = 1").fetchone()
        connection.execute("UPDATE modulations SET data = ? WHERE chunk_id = 1", (blob,))
        connection.execute(
            "UPDATE chunks SET digest = ?, tokens = 65536 WHERE id = 1",
            (digest(blob, text, "", ""),),
        )
    tracemalloc.start()
    try:
        refused(tmp_path / "new", file, "its modulation is damaged")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_a_key_that_is_no_number(file, tmp_path):
    from store.index import keys

    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        query = "SELECT ids, keys FROM key_blocks WHERE first = 1"
        ids, data = connection.execute(query).fetchone()
        data = b"\xff\x7f" + data[2:]
        connection.execute(
            "UPDATE key_blocks SET keys = ?, checksum = ? WHERE first = 1",
            (data, keys._checksum(ids, data)),
        )
    assert refused(tmp_path / "new", file, "it has no key") == {}


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_changed_whole_documents_are_imported_or_none(file, filled, tmp_path, seed):
    chance = random.Random(seed)
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 3, 30))):
        data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    if seed % 8 == 7:
        del data[chance.randrange(len(data)) :]
    file.write_bytes(data)
    try:
        load(tmp_path / "new", file)
    except StoreError as error:
        assert "\n" not in str(error) and str(error).isprintable()
    if (tmp_path / "new").exists():
        with Store.open(tmp_path / "new") as store:
            assert list(problems_of(store)) == []
            rows = {row.text for d in store.documents() for row in store.chunks(d.id)}
            assert rows <= {row.text for d in filled.documents() for row in filled.chunks(d.id)}


def test_a_full_disk_undoes_the_document(tmp_path, other, monkeypatch):
    with samples.create(tmp_path / "long") as source:
        put(source, "a", count=600)
        export(source, tmp_path / "x.mac")
    pages = other.connection.execute("PRAGMA page_count").fetchone()[0]
    opened = Store.open

    def open_small(*arguments, **options):
        store = opened(*arguments, **options)
        store.connection.execute(f"PRAGMA max_page_count = {pages + 9}")
        return store

    with monkeypatch.context() as patch:
        patch.setattr(Store, "open", open_small)
        with pytest.raises(StoreError, match="No space left on the disk"):
            load(other.path, tmp_path / "x.mac")
    assert verify(other) == {} and list(problems_of(other)) == []
    assert imported(other.path, tmp_path / "x.mac") == (1, 0, 0, 0)


def test_memory_is_that_of_a_document(tmp_path):
    with samples.create(tmp_path / "big") as store:
        for n in range(20):
            put(store, f"doc{n}", count=50)
        export(store, tmp_path / "x.mac")
    load(tmp_path / "warm", tmp_path / "x.mac")
    tracemalloc.start()
    try:
        load(tmp_path / "new", tmp_path / "x.mac")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
