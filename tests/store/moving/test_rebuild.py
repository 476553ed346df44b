import sqlite3

import numpy as np
import pytest

from store import NewChunk, Store, StoreError
from store.care.verify import verify as problems_of
from store.moving.rebuild import DRAFT, adopt, document_text
from store.records import ChunkRow
from tests.store import samples
from tests.store.samples import put, verify

NEW = {"fingerprint": "fp-2", "key_size": 5, "latent_size": 3}


def row(start, text):
    return ChunkRow(1, 1, "a", None, 0, start, start + len(text), text, 1, 1)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], ""),
        ([row(0, "One."), row(5, "Two.")], "One. Two."),
        ([row(0, "One."), row(5, "- Two."), row(12, "# T")], "One.\n- Two.\n# T"),
        ([row(0, "One."), row(6, "Two."), row(14, "Three.")], "One.\n\nTwo.\n\n  Three."),
        ([row(3, "Late.")], "\n\n Late."),
        ([row(0, "super"), row(5, "long")], "superlong"),
        ([row(0, "over"), row(2, "lap"), row(8, "end")], "overlap end"),
    ],
)
def test_the_text_of_a_document_comes_back_at_its_offsets(chunks, expected):
    assert document_text(chunks) == expected


def draft_of(path, sources):
    draft = Store.open(path / DRAFT, **NEW, model="new", create=True)
    for source, version in sources.items():
        chunks = [
            NewChunk(
                0,
                0,
                7,
                f"{source} anew",
                np.full((2, 3), version, np.int8),
                np.ones(2, np.float16),
                np.full(5, version, np.float16),
            )
        ]
        draft.put(source, content_hash=f"{version} 3", chunking="c2", chunks=chunks)
    return draft


def test_a_draft_takes_the_place_of_the_chunks(path):
    with samples.create(path) as store:
        for source in "abc":
            put(store, source, count=3)
        before = {document.source: document for document in store.documents()}
        with draft_of(path, {"c": 1, "a": 1, "b": 1, "gone": 1}) as draft:
            assert adopt(store, draft)
        # An object that was open meanwhile must not write what is of the old checkpoint.
        with pytest.raises(StoreError, match="was rebuilt for another checkpoint"):
            put(store, "d", count=1)
    with Store.open(path, **NEW) as store:
        assert (store.model, store.key_size, store.latent_size) == ("new", 5, 3)
        assert list(problems_of(store)) == []
        for document in store.documents():
            old = before.pop(document.source)
            assert (document.id, document.added_at) == (old.id, old.added_at)
            assert (document.chunks, document.tokens, document.chunking) == (1, 2, "c2")
            (chunk,) = store.chunks(document.id)
            assert chunk.id > 9 and chunk.text == f"{document.source} anew"
            (modulation,) = store.modulations([chunk.id])
            assert modulation.latents.tolist() == [[1, 1, 1]] * 2
        assert before == {}
        assert [found for found, _ in store.search("anew")] == sorted(
            chunk.id for d in store.documents() for chunk in store.chunks(d.id)
        )
        assert store.search("version") == []
        assert [key.tolist() for key in samples.all_keys(store).values()] == [[1.0] * 5] * 3


@pytest.mark.parametrize("made", [{"a": 1}, {"a": 1, "b": 2}])
def test_a_draft_that_lacks_something_changes_nothing(path, made):
    with samples.create(path) as store:
        for source in "ab":
            put(store, source, count=3)
        with draft_of(path, made) as draft:
            assert not adopt(store, draft)
        assert verify(store) == {"a": 1, "b": 1}


def test_a_failing_take_over_changes_nothing(path, monkeypatch):
    def fail(*_, **__):
        raise sqlite3.OperationalError("oops")

    with samples.create(path) as store:
        put(store, "a", count=3)
        with draft_of(path, {"a": 1}) as draft:
            monkeypatch.setattr("store.index.keys.append", fail)
            with pytest.raises(StoreError, match="oops"):
                adopt(store, draft)
        assert verify(store) == {"a": 1}
        monkeypatch.undo()
        with draft_of(path, {}) as draft:
            assert adopt(store, draft)


def test_a_part_of_a_document_stays_one(path):
    with samples.create(path) as store:
        made = samples.chunks("a", 1, 9)
        store.put("a", content_hash="1 3", chunking="c1", chunks=made[:4], expected=9)
        with draft_of(path, {"a": 1}) as draft:
            assert adopt(store, draft)
    with Store.open(path, **NEW) as store:
        document = store.document("a")
        assert document.partial and (document.chunks, document.expected) == (1, 6)
        assert list(problems_of(store)) == []


def test_a_draft_with_a_part_of_a_document_is_not_taken(path):
    with samples.create(path) as store:
        put(store, "a", count=3)
        with draft_of(path, {"a": 1}) as draft:
            draft.connection.execute("UPDATE documents SET expected = 2")
            assert not adopt(store, draft)
        assert verify(store) == {"a": 1}
