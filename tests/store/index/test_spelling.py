"""A misspelled word finds what it stands for."""

import pytest

from store.index.spelling import similar
from tests.store import samples
from tests.store.samples import chunk

TEXTS = [
    "The address of the travel desk; retention of records.",
    "Drinking is allowed at events, said Knight.",
    "Third harbour release: the default length is 30 metres, restic repositories.",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with samples.create(tmp_path_factory.mktemp("spelling") / "bank") as store:
        chunks = [chunk(1, text, position=n) for n, text in enumerate(TEXTS)]
        store.put("doc", content_hash="", chunking="", chunks=chunks)
        yield store


@pytest.mark.parametrize(
    ("typed", "place"),
    [
        ("adres", 1),
        ("travle", 1),
        ("retenton", 1),
        ("drinkign", 2),
        ("evnts", 2),
        ("knigt", 2),
        ("thrid", 3),
        ("relase", 3),
        ("defualt", 3),
        ("lenghts", 3),
        ("reposittories", 3),
    ],
)
def test_typing_errors(store, typed, place):
    assert [chunk_id for chunk_id, _ in store.search(f"the {typed}", 5)] == [place]
    assert store.coverage(typed, [1, 2, 3])[place - 1] == 1


@pytest.mark.parametrize("typed", ["xylophone", "cat", "a1b2c3", "defiant", "üüüü", "東京都庁"])
def test_what_is_like_nothing_finds_nothing(store, typed):
    assert store.search(typed, 5) == []


def test_a_word_of_the_index_stands_for_itself(store):
    # "allowed" and "aloud" would be near each other, but both are spelled right.
    [(first, _)] = store.search("allowed", 5)
    assert first == 2


def test_at_most_a_few_words_the_nearest_first(tmp_path):
    with samples.create(tmp_path / "bank") as store:
        texts = ["bank", "band", "bang", "bonk", "bunk", "barks"]
        chunks = [chunk(1, text, position=n) for n, text in enumerate(texts)]
        store.put("doc", content_hash="", chunking="", chunks=chunks)
        connection = store.connection
        assert [word for _, _, word in similar(connection, "banc")] == ["band", "bang", "bank"]
        assert similar(connection, "bar") == []
