from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import ChunksGoneError, KeptChunk, NewChunk, Store, StoreError
from store.care.vacuum import space
from store.index import keys, schema
from tests.store import samples
from tests.store.samples import E, R, T, chunk, put, verify


def test_put_and_read_back(store):
    given_chunks = [chunk(1, "First things."), chunk(2, "Second things.", tokens=7, position=1)]
    action = store.put(
        "notes.txt",
        content_hash="abc",
        chunking="sentence-1:160",
        chunks=given_chunks,
        title="Notes",
        media_type="text/markdown",
        encoding="latin-1",
        characters=28,
    )
    assert action == "added"
    document = store.document("notes.txt")
    assert (document.source, document.title, document.content_hash) == ("notes.txt", "Notes", "abc")
    assert (document.chunking, document.media_type) == ("sentence-1:160", "text/markdown")
    assert (document.encoding, document.characters) == ("latin-1", 28)
    assert (document.chunks, document.tokens) == (2, T + 7)
    assert document.added_at == document.updated_at and document.added_at.endswith("+00:00")
    rows = store.chunks(document.id)
    assert [row.text for row in rows] == ["First things.", "Second things."]
    assert [row.position for row in rows] == [0, 1]
    assert [(row.start, row.end) for row in rows] == [(0, 13), (0, 14)]
    assert {(row.source, row.title, row.document_id) for row in rows} == {
        ("notes.txt", "Notes", document.id)
    }
    assert sum(row.bytes for row in rows) == document.bytes
    assert [row.tokens for row in rows] == [T, 7]
    backwards = [rows[1].id, rows[0].id, rows[1].id]
    assert store.chunk_rows(backwards) == [rows[1], rows[0], rows[1]]
    assert store.chunk_rows(np.array(backwards)) == store.chunk_rows(backwards)
    for modulation, expected in zip(
        store.modulations([row.id for row in rows[::-1]]), given_chunks[::-1], strict=True
    ):
        latents, scales = modulation.spread()
        assert modulation.rows is None
        assert latents.dtype == np.int8 and scales.dtype == np.float16
        assert latents.flags.writeable and scales.flags.writeable
        np.testing.assert_array_equal(latents, expected.latents)
        np.testing.assert_array_equal(scales, expected.scales)


def test_an_empty_store(store):
    assert list(store.documents()) == []
    assert list(store.keys()) == []
    assert store.search("anything") == []
    assert store.document("x") is None
    assert store.remove("x") is False
    assert store.chunks(1) == []
    assert store.chunk_rows([]) == [] and store.modulations([]) == []
    stats = store.stats()
    assert (stats.documents, stats.chunks, stats.tokens, stats.text_bytes) == (0, 0, 0, 0)


def test_update_replaces_and_keeps_the_document(store):
    assert put(store, "a", 1, count=3) == "added"
    assert put(store, "b", 1, count=2) == "added"
    before = store.document("a")
    old_ids = [row.id for row in store.chunks(before.id)]
    assert put(store, "a", 2, count=1) == "updated"
    after = store.document("a")
    assert (after.id, after.added_at) == (before.id, before.added_at)
    assert verify(store) == {"a": 2, "b": 1}
    assert not set(old_ids) & set(samples.all_keys(store))
    with pytest.raises(StoreError, match=f"Chunk {old_ids[0]} is not in the store"):
        store.chunk_rows(old_ids)
    with pytest.raises(StoreError, match=f"Chunk {old_ids[0]} is not in the store"):
        store.modulations(old_ids)
    assert store.search("version 1 of a") != [] and not {
        i for i, _ in store.search("a version")
    } & set(old_ids)


def test_remove(store):
    put(store, "a", count=2)
    put(store, "b", count=2)
    assert store.remove("a") is True
    assert store.remove("a") is False
    assert verify(store) == {"b": 1}


def test_ids_are_never_given_twice(store):
    put(store, "a", count=2)
    ids = set(samples.all_keys(store))
    store.remove("a")
    put(store, "a", count=2)
    assert not ids & set(samples.all_keys(store))
    verify(store)


def test_a_document_without_chunks(store):
    put(store, "empty", count=0)
    assert verify(store) == {"empty": 1}
    put(store, "empty", 2, count=1)
    put(store, "empty", 3, count=0)
    assert verify(store) == {"empty": 3}


