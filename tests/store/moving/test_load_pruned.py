import random
import sqlite3
from contextlib import closing, suppress

import numpy as np
import pytest

from store import ExportFormatError, StoreError
from store.care.vacuum import vacuum
from store.care.verify import verify
from store.modulations.shared import encode_member
from store.moving.export import export
from store.moving.load import load
from store.pruning.prune import prune, undo
from store.pruning.target import Target
from tests.store import samples
from tests.store.moving.test_load import change
from tests.store.pruned import MERGING, STRATEGIES, check, fill


@pytest.fixture
def store(path):
    with samples.create(path) as store:
        fill(store, documents=6, chunks=3)
        yield store


@pytest.fixture
def other(tmp_path):
    with samples.create(tmp_path / "other") as store:
        yield store


def exported(store):
    """The file that a store is exported to, beside it."""
    file = store.path.with_name(f"{store.path.name}.mac")
    export(store, file, force=True)
    return file


def imported(store, file, policy="replace"):
    done = load(store.path, file, policy)
    return done.added, done.updated, done.unchanged, done.skipped


def answers(store):
    """What every chunk is found and answered by: rows, who stands for whom, keys."""
    with store.snapshot():
        keys = samples.all_keys(store)
        found = {}
        for document in store.documents():
            rows = store.chunks(document.id)
            for row in rows:
                name = document.source, row.position, row.text, row.tokens
                if row.pruned:
                    found[name] = None
                    continue
                (m,) = store.modulations([row.id])
                rows_of = None if m.rows is None else m.rows.tolist()
                arrays = m.latents.tobytes(), m.scales.tobytes(), keys[row.id].tobytes()
                found[name] = rows_of, *arrays
        return found


def companions(store):
    """By source and position the texts of the chunks that share its modulation."""
    return {
        (document.source, row.position): sorted(r.text for r in store.sharing([row.id]))
        for document in store.documents()
        for row in store.chunks(document.id)
    }


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_pruned_store_is_the_same_after_export_and_import(store, other, strategy):
    prune(store, strategy, Target(share=0.5))
    data = exported(store)
    assert imported(other, data) == (6, 0, 0, 0)
    assert answers(other) == answers(store)
    assert companions(other) == companions(store)
    check(other)
    for store_ in (store, other):
        vacuum(store_)
    ours, theirs = store.stats(), other.stats()
    for name in ("documents", "chunks", "pruned", "modulations", "modulation_bytes", "tokens"):
        assert getattr(theirs, name) == getattr(ours, name)
    assert imported(other, data) == (0, 0, 6, 0)
    assert answers(other) == answers(store)


def test_several_prunes_and_removed_documents_travel(store, other):
    prune(store, "merge", Target(share=0.6))
    prune(store, "random", Target(share=0.8))
    store.remove("d1")
    prune(store, "nn-average", Target(share=0.6))
    fill(store, documents=1, chunks=3, first=9)
    imported(other, exported(store))
    assert answers(other) == answers(store)
    check(other)


@pytest.mark.parametrize("strategy", MERGING)
def test_an_import_that_was_cut_short_shares_as_before(store, other, strategy):
    prune(store, strategy, Target(share=0.3))
    data = exported(store)
    spoilt = data.with_name("spoilt.mac")
    spoilt.write_bytes(data.read_bytes())
    change(spoilt, "UPDATE chunks SET digest = zeroblob(16) WHERE document_id = 5")
    with pytest.raises(ExportFormatError, match="not the one that was written"):
        imported(other, spoilt)
    check(other)
    part = answers(other)
    assert part and part.items() <= answers(store).items()
    imported(other, data)
    assert answers(other) == answers(store)
    assert companions(other) == companions(store)
    check(other)


def test_documents_that_are_skipped_leave_the_rest_right(store, other):
    prune(store, "merge", Target(share=0.3))
    fill(other, documents=2, chunks=3)
    mine = {name: found for name, found in answers(other).items() if name[0] in ("d0", "d1")}
    assert imported(other, exported(store), "skip") == (4, 0, 0, 2)
    assert answers(other) == answers(store) | mine
    check(other)


def test_an_unpruned_export_brings_back_what_was_pruned(store, other):
    fill(other, documents=6, chunks=3)
    data = exported(other)
    for strategy in ("merge", "random"):
        prune(store, strategy, Target(share=0.5))
    updated = imported(store, data)[1]
    assert updated and answers(store) == answers(other)
    check(store)


def test_what_an_undo_would_take_away_is_not_shared_by_imports(store, tmp_path):
    with samples.create(tmp_path / "twin") as twin:
        fill(twin, documents=6, chunks=3)
        for one in (store, twin):
            prune(one, "merge", Target(share=0.3))
        twin.remove("d0")
        imported(twin, exported(store))
        undo(twin)
        check(twin)


def test_a_merged_modulation_that_changed_meanwhile_is_not_taken_for_the_same(store, other):
    prune(store, "average", Target(number=1))
    data = exported(store)
    imported(other, data)
    other.remove("d0")
    vacuum(other)
    imported(other, data)
    assert answers(other) == answers(store)
    check(other)


# Files that nobody exported.


FORGERIES = [
    ("UPDATE members SET data = zeroblob(40)", "its modulation is damaged"),
    ("UPDATE members SET data = 'x'", "its modulation is damaged"),
    ("DELETE FROM members", "its modulation is damaged"),
    ("UPDATE members SET data = far()", "does not fit"),
    ("UPDATE members SET data = short()", "does not fit"),
    ("UPDATE merged SET data = zeroblob(40)", "its modulation is damaged"),
    ("UPDATE merged SET data = 'x'", "no merged modulation"),
    ("UPDATE merged SET chunks = 0", "no merged modulation"),
    ("UPDATE merged SET chunks = 'x'", "no merged modulation"),
    ("UPDATE merged SET chunks = 1e300", "no merged modulation"),
    ("UPDATE chunks SET merged_id = 'x'", "no merged modulation"),
    ("UPDATE chunks SET merged_id = NULL", "its modulation is missing"),
]


@pytest.mark.parametrize(("statement", "message"), FORGERIES)
def test_forgeries_are_refused_with_one_line(store, other, statement, message):
    prune(store, "merge", Target(share=0.5))
    vacuum(store)
    file = exported(store)
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.create_function("far", 0, lambda: encode_member(np.full(5, 65535)))
        connection.create_function("short", 0, lambda: encode_member(np.zeros(1, np.int64)))
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DROP TRIGGER merged_unused")
        connection.execute(statement)
        connection.execute(TRIGGER)
    samples.put(other, "mine", count=2)
    with pytest.raises(ExportFormatError) as caught:
        load(other.path, file)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert {document.source for document in other.documents()} == {"mine"}
    assert list(verify(other)) == []


TRIGGER = """CREATE TRIGGER merged_unused AFTER DELETE ON members
WHEN NOT EXISTS (SELECT 1 FROM members WHERE merged_id = old.merged_id) BEGIN
    DELETE FROM merged WHERE id = old.merged_id;
END"""


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_changed_whole_documents_are_imported_or_none(store, other, seed):
    chance = random.Random(seed)
    prune(store, "merge", Target(share=0.4))
    prune(store, "random", Target(share=0.8))
    file = exported(store)
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 3, 30))):
        data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    file.write_bytes(data)
    with suppress(StoreError):  # a changed fingerprint is that of another checkpoint
        load(other.path, file)
    assert answers(other).items() <= answers(store).items()
    assert list(verify(other)) == []
