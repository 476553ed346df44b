import hashlib
import io
import json
import os
import struct
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from store import (
    ExportFormatError,
    FingerprintMismatchError,
    Store,
    StoreCorruptError,
    StoreError,
    exporting,
    portable,
    schema,
)
from store.exportfile import ExportFile
from tests.store import samples
from tests.store.samples import E, R, T, put, verify
from tests.store.test_opening import sql


def exported(store):
    file = io.BytesIO()
    store.export(file)
    return file.getvalue()


def load(store, data, policy="replace"):
    done = store.load(ExportFile(io.BytesIO(data), "notes.mac"), policy)
    return done.added, done.updated, done.unchanged, done.skipped


@pytest.fixture
def filled(path):
    with samples.create(path, model="tiny") as store:
        for source in ["a", "b/../../etc/passwd", "/abs\n\x1b[2J", "ü 東京", "-", "empty"]:
            put(store, source, count=0 if source == "empty" else 4)
        yield store


@pytest.fixture
def other(tmp_path):
    with samples.create(tmp_path / "other") as store:
        yield store


def test_an_import_is_the_same_store(filled, other, tmp_path):
    before = sorted(p.name for p in tmp_path.iterdir())
    data = exported(filled)
    assert load(other, data) == (6, 0, 0, 0)
    assert list(other.verify()) == []
    assert verify(other) == verify(filled)
    for document in filled.documents():
        twin = other.document(document.source)
        for name in ("title", "content_hash", "chunking", "added_at", "updated_at", "bytes"):
            assert getattr(twin, name) == getattr(document, name)
    for word in ("chunk", "東京", "passwd"):
        assert [s for _, s in filled.search(word)] == [s for _, s in other.search(word)]
    # Sources are names: nothing was written under them.
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert exported(other).partition(b"\n")[2].count(b"check") == data.count(b"check")


def test_it_is_complete_by_running_it_again(filled, other):
    data = exported(filled)
    with pytest.raises(ExportFormatError, match="cut short"):
        load(other, data[: len(data) * 2 // 3])
    there = verify(other)
    assert 0 < len(there) < 6 and list(other.verify()) == []
    added, updated, unchanged, skipped = load(other, data)
    assert (added + unchanged, updated, skipped) == (6, 0, 0) and unchanged == len(there)
    assert load(other, data) == (0, 0, 6, 0)
    assert verify(other) == verify(filled)


def test_existing_documents_are_replaced_or_skipped(filled, other):
    put(other, "a", 7, count=2)
    put(other, "mine", 1, count=2)
    data = exported(filled)
    assert load(other, data, "skip") == (5, 0, 0, 1)
    assert verify(other)["a"] == 7
    assert load(other, data) == (0, 1, 5, 0)
    assert verify(other) == verify(filled) | {"mine": 1}
    assert list(other.verify()) == []


def later(connection):
    """What other migrations may add: columns, and tables that belong to documents or chunks."""
    connection.execute("ALTER TABLE documents ADD COLUMN mood TEXT")
    connection.execute("ALTER TABLE chunks ADD COLUMN weight REAL")
    connection.execute("ALTER TABLE chunks ADD COLUMN like_id INTEGER REFERENCES chunks (id)")
    connection.execute(
        "CREATE TABLE tags (document_id INTEGER NOT NULL REFERENCES documents (id) "
        "ON DELETE CASCADE, tag TEXT NOT NULL, PRIMARY KEY (document_id, tag)) WITHOUT ROWID"
    )
    connection.execute(
        "CREATE TABLE origins (id INTEGER PRIMARY KEY, chunk_id INTEGER NOT NULL "
        "REFERENCES chunks (id) ON DELETE CASCADE, source TEXT NOT NULL, raw BLOB)"
    )


ADDED = (
    "SELECT source, mood, (SELECT group_concat(tag) FROM tags WHERE document_id = documents.id) "
    "FROM documents ORDER BY source",
    "SELECT position, weight, origins.source, raw FROM chunks JOIN origins ON chunk_id = chunks.id "
    "ORDER BY document_id, position, origins.source",
)


def test_columns_and_tables_of_later_migrations_travel(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, later))
        with samples.create(tmp_path / "a") as store, samples.create(tmp_path / "b") as twin:
            for source in "xyz":
                put(store, source, count=3)
            for statement in (
                "UPDATE documents SET mood = '2024-02-03' WHERE source = 'x'",
                "INSERT INTO tags SELECT id, 'blue' FROM documents",
                "INSERT INTO tags SELECT id, 'red' FROM documents WHERE source = 'z'",
                "UPDATE chunks SET weight = position / 2.0, like_id = 7",
                "INSERT INTO origins (chunk_id, source, raw) VALUES (2, 'p', x'00ff'), "
                "(2, 'q', NULL)",
            ):
                store._connection.execute(statement)
            data = exported(store)
            put(twin, "x", 2, count=1)
            twin._connection.execute("INSERT INTO tags VALUES (1, 'old')")
            assert load(twin, data) == (2, 1, 0, 0)
            for query in ADDED:
                rows = store._connection.execute(query).fetchall()
                assert rows and twin._connection.execute(query).fetchall() == rows
            assert load(twin, data) == (0, 0, 3, 0)
            # Which number a row has in another store means nothing here.
            query = "SELECT count(like_id) FROM chunks"
            assert twin._connection.execute(query).fetchone() == (0,)
            store._connection.execute("DELETE FROM tags WHERE tag = 'red'")
            assert load(twin, exported(store)) == (0, 1, 2, 0)
    # A program that knows nothing of all this says so, and loses nothing in silence.
    with (
        samples.create(tmp_path / "old") as old,
        pytest.raises(ExportFormatError, match="this program knows no 'mood' of documents"),
    ):
        load(old, data)


def test_an_export_is_of_one_state_and_takes_the_memory_of_one_part(tmp_path):
    with samples.create(tmp_path / "big") as store:
        for n in range(20):
            put(store, f"doc{n}", count=50)
        put(store, "long", count=700)
        exported(store)  # imports

        class Sink:
            size = 0

            def write(self, data):
                if not self.size:
                    with Store.open(tmp_path / "big") as writer:
                        writer.remove("long")
                self.size += len(data)

        sink = Sink()
        tracemalloc.start()
        try:
            store.export(sink)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sink.size > 200_000 and peak < 2_000_000


def test_a_pipe_is_enough(filled, other):
    reading, writing = os.pipe()
    data = exported(filled)

    def feed():
        with open(writing, "wb") as end:
            for at in range(0, len(data), 777):
                end.write(data[at : at + 777])
                end.flush()

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reading, "rb", buffering=0) as end:
        other.load(ExportFile(end, "-"))
    thread.join()
    assert verify(other) == verify(filled)


