"""Documents whose numbers all follow from source and version, so that anyone can check them."""

import re
import zlib
from dataclasses import replace

import numpy as np

from store import KeptChunk, NewChunk, Store

T, R, E = 4, 8, 6
IDENTITY = {"fingerprint": "fp-1", "key_size": E, "latent_size": R}


def chunk(seed, text="some text", tokens=T, position=0):
    rng = np.random.default_rng(seed)
    return NewChunk(
        position=position,
        start=0,
        end=len(text),
        text=text,
        latents=rng.integers(-127, 128, (tokens, R)).astype(np.int8),
        scales=rng.random(tokens).astype(np.float16),
        key=rng.standard_normal(E).astype(np.float16),
    )


def chunks(source, version, count=None):
    seed = zlib.crc32(f"{source}/{version}".encode(errors="surrogatepass"))
    count = seed % 5 if count is None else count
    return [
        chunk([seed, n], f"chunk {n} of {source} version {version}", position=n)
        for n in range(count)
    ]


def placed(chunks):
    """The chunks, new and kept, with the positions that they have in this order."""
    return [replace(chunk, position=position) for position, chunk in enumerate(chunks)]


def put(store, source, version=1, count=None):
    made = chunks(source, version, count)
    length = len(made)
    return store.put(source, content_hash=f"{version} {length}", chunking="c1", chunks=made)


def revised(source, version, count):
    """What `revise` makes of a version: its chunks backwards, a new one for the last of them."""
    return placed([*chunks(source, version, count)[:0:-1], *chunks(source, f"{version}b", 1)])


def revise(store, source, origin):
    """Replace a document by its revised version, of which all chunks but one are kept.

    `origin` is the source that the document had when it was put.
    """
    document = store.document(source)
    version, count = map(int, document.content_hash.split())
    rows = {row.text: row for row in store.chunks(document.id)}
    made = [
        KeptChunk(rows[c.text].id, c.position, c.start, c.end, c.text) if c.text in rows else c
        for c in revised(origin, version, count)
    ]
    store.put(source, content_hash=f"{version} {count} revised", chunking="c1", chunks=made)


def create(path, **options):
    return Store.open(path, **IDENTITY, create=True, **options)


def all_keys(store, block=3):
    found = {}
    last = 0
    for ids, keys in store.keys(block):
        assert ids.dtype == np.int64 and keys.dtype == np.float16
        assert 0 < len(ids) <= block and keys.shape == (len(ids), store.key_size)
        for chunk_id, key in zip(ids.tolist(), keys, strict=True):
            assert chunk_id > last
            last = chunk_id
            found[chunk_id] = key
    return found


def origin(document, rows):
    """The source that a document had when it was put, whatever it is called now."""
    if not rows:
        return document.source
    return re.fullmatch("(?s)chunk .* of (.*) version .*", rows[0].text)[1]


def verify(store):
    """Check everything in the store against what it must be; returns {source: version}.

    A document of which only a part is stored holds its first chunks.
    """
    versions = {}
    with store.snapshot():
        expected_keys = {}
        for document in store.documents():
            version, count, *marks = document.content_hash.split()
            version, count = int(version), int(count)
            make = revised if marks else chunks
            rows = store.chunks(document.id)
            expected = make(origin(document, rows), version, count)[: document.chunks]
            assert [row.text for row in rows] == [c.text for c in expected]
            assert [row.position for row in rows] == [c.position for c in expected]
            assert document.chunks == len(rows) and document.expected == count
            stored = store.modulations([row.id for row in rows])
            for row, modulation, c in zip(rows, stored, expected, strict=True):
                latents, scales = modulation.spread()
                np.testing.assert_array_equal(latents, c.latents)
                np.testing.assert_array_equal(scales, c.scales)
                expected_keys[row.id] = c.key
            versions[document.source] = version
        keys = all_keys(store)
        assert keys.keys() == expected_keys.keys()
        for chunk_id, key in keys.items():
            np.testing.assert_array_equal(key, expected_keys[chunk_id])
        assert store.stats().chunks == len(keys)
    if store.writable:
        # FTS5 compares its index with the texts, and raises if they differ.
        store.connection.execute(
            "INSERT INTO chunks_fts (chunks_fts, rank) VALUES ('integrity-check', 1)"
        )
    assert store.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert store.connection.execute("PRAGMA foreign_key_check").fetchall() == []
    return versions


def tampered(good, flips, cut, inserted):
    """An export with some bytes changed, some put in between, and the end cut off."""
    data = bytearray(good)
    for place, change in flips:
        data[min(int(place * len(data)), len(data) - 1)] ^= change
    at = int(inserted[0] * len(data))
    data[at:at] = inserted[1]
    return bytes(data[: int(cut * len(data)) + 1])
