import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from store import NewChunk, Store, StoreError

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
        NewChunk(0, 9, f"text {source} {n}", latents, scales, key)
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


def recall(store, k=10):
    hits = [
        len(set(best(store.keys(), q, k)) & set(best(store.near_keys(q, 4 * k), q, k)))
        for q in QUERIES
    ]
    return sum(hits) / (k * len(QUERIES))


def number_read(store, number=40):
    return len(collected(store.near_keys(QUERIES[0], number))[0])


def test_finds_nearly_what_all_keys_give_and_reads_few(bank):
    assert bank.indexed() is None and number_read(bank) == 800
    made = bank.index_keys()
    assert (made.keys, made.later) == (800, 0)
    assert bank.indexed() == made and bank.stats().graph_bytes == made.bytes
    assert number_read(bank) == 40
    assert recall(bank) > 0.98
    assert list(bank.verify()) == []


def test_the_keys_are_the_exact_ones(bank):
    bank.index_keys()
    exact = dict(zip(*collected(bank.keys()), strict=True))
    for chunk_id, key in zip(*collected(bank.near_keys(QUERIES[0], 40, [3, 700])), strict=True):
        assert key.tobytes() == exact[chunk_id].tobytes()


def test_others_that_are_wanted_are_there_once(bank):
    bank.index_keys()
    near = best(bank.near_keys(QUERIES[0], 40), QUERIES[0], 1)
    ids, _ = collected(bank.near_keys(QUERIES[0], 40, [*near, 1, 2, 5000]))
    assert {1, 2, *near} <= set(ids.tolist()) and 5000 not in ids


def test_chunks_added_later_are_found_at_once(bank):
    bank.index_keys()
    put(bank, "new", 50, 100)
    assert bank.indexed().later == 100
    ids, _ = collected(bank.near_keys(QUERIES[0], 40, [801]))
    assert len(ids) == 140 and set(range(801, 901)) <= set(ids.tolist())
    assert recall(bank) > 0.98


def test_an_index_takes_in_what_was_added_later(bank):
    bank.index_keys()
    put(bank, "new", 50, 100)
    advanced = []
    again = bank.index_keys(advance=advanced.append)
    assert (again.keys, again.later, sum(advanced)) == (900, 0, 100)
    assert number_read(bank) == 40 and recall(bank) > 0.98
    assert list(bank.verify()) == []


