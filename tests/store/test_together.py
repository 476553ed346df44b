"""What tags, kept chunks, prunes, verification, exports and vacuum are to each other."""

import pytest

from store import KeptChunk, Labels, Store, StoreError, Within
from store.care.repair import repair
from store.care.vacuum import space, vacuum
from store.care.verify import verify
from store.moving.export import copy, export
from store.moving.load import load
from store.pruning.prune import forget, prune, undo, undoable
from store.pruning.target import Target
from tests.store import pruned, samples
from tests.store.pruned import check, chunk, fill

RED = Within(tags=("red",))


@pytest.fixture
def filled(path):
    with samples.create(path) as store:
        fill(store)
        store.relabel("d0", Labels(tags=("red",), date="2020-05-06"))
        yield store


def ids_of(store, source):
    return [row.id for row in store.chunks(store.document(source).id)]


def keys_within(store, within):
    return [int(i) for ids, _ in store.keys(within=within) for i in ids]


@pytest.mark.parametrize("strategy", pruned.MERGING)
def test_a_tagged_chunk_is_found_whatever_it_was_merged_with(filled, strategy):
    prune(filled, strategy, Target(number=1))
    own = ids_of(filled, "d0")
    for within in (RED, Within(since="2020-05-06", until="2020-05-06")):
        assert keys_within(filled, within) == own
        assert {chunk_id for chunk_id, _ in filled.search("text", within=within)} == set(own)
    assert len(filled.sharing(own)) == 10
    forget(filled)
    assert keys_within(filled, RED) == own
    check(filled)


def test_a_dropped_chunk_is_not_found_by_its_tag(filled):
    prune(filled, "random", Target(number=1))
    there = pruned.there(filled)
    for source in ("d0", "d1", "d2"):
        filled.relabel(source, Labels(tags=("red",)))
    own = [i for source in ("d0", "d1", "d2") for i in ids_of(filled, source)]
    expected = sorted(set(own) & set(there))
    assert keys_within(filled, RED) == expected
    assert sorted(i for i, _ in filled.search("text", within=RED)) == expected


@pytest.mark.parametrize("strategy", pruned.STRATEGIES)
def test_kept_chunks_stay_what_a_prune_made_of_them(filled, strategy):
    prune(filled, strategy, Target(number=4))
    first, second = filled.chunks(filled.document("d1").id)
    kept = KeptChunk(second.id, 0, 0, len(second.text), second.text)
    filled.put("d1", content_hash="new", chunking="c", chunks=[kept, chunk(77, 4, position=1)])
    check(filled)
    rows = filled.chunks(filled.document("d1").id)
    assert rows[0].id == second.id and rows[0].pruned == second.pruned and not rows[1].pruned
    assert first.id not in [row.id for row in rows]
    filled.rename("d1", "e1", content_hash="new")
    assert undo(filled) is not None
    check(filled)
    assert not any(row.pruned or row.sharing for row in filled.chunks(filled.document("e1").id))


def test_repair_knows_the_sizes_of_merged_modulations(filled):
    prune(filled, "merge", Target(number=4))
    before = pruned.contents(filled)
    filled.connection.execute("UPDATE chunks SET bytes = 1 WHERE id < 4")
    assert {problem.kind for problem in verify(filled)} == {"totals"}
    assert list(repair(filled)) == []
    check(filled)
    assert pruned.contents(filled) == before


def test_repair_lists_the_dead_keys_of_a_pruned_store_again(filled):
    prune(filled, "merge", Target(number=8))
    prune(filled, "random", Target(number=3))
    keys = {i: key.tobytes() for i, key in samples.all_keys(filled).items()}
    filled.connection.execute("DELETE FROM dead_keys")
    assert [problem.kind for problem in verify(filled)] == ["keys"]
    assert list(repair(filled)) == []
    check(filled)
    assert {i: key.tobytes() for i, key in samples.all_keys(filled).items()} == keys
    undo(filled)
    undo(filled)
    check(filled)


def test_damage_to_what_undoing_needs_is_found(filled):
    prune(filled, "merge", Target(number=6))
    filled.connection.execute("DELETE FROM modulations WHERE chunk_id = 1")
    (problem,) = verify(filled)
    assert problem.message.startswith("d0, chunk 0: its text, or the modulation that undoing")
    # Nothing can show any more that the text is right.
    vacuum(filled)
    assert list(repair(filled, drop_damaged=True)) == ["d0"]
    check(filled)


def test_documents_with_damaged_merged_modulations_can_be_dropped(filled):
    prune(filled, "merge", Target(number=1))
    forget(filled)
    filled.connection.execute("UPDATE members SET data = x'00' WHERE chunk_id = 1")
    assert list(repair(filled, drop_damaged=True)) == ["d0"]
    check(filled)
    assert filled.document("d0") is None and filled.document("d1") is not None


def test_vacuum_makes_prunes_final(filled):
    prune(filled, "merge", Target(number=6))
    prune(filled, "random", Target(number=3))
    read = pruned.readings(filled)
    before = space(filled)
    assert before.undo > 0 and before.reclaimable >= before.undo
    assert undoable(filled) is not None
    vacuum(filled)
    assert space(filled).undo == 0
    assert undoable(filled) is None and undo(filled) is None
    assert pruned.readings(filled) == read
    check(filled)


@pytest.mark.parametrize("strategy", pruned.STRATEGIES)
def test_a_pruned_store_is_copied_with_what_undoes_it(filled, strategy, tmp_path):
    before = pruned.contents(filled)
    prune(filled, strategy, Target(number=6))
    copy(filled, tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copied:
        check(copied)
        assert pruned.contents(copied) == pruned.contents(filled) != before
        assert undo(copied) is not None
        assert pruned.contents(copied) == before


def test_tags_and_dates_travel(filled, tmp_path):
    export(filled, tmp_path / "x.mac")
    assert load(tmp_path / "other", tmp_path / "x.mac").added == 6
    with Store.open(tmp_path / "other") as other:
        document = other.document("d0")
        assert (document.tags, document.date) == (("red",), "2020-05-06")
        assert len(keys_within(other, RED)) == 2
        check(other)
    assert load(tmp_path / "other", tmp_path / "x.mac").unchanged == 6


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE documents SET date = 'May' WHERE source = 'd0'", "a date is written"),
        ("UPDATE document_tags SET tag = 'a,b'", "a tag cannot hold a comma"),
        ("UPDATE document_tags SET tag = 'RED'", "must be written 'red'"),
    ],
)
def test_impossible_tags_and_dates_are_refused(filled, tmp_path, statement, message):
    filled.connection.execute(statement)
    export(filled, tmp_path / "x.mac")
    with pytest.raises(StoreError, match=message):
        load(tmp_path / "other", tmp_path / "x.mac")
    with Store.open(tmp_path / "other") as other:
        assert other.document("d0") is None
