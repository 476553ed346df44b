import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import StoreCorruptError
from store.index import keys, live_keys
from store.index.connection import writing
from store.index.keys import DamagedKeysError
from tests.store import samples
from tests.store.samples import E, put, verify


def rows(store):
    query = "SELECT first, last, count FROM key_blocks ORDER BY first"
    return store.connection.execute(query).fetchall()


def dead(store):
    query = "SELECT chunk_id FROM dead_keys ORDER BY chunk_id"
    return [row[0] for row in store.connection.execute(query)]


def test_small_rows_are_folded_when_they_hold_enough_for_a_full_one(store, small_rows):
    for n in range(3):
        put(store, f"d{n}", count=1)
    assert rows(store) == [(1, 1, 1), (2, 2, 1), (3, 3, 1)]
    put(store, "d3", count=1)
    assert rows(store) == [(1, 4, 4)]
    put(store, "d4", count=11)
    assert rows(store) == [(1, 4, 4), (5, 8, 4), (9, 12, 4), (13, 15, 3)]
    put(store, "d5", count=2)
    assert rows(store)[-2:] == [(13, 16, 4), (17, 17, 1)]
    assert len(verify(store)) == 6


def test_a_full_row_is_written_once_however_many_documents_come(store):
    """Small documents must not rewrite large blobs: what is written stays in proportion."""
    for n in range(40):
        put(store, f"d{n}", count=1)
    assert len(rows(store)) == 40
    assert len(samples.all_keys(store)) == 40


def test_removing_only_lists_the_keys_until_many_are_dead(store):
    put(store, "a", count=3)
    put(store, "b", count=3)
    before = store.connection.execute("SELECT * FROM key_blocks").fetchall()
    store.remove("a")
    assert dead(store) == [1, 2, 3]
    assert store.connection.execute("SELECT * FROM key_blocks").fetchall() == before
    assert list(samples.all_keys(store)) == [4, 5, 6]


def test_dead_keys_are_folded_away_when_a_third_is_dead(store, small_rows):
    for n in range(5):
        put(store, f"d{n}", count=3)
    store.remove("d0")
    assert dead(store) == [1, 2, 3]
    store.remove("d2")
    assert dead(store) == []
    assert rows(store) == [(4, 10, 4), (11, 14, 4), (15, 15, 1)]
    assert len(verify(store)) == 3


def test_keys_of_dropped_chunks_stay_until_they_are_dropped_for_good(store, small_rows):
    for n in range(3):
        put(store, f"d{n}", count=4)
    dropped = [1, 2, 3, 4, 9, 10, 11, 12]
    marks = ", ".join(map(str, dropped))
    with writing(store.connection):
        store.connection.execute(f"UPDATE chunks SET pruned = 7 WHERE id IN ({marks})")
        keys.discard(store.connection, dropped)
        assert not keys.worth_compacting(store.connection)
    assert keys.useless(store.connection) == 0
    store.compact_keys()
    assert list(samples.all_keys(store)) == [5, 6, 7, 8]
    with writing(store.connection):
        store.connection.execute("UPDATE chunks SET pruned = NULL WHERE id < 5")
        keys.restore(store.connection, [1, 2, 3, 4])
        store.connection.execute("UPDATE chunks SET pruned = 0 WHERE id > 8")
    assert list(samples.all_keys(store)) == list(range(1, 9))
    assert keys.useless(store.connection) == 4
    store.compact_keys()
    assert dead(store) == [] and rows(store) == [(1, 4, 4), (5, 8, 4)]


def test_blocks_are_of_at_most_the_size_and_may_begin_later(store, small_rows):
    for n in range(4):
        put(store, f"d{n}", count=5)
    store.remove("d1")

    def read(size, **options):
        blocks = live_keys.live(store.connection, E, size, **options)
        sizes = []
        found = []
        for ids, values in blocks:
            assert len(ids) == len(values) <= size
            sizes.append(len(ids))
            found += ids.tolist()
        return found

    live = [1, 2, 3, 4, 5, *range(11, 21)]
    for size in (1, 3, 4, 7, 100):
        assert read(size) == live
        assert read(size, after=4) == live[4:]
        assert read(size, after=20) == read(size, after=99) == []
        assert read(size, chosen=np.array([2, 7, 13, 20, 30])) == [2, 13, 20]
        assert read(size, chosen=np.array([2, 7, 13, 20, 30]), after=2) == [13, 20]
        assert read(size, chosen=np.empty(0, np.int64)) == []


def test_the_rows_without_a_chosen_key_are_not_read(store, small_rows):
    for n in range(4):
        put(store, f"d{n}", count=4)
    store.connection.execute("UPDATE key_blocks SET keys = x'' WHERE first = 5")
    chosen = np.array([2, 9, 16])
    found = [i for ids, _ in live_keys.live(store.connection, E, 99, chosen=chosen) for i in ids]
    assert found == [2, 9, 16]


