import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import Store, StoreCorruptError, StoreError
from store.care.vacuum import space
from store.care.verify import verify
from store.index import blobs
from store.pruning import prune as pruning
from store.pruning.prune import forget, prune, undo, undoable
from store.pruning.target import Target, TargetError
from tests.store import samples
from tests.store.pruned import MERGING, STRATEGIES, check, contents, fill, readings, there
from tests.store.test_damage import someone_else  # noqa: F401
from tests.store.test_processes import finish, worker


@pytest.fixture
def filled(store):
    fill(store)
    return store


def half(store, strategy, **options):
    return prune(store, strategy, Target(share=0.5), **options)


def spread(modulation):
    return modulation.spread()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "target", [Target(share=0.75), Target(share=0.5), Target(number=1), Target(size=600)], ids=str
)
def test_a_prune_reaches_its_target_and_undo_restores_every_bit(filled, strategy, target):
    before, read = contents(filled), readings(filled)
    planned = prune(filled, strategy, target, dry_run=True)
    assert contents(filled) == before
    done = prune(filled, strategy, target)
    check(filled)
    stats = filled.stats()
    assert (done.before, done.after) == (12, stats.modulations)
    assert done.bytes_before > done.bytes_after == stats.modulation_bytes or strategy in MERGING
    if target.size is None:
        assert done.after == target.modulations(12) == planned.after
    else:
        assert done.bytes_after <= target.size
        assert abs(done.bytes_after - stats.modulation_bytes) < 12  # shares are whole bytes
    if strategy in ("random", "usage"):
        assert planned.bytes_after == done.bytes_after
    assert undoable(filled) == undo(filled) == done
    assert contents(filled) == before and readings(filled) == read
    check(filled)
    assert undo(filled) is None


@pytest.mark.parametrize("strategy", MERGING)
def test_merging_keeps_every_chunk_its_key_and_its_words(filled, strategy):
    rows = {row.id: row.text for d in filled.documents() for row in filled.chunks(d.id)}
    keys, found = samples.all_keys(filled), filled.search("text of 300 about 0")
    half(filled, strategy)
    after = samples.all_keys(filled)
    assert {i: k.tobytes() for i, k in after.items()} == {i: k.tobytes() for i, k in keys.items()}
    assert filled.search("text of 300 about 0") == found
    assert {row.id: row.text for row in filled.chunk_rows(list(rows))} == rows
    assert {row.sharing for row in filled.chunk_rows(list(rows))} == {1}
    (other,) = filled.sharing([there(filled)[0]])
    assert other.id in rows and other.id != there(filled)[0]
    assert filled.sharing([other.id])[0].id == there(filled)[0]
    assert filled.sharing([other.id], limit=0) == []


@pytest.mark.parametrize("strategy", ["random", "usage"])
def test_dropped_chunks_are_never_found_and_their_documents_are_listed(filled, strategy):
    everything = set(there(filled))
    half(filled, strategy)
    dropped = sorted(everything - set(there(filled)))
    assert len(dropped) == 6 and not set(samples.all_keys(filled)) & set(dropped)
    assert {i for i, _ in filled.search("text about", limit=6)} == everything - set(dropped)
    with pytest.raises(StoreError, match=f"Chunk {dropped[0]} is not in the store"):
        filled.modulations(dropped)
    assert all(row.pruned and row.text and not row.bytes for row in filled.chunk_rows(dropped))
    assert sum(document.pruned for document in filled.documents()) == 6
    assert sum(document.chunks for document in filled.documents()) == 12
    assert filled.stats().pruned == 6


def test_chance_is_repeatable(filled, tmp_path):
    kept = []
    for seed in (1, 1, 2):
        half(filled, "random", seed=seed)
        kept.append(there(filled))
        undo(filled)
    assert kept[0] == kept[1] != kept[2]


def test_near_chunks_are_merged_with_each_other(filled):
    half(filled, "merge")
    for chunk_id in there(filled):
        (row,), (other,) = filled.chunk_rows([chunk_id]), filled.sharing([chunk_id])
        assert row.text.split()[-1] == other.text.split()[-1]


