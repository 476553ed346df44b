import io
import json
import tracemalloc
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import ExportFormatError, Store, StoreError, Target
from store.exportfile import ExportFile
from tests.store import samples
from tests.store.pruned import MERGING, STRATEGIES, check, fill
from tests.store.samples import E, R
from tests.store.test_export import CHUNK, exported, forged, load, tensors


@pytest.fixture
def store(path):
    with samples.create(path) as store:
        fill(store, documents=6, chunks=3)
        yield store


@pytest.fixture
def other(tmp_path):
    with samples.create(tmp_path / "other") as store:
        yield store


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
                (view,) = store.views([row.id])
                which = None if view.which is None else view.which.tolist()
                arrays = view.latents.tobytes(), view.scales.tobytes(), keys[row.id].tobytes()
                found[name] = which, *arrays
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
    store.prune(strategy, Target(share=0.5))
    data = exported(store)
    assert data.startswith(b'{"mac-store-export": 2,')
    assert load(other, data) == (6, 0, 0, 0)
    assert answers(other) == answers(store)
    assert companions(other) == companions(store)
    check(other)
    for store_ in (store, other):
        store_.vacuum()
    ours, theirs = store.stats(), other.stats()
    for name in ("documents", "chunks", "pruned", "modulations", "modulation_bytes", "tokens"):
        assert getattr(theirs, name) == getattr(ours, name)
    assert load(other, data) == (0, 0, 6, 0)
    assert answers(other) == answers(store)


def test_what_was_undone_is_exported_for_older_programs_too(store):
    store.prune("merge", Target(share=0.5))
    store.undo()
    assert exported(store).startswith(b'{"mac-store-export": 1,')


def test_several_prunes_and_removed_documents_travel(store, other):
    store.prune("merge", Target(share=0.6))
    store.prune("random", Target(share=0.8))
    store.remove("d1")
    store.prune("nn-average", Target(share=0.6))
    fill(store, documents=1, chunks=3, first=9)
    load(other, exported(store))
    assert answers(other) == answers(store)
    check(other)


