"""Tags and dates, and reading only the documents that have them."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import KeptChunk, Labels, Store, Within
from store.labels import MAX_TAG, clean_tag
from tests.store import samples
from tests.store.samples import chunk, put, verify

TODAY = datetime.now(UTC).date().isoformat()


def put_labelled(store, source, tags=(), date=None, count=2):
    put(store, source, count=count)
    store.relabel(source, Labels(tags=tuple(tags), date=date))


def labels_of(store, source):
    document = store.document(source)
    return document.tags, document.date


def sources(store, ids):
    return {row.source for row in store.chunk_rows(ids)}


@pytest.mark.parametrize(
    ("given_tag", "stored"),
    [
        ("News", "news"),
        ("  two   words ", "two words"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("Cafe\u0301", "caf\u00e9"),
        ("100%_'\"; DROP TABLE--", "100%_'\"; drop table--"),
    ],
)
def test_tags_are_kept_in_one_form(given_tag, stored):
    assert clean_tag(given_tag) == stored == clean_tag(stored)


@pytest.mark.parametrize("bad", ["", " \t", "a,b", "x" * (MAX_TAG + 1), "a\0b", "\ud800"])
def test_what_is_no_tag(bad):
    with pytest.raises(ValueError, match="tag"):
        clean_tag(bad)
    with pytest.raises(ValueError, match="tag"):
        Labels(tags=(bad,))


@pytest.mark.parametrize(
    "bad", ["2026-02-30", "20260101", "2026-W01-1", "x", "२०२६-०१-०१", "2026-1-1"]
)
def test_what_is_no_date(bad):
    with pytest.raises(ValueError, match="date"):
        Labels(date=bad)
    with pytest.raises(ValueError, match="date"):
        Within(since=bad)


def test_labels_are_added_and_taken_away(store):
    put(store, "a", count=1)
    assert labels_of(store, "a") == ((), None)
    assert store.relabel("a", Labels(tags=("red", "big"), date="2026-05-01"))
    assert labels_of(store, "a") == (("big", "red"), "2026-05-01")
    assert store.relabel("a", Labels(tags=("new",), untag=("red", "unknown")))
    assert labels_of(store, "a") == (("big", "new"), "2026-05-01")
    assert not store.relabel("a", Labels(tags=("new",), date="2026-05-01"))
    assert store.relabel("a", Labels(date=""))
    assert labels_of(store, "a") == (("big", "new"), None)
    assert not store.relabel("nowhere", Labels(tags=("new",)))
    assert verify(store) == {"a": 1}


def test_labels_outlive_a_new_version_and_go_with_the_document(store):
    put_labelled(store, "a", ["red"], "2026-05-01")
    put(store, "a", 2)
    assert labels_of(store, "a") == (("red",), "2026-05-01")
    store.put(
        "a",
        content_hash="",
        chunking="",
        chunks=[chunk(1)],
        labels=Labels(tags=("blue",), untag=("red",), date="2027-01-01"),
    )
    assert labels_of(store, "a") == (("blue",), "2027-01-01")
    assert [d.tags for d in store.documents()] == [("blue",)]
    store.remove("a")
    assert store.connection.execute("SELECT count(*) FROM document_tags").fetchone() == (0,)


def test_an_unchanged_document_needs_no_permission_to_write(store, path):
    put_labelled(store, "a", ["red"])
    with Store.open(path) as other:
        other.writable = False
        other.connection.execute("PRAGMA query_only = ON")
        assert not other.relabel("a", Labels(tags=("red",)))
        with pytest.raises(OSError):
            other.relabel("a", Labels(tags=("blue",)))


@pytest.fixture
def bank(store):
    put_labelled(store, "a", ["red"], "2025-12-31")
    put_labelled(store, "b", ["red", "blue"], "2026-01-01", count=3)
    put_labelled(store, "c", ["blue"], count=1)
    put_labelled(store, "d", count=2)
    return store


CHOICES = [
    (Within(), "abcd"),
    (Within(tags=("red",)), "ab"),
    (Within(tags=("red", "blue")), "abc"),
    (Within(tags=("green",)), ""),
    (Within(since="2026-01-01"), "bcd"),
    (Within(until="2026-01-01"), "ab"),
    (Within(since="2026-01-01", until="2026-01-01"), "b"),
    (Within(since=TODAY), "cd"),
    (Within(tags=("blue",), since=TODAY), "c"),
    (Within(since="2026-01-02", until="2026-01-01"), ""),
]


@pytest.mark.parametrize(("within", "expected"), CHOICES)
def test_keys_search_and_lists_are_restricted_alike(bank, within, expected):
    assert [d.source for d in bank.documents(within=within)] == list(expected)
    assert bank.count(within) == len(expected)
    found = bank.search("chunk version", within=within)
    assert sources(bank, [i for i, _ in found]) == set(expected)
    everything = samples.all_keys(bank)
    read = {}
    for ids, keys in bank.keys(2, within=within):
        assert len(ids) <= 2
        read |= dict(zip(ids.tolist(), keys, strict=True))
    assert list(read) == sorted(read) == sorted(i for i, _ in found)
    for chunk_id, key in read.items():
        np.testing.assert_array_equal(key, everything[chunk_id])


def test_the_best_of_the_chosen_are_found_behind_better_ones(store):
    for n in range(30):
        store.put(f"x{n}", content_hash="", chunking="", chunks=[chunk(n, "bridge bridge")])
    long = "bridge " + "and other words " * 9
    store.put("y", content_hash="", chunking="", chunks=[chunk(99, long)])
    store.relabel("y", Labels(tags=("rare",)))
    (found,) = store.search("bridge", 5, within=Within(tags=("rare",)))
    assert sources(store, [found[0]]) == {"y"}
    assert dict(store.search("bridge", 100))[found[0]] == found[1]


def test_documents_that_change_meanwhile(bank, path, small_rows):
    within = Within(tags=("red",))
    with Store.open(path) as other:
        with other.snapshot():
            before = sorted(i for i, _ in other.search("chunk", within=within))
            bank.remove("a")
            bank.relabel("d", Labels(tags=("red",)))
            assert [i for ids, _ in other.keys(2, within=within) for i in ids] == before
        assert {d.source for d in other.documents(within=within)} == {"b", "d"}
        found = [i for ids, _ in other.keys(within=within) for i in ids]
        assert sources(other, found) == {"b", "d"}


def test_kept_chunks_out_of_order_are_still_found(store):
    put(store, "a", count=3)
    put(store, "b", count=3)
    rows = store.chunks(store.document("a").id)
    kept = [KeptChunk(row.id, n, 0, 1, row.text) for n, row in enumerate(reversed(rows))]
    store.put(
        "a",
        content_hash="",
        chunking="",
        chunks=[*kept, chunk(5, "new", position=3)],
        labels=Labels(tags=("red",)),
    )
    ids = [int(i) for ids, _ in store.keys(within=Within(tags=("red",))) for i in ids]
    assert ids == sorted(row.id for row in store.chunks(store.document("a").id))


def test_the_index_of_days_is_used(bank):
    condition, values = Within(since="2026-01-01").condition()
    query = f"EXPLAIN QUERY PLAN SELECT id FROM documents WHERE {condition}"
    plan = bank.connection.execute(query, values).fetchall()
    assert any("documents_day" in row[-1] for row in plan), plan


TAGS = st.sets(st.sampled_from(["red", "blue", "green"]))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    documents=st.lists(st.tuples(TAGS, st.none() | st.integers(1, 9)), max_size=5),
    wanted=TAGS,
    days=st.tuples(st.none() | st.integers(1, 9), st.none() | st.integers(1, 9)),
)
def test_a_restriction_is_what_it_says(documents, wanted, days, tmp_path_factory, small_rows):
    def day(number):
        return None if number is None else f"2026-01-0{number}"

    within = Within(tuple(wanted), *map(day, days))
    since, until = (number and day(number) for number in days)
    expected = set()
    with samples.create(tmp_path_factory.mktemp("any") / "bank") as store:
        for n, (tags, number) in enumerate(documents):
            put_labelled(store, f"{n}", tags, day(number))
            at = day(number) or TODAY
            if (not wanted or tags & wanted) and (since or at) <= at <= (until or at):
                expected.add(f"{n}")
        ids = [int(i) for ids, _ in store.keys(3, within=within) for i in ids]
        assert sources(store, ids) == expected
        assert sorted(ids) == sorted(i for i, _ in store.search("chunk", within=within))
