import pytest

from store import Labels, StoreError
from tests.store import samples
from tests.store.samples import put, verify


def ids(store, source):
    return [row.id for row in store.chunks(store.document(source).id)]


def test_a_renamed_document_keeps_its_chunks(store):
    put(store, "a", count=3)
    before = store.document("a")
    kept = ids(store, "a")
    keys = samples.all_keys(store)
    assert store.rename(
        "a",
        "b.md",
        content_hash=before.content_hash,
        title="B",
        media_type="text/markdown",
        labels=Labels(tags=("new",)),
    )
    after = store.document("b.md")
    assert store.document("a") is None
    assert ids(store, "b.md") == kept
    assert samples.all_keys(store).keys() == keys.keys()
    assert (after.id, after.title, after.media_type) == (before.id, "B", "text/markdown")
    assert (after.added_at, after.updated_at) == (before.added_at, before.updated_at)
    assert after.tags == ("new",)


def test_it_takes_the_place_of_another(store, small_rows):
    put(store, "a", count=3)
    put(store, "b", count=5)
    kept = ids(store, "a")
    assert store.rename("a", "b", content_hash=store.document("a").content_hash)
    assert ids(store, "b") == kept == list(samples.all_keys(store))
    assert store.stats().chunks == 3
    # Five of eight keys were dead.
    assert store.connection.execute("SELECT count(*) FROM dead_keys").fetchone() == (0,)


def test_only_what_it_was_seen_to_hold_is_renamed(store):
    put(store, "a", 2, count=3)
    assert not store.rename("a", "b", content_hash="1 3")
    assert not store.rename("nowhere", "b", content_hash="1 3")
    assert not store.rename("bad\udcff", "b", content_hash="1 3")
    assert verify(store) == {"a": 2}
    assert store.rename("a", "a", content_hash="2 3", title="Same name")
    assert verify(store) == {"a": 2}


def test_a_name_that_is_no_unicode_is_refused(store):
    put(store, "a", count=1)
    with pytest.raises(StoreError, match="not valid Unicode"):
        store.rename("a", "bad\udcff", content_hash="1 1")
    assert verify(store) == {"a": 1}
