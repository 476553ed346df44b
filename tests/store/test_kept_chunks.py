"""Chunks that a changed document keeps: their rows stay, the others come and go around them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import ChunksGoneError, KeptChunk, Store
from tests.store import samples
from tests.store.samples import chunk, put, verify


def letters(text):
    """Chunks whose modulations follow from their letters alone."""
    return [chunk(ord(letter), letter, position=at) for at, letter in enumerate(text)]


def put_letters(store, source, text):
    """Store a chunk a letter, keeping those that are there; returns which letters were kept."""
    document = store.document(source)
    rows = {}
    for row in store.chunks(document.id) if document else ():
        rows.setdefault(row.text, []).append(row)
    chunks, kept = [], ""
    for position, new in enumerate(letters(text)):
        if rows.get(new.text):
            row = rows[new.text].pop(0)
            chunks.append(KeptChunk(row.id, position, position, position + 1, new.text))
            kept += new.text
        else:
            chunks.append(new)
    store.put(source, content_hash=text, chunking="c1", chunks=chunks)
    return kept


def check_letters(store, expected):
    """Every document holds its letters in order, with the modulations and keys that go with them.

    Returns the ids of the chunks by source.
    """
    keys = samples.all_keys(store)
    ids = {}
    for source, text in expected.items():
        document = store.document(source)
        rows = store.chunks(document.id)
        assert "".join(row.text for row in rows) == text
        assert [row.position for row in rows] == list(range(len(text)))
        ids[source] = [row.id for row in rows]
        for row, modulation, new in zip(
            rows, store.modulations(ids[source]), letters(text), strict=True
        ):
            latents, scales = modulation.spread()
            np.testing.assert_array_equal(latents, new.latents)
            np.testing.assert_array_equal(scales, new.scales)
            np.testing.assert_array_equal(keys[row.id], new.key)
        assert document.chunks == len(rows)
        assert document.tokens == sum(row.tokens for row in rows)
        assert document.bytes == sum(row.bytes for row in rows)
    assert sorted(i for found in ids.values() for i in found) == sorted(keys)
    totals = store.stats()
    assert totals.text_bytes == sum(len(text) for text in expected.values())
    assert totals.chunks == len(keys)
    return ids


def test_kept_chunks_keep_their_ids_and_the_others_are_new(store):
    put_letters(store, "x", "abcd")
    before = check_letters(store, {"x": "abcd"})["x"]
    assert put_letters(store, "x", "dxba") == "dba"
    after = check_letters(store, {"x": "dxba"})["x"]
    assert [after[0], after[2], after[3]] == [before[3], before[1], before[0]]
    assert after[1] > max(before)
    assert store.search("c") == [] and len(store.search("x")) == 1
    kept = [row for row in store.chunks(store.document("x").id) if row.text != "x"]
    assert [(row.start, row.end) for row in kept] == [(0, 1), (2, 3), (3, 4)]


def test_keys_are_written_for_the_new_chunks_only(store):
    def keys():
        return store.connection.execute("SELECT first, count FROM key_blocks").fetchall()

    put_letters(store, "x", "abcdefgh")
    assert keys() == [(1, 8)]
    put_letters(store, "x", "abcXefgh")
    assert keys() == [(1, 8), (9, 1)]
    put_letters(store, "x", "hgfeXcba")
    assert keys() == [(1, 8), (9, 1)]


def test_all_or_none_may_be_kept(store):
    put_letters(store, "x", "abc")
    assert put_letters(store, "x", "abc") == "abc"
    assert put_letters(store, "x", "") == ""
    check_letters(store, {"x": ""})
    assert put_letters(store, "x", "abc") == ""
    check_letters(store, {"x": "abc"})


def test_a_text_that_comes_twice_is_kept_twice_at_most_as_often_as_it_was_there(store):
    put_letters(store, "x", "aab")
    assert put_letters(store, "x", "aaab") == "aab"
    check_letters(store, {"x": "aaab"})


@pytest.mark.parametrize("what", ["removed", "replaced", "another's", "another text", "twice"])
def test_a_chunk_that_is_not_the_documents_is_refused_and_nothing_changes(store, path, what):
    put(store, "a", 1, count=3)
    put(store, "b", 1, count=3)
    row = store.chunks(store.document("a").id)[0]
    kept = [KeptChunk(row.id, 1, 0, 9, row.text)]
    expected = {"a": 1, "b": 1}
    with Store.open(path) as other:
        if what == "removed":
            other.remove("a")
            del expected["a"]
        elif what == "replaced":
            put(other, "a", 2, count=2)
            expected["a"] = 2
    if what == "another's":
        row = store.chunks(store.document("b").id)[0]
        kept = [KeptChunk(row.id, 1, 0, 9, row.text)]
    elif what == "another text":
        kept = [KeptChunk(row.id, 1, 0, 9, "something else")]
    elif what == "twice":
        kept = [*kept, replace(kept[0], position=2)]
    with pytest.raises(ChunksGoneError, match="replaced meanwhile") as caught:
        store.put("a", content_hash="9 0", chunking="c1", chunks=[chunk(1, "new"), *kept])
    assert caught.value.hint
    assert verify(store) == expected


TEXTS = st.text(alphabet="abcdef", max_size=8)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.tuples(st.sampled_from(["x", "y"]), TEXTS), max_size=8))
def test_any_versions_may_follow_each_other(steps, tmp_path_factory, small_rows):
    expected = {}
    with samples.create(tmp_path_factory.mktemp("any") / "bank") as store:
        for source, text in steps:
            put_letters(store, source, text)
            expected[source] = text
        check_letters(store, expected)
        store.connection.execute(
            "INSERT INTO chunks_fts (chunks_fts, rank) VALUES ('integrity-check', 1)"
        )