def test_documents_in_order_with_limit_and_match(store, monkeypatch):
    monkeypatch.setattr("store.store._PAGE", 2)
    for source in ("b.txt", "a.txt", "dir/c.md", "50%_x.md", "é[1].txt"):
        store.put(source, content_hash="", chunking="", chunks=[], title=f"On {source.upper()}")

    def found(**options):
        return [document.source for document in store.documents(**options)]

    assert found() == ["50%_x.md", "a.txt", "b.txt", "dir/c.md", "é[1].txt"]
    assert found(limit=3) == ["50%_x.md", "a.txt", "b.txt"]
    assert found(limit=0) == []
    assert found(match=".TXT") == ["a.txt", "b.txt", "é[1].txt"]
    assert found(match="%_") == ["50%_x.md"]
    assert found(match="on dir") == ["dir/c.md"]
    assert found(match="*.md") == ["50%_x.md", "dir/c.md"]
    assert found(match="?.txt") == ["a.txt", "b.txt"]
    assert found(match="*[1]*") == ["é[1].txt"]
    assert found(match="\ud800") == []
    assert found(after="a.txt", limit=2) == ["b.txt", "dir/c.md"]
    document = store.document("a.txt")
    assert store.document(document.id) == document and store.document(12345) is None


def test_stats(store, path):
    put(store, "a", count=2)
    stats = store.stats()
    rows = store.chunks(store.document("a").id)
    assert (stats.documents, stats.chunks, stats.tokens) == (1, 2, 2 * T)
    assert stats.text_bytes == sum(len(row.text.encode()) for row in rows)
    assert stats.modulation_bytes == sum(row.bytes for row in rows)
    assert stats.key_bytes == 2 * (8 + 2 * E)
    assert stats.total_bytes == sum(file.stat().st_size for file in path.iterdir())
    (path / "index.db-gone").symlink_to("nothing")  # as a file that goes while it is counted
    assert store.stats().total_bytes == stats.total_bytes
    assert space(store).total == stats.total_bytes
    assert (stats.fingerprint, stats.model) == ("fp-1", "")
    assert stats.schema_version == schema.VERSION


def test_reopen(path):
    with samples.create(path, model="tiny") as store:
        put(store, "a", count=3)
        put(store, "b", count=3)
    with Store.open(path) as store:
        assert (store.fingerprint, store.model) == ("fp-1", "tiny")
        assert (store.key_size, store.latent_size, store.path) == (E, R, path)
        assert verify(store) == {"a": 1, "b": 1}
        put(store, "c", count=2)
    with samples.create(path) as store:
        assert verify(store) == {"a": 1, "b": 1, "c": 1}
    assert sorted(p.name for p in path.iterdir()) == ["index.db"]


@pytest.mark.parametrize("key_size", [1, 2, 3, 4, 5, 384])
def test_key_sizes(path, key_size):
    keys = np.random.default_rng(0).standard_normal((9, key_size)).astype(np.float16)
    ones = np.ones((T, R), np.int8), np.ones(T, np.float16)
    with Store.open(path, fingerprint="f", key_size=key_size, latent_size=R, create=True) as store:
        for start in (0, 3):
            chunks = [
                NewChunk(position, 0, 0, "", *ones, key)
                for position, key in enumerate(keys[start : 3 + 2 * start])
            ]
            store.put(str(start), content_hash="", chunking="", chunks=chunks)
        read = np.concatenate([block for _, block in store.keys(4)])
        np.testing.assert_array_equal(read, keys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latents": np.zeros((T, R + 1), np.int8)}, "latents must be int8"),
        ({"latents": np.zeros((T, R), np.int16)}, "latents must be int8"),
        ({"scales": np.zeros(T + 1, np.float16)}, "scales must be float16"),
        ({"key": np.zeros(E, np.float32)}, r"key must be float16 \[6\], not float32 \[6\]"),
        ({"key": np.full(E, np.nan, np.float16)}, "must be finite"),
        ({"scales": np.full(T, np.inf, np.float16)}, "must be finite"),
        ({"latents": np.zeros((0, R), np.int8), "scales": np.zeros(0, np.float16)}, "not 0"),
    ],
)
def test_wrong_arrays_are_refused_and_nothing_changes(store, change, message):
    put(store, "a", count=2)
    good = chunk(5)
    parts = {name: getattr(good, name) for name in ("latents", "scales", "key")} | change
    with pytest.raises(ValueError, match=message):
        store.put(
            "a", content_hash="2", chunking="", chunks=[good, NewChunk(1, 0, 1, "x", **parts)]
        )
    assert verify(store) == {"a": 1}


def test_names_and_texts_that_are_not_unicode(store):
    with pytest.raises(StoreError, match="not valid Unicode") as caught:
        put(store, "bad\udcff.txt")
    assert caught.value.hint
    with pytest.raises(StoreError, match="'a' cannot be stored"):
        store.put("a", content_hash="", chunking="", chunks=[chunk(1, "\ud800")])
    assert store.document("bad\udcff.txt") is None
    assert store.remove("bad\udcff.txt") is False
    assert list(store.documents()) == []