@pytest.mark.parametrize("strategy", MERGING)
def test_an_import_that_was_cut_short_shares_as_before(store, other, strategy):
    store.prune(strategy, Target(share=0.3))
    data = exported(store)
    with pytest.raises(ExportFormatError, match="cut short"):
        load(other, data[: len(data) * 2 // 3])
    check(other)
    part = answers(other)
    assert part and part.items() <= answers(store).items()
    load(other, data)
    assert answers(other) == answers(store)
    assert companions(other) == companions(store)
    check(other)


def test_documents_that_are_skipped_leave_the_rest_right(store, other):
    store.prune("merge", Target(share=0.3))
    fill(other, documents=2, chunks=3)
    mine = {name: found for name, found in answers(other).items() if name[0] in ("d0", "d1")}
    assert load(other, exported(store), "skip") == (4, 0, 0, 2)
    assert answers(other) == answers(store) | mine
    check(other)


def test_an_unpruned_export_brings_back_what_was_pruned(store, other):
    fill(other, documents=6, chunks=3)
    data = exported(other)
    for strategy in ("merge", "random"):
        store.prune(strategy, Target(share=0.5))
    updated = load(store, data)[1]
    assert updated and answers(store) == answers(other)
    check(store)


def test_what_an_undo_would_take_away_is_not_shared_by_imports(store, tmp_path):
    with samples.create(tmp_path / "twin") as twin:
        fill(twin, documents=6, chunks=3)
        for one in (store, twin):
            one.prune("merge", Target(share=0.3))
        twin.remove("d0")
        load(twin, exported(store))
        twin.undo()
        check(twin)


def test_a_merged_modulation_that_changed_meanwhile_is_not_taken_for_the_same(store, other):
    store.prune("average", Target(number=1))
    data = exported(store)
    load(other, data)
    other.remove("d0")
    other.vacuum()
    load(other, data)
    assert answers(other) == answers(store)
    check(other)


# Files that nobody exported.


def shared(places=(0, 1, 1, 0), sizes=(2,), chunk=None, line=None, **changes):
    """An export of a chunk that shares a merged modulation."""
    from safetensors.numpy import save

    total = (
        sum(n for n in sizes if type(n) is int and 0 < n < 1000) if isinstance(sizes, tuple) else 1
    )
    arrays = {"latents": np.ones((total, R), np.int8), "scales": np.ones(total, np.float16)}
    arrays |= changes.pop("merged", {})
    before = save(arrays)
    part = tensors(
        latents=np.ones((0, R), np.int8),
        scales=np.ones(0, np.float16),
        places=np.array(places, np.uint16),
        **changes,
    )
    sizes = list(sizes) if isinstance(sizes, tuple) else sizes
    first = json.dumps({"shared": sizes, "bytes": len(before)} | (line or {})).encode() + b"\n"
    row = CHUNK | {"shared": 0} | (chunk or {})
    middle = json.dumps({"part": [row], "bytes": len(part)}).encode() + b"\n"
    return forged(header={"mac-store-export": 2}, raw=first + before + middle + part)


def test_the_forgery_is_good_without_changes(other):
    assert load(other, shared()) == (1, 0, 0, 0)
    check_one = other.views([1])[0]
    assert check_one.which.tolist() == [0, 1, 1, 0]
    assert list(other.verify()) == []


FORGERIES = [
    ({"places": (0, 1, 2, 0)}, "points at latent 2 of 2"),
    ({"places": (0, 1, 1)}, "other shapes"),
    ({"sizes": (0,)}, "0 latents"),
    ({"sizes": (1 << 40,)}, "latents"),
    ({"sizes": (True,)}, "no sizes"),
    ({"sizes": ()}, "no sizes"),
    ({"sizes": "2"}, "no sizes"),
    ({"sizes": {"a": 1}}, "no sizes"),
    ({"sizes": (2, 60_000)}, "holds"),
    ({"line": {"bytes": 1 << 60}}, "a part claims"),
    ({"line": {"bytes": True}}, "a part claims"),
    ({"chunk": {"shared": 1}}, "did not come"),
    ({"chunk": {"shared": -1}}, "did not come"),
    ({"chunk": {"shared": "x" * 9999}}, "did not come"),
    ({"chunk": {"shared": [0]}}, "did not come"),
    ({"chunk": {"shared": False}}, "did not come"),
    ({"chunk": {"shared": None}}, "other shapes"),
    ({"chunk": {"dropped": True}}, "not clearly"),
    ({"chunk": {"dropped": 7}}, "not clearly"),
    ({"chunk": {"tokens": 5}}, "other shapes"),
    ({"keys": np.full((1, E), np.inf, np.float16)}, "finite"),
    ({"merged": {"scales": np.full(2, np.nan, np.float16)}}, "finite"),
    ({"merged": {"latents": np.ones((2, R), np.uint8)}}, "other shapes"),
]


@pytest.mark.parametrize(("changes", "message"), FORGERIES)
def test_forgeries_are_refused_with_one_line(other, changes, message):
    samples.put(other, "mine", count=2)
    tracemalloc.start()
    try:
        with pytest.raises(ExportFormatError) as caught:
            load(other, shared(**changes))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert peak < 8_000_000
    assert {document.source for document in other.documents()} == {"mine"}
    assert list(other.verify()) == []


def test_version_1_has_no_merged_modulations(other):
    data = shared().replace(b'export": 2', b'export": 1', 1)
    with pytest.raises(ExportFormatError, match="a part was expected"):
        load(other, data)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    with samples.create(folder / "a") as store:
        fill(store, documents=4)
        store.prune("merge", Target(share=0.4))
        store.prune("random", Target(share=0.8))
        data, expected = exported(store), answers(store)
    with samples.create(folder / "b") as other:
        yield data, expected, other


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=3),
    cut=st.floats(0, 1),
    inserted=st.tuples(st.floats(0, 1), st.binary(max_size=20)),
)
def test_whatever_is_changed_whole_documents_are_imported_or_none(fuzzed, flips, cut, inserted):
    good, expected, store = fuzzed
    for document in list(store.documents()):
        store.remove(document.source)
    data = samples.tampered(good, flips, cut, inserted)
    with suppress(StoreError):  # a changed fingerprint is that of another checkpoint
        load(store, data)
    assert answers(store).items() <= expected.items()
    assert list(store.verify()) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    row=st.dictionaries(st.sampled_from(["shared", "dropped", "tokens", "related"]), json_values),
    sizes=json_values,
    places=st.lists(st.integers(0, 3), min_size=4, max_size=4),
)
def test_whatever_lines_say_they_are_taken_in_or_refused(fuzzed, row, sizes, places):
    store = fuzzed[2]
    sizes = tuple(sizes) if isinstance(sizes, list) else sizes
    with suppress(ExportFormatError):
        load(store, shared(places=places, sizes=sizes, chunk=row))
    assert list(store.verify()) == []


def test_an_empty_store_can_be_reached_through_a_file(store, tmp_path):
    store.prune("merge", Target(share=0.5))
    with open(tmp_path / "notes.mac", "wb") as file:
        store.export(file)
    with samples.create(tmp_path / "third") as third, open(tmp_path / "notes.mac", "rb") as file:
        third.load(ExportFile(file, "notes.mac"))
        assert answers(third) == answers(store)
    with Store.open(tmp_path / "third") as third:
        assert io.BytesIO(exported(third)).read(24) == b'{"mac-store-export": 2, '
