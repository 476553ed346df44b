"""A digest of every modulation, kept apart from it: shows that its bytes are those once written."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable

SIZE = 16


def digest(blob: bytes) -> bytes:
    """The BLAKE2b digest of an encoded modulation, `SIZE` bytes."""
    return hashlib.blake2b(blob, digest_size=SIZE).digest()


def write(connection: sqlite3.Connection, modulations: Iterable[tuple[int, bytes]]) -> None:
    """Keep the digests of modulations, given as chunk ids and blobs, in place of older ones.

    Whoever writes to the table `modulations` calls this in the same transaction.
    """
    connection.executemany(
        "INSERT OR REPLACE INTO digests (chunk_id, digest) VALUES (?, ?)",
        ((chunk_id, digest(blob)) for chunk_id, blob in modulations),
    )
