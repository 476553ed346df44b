"""Several stores answer like one that holds all of their documents."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from store import Labels, Within
from store.joined import JoinedStores, likely_keys
from tests.store import samples
from tests.store.samples import chunk

WORDS = (
    "Ibori",
    "lantern",
    "quince",
    "ledger",
    "harbour",
    "ferry",
    "of",
    "of",
    "the",
    "Straße",
    "café",
    "1977",
)
NUMBER = 40
QUERY = np.ones(samples.E, np.float32)


def texts():
    """Short and long texts of a few words, so that they differ in length and repeat words."""
    rng = np.random.default_rng(5)
    made = [" ".join(rng.choice(WORDS, rng.integers(1, 30))) for _ in range(NUMBER)]
    return [*made, "one ferry, said twice", "one ferry, said twice"]


def put(store, n, text):
    labels = Labels(tags=("even",)) if n % 2 == 0 else Labels()
    made = replace(chunk(n, text), context="Notices of the harbour" if n % 3 == 0 else "")
    store.put(f"doc-{n:02}", content_hash="", chunking="", chunks=[made], labels=labels)


@pytest.fixture(scope="module")
def banks(tmp_path_factory):
    """One store of all documents, and three that share them; the first has most, none is empty."""
    folder = tmp_path_factory.mktemp("joined")
    stores = [samples.create(folder / name) for name in ("whole", "a", "b", "c")]
    whole, *parts = stores
    for n, text in enumerate(texts()):
        put(whole, n, text)
        put(parts[0 if n < 20 else 1 if n < 25 else 2], n, text)
    yield whole, JoinedStores(parts)
    for store in stores:
        store.close()


def sources(store, ids):
    return [row.source for row in store.chunk_rows(ids)]


QUERIES = [
    "Where is the ferry?",
    "Ibori and the quince of 1977",
    "ledger",
    "strasse notices",
    "cafe lantern lantern",
    "the lantren",  # misspelled
    "ferries in harbours",
    "said twice",
    "xylophone",
    "?!",
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("within", [Within(), Within(tags=("even",))])
def test_words_count_as_in_one_store(banks, query, within):
    whole, joined = banks
    expected = whole.search(query, 100, within=within)
    found = joined.search(query, 100, within=within)
    assert sources(joined, [i for i, _ in found]) == sources(whole, [i for i, _ in expected])
    assert [score for _, score in found] == pytest.approx([score for _, score in expected])


def test_words_count_by_all_stores_not_by_their_own(banks):
    _, joined = banks
    ours = dict(zip(*zip(*joined.search("quince ferry", 100), strict=True), strict=True))
    alone = joined.parts[1].search("quince ferry", 100)
    assert alone and all(ours[1 << 40 | i] != pytest.approx(score) for i, score in alone)


def test_no_more_than_wanted(banks):
    _, joined = banks
    assert len(joined.search("ferry harbour the of", 3)) == 3
    assert joined.search("ferry", 0) == joined.search("ferry", -1) == []


@pytest.mark.parametrize("query", QUERIES)
def test_coverage_is_that_of_one_store(banks, query):
    whole, joined = banks
    ids, expected = range(1, NUMBER + 1), whole.coverage(query, range(1, NUMBER + 1))
    same = [at(joined, source) for source in sources(whole, ids)]
    assert joined.coverage(query, same[::-1]) == pytest.approx(expected[::-1])
    assert joined.coverage(query, []) == []


def at(store, source):
    """The id of the one chunk of a document."""
    (document,) = (d for d in store.documents() if d.source == source)
    (row,) = store.chunks(document.id)
    assert row.document_id == document.id
    return row.id


def test_the_keys_that_may_be_nearest_come_with_their_chunks(banks):
    whole, joined = banks
    for within in (Within(), Within(tags=("even",))):
        expected = [
            (i, key)
            for ids, keys in whole.keys(7, within=within)
            for i, key in zip(ids, keys, strict=True)
        ]
        found = [
            (i, key)
            for ids, keys in likely_keys(joined, QUERY, 2 * NUMBER, within=within)
            for i, key in zip(ids, keys, strict=True)
        ]
        assert [i for i, _ in found] == sorted(i for i, _ in found)
        assert sources(joined, [i for i, _ in found]) == sources(whole, [i for i, _ in expected])
        np.testing.assert_array_equal([k for _, k in found], [k for _, k in expected])


def test_rows_and_modulations_are_those_of_one_store(banks):
    whole, joined = banks
    names = ["doc-30", "doc-01", "doc-22", "doc-00"]
    theirs, ours = [at(whole, name) for name in names], [at(joined, name) for name in names]
    numbers = {"id", "document_id"}
    for a, b in zip(whole.chunk_rows(theirs), joined.chunk_rows(ours), strict=True):
        rows = asdict(a), asdict(b)
        assert [{k: v for k, v in row.items() if k not in numbers} for row in rows[:1]] == [
            {k: v for k, v in row.items() if k not in numbers} for row in rows[1:]
        ]
    for a, b in zip(whole.modulations(theirs), joined.modulations(ours), strict=True):
        np.testing.assert_array_equal(a.latents, b.latents)
    assert joined.chunk_rows([]) == joined.modulations([]) == []


def test_documents_are_counted_and_listed_as_one(banks):
    whole, joined = banks
    for within in (Within(), Within(tags=("even",))):
        assert joined.count(within) == whole.count(within)
    expected = [document.source for document in whole.documents(match="doc-2*")]
    assert [document.source for document in joined.documents(match="doc-2*")] == expected
    assert [document.source for document in joined.documents(limit=2)] == ["doc-00", "doc-01"]


def test_the_same_text_in_another_store_is_a_copy(tmp_path):
    with samples.create(tmp_path / "a") as a, samples.create(tmp_path / "b") as b:
        put(a, 0, "the same")
        put(a, 1, "another")
        put(b, 2, "another")
        put(b, 3, "the same")
        put(b, 4, "the same")
        joined = JoinedStores([a, b])
        first = at(joined, "doc-00")
        assert sources(joined, joined.copies([first])[first]) == ["doc-03", "doc-04"]
        last = at(joined, "doc-04")
        found = joined.copies([last], within=Within(tags=("even",)))
        assert sources(joined, found[last]) == ["doc-00"]
        assert sources(joined, joined.copies([last], limit=1)[last]) == ["doc-00"]


def test_use_is_counted_where_the_chunk_is(tmp_path):
    with samples.create(tmp_path / "a") as a, samples.create(tmp_path / "b") as b:
        for n, store in enumerate((a, b)):
            put(store, n, "text")
        joined = JoinedStores([a, b])
        joined.record_use({at(joined, "doc-01"): 0.75})
        counted = [s.connection.execute("SELECT weight FROM usage").fetchall() for s in (a, b)]
        assert counted == [[], [(0.75,)]]


def test_other_processes_are_not_seen_in_a_snapshot(tmp_path):
    with samples.create(tmp_path / "a") as a, samples.create(tmp_path / "b") as b:
        put(a, 0, "text")
        joined = JoinedStores([a, b])
        with joined.snapshot():
            assert joined.count() == 1
            with samples.create(tmp_path / "b") as other:
                put(other, 1, "text")
            assert joined.count() == 1
        assert joined.count() == 2