def test_removed_chunks_are_not_proposed_and_do_not_crowd_out_others(bank):
    bank.index_keys()
    gone = best(bank.keys(), QUERIES[0], 1)[0]
    document = (gone - 1) // 100
    bank.remove(f"d{document}")
    ids, _ = collected(bank.near_keys(QUERIES[0], 40))
    assert len(ids) >= 40 and not np.any((ids - 1) // 100 == document)
    assert recall(bank) > 0.98
    assert list(bank.verify()) == []


def test_an_index_does_not_outlive_the_keys_that_it_was_made_of(bank, eager_compaction):
    bank.index_keys()
    for n in range(6):
        bank.remove(f"d{n}")  # so many that the keys are compacted
    assert bank.indexed() is None
    assert number_read(bank) == 200
    assert not list(bank.path.glob("near-*"))


def test_an_undone_prune_brings_its_chunks_back_into_the_search(bank):
    from store import Target

    bank.prune("random", Target.parse("50%"))
    bank.index_keys()
    bank.undo()
    for query in QUERIES:
        assert best(bank.keys(), query) == best(bank.near_keys(query, 40), query)


def test_vacuum_makes_the_index_anew(bank):
    bank.index_keys()
    bank.remove("d0")
    bank.vacuum()
    assert bank.indexed().keys == 700
    assert recall(bank) > 0.98 and list(bank.verify()) == []


def test_a_copy_takes_the_index_along(bank, tmp_path):
    bank.index_keys()
    bank.copy(tmp_path / "copy")
    with Store.open(tmp_path / "copy") as copy:
        assert copy.indexed() == bank.indexed()
        assert recall(copy) > 0.98 and list(copy.verify()) == []


def test_an_index_of_another_store_is_none(bank, tmp_path):
    bank.index_keys()
    with Store.open(tmp_path / "other", **IDENTITY, create=True) as other:
        put(other, "d", 1, 300)
        (other.path / "near-000001.bin").write_bytes((bank.path / "near-000001.bin").read_bytes())
        assert other.indexed() is None and number_read(other) == 300


def test_an_index_newer_than_a_store_that_was_restored_is_none(bank, tmp_path):
    bank.copy(tmp_path / "backup")
    put(bank, "new", 50, 100)
    bank.index_keys()
    with Store.open(tmp_path / "backup") as backup:
        put(backup, "other", 60, 100)  # other chunks with the same ids
        (backup.path / "near-000001.bin").write_bytes((bank.path / "near-000001.bin").read_bytes())
        assert backup.indexed() is None and number_read(backup) == 900


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "text", "trailer"])
def test_a_damaged_index_is_found_and_deleted_by_a_repair(bank, damage):
    bank.index_keys()
    path = bank.path / "near-000001.bin"
    data = bytearray(path.read_bytes())
    if damage == "changed":
        data[len(data) // 2] ^= 1
    if damage == "trailer":
        data[-40] ^= 1
    path.unlink()
    path.write_bytes(
        {"cut": data[: len(data) // 2], "empty": b"", "text": b"no index\n" * 100}.get(damage, data)
    )
    (problem,) = bank.verify()
    assert (problem.kind, problem.remedy) == ("graph", "index")
    if damage != "changed":  # seen at once, and then not used
        assert bank.indexed() is None and number_read(bank) == 800
    assert list(bank.repair()) == []
    assert list(bank.verify()) == [] and not path.exists()


def test_a_damaged_index_is_not_built_upon(bank):
    bank.index_keys()
    path = bank.path / "near-000001.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:5000] + bytes(100) + whole[5100:])
    put(bank, "new", 50, 20)
    assert bank.index_keys().keys == 820
    assert list(bank.verify()) == [] and recall(bank) > 0.98


def test_an_index_that_is_up_to_date_is_left_alone(bank):
    made = bank.index_keys()
    before = (bank.path / "near-000001.bin").stat()
    assert bank.index_keys() == made
    assert (bank.path / "near-000001.bin").stat() == before


def test_an_index_that_lacks_keys_is_found(bank, monkeypatch):
    from store import graph

    real = graph.make
    monkeypatch.setattr(
        graph, "make", lambda size, blocks, **how: real(size, list(blocks)[:0], **how)
    )
    bank.index_keys()
    (problem,) = bank.verify()
    assert "lacks the keys of 800 chunks" in problem.message


def test_a_damaged_modulation_does_not_keep_others_from_being_found(bank):
    bank.index_keys()
    damaged = best(bank.keys(), QUERIES[0], 1)[0]
    bank._connection.execute("UPDATE modulations SET data = '' WHERE chunk_id = ?", (damaged,))
    assert best(bank.near_keys(QUERIES[0], 40), QUERIES[0]) == best(bank.keys(), QUERIES[0])


def test_dropping_an_index(bank):
    assert not bank.drop_index()
    bank.index_keys()
    (bank.path / "near-000001.partial").write_bytes(b"of a process that was killed")
    assert bank.drop_index() and bank.indexed() is None
    assert not list(bank.path.glob("near-*"))


def test_a_failure_while_writing_leaves_the_index_of_before(bank, monkeypatch):
    before = bank.index_keys()
    put(bank, "new", 50, 100)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(StoreError, match="No space left"):
        bank.index_keys()
    assert bank.indexed().keys == before.keys and not list(bank.path.glob("*.partial"))
    assert recall(bank) > 0.98


def test_a_damaged_key_file_is_not_indexed(bank):
    path = bank.path / "keys-000001.bin"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="The key file is damaged"):
        bank.index_keys()
    assert bank.indexed() is None


def test_compacting_while_an_index_is_made_refuses_it(bank):
    def compact(_):
        with Store.open(bank.path) as other:
            other.vacuum()

    with pytest.raises(StoreError, match="compacted meanwhile"):
        bank.index_keys(advance=compact)
    assert bank.indexed() is None and number_read(bank) == 800


def test_an_empty_store_needs_no_index(path):
    with Store.open(path, **IDENTITY, create=True) as store:
        assert store.index_keys().keys == 0 and store.indexed() is None
        assert number_read(store) == 0
        put(store, "d", 1, 20)
        assert number_read(store) == 20 and store.index_keys().keys == 20
        assert list(store.verify()) == []


def test_the_same_keys_give_the_same_index(bank):
    bank.index_keys()
    one = (bank.path / "near-000001.bin").read_bytes()
    bank.drop_index()
    bank.index_keys()
    assert (bank.path / "near-000001.bin").read_bytes() == one


def test_without_permission_it_is_refused(bank):
    bank.index_keys()
    bank.writable = False
    assert number_read(bank) == 40
    for write in (bank.index_keys, bank.drop_index):
        with pytest.raises(StoreError, match="No permission"):
            write()


def test_the_library_is_imported_only_to_search(path):
    code = (
        "import sys, store\n"
        "from pathlib import Path\n"
        f"with store.Store.open(Path({str(path)!r}), fingerprint='f', key_size=4, latent_size=4,"
        " create=True) as bank:\n"
        "    bank.indexed(), list(bank.verify()), list(bank.keys())\n"
        "print('usearch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"


def test_without_the_library_it_says_what_is_missing(bank, monkeypatch):
    bank.index_keys()
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with Store.open(bank.path) as store:
        with pytest.raises(ModuleNotFoundError):
            list(store.near_keys(QUERIES[0], 40))
        assert list(store.verify()) == []
        assert len(collected(store.keys())[0]) == 800


def test_no_table_knows_of_it(bank):
    before = sqlite3.connect(bank.path / "index.db").execute("SELECT sql FROM sqlite_master")
    tables = before.fetchall()
    bank.index_keys()
    after = sqlite3.connect(bank.path / "index.db").execute("SELECT sql FROM sqlite_master")
    assert after.fetchall() == tables
