import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import NewChunk, Store, StoreError, schema
from tests.store import samples
from tests.store.samples import E, R, T, chunk, put, verify


def test_put_and_read_back(store):
    given_chunks = [chunk(1, "First things."), chunk(2, "Second things.", tokens=7)]
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
    for (latents, scales), expected in zip(
        store.modulations([row.id for row in rows[::-1]]), given_chunks[::-1], strict=True
    ):
        assert latents.dtype == np.int8 and scales.dtype == np.float16
        assert latents.flags.writeable and scales.flags.writeable
        np.testing.assert_array_equal(latents, expected.latents)
        np.testing.assert_array_equal(scales, expected.scales)


def test_an_empty_store(store):
    assert list(store.documents()) == []
    assert list(store.keys()) == []
    assert store.search("anything") == []
    assert store.history() == []
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
    assert [(c.action, c.source, c.chunks) for c in store.history()] == [
        ("removed", "a", 2),
        ("added", "b", 2),
        ("added", "a", 2),
    ]


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
    monkeypatch.setattr("store.reader._PAGE", 2)
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


def test_stats(store, path):
    put(store, "a", count=2)
    stats = store.stats()
    rows = store.chunks(store.document("a").id)
    assert (stats.documents, stats.chunks, stats.tokens) == (1, 2, 2 * T)
    assert stats.text_bytes == sum(len(row.text.encode()) for row in rows)
    assert stats.modulation_bytes == sum(row.bytes for row in rows)
    assert stats.key_bytes == 64 + 2 * (8 + 16 + 8)
    assert stats.total_bytes == sum(file.stat().st_size for file in path.iterdir())
    assert (stats.fingerprint, stats.model) == ("fp-1", "")
    assert stats.schema_version == len(schema.MIGRATIONS)


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
    assert sorted(p.name for p in path.iterdir()) == ["index.db", "keys-000001.bin"]


@pytest.mark.parametrize("key_size", [1, 2, 3, 4, 5, 384])
def test_key_sizes(path, key_size):
    keys = np.random.default_rng(0).standard_normal((9, key_size)).astype(np.float16)
    ones = np.ones((T, R), np.int8), np.ones(T, np.float16)
    with Store.open(path, fingerprint="f", key_size=key_size, latent_size=R, create=True) as store:
        for start in (0, 3):
            chunks = [NewChunk(0, 0, "", *ones, key) for key in keys[start : 3 + 2 * start]]
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
        store.put("a", content_hash="2", chunking="", chunks=[good, NewChunk(0, 1, "x", **parts)])
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


def test_keys_are_read_to_the_end_while_the_file_is_replaced(store, path, eager_compaction):
    for source in "abcdef":
        put(store, source, count=4)
    expected = samples.all_keys(store)
    with Store.open(path) as other:
        blocks = other.keys(5)
        read = dict(zip(*(part.tolist() for part in next(blocks)), strict=True))
        for source in "abcdef":
            store.remove(source)
        assert not (path / "keys-000001.bin").exists()
        for ids, keys in blocks:
            read |= dict(zip(ids.tolist(), keys.tolist(), strict=True))
        assert read == {chunk_id: key.tolist() for chunk_id, key in expected.items()}
        assert samples.all_keys(other) == {}


def test_a_snapshot_outlives_its_key_file(store, path, eager_compaction):
    for source in "abcdef":
        put(store, source, count=4)
    with Store.open(path) as other:
        with other.snapshot():
            assert other.document("a")
            for source in "abcde":
                store.remove(source)
            assert not (path / "keys-000001.bin").exists()
            assert len(samples.all_keys(other)) == 24
        assert len(samples.all_keys(other)) == 4
        assert not other._key_block.damaged


def test_block_size_is_checked(store):
    with pytest.raises(ValueError, match="at least 1"):
        next(store.keys(0))


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "remove", "reopen", "lose", "abandon"]),
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
def test_key_block_equals_the_database_after_any_operations(
    operations, tmp_path_factory, eager_compaction
):
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
            elif kind == "remove":
                assert store.remove(source) == (expected.pop(source, None) is not None)
            elif kind == "reopen":
                store.close()
                store = Store.open(path)
            elif kind == "lose":
                for file in path.glob("keys-*"):
                    file.unlink()
            else:
                next(store.keys(2), None)
        assert verify(store) == expected
        assert len(list(path.glob("keys-*"))) <= 1
    finally:
        store.close()