def test_merging_costs_less_than_averaging_random_pairs(filled):
    def error():
        ids = there(filled)
        values = [
            q.astype(float) * s.astype(float)[:, None]
            for q, s in map(spread, filled.modulations(ids))
        ]
        return sum(((v - w) ** 2).sum() for v, w in zip(values, originals, strict=True))

    originals = [
        q.astype(float) * s.astype(float)[:, None]
        for q, s in map(spread, filled.modulations(there(filled)))
    ]
    errors = {}
    for strategy in MERGING:
        half(filled, strategy)
        errors[strategy] = error()
        undo(filled)
    assert 0 < errors["nn-average"] < errors["average"]
    assert errors["merge"] < errors["average"]


def test_merging_twins_loses_nothing(store):
    for name in "ab":
        made = [samples.chunk([n], tokens=40 + n, position=n) for n in range(3)]
        store.put(name, content_hash="", chunking="", chunks=made)
    read = readings(store)
    done = half(store, "merge")
    assert (done.after, readings(store)) == (3, read)
    assert done.bytes_after < done.bytes_before


def test_prunes_are_undone_one_after_the_other(filled):
    states = [contents(filled)]
    for strategy in ("merge", "nn-average", "random", "merge", "usage"):
        prune(filled, strategy, Target(number=filled.stats().modulations - 2))
        check(filled)
        states.append(contents(filled))
    states.pop()
    while states:
        assert undo(filled) is not None
        assert contents(filled) == states.pop()
    check(filled)


def test_what_is_small_enough_is_left_alone(filled):
    before = contents(filled)
    for strategy in STRATEGIES:
        for target in (Target(share=1.0), Target(number=12), Target(number=99), Target(size=10**6)):
            done = prune(filled, strategy, target)
            assert done.after == done.before == 12 and done.bytes_after == done.bytes_before
    assert contents(filled) == before and undo(filled) is None


def test_an_empty_store(store):
    for strategy in STRATEGIES:
        assert half(store, strategy).after == 0
    assert forget(store) == 0


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_sizes_that_cannot_be_reached(filled, strategy):
    before = contents(filled)
    with pytest.raises(StoreError, match="cannot be made as small as 20 B") as caught:
        prune(filled, strategy, Target(size=20))
    assert caught.value.hint and contents(filled) == before


@pytest.mark.parametrize("strategy", MERGING)
def test_documents_that_share_modulations_are_changed_and_removed(filled, strategy):
    prune(filled, strategy, Target(number=2))
    read = readings(filled)
    gone = {row.id for d in ("d0", "d1") for row in filled.chunks(filled.document(d).id)}
    assert filled.remove("d0")
    fill(filled, 1, first=1)  # d1 anew
    check(filled)
    after = readings(filled)
    assert {i: after[i] for i in read if i not in gone} == {
        i: value for i, value in read.items() if i not in gone
    }
    new = {row.id for row in filled.chunks(filled.document("d1").id)}
    assert not new & set(read) and new <= set(after)
    undo(filled)
    check(filled)
    assert filled.document("d0") is None
    assert {row.id for row in filled.chunks(filled.document("d1").id)} == new
    for n in range(6):
        filled.remove(f"d{n}")
    check(filled)
    assert filled.stats().modulations == 0
    assert filled.connection.execute("SELECT count(*) FROM members").fetchone() == (0,)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_forgetting_makes_it_final_and_frees_what_it_says(filled, path, strategy):
    def blobs():
        query = "SELECT coalesce(sum(length(data)), 0) FROM "
        tables = ("modulations", "members", "merged")
        return sum(filled.connection.execute(query + t).fetchone()[0] for t in tables)

    prune(filled, strategy, Target(number=7))
    prune(filled, strategy, Target(number=4))
    keys, read, before = samples.all_keys(filled), readings(filled), blobs()
    kept = space(filled).undo
    assert forget(filled) == kept == before - blobs() > 0
    assert space(filled).undo == 0
    check(filled)
    assert readings(filled) == read and undo(filled) is None and undoable(filled) is None
    assert abs(blobs() - filled.stats().modulation_bytes) < 12
    assert {i: k.tolist() for i, k in samples.all_keys(filled).items()} == {
        i: k.tolist() for i, k in keys.items()
    }
    if strategy in ("random", "usage"):
        assert filled.stats().pruned == 8
    fill(filled)  # everything anew
    check(filled)
    assert filled.stats().modulations == 12