def test_snapshot_is_one_state_and_does_not_write(store, path):
    put(store, "a", count=2)
    with Store.open(path) as other:
        with other.snapshot():
            ids = [row.id for row in other.chunks(other.document("a").id)]
            put(store, "a", 2, count=1)
            store.remove("a")
            assert [row.id for row in other.chunk_rows(ids)] == ids
            assert len(other.modulations(ids)) == 2
            assert set(samples.all_keys(other)) == set(ids)
            with other.snapshot(), pytest.raises(RuntimeError, match="snapshot"):
                put(other, "b")
        assert other.document("a") is None
        assert list(other.keys()) == []


def test_keys_are_read_to_the_end_while_others_write(store, path, small_rows):
    for source in "abcdef":
        put(store, source, count=3)
    expected = samples.all_keys(store)
    with Store.open(path) as other:
        blocks = other.keys(5)
        read = dict(zip(*(part.tolist() for part in next(blocks)), strict=True))
        put(store, "g", count=9)
        put(store, "a", 2, count=1)
        for ids, keys in blocks:
            read |= dict(zip(ids.tolist(), keys.tolist(), strict=True))
        assert read == {chunk_id: key.tolist() for chunk_id, key in expected.items()}
        assert samples.all_keys(other).keys() != expected.keys()


def test_keys_that_are_folded_away_meanwhile_are_left_out(store, path, small_rows):
    for source in "abcdef":
        put(store, source, count=4)
    expected = samples.all_keys(store)
    with Store.open(path) as other:
        blocks = other.keys(5)
        first = next(blocks)[0].tolist()
        for source in "bcde":
            store.remove(source)
        rest = [chunk_id for ids, _ in blocks for chunk_id in ids.tolist()]
    assert first + rest == sorted(set(first + rest))
    assert set(samples.all_keys(store)) < set(first + rest) < set(expected)


def test_a_snapshot_outlives_the_rows_of_its_keys(store, path, small_rows):
    for source in "abcdef":
        put(store, source, count=4)
    with Store.open(path) as other:
        with other.snapshot():
            assert other.document("a")
            for source in "abcde":
                store.remove(source)
            assert len(samples.all_keys(other)) == 24
        assert len(samples.all_keys(other)) == 4


def test_keys_are_only_read_while_nothing_is_written_by_the_loop(store):
    for source in "abcdef":
        put(store, source, count=4)
    for _ in store.keys(4):
        put(store, "a", 2, count=4)
    verify(store)


def test_block_size_is_checked(store):
    with pytest.raises(ValueError, match="at least 1"):
        next(store.keys(0))


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "part", "rest", "remove", "reopen", "abandon"]),
        st.sampled_from("abcdef"),
        st.integers(0, 9),
    ),
    max_size=25,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(operations=OPERATIONS)