def test_a_large_document_goes_through_the_disk(filled, other, monkeypatch):
    monkeypatch.setattr("store.exportfile._IN_MEMORY", 100)
    monkeypatch.setattr("store.exporting._PART_CHUNKS", 2)
    assert load(other, exported(filled)) == (6, 0, 0, 0)
    assert verify(other) == verify(filled)


def test_another_checkpoint_is_refused_with_the_way_out(filled, tmp_path):
    options = samples.IDENTITY | {"fingerprint": "fp-2"}
    with Store.open(tmp_path / "new", **options, create=True) as store:
        with pytest.raises(FingerprintMismatchError) as caught:
            load(store, exported(filled))
        assert "mac store rebuild" in caught.value.hint and "fp-1 (tiny)" in str(caught.value)
        assert verify(store) == {}


def test_a_damaged_store_is_not_exported(filled):
    sql(filled.path, "UPDATE modulations SET data = zeroblob(50) WHERE chunk_id = 2")
    with pytest.raises(StoreCorruptError, match="a, chunk 1: .*it starts with"):
        exported(filled)


# Files that nobody exported.

HEADER = {
    "mac-store-export": 1,
    "fingerprint": "fp-1",
    "model": "",
    "key_size": E,
    "latent_size": R,
    "documents": 1,
    "chunks": 1,
}
DOCUMENT = {
    "source": "a",
    "title": None,
    "content_hash": "1 1",
    "chunking": "c",
    "characters": 4,
    "media_type": "text/plain",
    "encoding": "utf-8",
    "added_at": "2024-01-01T00:00:00+00:00",
    "updated_at": "2024-01-01T00:00:00+00:00",
}
CHUNK = {"start": 0, "end": 4, "text": "text", "tokens": T}


def tensors(**changes):
    arrays = {
        "latents": np.ones((T, R), np.int8),
        "scales": np.ones(T, np.float16),
        "keys": np.ones((1, E), np.float16),
    }
    arrays |= changes
    return save({name: array for name, array in arrays.items() if array is not None})