def test_forgetting_takes_out_what_only_removed_documents_had(filled):
    prune(filled, "merge", Target(number=1))
    for n in range(1, 6):
        filled.remove(f"d{n}")
    read = readings(filled)
    assert forget(filled) > 0
    check(filled)
    assert readings(filled) == read
    (merged_id,) = filled.connection.execute("SELECT id FROM merged").fetchone()
    latents, _ = blobs.read_shared(filled.connection, filled.codec, merged_id)
    rows = {row.tobytes() for m in filled.modulations(there(filled)) for row in m.latents}
    assert rows == {row.tobytes() for row in latents}


def test_keys_of_dropped_chunks_stay_until_they_are_forgotten(filled):
    keys = "SELECT sum(count) FROM key_blocks"
    half(filled, "random")
    filled.compact_keys()
    assert filled.connection.execute(keys).fetchone() == (12,)
    assert filled.connection.execute("SELECT count(*) FROM dead_keys").fetchone() == (6,)
    undo(filled)
    assert filled.connection.execute("SELECT count(*) FROM dead_keys").fetchone() == (0,)
    half(filled, "random")
    forget(filled)
    filled.compact_keys()
    assert filled.connection.execute(keys).fetchone() == (6,)
    assert filled.connection.execute("SELECT count(*) FROM dead_keys").fetchone() == (0,)
    check(filled)


def test_a_long_merge_leaves_out_what_others_changed_meanwhile(filled, path, monkeypatch):
    made = []
    compute, writing = pruning._compute, pruning.writing

    def compute_and_tell(*arguments):
        compute(*arguments)
        made.append(True)

    def meddle_and_write(connection):
        if made:  # behind the merging, before the write lock
            made.clear()
            with Store.open(path) as other:
                other.remove("d0")
                fill(other, 1, first=9)
        return writing(connection)

    monkeypatch.setattr(pruning, "_compute", compute_and_tell)
    monkeypatch.setattr(pruning, "writing", meddle_and_write)
    done = prune(filled, "merge", Target(share=0.5))
    assert (done.before, done.after) == (12, 8)  # 2 pairs lost a half: 4 merged, 2 + 2 alone
    check(filled)
    assert filled.document("d9") is not None
    undo(filled)
    check(filled)
    assert filled.stats().modulations == 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_while_pruning(tmp_path):
    with worker("kill_pruning", tmp_path, 29) as process:
        kills = int(finish(process))
    assert kills >= 10


# usage


def test_what_answers_did_not_use_goes_first(filled):
    ids = there(filled)
    filled.record_use({ids[0]: 0.9, ids[5]: 0.1})
    filled.record_use({ids[0]: 0.2, ids[7]: 1.0})
    prune(filled, "usage", Target(number=3))
    assert there(filled) == [ids[0], ids[5], ids[7]]
    prune(filled, "usage", Target(number=1))
    assert there(filled) == [ids[0]]


def test_of_chunks_used_alike_the_one_used_last_stays(filled, monkeypatch):
    ids = there(filled)
    for n, chunk_id in enumerate([ids[3], ids[8], ids[1]]):
        monkeypatch.setattr("store.index.chunks.now", lambda n=n: f"2026-01-0{n + 1}")
        filled.record_use({chunk_id: 0.5})
    prune(filled, "usage", Target(number=2))
    assert there(filled) == [ids[1], ids[8]]


def test_counting_answers_never_fails_or_waits(filled, path):
    filled.record_use({})
    filled.record_use({10**9: 1.0})
    with Store.open(path) as other:
        other.connection.execute("BEGIN IMMEDIATE")
        statements: list[str] = []
        filled.connection.set_trace_callback(statements.append)
        filled.record_use({1: 1.0})
        filled.connection.set_trace_callback(None)
        # A write waits for 30 seconds; this one must not.
        tried = statements.index("BEGIN IMMEDIATE")
        assert statements[:tried][-1] == "PRAGMA busy_timeout = 0"
        other.connection.execute("ROLLBACK")
    with filled.snapshot():
        filled.record_use({1: 1.0})
    assert filled.connection.execute("PRAGMA busy_timeout").fetchone() == (30000,)
    assert filled.connection.execute("SELECT * FROM usage").fetchall() == []
    filled.record_use({1: 0.25})
    ((chunk_id, answers, weight, _),) = filled.connection.execute("SELECT * FROM usage")
    assert (chunk_id, answers, weight) == (1, 1, 0.25)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_a_read_only_store_is_told(someone_else):  # noqa: F811
    bank, root = someone_else / "bank", os.geteuid() == 0
    with Store.open(bank) as store:
        planned = [half(store, strategy, dry_run=True) for strategy in STRATEGIES]
    bank.chmod(0o555)
    if root:
        os.seteuid(65534)
    try:
        with Store.open(bank) as store:
            store.record_use({1: 1.0})
            for strategy, plan in zip(STRATEGIES, planned, strict=True):
                assert half(store, strategy, dry_run=True).bytes_after == plan.bytes_after
                with pytest.raises(StoreError, match="No permission to write"):
                    half(store, strategy)
            for write in (undo, forget):
                with pytest.raises(StoreError, match="No permission to write"):
                    write(store)
            assert undoable(store) is None
    finally:
        if root:
            os.seteuid(0)