def test_the_store_is_right_after_any_operations(operations, tmp_path_factory, small_rows):
    path = tmp_path_factory.mktemp("any") / "bank"
    expected = {}
    store = samples.create(path)
    try:
        for number, (kind, source, count) in enumerate(operations):
            if kind == "put":
                assert put(store, source, number, count) == (
                    "updated" if source in expected else "added"
                )
                expected[source] = number
            elif kind == "part":
                put_part(store, source, number, count, count // 2)
                expected[source] = number
            elif kind == "rest" and source in expected:
                put_rest(store, source)
                assert not store.document(source).partial
            elif kind == "remove":
                assert store.remove(source) == (expected.pop(source, None) is not None)
            elif kind == "reopen":
                store.close()
                store = Store.open(path)
            else:
                next(store.keys(2), None)
        assert verify(store) == expected
        assert list(stored_keys(store)) == sorted(stored_keys(store))
    finally:
        store.close()


def stored_keys(store):
    return [int(i) for ids, _ in keys.stored(store.connection, store.key_size) for i in ids]


def put_part(store, source, version, count, number):
    """Store the first `number` of the `count` chunks of a version."""
    return store.put(
        source,
        content_hash=f"{version} {count}",
        chunking="c1",
        chunks=samples.chunks(source, version, count)[:number],
        expected=count,
    )


def put_rest(store, source, number=None):
    """Store the next `number` chunks of a document, or all that it lacks."""
    document = store.document(source)
    version, count = map(int, document.content_hash.split())
    rest = samples.chunks(source, version, count)[document.chunks :]
    return store.extend(source, content_hash=document.content_hash, chunks=rest[:number])


def test_a_partial_document_answers_and_is_completed(store):
    assert put_part(store, "book", 1, 5, 2) == "added"
    document = store.document("book")
    assert (document.chunks, document.expected, document.partial) == (2, 5, True)
    assert store.stats().partial == 1
    assert len(samples.all_keys(store)) == len(store.search("book")) == 2
    assert verify(store) == {"book": 1}
    after = put_rest(store, "book", 2)
    assert after == store.document("book") and (after.chunks, after.partial) == (4, True)
    assert (after.id, after.added_at) == (document.id, document.added_at)
    after = put_rest(store, "book")
    assert (after.chunks, after.partial) == (5, False)
    assert after.tokens == 5 * T and after.bytes == sum(r.bytes for r in store.chunks(after.id))
    assert verify(store) == {"book": 1} and store.stats().partial == 0


def test_a_partial_document_is_replaced_as_any_other(store):
    put_part(store, "book", 1, 5, 2)
    assert put(store, "book", 2, count=3) == "updated"
    assert not store.document("book").partial
    put_part(store, "book", 3, 4, 0)
    assert store.document("book").partial and samples.all_keys(store) == {}
    assert verify(store) == {"book": 3}
    assert store.remove("book") and store.stats().documents == 0


def test_a_new_version_begins_with_what_it_keeps(store):
    """Chunks anywhere in the document may be the first that are stored."""
    put(store, "a", 1, count=4)
    rows = store.chunks(store.document("a").id)
    keep = [KeptChunk(row.id, at, 0, 9, row.text) for at, row in ((1, rows[3]), (4, rows[0]))]
    store.put("a", content_hash="h", chunking="c1", chunks=keep, expected=6)
    document = store.document("a")
    assert (document.chunks, document.expected) == (2, 6)
    assert [row.id for row in store.chunks(document.id)] == [rows[3].id, rows[0].id]
    fresh = [chunk(n, f"text {n}", position=n) for n in (0, 2, 3, 5)]
    assert not store.extend("a", content_hash="h", chunks=fresh).partial
    assert [row.position for row in store.chunks(document.id)] == list(range(6))
    assert list(samples.all_keys(store)) == sorted(r.id for r in store.chunks(document.id))


@pytest.mark.parametrize("what", ["removed", "replaced", "extended", "damaged"])
def test_a_document_that_changed_meanwhile_is_not_extended(store, path, what):
    put_part(store, "book", 1, 5, 2)
    rest = samples.chunks("book", 1, 5)[2:4]
    with Store.open(path) as other:
        if what == "removed":
            other.remove("book")
        elif what == "replaced":
            put_part(other, "book", 2, 5, 2)
        elif what == "extended":
            put_rest(other, "book", 1)
        else:
            other.connection.execute("UPDATE documents SET content_hash = ''")
    before = samples.all_keys(store).keys()
    with pytest.raises(ChunksGoneError, match="changed by another process") as caught:
        store.extend("book", content_hash="" if what == "damaged" else "1 5", chunks=rest)
    assert caught.value.hint
    assert samples.all_keys(store).keys() == before
    if what in ("replaced", "extended"):
        put_rest(store, "book")
        assert verify(store) == {"book": 2 if what == "replaced" else 1}


def test_wrong_positions_are_refused_and_nothing_changes(store):
    put_part(store, "a", 1, 5, 2)
    a, b, c = samples.chunks("a", 1, 5)[2:]
    for chunks in ([b, a], [a, a], [c, replace(a, position=5)], [replace(a, position=-1)]):
        with pytest.raises(ValueError, match="positions must grow"):
            store.extend("a", content_hash="1 5", chunks=chunks)
        with pytest.raises(ValueError, match="positions must grow"):
            store.put("a", content_hash="2 5", chunking="", chunks=chunks, expected=5)
    with pytest.raises(ValueError, match="positions must grow"):
        store.put("a", content_hash="2 1", chunking="", chunks=[a])
    assert verify(store) == {"a": 1}


def test_an_interrupted_extension_changes_nothing(store, monkeypatch):
    put_part(store, "a", 1, 5, 2)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("store.index.keys.append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put_rest(store, "a")
    assert verify(store) == {"a": 1} and store.document("a").chunks == 2
    put_rest(store, "a")
    assert verify(store) == {"a": 1}


def test_the_use_of_chunks_is_counted_if_that_can_be_done_at_once(store, path):
    put(store, "a", count=3)
    first, second, _ = samples.all_keys(store)

    def uses():
        query = "SELECT chunk_id, answers, weight FROM usage ORDER BY chunk_id"
        return store.connection.execute(query).fetchall()

    store.record_use({first: 0.75, second: 0.25, 99: 1.0})
    store.record_use({first: 0.5})
    store.record_use({})
    assert uses() == [(first, 2, 1.25), (second, 1, 0.25)]
    with Store.open(path) as other:
        other.connection.execute("BEGIN IMMEDIATE")
        store.record_use({first: 1.0})
        other.connection.execute("ROLLBACK")
    store.writable = False
    store.record_use({first: 1.0})
    assert len(uses()) == 2 and uses()[0][1] == 2
