"""What stands before a chunk, and where its parts stand: written, read, moved, damaged."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from store import (
    ChunksGoneError,
    ExportFormatError,
    KeptChunk,
    Labels,
    Store,
    StoreCorruptError,
    Within,
)
from store.care.repair import repair
from store.care.verify import verify as problems_of
from store.index.chunks import digest
from store.marks import Mark
from store.moving.export import copy, export
from store.moving.load import load
from store.moving.rebuild import DRAFT, adopt
from store.pruning.prune import forget, prune
from store.pruning.target import Target
from tests.store import samples
from tests.store.index.test_opening import sql
from tests.store.moving.test_load import change_rows
from tests.store.pruned import STRATEGIES

MARKS = (Mark(0, "Guide > Retention", "page 3"), Mark(5, "Guide > Retention", "page 4"))


def chunk(seed, text, position=0, context="", marks=()):
    return replace(samples.chunk(seed, text, position=position), context=context, marks=marks)


def put(store, source, *made):
    store.put(source, content_hash="1", chunking="c1", chunks=made)
    return store.chunks(store.document(source).id)


def kept(row, position=0, **changes):
    values = {"context": row.context, "marks": row.marks} | changes
    return KeptChunk(row.id, position, row.start, row.end, row.text, **values)


@pytest.fixture
def filled(store):
    put(
        store,
        "guide",
        chunk(1, "Logs stay ninety days.", 0, "Guide: Retention", MARKS),
        chunk(2, "Backups stay a year.", 1),
    )
    return store


def stored(store):
    rows = store.chunks(store.document("guide").id)
    return [(row.context, row.marks) for row in rows]


def test_they_come_back(filled):
    assert stored(filled) == [("Guide: Retention", MARKS), ("", ())]
    assert [row.marks for row in filled.chunk_rows([2, 1])] == [(), MARKS]
    assert list(problems_of(filled)) == []


def test_its_words_are_found(filled):
    assert [chunk_id for chunk_id, _ in filled.search("retention")] == [1]
    assert filled.coverage("retention of logs", [1, 2]) == [1.0, 0.0]
    filled.remove("guide")
    assert filled.search("retention") == []
    assert list(problems_of(filled)) == []


def test_words_of_text_and_context_have_their_weights(filled, monkeypatch):
    put(filled, "other", chunk(3, "Retention: see the guide.", 0))
    monkeypatch.setattr("store.index.text_index.WEIGHTS", (1.0, 0.01))
    assert [chunk_id for chunk_id, _ in filled.search("retention")] == [3, 1]
    monkeypatch.setattr("store.index.text_index.WEIGHTS", (0.01, 1.0))
    assert [chunk_id for chunk_id, _ in filled.search("retention")] == [1, 3]


def test_a_kept_chunk_takes_other_marks_and_keeps_its_context(filled):
    first, second = filled.chunks(1)
    moved = (Mark(0, "Guide", "page 9"),)
    put(filled, "guide", kept(second), kept(first, 1, marks=moved))
    assert stored(filled) == [("", ()), ("Guide: Retention", moved)]
    assert list(problems_of(filled)) == []
    with pytest.raises(ChunksGoneError):
        put(filled, "guide", kept(first, context="Another title"))
    assert stored(filled) == [("", ()), ("Guide: Retention", moved)]


def test_what_extends_a_document_has_them_too(store):
    made = [chunk(n, f"part {n}", n, f"context {n}", MARKS) for n in range(2)]
    store.put("guide", content_hash="1", chunking="c1", chunks=made[:1], expected=2)
    store.mark_stale("guide", "is damaged")
    assert store.extend("guide", content_hash="1", chunks=made[1:]).stale is None
    assert stored(store) == [("context 0", MARKS), ("context 1", MARKS)]
    assert list(problems_of(store)) == []


def test_words_of_marks_are_stored_as_they_may_be_shown(store):
    marks = (Mark(0, "a\x1b[2J\nb\ud800c\u202ed", "x" * 1000),)
    put(store, "guide", chunk(1, "text", 0, marks=marks))
    [(_, [mark])] = stored(store)
    assert mark.heading == "a [2J b c d"
    assert len(mark.place) == 500


@pytest.mark.parametrize("starts", [(5,), (-1,), (2, 1)])
def test_marks_that_stand_outside_of_the_text(store, starts):
    with pytest.raises(ValueError, match="do not stand in its text"):
        put(store, "guide", chunk(1, "text", 0, marks=tuple(map(Mark, starts))))
    assert store.document("guide") is None


def test_a_context_has_a_largest_size(store):
    with pytest.raises(ValueError, match="at most 65,536 characters"):
        put(store, "guide", chunk(1, "text", 0, "x" * 65_537))


def test_without_them_a_digest_is_what_it_was():
    assert digest(b"blob", "text", "", "").hex() == "edc5552d190edf0bcb59ed5ba01ed75d"
    found = {
        digest(b"blob", "text", *more) for more in (("", ""), ("a", ""), ("", "a"), ("a", "a"))
    }
    assert len(found) == 4


@pytest.mark.parametrize("change", ["context = 'another'", "marks = ''", "marks = '{'"])
def test_damage_is_found_and_does_not_stay_in_the_way(filled, change):
    filled.connection.execute(f"UPDATE chunks SET {change} WHERE id = 1")
    filled.connection.execute("INSERT INTO chunks_fts (chunks_fts) VALUES ('rebuild')")
    (problem,) = problems_of(filled)
    assert (problem.remedy, problem.chunk) == ("ingest", 1)
    if change == "marks = '{'":
        with pytest.raises(StoreCorruptError, match="marks of chunk 1"):
            filled.chunks(1)
    assert repair(filled) == ["guide"]
    assert len(filled.chunks(1)) == 2
    assert filled.document("guide").damaged


def test_export_import_and_copy_carry_them(filled, tmp_path):
    filled.mark_stale("guide", "is encrypted")
    export(filled, tmp_path / "file")
    copy(filled, tmp_path / "copy")
    load(tmp_path / "imported", tmp_path / "file")
    for folder in ("copy", "imported"):
        with Store.open(tmp_path / folder) as other:
            assert stored(other) == stored(filled)
            assert other.document("guide").stale == "is encrypted"
            assert [chunk_id for chunk_id, _ in other.search("retention")] == [1]
            assert list(problems_of(other)) == []
    assert load(filled.path, tmp_path / "file").unchanged == 1


def test_a_rebuild_takes_those_of_the_draft(filled):
    with samples.create(filled.path / DRAFT) as draft:
        put(draft, "guide", chunk(1, "Logs.", 0, "New context", MARKS[:1]))
        assert adopt(filled, draft)
    assert stored(filled) == [("New context", MARKS[:1])]
    assert [row for row, _ in filled.search("new")] == [3]
    assert list(problems_of(filled)) == []


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_pruned_chunks_keep_them(filled, tmp_path, strategy):
    put(filled, "copy", chunk(1, "Logs stay ninety days.", 0, "Guide: Retention", MARKS))
    prune(filled, strategy, Target(share=0.5))
    forget(filled)
    assert list(problems_of(filled)) == []
    export(filled, tmp_path / "file")
    load(tmp_path / "imported", tmp_path / "file")
    with Store.open(tmp_path / "imported") as other:
        assert stored(other) == stored(filled)


TEXT = "Logs stay ninety days."


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("context", b"\0", "what stands before it"),
        ("context", "x" * 65_537, "what stands before it"),
        ("marks", b"[]", "cannot be read"),
        ("marks", "{", "cannot be read"),
        ("marks", "[" * 100_000, "cannot be read"),
        ("marks", '[[1e400,"",""]]', "cannot be read"),
        ("marks", '[[0,"","",""]]', "cannot be read"),
        ("marks", '[[23,"",""]]', "do not stand in its text"),
        ("marks", '[[-1,"",""]]', "do not stand in its text"),
        ("marks", '[[2,"",""],[1,"",""]]', "do not stand in its text"),
        ("marks", '[["1","",""]]', "not as a store writes them"),
        ("marks", '[[true,"",""]]', "not as a store writes them"),
        ("marks", '[[0,null,""]]', "not as a store writes them"),
        ("marks", '[[0,"\\u001b",""]]', "not as a store writes them"),
        ("marks", '[[0,"\\ud800",""]]', "not as a store writes them"),
        ("marks", "[]", "not as a store writes them"),
        ("marks", '[[0,"' + "x" * 501 + '",""]]', "not as a store writes them"),
        ("marks", '[[0,"","' + "x" * (1 << 20) + '"]]', "more than 1,048,576 characters"),
    ],
)
def test_an_import_believes_none_of_it(filled, tmp_path, column, value, match):
    file = tmp_path / "file"
    export(filled, file)
    with closing(sqlite3.connect(file)) as connection:
        blob, context, marks = connection.execute(
            "SELECT data, context, marks FROM chunks JOIN modulations ON chunk_id = id WHERE id = 1"
        ).fetchone()
    texts = {"context": context, "marks": marks} | {column: value}
    # A digest that is right, wherever there can be one.
    right = digest(blob, TEXT, **{name: str(text) for name, text in texts.items()})
    literal = f"CAST(x'{value.hex()}' AS BLOB)" if isinstance(value, bytes) else f"'{value}'"
    change_rows(
        file, f"UPDATE chunks SET {column} = {literal}, digest = x'{right.hex()}' WHERE id = 1"
    )
    with pytest.raises(ExportFormatError, match=match) as caught:
        load(tmp_path / "other", file)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("value", ["x'00'", "'a' || char(27)", "7"])
def test_an_import_believes_no_odd_reason(filled, tmp_path, value):
    file = tmp_path / "file"
    export(filled, file)
    change_rows(file, f"UPDATE documents SET stale = {value}")
    if value == "7":  # SQLite makes text of it
        assert load(tmp_path / "other", file).added == 1
        return
    with pytest.raises(ExportFormatError, match="stale of 'guide'"):
        load(tmp_path / "other", file)


def test_a_document_is_stale_until_it_is_stored_again(filled):
    assert filled.document("guide").stale is None
    assert filled.mark_stale("guide", "is damaged\nat its end")
    assert filled.document("guide").stale == "is damaged at its end"
    assert [row.stale for row in filled.chunk_rows([1])] == ["is damaged at its end"]
    assert not filled.mark_stale("no such document", "is damaged")
    put(filled, "guide", kept(filled.chunks(1)[0]))
    assert filled.document("guide").stale is None
    filled.mark_stale("guide", "is damaged")
    assert filled.rename("guide", "guide.md", content_hash="1")
    assert filled.document("guide.md").stale is None
    filled.mark_stale("guide.md", "is damaged")
    assert filled.mark_stale("guide.md", None)
    assert filled.document("guide.md").stale is None


def test_what_is_stale_already_needs_no_permission_to_write(filled, monkeypatch):
    filled.mark_stale("guide", "is damaged")
    monkeypatch.setattr("store.index.connection._writable", lambda _: False)
    with Store.open(filled.path) as reader:
        assert reader.mark_stale("guide", "is damaged")


def test_copies_have_the_same_text(store):
    texts = ["same", "other", "same", "same ", "Same"]
    put(store, "a", *(chunk(n, text, n, f"context {n}") for n, text in enumerate(texts)))
    put(store, "b", *(chunk(n, "same", n) for n in range(30)))
    found = store.copies([1, 2, 3])
    assert found == {1: [3, *range(6, 25)], 2: [], 3: [1, *range(6, 25)]}
    assert store.copies([1], limit=2) == {1: [3, 6]}
    assert store.copies([99]) == {99: []}
    store.remove("b")
    assert store.copies([1]) == {1: [3]}


def test_texts_that_share_a_hash_are_no_copies(store, monkeypatch):
    monkeypatch.setattr("store.index.chunks.text_hash", lambda _: 7)
    put(store, "a", *(chunk(n, text, n) for n, text in enumerate(["one", "two", "one"])))
    assert store.copies([1, 2]) == {1: [3], 2: []}


def test_copies_are_chosen_and_not_pruned(store):
    for source in "abc":
        put(store, source, chunk(1, "same"))
    store.relabel("b", Labels(tags=("new",)))
    assert store.copies([1], within=Within(tags=("new",))) == {1: [2]}
    sql(store.path, "UPDATE chunks SET pruned = 1 WHERE id = 2")
    assert store.copies([1]) == {1: [3]}


def test_a_repair_finds_copies_again(store):
    put(store, "a", *(chunk(n, "same", n) for n in range(3)))
    sql(store.path, "UPDATE chunks SET text_hash = NULL WHERE id > 1")
    assert store.copies([1]) == {1: []}
    assert [problem.remedy for problem in problems_of(store)] == ["repair"] * 2
    assert repair(store) == []
    assert store.copies([1]) == {1: [2, 3]}
    assert list(problems_of(store)) == []
