"""What tags, kept chunks, prunes, verification, exports and vacuum are to each other."""

import io

import pytest

from store import KeptChunk, Labels, Store, StoreError, Target, Within
from store.exportfile import ExportFile
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


def exported(store):
    file = io.BytesIO()
    store.export(file)
    return file.getvalue()


@pytest.mark.parametrize("strategy", pruned.MERGING)
@pytest.mark.parametrize("sparse", [1, 1000])
def test_a_tagged_chunk_is_found_whatever_it_was_merged_with(filled, strategy, sparse, monkeypatch):
    monkeypatch.setattr("store.keyblock._SPARSE", sparse)
    filled.prune(strategy, Target(number=1))
    own = ids_of(filled, "d0")
    for within in (RED, Within(since="2020-05-06", until="2020-05-06")):
        assert keys_within(filled, within) == own
        assert {chunk_id for chunk_id, _ in filled.search("text", within=within)} == set(own)
    assert len(filled.sharing(own)) == 10
    filled.forget_pruned()
    assert keys_within(filled, RED) == own
    check(filled)


@pytest.mark.parametrize("sparse", [1, 1000])
def test_a_dropped_chunk_is_not_found_by_its_tag(filled, sparse, monkeypatch):
    monkeypatch.setattr("store.keyblock._SPARSE", sparse)
    filled.prune("random", Target(number=1))
    there = pruned.there(filled)
    for source in ("d0", "d1", "d2"):
        filled.relabel(source, Labels(tags=("red",)))
    own = [i for source in ("d0", "d1", "d2") for i in ids_of(filled, source)]
    expected = sorted(set(own) & set(there))
    assert keys_within(filled, RED) == expected
    assert sorted(i for i, _ in filled.search("text", within=RED)) == expected


@pytest.mark.parametrize("strategy", pruned.STRATEGIES)
def test_kept_chunks_stay_what_a_prune_made_of_them(filled, strategy):
    filled.prune(strategy, Target(number=4))
    first, second = filled.chunks(filled.document("d1").id)
    kept = KeptChunk(second.id, 0, len(second.text), second.text)
    filled.put("d1", content_hash="new", chunking="c", chunks=[kept, chunk(77, 4)])
    check(filled)
    rows = filled.chunks(filled.document("d1").id)
    assert rows[0].id == second.id and rows[0].pruned == second.pruned and not rows[1].pruned
    assert first.id not in [row.id for row in rows]
    filled.rename("d1", "e1", content_hash="new")
    assert filled.undo() is not None
    check(filled)
    assert not any(row.pruned or row.sharing for row in filled.chunks(filled.document("e1").id))


def test_repair_knows_the_sizes_of_merged_modulations(filled):
    filled.prune("merge", Target(number=4))
    before = pruned.contents(filled)
    filled._connection.execute("UPDATE chunks SET bytes = 1 WHERE id < 4")
    filled._connection.execute("DELETE FROM digests WHERE chunk_id = 5")
    assert {problem.kind for problem in filled.verify()} == {"totals", "digest"}
    assert list(filled.repair()) == []
    check(filled)
    assert pruned.contents(filled) == before


def test_repair_rebuilds_the_keys_of_a_pruned_store(filled, path):
    filled.prune("merge", Target(number=8))
    filled.prune("random", Target(number=3))
    keys = {i: key.tobytes() for i, key in samples.all_keys(filled).items()}
    next(path.glob("keys-*")).write_bytes(b"nothing")
    assert [problem.kind for problem in filled.verify()] == ["keys"]
    assert list(filled.repair()) == []
    check(filled)
    assert {i: key.tobytes() for i, key in samples.all_keys(filled).items()} == keys
    filled.undo()
    filled.undo()
    check(filled)


def test_damage_to_what_undoing_needs_is_found(filled):
    filled.prune("merge", Target(number=6))
    filled._connection.execute("DELETE FROM modulations WHERE chunk_id = 1")
    (problem,) = filled.verify()
    assert problem.message == "d0, chunk 0: its modulation is missing"
    filled.vacuum()
    check(filled)


def test_documents_with_damaged_merged_modulations_can_be_dropped(filled):
    filled.prune("merge", Target(number=1))
    filled.forget_pruned()
    filled._connection.execute("UPDATE members SET data = x'00' WHERE chunk_id = 1")
    assert list(filled.repair(drop_damaged=True)) == ["d0"]
    check(filled)
    assert filled.document("d0") is None and filled.document("d1") is not None


def test_vacuum_makes_prunes_final(filled):
    filled.prune("merge", Target(number=6))
    filled.prune("random", Target(number=3))
    read = pruned.readings(filled)
    space = filled.space()
    assert space.undo > 0 and space.reclaimable >= space.undo
    assert filled.undoable() is not None
    filled.vacuum()
    assert filled.space().undo == 0
    assert filled.undoable() is None and filled.undo() is None
    assert pruned.readings(filled) == read
    check(filled)


@pytest.mark.parametrize("strategy", pruned.STRATEGIES)
def test_a_pruned_store_is_copied_with_what_undoes_it(filled, strategy, tmp_path):
    data = exported(filled)
    filled.prune(strategy, Target(number=6))
    filled.copy(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy:
        check(copy)
        assert pruned.contents(copy) == pruned.contents(filled)
        assert exported(copy) == exported(filled) != data
        assert copy.undo() is not None
    filled.undo()
    assert exported(filled) == data


def test_tags_and_dates_travel(filled, tmp_path):
    data = exported(filled)
    with samples.create(tmp_path / "other") as other:
        other.load(ExportFile(io.BytesIO(data), "x"))
        document = other.document("d0")
        assert (document.tags, document.date) == (("red",), "2020-05-06")
        assert len(keys_within(other, RED)) == 2
        check(other)
        assert other.load(ExportFile(io.BytesIO(data), "x")).unchanged == 6


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE documents SET date = 'May' WHERE source = 'd0'", "a date is written"),
        ("UPDATE document_tags SET tag = 'a,b'", "a tag has no comma"),
        ("UPDATE document_tags SET tag = 'RED'", "must be written 'red'"),
    ],
)
def test_impossible_tags_and_dates_are_refused(filled, tmp_path, statement, message):
    filled._connection.execute(statement)
    data = exported(filled)
    with samples.create(tmp_path / "other") as other:
        with pytest.raises(StoreError, match=message):
            other.load(ExportFile(io.BytesIO(data), "x"))
        assert other.document("d0") is None
