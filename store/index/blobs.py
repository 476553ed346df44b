"""The modulations of chunks as the database has them: a chunk's own, or its part of a shared one.

T: tokens of a chunk, S: tokens of a shared modulation, R: latent size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from store.index.connection import by_id
from store.modulations.codec import BlobError, Codec
from store.modulations.shared import decode_member
from store.records import StoredModulation

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read(
    connection: sqlite3.Connection, codec: Codec, ids: Sequence[int]
) -> Iterator[tuple[int, StoredModulation]]:
    """Yield those of the chunks `ids` that have a modulation, in any order.

    Raises:
        BlobError: a modulation is damaged or missing; the message says whose.
    """
    unshared: list[int] = []
    sharing: dict[int, list[int]] = {}
    query = "SELECT id, merged_id FROM chunks WHERE pruned IS NULL AND id"
    for chunk_id, merged_id in by_id(connection, query, ids):
        if merged_id is None:
            unshared.append(chunk_id)
        else:
            sharing.setdefault(merged_id, []).append(chunk_id)
    query = "SELECT chunk_id, data FROM modulations WHERE chunk_id"
    blobs = dict(by_id(connection, query, unshared))
    for chunk_id in unshared:
        with _naming(f"the modulation of chunk {chunk_id}"):
            modulation = StoredModulation(*codec.decode(_present(blobs.get(chunk_id))))
        yield chunk_id, modulation
    for merged_id, chunk_ids in sharing.items():
        latents, scales = read_shared(connection, codec, merged_id)
        for chunk_id, places in read_members(connection, merged_id, chunk_ids):
            if places.max() >= len(latents):
                raise BlobError(f"the modulation of chunk {chunk_id}: it points beyond its set")
            used, rows = np.unique(places, return_inverse=True)
            yield chunk_id, StoredModulation(latents[used], scales[used], rows.astype(np.int64))


def read_own(
    connection: sqlite3.Connection, codec: Codec, chunk_id: int
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Return latents int8 [T, R] and scales float16 [T] of an unshared modulation.

    Raises:
        BlobError: it is damaged or missing.
    """
    query = "SELECT data FROM modulations WHERE chunk_id = ?"
    row = connection.execute(query, (chunk_id,)).fetchone()
    with _naming(f"the modulation of chunk {chunk_id}"):
        return codec.decode(_present(row and row[0]))


def read_shared(
    connection: sqlite3.Connection, codec: Codec, merged_id: int
) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """Return latents int8 [S, R] and scales float16 [S] of a shared modulation.

    Raises:
        BlobError: it is damaged or missing.
    """
    query = "SELECT data FROM merged WHERE id = ?"
    row = connection.execute(query, (merged_id,)).fetchone()
    with _naming(f"the merged modulation {merged_id}"):
        return codec.decode(_present(row and row[0]))


def read_members(
    connection: sqlite3.Connection, merged_id: int, ids: Sequence[int]
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield the chunks `ids`, which share this modulation, with their places int64 [T] in it.

    Raises:
        BlobError: a chunk's part is damaged or missing.
    """
    query = f"SELECT chunk_id, data FROM members WHERE merged_id = {merged_id} AND chunk_id"
    blobs = dict(by_id(connection, query, ids))
    for chunk_id in ids:
        with _naming(f"the modulation of chunk {chunk_id}"):
            places = decode_member(_present(blobs.get(chunk_id)))
        yield chunk_id, places


def _present(blob: bytes | None) -> bytes:
    if blob is None:
        raise BlobError("it is missing")
    return blob


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say in a `BlobError` what it is about."""
    try:
        yield
    except BlobError as error:
        raise BlobError(f"{what}: {error}") from error
