"""What tests of pruning share: stores full of modulations, and everything that is in a store."""

import numpy as np

from store import NewChunk
from store.care.verify import verify
from tests.store import samples
from tests.store.samples import E, R

STRATEGIES = ("random", "average", "nn-average", "merge", "usage")
MERGING = STRATEGIES[1:4]


def chunk(seed, tokens, near=0, position=0):
    """Latents as `quantise` makes them, of chunks that are alike if `near` is the same."""
    rng, common = np.random.default_rng([1, seed]), np.random.default_rng([2, near])
    key = common.standard_normal(E) + 0.1 * rng.standard_normal(E)
    latents = common.integers(-90, 91, (tokens, R)) + rng.integers(-20, 21, (tokens, R))
    latents[:, 0] = 127
    return NewChunk(
        position=position,
        start=0,
        end=9,
        text=f"text of {seed} about {near}",
        latents=latents.astype(np.int8),
        scales=np.linspace(0.01, 0.02, tokens).astype(np.float16),
        key=key.astype(np.float16),
    )


def fill(store, documents=6, chunks=2, first=0):
    """Documents whose chunks have 3 to 7 tokens; the n-th is like the one three later."""
    for n in range(first, first + documents):
        made = [
            chunk(100 * n + i, 3 + (n + i) % 5, 10 * (n % 3) + i, position=i) for i in range(chunks)
        ]
        store.put(f"d{n}", content_hash=str(n), chunking="c", chunks=made)


def contents(store):
    """Everything in the store, bit for bit."""
    with store.snapshot():
        tables = {
            name: store.connection.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall()
            for name in (
                "documents",
                "chunks",
                "modulations",
                "merged",
                "members",
                "prunes",
                "dead_keys",
            )
        }
        return tables, {i: key.tobytes() for i, key in samples.all_keys(store).items()}


def there(store):
    """The ids of the chunks that were not dropped."""
    query = "SELECT id FROM chunks WHERE pruned IS NULL ORDER BY id"
    return [row[0] for row in store.connection.execute(query)]


def readings(store):
    """What each chunk that is there is read as: bytes of latents and of scales."""
    ids = there(store)
    return {
        i: tuple(array.tobytes() for array in modulation.spread())
        for i, modulation in zip(ids, store.modulations(ids), strict=True)
    }


def check(store):
    """What holds of every store, whatever was pruned, undone and removed."""
    assert list(verify(store)) == []
    with store.snapshot():
        ids = there(store)
        assert list(samples.all_keys(store)) == ids
        rows = store.chunk_rows(ids)
        for row, modulation in zip(rows, store.modulations(ids), strict=True):
            latents, scales = modulation.spread()
            assert latents.shape == (row.tokens, R) and scales.shape == (row.tokens,)
            assert len(modulation.latents) <= row.tokens and not row.pruned
        stats = store.stats()
        query = "SELECT count(DISTINCT coalesce(-merged_id, id)) FROM chunks WHERE pruned IS NULL"
        assert stats.modulations == store.connection.execute(query).fetchone()[0]
        assert (stats.chunks - stats.pruned) == len(ids)
        for document in store.documents():
            own = store.chunks(document.id)
            assert document.bytes == sum(row.bytes for row in own)
            assert document.pruned == sum(row.pruned for row in own)
            assert document.tokens == sum(row.tokens for row in own)
        found = {chunk_id for chunk_id, _ in store.search("text about", limit=1000)}
        assert found == set(ids)
    if store.writable:
        store.connection.execute(
            "INSERT INTO chunks_fts (chunks_fts, rank) VALUES ('integrity-check', 1)"
        )
    assert store.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert store.connection.execute("PRAGMA foreign_key_check").fetchall() == []
    query = "SELECT id FROM merged WHERE id NOT IN (SELECT merged_id FROM members)"
    assert store.connection.execute(query).fetchall() == []