@pytest.fixture
def row(store):
    put(store, "a", count=7)
    query = "SELECT first, last, count, checksum, ids, keys FROM key_blocks"
    return store.connection.execute(query).fetchone()


def test_any_changed_byte_is_noticed(row):
    keys.decode(row, E)
    for column in (4, 5):
        for position in range(len(row[column])):
            data = bytearray(row[column])
            data[position] ^= 0x10
            changed = [*row]
            changed[column] = bytes(data)
            with pytest.raises(DamagedKeysError, match="from chunk 1 on"):
                keys.decode(tuple(changed), E)


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("value", [None, "text", b"", 8, 1.5, -1])
def test_any_other_value_in_a_column_is_noticed(row, column, value):
    changed = [*row]
    changed[column] = value
    with pytest.raises(DamagedKeysError):
        keys.decode(tuple(changed), E)


def test_pages_in_another_order_are_noticed(store):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((512, 384)).astype(np.float16)
    ids = np.arange(1, 513)
    keys._write(store.connection, ids, values)
    row = store.connection.execute(f"SELECT {keys.COLUMNS} FROM key_blocks").fetchone()
    keys.decode(row, 384)
    page = 4096
    swapped = row[5][page : 2 * page] + row[5][:page] + row[5][2 * page :]
    with pytest.raises(DamagedKeysError, match="checksum"):
        keys.decode((*row[:5], swapped), 384)


def damage(store, first, statement="keys = zeroblob(length(keys))"):
    store.connection.execute(f"UPDATE key_blocks SET {statement} WHERE first = ?", (first,))


@pytest.mark.parametrize(
    "statement",
    ["keys = zeroblob(length(keys))", "ids = keys", "keys = 'text'", "count = 0", "last = 99"],
)
def test_damaged_keys_are_one_clear_line(store, small_rows, statement):
    for n in range(4):
        put(store, f"d{n}", count=4)
    damage(store, 5, statement)
    with pytest.raises(StoreCorruptError, match="is damaged: the keys from chunk 5") as caught:
        samples.all_keys(store)
    assert "mac store verify --repair" in caught.value.hint and "\n" not in str(caught.value)
    assert len(store.search("chunk")) == 16 and len(store.modulations([5, 6])) == 2


def test_damaged_keys_stop_no_removal_but_are_not_folded(store, small_rows):
    for n in range(2):
        put(store, f"d{n}", count=3)
    damage(store, 5)
    with pytest.raises(StoreCorruptError, match="from chunk 5"):
        put(store, "e", count=2)
    assert store.document("e") is None
    assert store.remove("d0")
    with pytest.raises(StoreCorruptError):
        samples.all_keys(store)


def test_mending_keeps_what_is_whole_and_says_what_is_lost(store, small_rows):
    for n in range(4):
        put(store, f"d{n}", count=4)
    store.remove("d0")
    damage(store, 9)
    store.connection.execute("DELETE FROM dead_keys")
    with writing(store.connection):
        assert keys.mend(store.connection, E) == [9, 10, 11, 12]
        assert keys.mend(store.connection, E) == [9, 10, 11, 12]
    assert list(samples.all_keys(store)) == [5, 6, 7, 8, 13, 14, 15, 16]
    assert store.remove("d2")
    assert len(verify(store)) == 2


def test_mending_knows_dropped_chunks(store):
    put(store, "a", count=6)
    store.connection.execute("UPDATE chunks SET pruned = 1 WHERE id = 2")
    store.connection.execute("UPDATE chunks SET pruned = 0 WHERE id = 3")
    with writing(store.connection):
        assert keys.mend(store.connection, E) == []
        assert dead(store) == [2, 3]
        store.connection.execute("DELETE FROM key_blocks")
        assert keys.mend(store.connection, E) == [1, 2, 4, 5, 6]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    counts=st.lists(st.integers(0, 9), max_size=9),
    removed=st.sets(st.integers(0, 8)),
    size=st.integers(1, 20),
    after=st.integers(0, 40),
)
def test_reading_is_what_a_slow_reference_says(
    counts, removed, size, after, tmp_path_factory, small_rows
):
    with samples.create(tmp_path_factory.mktemp("any") / "bank") as store:
        for n, count in enumerate(counts):
            put(store, f"d{n}", count=count)
        for n in removed:
            store.remove(f"d{n}")
        expected = [r[0] for r in store.connection.execute("SELECT id FROM chunks ORDER BY id")]
        found = [
            i
            for ids, _ in live_keys.live(store.connection, E, size, after=after)
            for i in ids.tolist()
        ]
        assert found == [i for i in expected if i > after]
        assert list(samples.all_keys(store, size)) == expected
        assert all(count <= 4 for _, _, count in rows(store))
