"""A store of schema version 4, the one of mac 0.1, written without the code that writes today's."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from store import NewChunk, schema
from store.codec import Codec
from store.keys import KeyFile

VERSION = 4
_TIME = "2026-01-01T00:00:00+00:00"
_STORE_ID = bytes(range(16))


def write(
    folder: Path,
    documents: Mapping[str, tuple[str, Sequence[NewChunk]]],
    *,
    fingerprint: str,
    key_size: int,
    latent_size: int,
) -> None:
    """Make a store in `folder` that holds documents: source to content hash and chunks."""
    codec = Codec(latent_size, key_size)
    folder.mkdir(parents=True)
    keys = []
    with closing(sqlite3.connect(folder / "index.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN")
        for migration in schema.MIGRATIONS[:VERSION]:
            migration(connection)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        meta = {
            "fingerprint": fingerprint,
            "model": "",
            "key_size": str(key_size),
            "latent_size": str(latent_size),
            "store_id": _STORE_ID.hex(),
            "created_at": _TIME,
        }
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        for number, (source, (content_hash, chunks)) in enumerate(documents.items(), start=1):
            blobs = [codec.encode(c.latents, c.scales, c.key) for c in chunks]
            sums = (
                len(chunks),
                sum(len(chunk.scales) for chunk in chunks),
                sum(map(len, blobs)),
                sum(len(chunk.text.encode()) for chunk in chunks),
            )
            connection.execute(
                "INSERT INTO documents (id, source, content_hash, chunking, chunks, tokens, bytes, "
                "text_bytes, characters, media_type, encoding, added_at, updated_at) "
                "VALUES (?, ?, ?, 'c', ?, ?, ?, ?, 0, 'text/plain', 'utf-8', ?, ?)",
                (number, source, content_hash, *sums, _TIME, _TIME),
            )
            for position, (chunk, blob) in enumerate(zip(chunks, blobs, strict=True)):
                keys.append(chunk.key)
                connection.execute(
                    'INSERT INTO chunks (id, document_id, position, start, "end", text, tokens, '
                    "bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        len(keys),
                        number,
                        position,
                        chunk.start,
                        chunk.end,
                        chunk.text,
                        len(chunk.scales),
                        len(blob),
                    ),
                )
                connection.execute("INSERT INTO modulations VALUES (?, ?)", (len(keys), blob))
        if keys:
            file = KeyFile(folder / "keys-000001.bin", key_size, 1, _STORE_ID)
            file.create()
            rows, tail = file.append(0, 0, [(np.arange(1, len(keys) + 1), np.stack(keys))])
            tail -= (1 << 64) if tail >= 1 << 63 else 0
            connection.execute("UPDATE key_file SET row_count = ?, tail = ?", (rows, tail))
        connection.execute("COMMIT")