# damage, targets


def test_a_damaged_modulation_stops_a_merge_and_is_named(filled):
    filled.connection.execute("UPDATE modulations SET data = zeroblob(99) WHERE chunk_id = 3")
    before = contents(filled)
    with pytest.raises(StoreCorruptError, match="the modulation of chunk 3"):
        half(filled, "merge")
    assert contents(filled) == before


def test_damage_to_merged_modulations_is_found(filled):
    half(filled, "merge")
    (merged_id,) = filled.connection.execute("SELECT min(id) FROM merged").fetchone()
    filled.connection.execute("UPDATE members SET data = zeroblob(99) WHERE chunk_id = 1")
    filled.connection.execute("UPDATE merged SET data = zeroblob(9) WHERE id <> ?", (merged_id,))
    damage = [problem for problem in verify(filled) if "is damaged" in problem.message]
    assert {problem.remedy for problem in damage} == {"ingest"}
    problems = {problem.chunk: problem.message for problem in damage}
    assert "not a known format" in problems.pop(1)
    assert len(problems) == 10  # the chunks of the other five
    assert all("merged modulation" in text and "cut off" in text for text in problems.values())
    with pytest.raises(StoreCorruptError, match="the modulation of chunk 1: it starts with"):
        filled.modulations([1])


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("50%", Target(share=0.5)),
        ("12.5 %", Target(share=0.125)),
        ("2,000", Target(number=2000)),
        ("1,234,567 kB", Target(size=1_234_567_000)),
        ("20MB", Target(size=20_000_000)),
        ("1.5 GiB", Target(size=3 << 29)),
        ("800kb", Target(size=800_000)),
        ("7B", Target(size=7)),
    ],
)
def test_targets(text, target):
    assert Target.parse(text) == target


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "0%", "101%", "-1", "half", "20 XB", "0B", "1e3", "50%%", "٥", "9" * 30),
        *("1,5%", "2,5GB", "12,3456", ",500"),
    ],
)
def test_targets_that_mean_nothing(text):
    with pytest.raises(TargetError) as caught:
        Target.parse(text)
    assert "\n" not in str(caught.value)


def test_a_target_of_nothing_says_what_must_be_left():
    with pytest.raises(TargetError, match="at least one modulation must be left, not 0$"):
        Target.parse("0")
    with pytest.raises(TargetError, match="at least one byte must be left, not 0 B"):
        Target.parse("0kB")


def test_shares_are_rounded_and_never_nothing():
    assert [Target(share=0.5).modulations(n) for n in (1, 2, 3, 5)] == [1, 1, 2, 2]
    assert Target(share=0.01).modulations(10) == 1


def test_an_unknown_strategy(filled):
    with pytest.raises(ValueError, match="unknown strategy 'best'"):
        half(filled, "best")


# anything


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "remove", "prune", "prune", "undo", "forget"]),
        st.integers(0, 5),
        st.sampled_from(STRATEGIES),
    ),
    min_size=4,
    max_size=14,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(operations=OPERATIONS)
def test_after_any_operations_all_that_is_there_can_be_read(operations, tmp_path_factory):
    path = tmp_path_factory.mktemp("any") / "bank"
    with samples.create(path) as store:
        fill(store, 4)
        for kind, number, strategy in operations:
            if kind == "put":
                fill(store, 1, first=number)
            elif kind == "remove":
                store.remove(f"d{number}")
            elif kind == "prune":
                prune(store, strategy, Target(number=max(1, store.stats().modulations - number)))
            elif kind == "undo":
                undo(store)
            else:
                forget(store)
        check(store)
        read = np.concatenate([key for key in samples.all_keys(store).values()] or [np.zeros(0)])
        assert np.isfinite(read).all()
