import gc
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from store import NewChunk, Store, StoreCorruptError, StoreError
from store import near as near_cache
from store.index import keys
from store.index.connection import writing
from store.near import build, near_keys

pytest.importorskip("usearch")

E, R = 32, 8
IDENTITY = {"fingerprint": "fp-1", "key_size": E, "latent_size": R}
CENTRES = np.random.default_rng(7).normal(0, 1, (20, E))


def keys_of(seed, number):
    rng = np.random.default_rng(seed)
    keys = CENTRES[rng.integers(0, 20, number)] + rng.normal(0, 0.5, (number, E))
    return (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float16)


def put(store, source, seed, number=100):
    latents, scales = np.ones((2, R), np.int8), np.ones(2, np.float16)
    chunks = [
        NewChunk(n, 0, 9, f"text {source} {n}", latents, scales, key)
        for n, key in enumerate(keys_of(seed, number))
    ]
    store.put(source, content_hash=str(seed), chunking="c", chunks=chunks)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Eight documents of 100 chunks each."""
    folder = tmp_path_factory.mktemp("made") / "bank"
    with Store.open(folder, **IDENTITY, create=True) as store:
        for n in range(8):
            put(store, f"d{n}", n)
    return folder


@pytest.fixture
def bank(made, path):
    shutil.copytree(made, path)
    with Store.open(path) as store:
        yield store


QUERIES = keys_of(99, 20).astype(np.float32)


def collected(blocks):
    blocks = list(blocks)
    if not blocks:
        return np.empty(0, np.int64), np.empty((0, E), np.float16)
    ids, keys = (np.concatenate(part) for part in zip(*blocks, strict=True))
    assert len(np.unique(ids)) == len(ids)
    return ids, keys


def best(blocks, query, k=10):
    ids, keys = collected(blocks)
    return ids[np.argsort(-(keys.astype(np.float32) @ query), kind="stable")[:k]].tolist()


def near(store, query=QUERIES[0], wanted=40, extra=()):
    blocks = near_keys(store, query, wanted, extra)
    return store.keys() if blocks is None else blocks


def recall(store, k=10):
    hits = [len(set(best(store.keys(), q, k)) & set(best(near(store, q), q, k))) for q in QUERIES]
    return sum(hits) / (k * len(QUERIES))


def number_read(store, wanted=40):
    return len(collected(near(store, wanted=wanted))[0])


def test_finds_nearly_what_all_keys_give_and_reads_few(bank):
    assert near_keys(bank, QUERIES[0], 40) is None
    total = bank.stats().total_bytes
    made = build(bank)
    assert (made.keys, made.later) == (800, 0)
    assert made.bytes == (bank.path / "near.usearch").stat().st_size
    assert bank.stats().total_bytes >= total + made.bytes
    assert number_read(bank) == 40
    assert recall(bank) > 0.98


def test_it_is_not_used_where_all_keys_are_hardly_more(bank):
    build(bank)
    assert near_keys(bank, QUERIES[0], 201) is None
    assert number_read(bank, 200) == 200


def test_the_keys_are_the_exact_ones(bank):
    build(bank)
    exact = dict(zip(*collected(bank.keys()), strict=True))
    for chunk_id, key in zip(*collected(near(bank, extra=[3, 700])), strict=True):
        assert key.tobytes() == exact[chunk_id].tobytes()


def test_others_that_are_wanted_are_given_once(bank):
    build(bank)
    first = best(near(bank), QUERIES[0], 1)
    ids, _ = collected(near(bank, extra=[*first, 1, 2, 5000]))
    assert {1, 2, *first} <= set(ids.tolist()) and 5000 not in ids
    assert ids.tolist() == sorted(ids.tolist())


def test_chunks_added_later_are_found_at_once(bank):
    build(bank)
    put(bank, "new", 50, 100)
    ids, _ = collected(near(bank, extra=[801]))
    assert len(ids) == 140 and set(range(801, 901)) <= set(ids.tolist())
    assert recall(bank) > 0.98


def test_building_again_takes_in_what_was_added_later(bank):
    build(bank)
    put(bank, "new", 50, 100)
    advanced = []
    again = build(bank, advance=advanced.append)
    assert (again.keys, again.later, sum(advanced)) == (900, 0, 100)
    assert number_read(bank) == 40 and recall(bank) > 0.98


def test_what_is_added_while_it_is_built_is_read_besides_it(bank):
    def add(_):
        with Store.open(bank.path) as other:
            if not other.document("new"):
                put(other, "new", 50, 100)

    made = build(bank, advance=add)
    assert (made.keys, made.later) == (800, 100)
    assert number_read(bank) == 140 and recall(bank) > 0.98


def test_others_can_write_while_the_file_is_written(bank, monkeypatch):
    write = near_cache._write

    def meanwhile(*given):
        monkeypatch.setattr(near_cache, "_write", write)
        with Store.open(bank.path, timeout=0) as other:
            put(other, "new", 50, 100)
            build(other)
        write(*given)

    monkeypatch.setattr(near_cache, "_write", meanwhile)
    made = build(bank)
    assert (made.keys, made.later) == (800, 100)
    assert number_read(bank) == 140 and recall(bank) > 0.98


def test_what_a_killed_process_left_is_removed(bank):
    killed, writing_now = (bank.path / f"near.usearch.{n}.partial" for n in (1, 2))
    for partial in (killed, writing_now):
        partial.write_bytes(b"half a graph")
    os.utime(killed, (0, 0))
    build(bank)
    assert not killed.exists() and writing_now.exists()


def test_removed_chunks_are_not_proposed_and_do_not_crowd_out_others(bank):
    build(bank)
    gone = best(bank.keys(), QUERIES[0], 1)[0]
    document = (gone - 1) // 100
    bank.remove(f"d{document}")
    ids, _ = collected(near(bank))
    assert len(ids) >= 40 and not np.any((ids - 1) // 100 == document)
    assert recall(bank) > 0.98


def test_it_is_not_used_when_nearly_all_were_removed(bank, small_rows):
    build(bank)
    for n in range(7):
        bank.remove(f"d{n}")
    assert number_read(bank) == 100 and recall(bank) == 1


def test_an_undone_prune_brings_its_chunks_back_into_the_search(bank):
    chunks = list(range(1, 801, 2))
    with writing(bank.connection):
        bank.connection.execute("UPDATE chunks SET pruned = 1 WHERE id % 2 = 1")
        keys.discard(bank.connection, chunks)
    build(bank)
    assert not np.any(collected(near(bank))[0] % 2)
    with writing(bank.connection):
        bank.connection.execute("UPDATE chunks SET pruned = NULL")
        keys.restore(bank.connection, chunks)
    assert number_read(bank) == 40 and recall(bank) > 0.98


def test_one_of_another_store_is_not_used(bank, tmp_path):
    build(bank)
    with Store.open(tmp_path / "other", **IDENTITY, create=True) as other:
        put(other, "d", 1, 800)
        shutil.copy(bank.path / "near.usearch", other.path)
        assert near_keys(other, QUERIES[0], 40) is None


def test_one_newer_than_a_store_that_was_restored_is_not_used(bank, tmp_path):
    build(bank)
    shutil.copytree(bank.path, tmp_path / "backup")
    with Store.open(tmp_path / "backup") as backup:
        assert number_read(backup) == 40
        put(bank, "new", 50, 100)
        build(bank)
        put(backup, "other", 60, 100)  # other chunks with the same ids
        shutil.copy(bank.path / "near.usearch", backup.path)
        assert near_keys(backup, QUERIES[0], 40) is None


def test_one_of_another_checkpoint_is_not_used(bank):
    build(bank)
    bank.connection.execute("UPDATE meta SET value = 'fp-2' WHERE key = 'fingerprint'")
    assert near_keys(bank, QUERIES[0], 40) is None


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "trailer", "gone"])
def test_a_damaged_one_is_not_used_and_made_anew(bank, damage):
    build(bank)
    path = bank.path / "near.usearch"
    data = bytearray(path.read_bytes())
    path.unlink()
    if damage == "trailer":
        data[-40] ^= 1
    if damage != "gone":
        changed = {"cut": data[: len(data) // 2], "empty": b"", "text": b"no index\n" * 100}
        path.write_bytes(changed.get(damage, data))
    assert near_keys(bank, QUERIES[0], 40) is None and number_read(bank) == 800
    assert build(bank).keys == 800
    assert number_read(bank) == 40 and recall(bank) > 0.98


def test_a_damaged_one_is_not_built_upon(bank):
    build(bank)
    path = bank.path / "near.usearch"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes(100) + whole[5100:])
    put(bank, "new", 50, 20)
    assert build(bank).keys == 820
    assert recall(bank) > 0.98


def test_a_damaged_modulation_does_not_keep_others_from_being_found(bank):
    build(bank)
    damaged = best(bank.keys(), QUERIES[0], 1)[0]
    bank.connection.execute("UPDATE modulations SET data = '' WHERE chunk_id = ?", (damaged,))
    assert best(near(bank), QUERIES[0]) == best(bank.keys(), QUERIES[0])


def test_damaged_keys_are_one_clear_line(bank):
    build(bank)
    bank.connection.execute("UPDATE key_blocks SET keys = zeroblob(length(keys))")
    with pytest.raises(StoreCorruptError, match="the keys from chunk 1 on"):
        near_keys(bank, QUERIES[0], 40)
    (bank.path / "near.usearch").unlink()
    with pytest.raises(StoreCorruptError, match="the keys from chunk 1 on"):
        build(bank)
    assert not list(bank.path.glob("near*"))


def test_a_failure_while_writing_leaves_the_one_of_before(bank, monkeypatch):
    build(bank)
    put(bank, "new", 50, 100)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(StoreError, match="No space left"):
            build(bank)
    assert not list(bank.path.glob("*.partial"))
    assert number_read(bank) == 140 and recall(bank) > 0.98


def test_an_empty_store_needs_none(path):
    with Store.open(path, **IDENTITY, create=True) as store:
        assert build(store).keys == 0 and not (path / "near.usearch").exists()
        assert number_read(store) == 0
        put(store, "d", 1, 20)
        assert number_read(store) == 20 and build(store).keys == 20


def test_a_graph_is_held_on_to_from_question_to_question(bank):
    """Its file stays mapped, also when another one takes its name."""
    build(bank)
    for n in range(3):
        for query in QUERIES:
            assert len(collected(near(bank, query))[0]) == 40
            gc.collect()
        build(bank)
        (bank.path / "near.usearch").touch()
        assert recall(bank) > 0.98, n


def test_stores_that_are_opened_one_after_the_other_use_the_same_graph(bank, monkeypatch):
    """A server opens its stores for each question, and answers several at once."""
    build(bank)
    wanted = best(near(bank, QUERIES[0]), QUERIES[0])
    made = []
    empty = near_cache._empty
    monkeypatch.setattr(near_cache, "_empty", lambda size: made.append(1) or empty(size))

    def ask(_):
        with Store.open(bank.path) as store:
            return best(near(store, QUERIES[0]), QUERIES[0])

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(16))) == [wanted] * 16
    assert not made
    put(bank, "later", 50)
    build(bank)  # another file, and so another graph
    made.clear()
    assert ask(0) and made == [1]


def test_no_more_than_a_few_graphs_are_held_on_to(bank, tmp_path):
    build(bank)
    folders = [shutil.copytree(bank.path, tmp_path / str(n)) for n in range(6)]
    for folder in folders:
        with Store.open(folder) as store:
            assert recall(store) > 0.98
    assert list(near_cache._GRAPHS) == [*map(Path, folders[-4:])]


def test_the_same_keys_give_the_same_graph(bank):
    def graph():
        build(bank)
        data = (bank.path / "near.usearch").read_bytes()
        (bank.path / "near.usearch").unlink()
        return data[:-100]

    assert graph() == graph()


def test_without_permission_it_is_refused(bank):
    build(bank)
    bank.writable = False
    assert number_read(bank) == 40
    with pytest.raises(StoreError, match="No permission"):
        build(bank)


def test_without_the_library_everything_is_exact(bank, monkeypatch):
    build(bank)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    assert near_keys(bank, QUERIES[0], 40) is None
    with pytest.raises(ModuleNotFoundError):
        build(bank)


def test_the_library_is_not_imported_without_a_cache(path):
    code = (
        "import sys, store, numpy\n"
        "from pathlib import Path\n"
        "from store.near import near_keys\n"
        f"with store.Store.open(Path({str(path)!r}), fingerprint='f', key_size=4, latent_size=4,"
        " create=True) as bank:\n"
        "    assert near_keys(bank, numpy.ones(4, numpy.float32), 1) is None\n"
        "print('usearch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