def forged(
    header=(), document=(), chunk=(), line=(), data=None, part=(), end=None, tail=b"", raw=None
):
    """An export with right digests, however wrong the rest is."""
    out = bytearray()

    def add(record, check=False):
        if check:
            record["check"] = hashlib.blake2b(out, digest_size=32).hexdigest()
        out.extend(record if isinstance(record, bytes) else json.dumps(record).encode() + b"\n")

    data = tensors() if data is None else data
    add(HEADER | dict(header))
    add({"document": DOCUMENT | dict(document), "related": {}, "chunks": 1} | dict(line))
    if raw is None:
        add({"part": [CHUNK | dict(chunk)], "bytes": len(data)} | dict(part))
        add(data)
    else:
        add(raw)
    add({}, check=True)
    add({"end": end or {"documents": 1, "chunks": 1}}, check=True)
    return bytes(out) + tail


def test_the_forgery_is_good_without_changes(other):
    assert load(other, forged()) == (1, 0, 0, 0)
    assert list(other.verify()) == []


def header_of(size):
    return struct.pack("<Q", size) + b"{" + b" " * 100


NAN = np.full((1, E), np.nan, np.float16)
FORGERIES = [
    ({"header": {"mac-store-export": 3}}, "of version 3"),
    ({"header": {"mac-store-export": True}}, "of version True"),
    ({"header": {"mac-store-export": {}}}, "of version {}"),
    ({"header": {"key_size": 0}}, "impossible facts"),
    ({"header": {"key_size": True}}, "impossible facts"),
    ({"header": {"latent_size": 1 << 40}}, "impossible facts"),
    ({"header": {"model": "\x1b[2J"}}, "impossible facts"),
    ({"header": {"key_size": E + 1}}, "sizes are not those"),
    ({"document": {"source": ""}}, "no name"),
    ({"document": {"source": 7}}, "source cannot be '7'"),
    ({"document": {"source": None}}, "source cannot be"),
    ({"document": {"source": "\ud800"}}, "source cannot be"),
    ({"document": {"characters": "many"}}, "characters cannot be 'many'"),
    ({"document": {"characters": 1 << 70}}, "characters cannot be"),
    ({"document": {"characters": True}}, "characters cannot be"),
    ({"document": {"updated_at": "yesterday"}}, "updated_at is no time"),
    ({"document": {"id = 1; DROP TABLE documents; --": 1}}, "knows no 'id = 1; DROP"),
    ({"document": {"id": 99}}, "knows no 'id'"),
    ({"line": {"related": {"meta": [{"key": "fingerprint", "value": "x"}]}}}, "no table 'meta'"),
    ({"line": {"related": []}}, "is no object"),
    ({"line": {"chunks": -1}}, "a document was expected"),
    ({"line": {"chunks": 1e9}}, "a document was expected"),
    ({"line": {"chunks": 1 << 50}}, "a part was expected"),
    ({"line": {"document": []}}, "a document was expected"),
    ({"chunk": {"tokens": 0}}, "has 0 tokens"),
    ({"chunk": {"tokens": 1 << 40}}, "tokens"),
    ({"chunk": {"start": 9}}, "a chunk goes from 9 to 4"),
    ({"chunk": {"start": -1}}, "a chunk goes from -1"),
    ({"chunk": {"text": None}}, "text cannot be"),
    ({"chunk": {"document_id": 1}}, "knows no 'document_id'"),
    ({"chunk": {"related": {"modulations": []}}}, "no table 'modulations'"),
    ({"part": {"part": []}}, "a part was expected"),
    ({"part": {"part": [[]]}}, "a chunk is no object"),
    ({"part": {"bytes": 1 << 60}}, "a part claims"),
    ({"part": {"bytes": -1}}, "a part claims"),
    ({"part": {"bytes": 100 << 20}}, "cut short"),
    ({"data": b""}, "a part of 0 bytes"),
    ({"data": bytes(len(tensors()))}, "no safetensors file"),
    ({"data": header_of(1 << 62)}, "no safetensors file"),
    ({"data": b"\x28\xb5\x2f\xfd" + bytes(200)}, "no safetensors file"),
    ({"data": tensors(latents=np.ones((R, T), np.int8))}, "other shapes"),
    ({"data": tensors(latents=np.ones((T, R), np.uint8))}, "other shapes"),
    ({"data": tensors(scales=None, pad=np.ones(T, np.float16))}, "other shapes"),
    ({"data": tensors(keys=NAN)}, "finite"),
    ({"end": {"documents": 2, "chunks": 1}}, "its end does not fit"),
    ({"tail": b"more"}, "its end does not fit"),
]


