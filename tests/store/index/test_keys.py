import numpy as np
import pytest

from store.keys import HEADER_SIZE, DamagedKeysError, KeyFile, live

STORE_ID = bytes(range(200, 216))
ROWS = 10


def make(path, key_size=6, generation=1, store_id=STORE_ID):
    return KeyFile(path / "keys.bin", key_size, generation, store_id)


def rows(start, count, key_size=6):
    keys = np.random.default_rng(start).standard_normal((count, key_size)).astype(np.float16)
    return np.arange(start, start + count, dtype=np.int64), keys


@pytest.fixture
def filled(tmp_path):
    """A key file of 10 rows, with its tail."""
    file = make(tmp_path)
    file.create()
    count, tail = file.append(0, 0, [rows(1, 4), rows(20, 6)])
    assert count == ROWS
    return file, tail


def read(file, count, tail, size=3):
    return [chunk_id for ids, _ in file.blocks(count, tail, size) for chunk_id in ids.tolist()]


def test_appended_rows_are_read_back(filled):
    file, tail = filled
    expected = np.concatenate([rows(1, 4)[1], rows(20, 6)[1]])
    for size in (1, 3, 10, 100):
        assert read(file, ROWS, tail, size) == [1, 2, 3, 4, 20, 21, 22, 23, 24, 25]
        keys = np.concatenate([keys for _, keys in file.blocks(ROWS, tail, size)])
        np.testing.assert_array_equal(keys, expected)


def test_blocks_have_memory_of_their_own(filled):
    file, tail = filled
    first, second = list(file.blocks(ROWS, tail, 5))
    first[1][:] = 0
    assert not np.shares_memory(first[1], second[1])
    assert second[1].flags.writeable and second[1].any()


def test_no_rows_need_no_file(tmp_path):
    assert list(make(tmp_path).blocks(0, 0, 5)) == []


def test_rows_that_were_not_committed_are_overwritten(filled):
    file, tail = filled
    file.append(ROWS, tail, [rows(100, 5)])
    assert len(read(file, ROWS, tail)) == ROWS
    count, new_tail = file.append(ROWS, tail, [rows(200, 2)])
    assert count == ROWS + 2
    assert read(file, count, new_tail)[-2:] == [200, 201]
    assert read(file, ROWS, tail)[-1] == 25


def test_any_changed_byte_is_noticed(filled):
    file, tail = filled
    good = file.path.read_bytes()
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 0x10
        file.path.write_bytes(damaged)
        with pytest.raises(DamagedKeysError):
            read(file, ROWS, tail)


def test_any_cut_is_noticed(filled):
    file, tail = filled
    good = file.path.read_bytes()
    for length in range(0, len(good), 7):
        file.path.write_bytes(good[:length])
        assert not file.usable(ROWS, tail)
        with pytest.raises(DamagedKeysError):
            read(file, ROWS, tail)


def test_lost_pages_are_noticed(filled):
    file, tail = filled
    data = bytearray(file.path.read_bytes())
    row = (len(data) - HEADER_SIZE) // ROWS
    data[HEADER_SIZE + row : HEADER_SIZE + 3 * row] = bytes(2 * row)
    file.path.write_bytes(data)
    with pytest.raises(DamagedKeysError):
        read(file, ROWS, tail)


def test_a_file_of_another_history_is_noticed(filled, tmp_path):
    file, tail = filled
    good = file.path.read_bytes()
    for other in (
        make(tmp_path, generation=2),
        make(tmp_path, store_id=bytes(16)),
        make(tmp_path, key_size=7),
    ):
        assert not other.usable(ROWS, tail)
        assert not other.usable(0, 0)
    # The same store and generation, the same ids, one key another: as after mixing two backups.
    ids, keys = rows(1, 4)
    keys[1, 2] += 1
    file.create()
    file.append(0, 0, [(ids, keys), rows(20, 6)])
    assert not file.usable(ROWS, tail)
    file.path.write_bytes(good)
    assert file.usable(ROWS, tail)
    assert not file.usable(ROWS - 1, tail)


def test_closing_early_closes_the_file(filled):
    file, tail = filled
    blocks = file.blocks(ROWS, tail, 2)
    next(blocks)
    blocks.close()  # an open file would be a ResourceWarning, which is an error here


def test_live_against_a_slow_reference():
    rng = np.random.default_rng(0)
    for _ in range(300):
        edges = np.sort(rng.choice(60, size=2 * rng.integers(0, 5), replace=False))
        first, last = edges[::2].astype(np.int64), edges[1::2].astype(np.int64)
        ids = np.sort(rng.choice(60, size=rng.integers(1, 20), replace=False)).astype(np.int64)
        expected = [
            not any(a <= i <= b for a, b in zip(first, last, strict=True)) for i in ids.tolist()
        ]
        mask = live(ids, first, last)
        assert (mask.tolist() if mask is not None else [True] * len(ids)) == expected