@pytest.mark.parametrize(("changes", "message"), FORGERIES)
def test_forgeries_are_refused_with_one_line(other, changes, message):
    put(other, "mine", count=2)
    tracemalloc.start()
    try:
        with pytest.raises(ExportFormatError) as caught:
            load(other, forged(**changes))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("notes.mac is ") and caught.value.hint
    assert peak < 8_000_000
    expected = {"mine"} | ({"a"} if changes.keys() & {"end", "tail"} else set())
    assert {document.source for document in other.documents()} == expected
    assert list(other.verify()) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"not json",
        b"{}" * 100,
        b"\x28\xb5\x2f\xfd" + bytes(100),  # zstandard: nothing is ever decompressed
        b"PK\x03\x04" + bytes(100),
        b"SQLite format 3\0" + bytes(100),
    ],
)
def test_other_files_are_no_exports(data):
    with pytest.raises(ExportFormatError, match="notes.mac is not an export of a store"):
        ExportFile(io.BytesIO(data), "notes.mac")


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 100_000, b'{"a": NaN}', b"\xff\xfe", b"[]"]
)
def test_lines_that_are_no_objects(line):
    first = json.dumps(HEADER).encode() + b"\n"
    export = ExportFile(io.BytesIO(first + line + b"\n"), "notes.mac")
    with pytest.raises(ExportFormatError, match="a line is no JSON object"):
        list(export.documents())


def test_a_line_without_end_is_not_read(monkeypatch):
    monkeypatch.setattr(portable, "MAX_LINE", 1000)
    first = json.dumps(HEADER).encode() + b"\n"
    file = io.BytesIO(first + b"x" * 10_000)
    with pytest.raises(ExportFormatError, match="a line is too long"):
        list(ExportFile(file, "notes.mac").documents())
    assert file.tell() <= len(first) + 1000


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with samples.create(folder / "a") as store:
        for source in "abc":
            put(store, source, count=2)
        data = exported(store)
        expected = verify(store)
    with samples.create(folder / "b") as other:
        yield data, expected, other


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=3),
    cut=st.floats(0, 1),
    inserted=st.tuples(st.floats(0, 1), st.binary(max_size=20)),
)
@example(flips=[], cut=1.0, inserted=(0.0, b""))
def test_whatever_is_changed_whole_documents_are_imported_or_none(fuzzed, flips, cut, inserted):
    good, expected, store = fuzzed
    for source in expected:
        store.remove(source)
    data = samples.tampered(good, flips, cut, inserted)
    try:
        load(store, data)
    except StoreError as error:
        assert "\n" not in str(error)
        assert data != good
    else:
        assert data == good
    found = verify(store)
    assert found.items() <= expected.items()
    assert not store._connection.in_transaction


def test_a_full_disk_undoes_the_document(filled, other):
    pages = other._connection.execute("PRAGMA page_count").fetchone()[0]
    other._connection.execute(f"PRAGMA max_page_count = {pages}")
    with samples.create(filled.path.parent / "long") as source:
        put(source, "a", count=600)
        data = exported(source)
    with pytest.raises(StoreError, match="No space left on the disk"):
        load(other, data)
    other._connection.execute("PRAGMA max_page_count = 100000")
    assert verify(other) == {} and list(other.verify()) == []
    assert load(other, data) == (1, 0, 0, 0)


def test_a_store_that_cannot_be_written(filled, other):
    other._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="No permission to write"):
        load(other, exported(filled))


def test_a_file_that_cannot_be_read(other):
    class Broken(io.BytesIO):
        def readline(self, size=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(StoreError, match=r"notes.mac cannot be read: Input/output error"):
        ExportFile(Broken(forged()), "notes.mac")


def test_the_layout_leaves_ids_and_sums_out(filled):
    layout = portable.layout(filled._connection)
    assert not {"id", "chunks", "tokens", "bytes"} & {c.name for c in layout.document.columns}
    assert {"start", "end", "text", "tokens"} <= {c.name for c in layout.chunk.columns}
    assert exporting.record(filled._connection, layout, "nowhere") is None
