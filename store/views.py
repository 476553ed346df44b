"""Modulations that several chunks share.

T: tokens of a chunk, U: how many latents stand for them, S: tokens of a shared modulation, R:
latent size, E: key size.

After a merge, several chunks have one set of S latents between them. Each keeps its own key, so
that it is found as before, and for each of its T tokens which of the S latents now stands for it:
2 bytes instead of R. So a chunk is still answered from, and named, by itself, with its own tokens
in their own places; only the latents are averages.

A shared modulation is stored as any other, without a key. A chunk's part of it is (little-endian)

    2s  b"mv"      B  format version (1)     B  zero
    I   T          I  E
    I   CRC-32 of the 12 bytes before and of everything behind
    E x float16    the key
    frame          zstandard: T x uint16, the tokens' places in the shared modulation
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from store import codec
from store.codec import MAX_TOKENS, BlobError, Codec
from store.documents import by_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"mv"
VERSION = 1
_FIELDS = struct.Struct("<2sBBII")


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A chunk's modulation as it is stored.

    Attributes:
        latents: int8 [U, R]; the latents' values are `latents * scales[:, None]`.
        scales: float16 [U].
        which: int64 [T], for each token of the chunk the row that stands for it; None where every
            token has its own (U = T).
    """

    latents: NDArray[np.int8]
    scales: NDArray[np.float16]
    which: NDArray[np.int64] | None = None

    def spread(self) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        """Latents int8 [T, R] and scales float16 [T], a row for every token of the chunk."""
        if self.which is None:
            return self.latents, self.scales
        return self.latents[self.which], self.scales[self.which]


class Views:
    """Encodes, decodes and reads the modulations that chunks share, and those that they do not.

    Args:
        own: codec of the store's modulations.
    """

    def __init__(self, own: Codec) -> None:
        self.codec = own
        self.shared = Codec(own.latent_size, 0)
        self._compressor = zstandard.ZstdCompressor()
        self._decompressor = zstandard.ZstdDecompressor()

    def encode_shared(self, latents: NDArray[np.int8], scales: NDArray[np.float16]) -> bytes:
        """A blob from latents int8 [S, R] and scales float16 [S]."""
        return self.shared.encode(latents, scales, np.empty(0, np.float16))

    def encode_member(self, which: NDArray[np.int64], key: NDArray[np.float16]) -> bytes:
        """A blob from a chunk's tokens' places int64 [T], below 65,536, and its key float16 [E]."""
        fields = _FIELDS.pack(MAGIC, VERSION, 0, len(which), len(key))
        body = key.astype("<f2", copy=False).tobytes()
        body += self._compressor.compress(which.astype("<u2").tobytes())
        return codec.seal(fields, body)

    def decode_member(self, blob: bytes) -> NDArray[np.int64]:
        """The places int64 [T] in a blob of `encode_member`.

        Raises:
            BlobError: the blob is damaged.
        """
        key_size = self.codec.key_size
        tokens = _open(blob, key_size)
        payload = codec.decompress(self._decompressor, blob, key_size, 2 * tokens)
        return np.frombuffer(payload, "<u2").astype(np.int64)

    def tokens(self, blob: bytes) -> int:
        """T of a modulation, or of a chunk's part of a shared one.

        Raises:
            BlobError: the blob is damaged.
        """
        shared = blob[:2] == MAGIC
        return len(self.decode_member(blob) if shared else self.codec.decode(blob)[0])

    def read(
        self, connection: sqlite3.Connection, ids: Sequence[int]
    ) -> Iterator[tuple[int, View]]:
        """Those of the chunks `ids` that have a modulation, in any order.

        Raises:
            BlobError: a modulation is damaged; the message says whose.
        """
        own: list[int] = []
        members: dict[int, list[int]] = {}
        query = "SELECT id, merged_id FROM chunks WHERE pruned IS NULL AND id"
        for chunk_id, merged_id in by_id(connection, query, ids):
            if merged_id is None:
                own.append(chunk_id)
            else:
                members.setdefault(merged_id, []).append(chunk_id)
        query = "SELECT chunk_id, data FROM modulations WHERE chunk_id"
        for chunk_id, blob in by_id(connection, query, own):
            with _naming(f"the modulation of chunk {chunk_id}"):
                view = View(*self.codec.decode(blob))
            yield chunk_id, view
        for merged_id, chunk_ids in members.items():
            latents, scales = self.read_shared(connection, merged_id)
            for chunk_id, which, _ in self.read_members(connection, merged_id, chunk_ids):
                if which.max() >= len(latents):
                    raise BlobError(f"the modulation of chunk {chunk_id}: it points beyond its set")
                rows, places = np.unique(which, return_inverse=True)
                yield chunk_id, View(latents[rows], scales[rows], places.astype(np.int64))

    def read_own(
        self, connection: sqlite3.Connection, chunk_id: int
    ) -> tuple[NDArray[np.int8], NDArray[np.float16], NDArray[np.float16]]:
        """Latents int8 [T, R], scales float16 [T] and key float16 [E] of an unshared modulation.

        Raises:
            BlobError: it is damaged or missing.
        """
        query = "SELECT data FROM modulations WHERE chunk_id = ?"
        row = connection.execute(query, (chunk_id,)).fetchone()
        with _naming(f"the modulation of chunk {chunk_id}"):
            if row is None:
                raise BlobError("it is missing")
            return *self.codec.decode(row[0]), self.codec.key(row[0])

    def read_shared(
        self, connection: sqlite3.Connection, merged_id: int
    ) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        """Latents int8 [S, R] and scales float16 [S] of a shared modulation.

        Raises:
            BlobError: it is damaged or missing.
        """
        query = "SELECT data FROM merged WHERE id = ?"
        row = connection.execute(query, (merged_id,)).fetchone()
        with _naming(f"the merged modulation {merged_id}"):
            if row is None:
                raise BlobError("it is missing")
            return self.shared.decode(row[0])

    def read_members(
        self, connection: sqlite3.Connection, merged_id: int, ids: Sequence[int]
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float16]]]:
        """Of the chunks `ids` those that share this modulation: id, places [T] in it, key [E].

        Raises:
            BlobError: a chunk's part is damaged.
        """
        query = f"SELECT chunk_id, data FROM members WHERE merged_id = {merged_id} AND chunk_id"
        for chunk_id, blob in by_id(connection, query, ids):
            with _naming(f"the modulation of chunk {chunk_id}"):
                part = self.decode_member(blob), key_of(blob, self.codec)
            yield chunk_id, *part


def problems(connection: sqlite3.Connection, views: Views) -> Iterator[tuple[int, str]]:
    """Chunks that cannot be read because of the modulation that they share, and what is wrong.

    Call it in a transaction. Memory is that of one shared modulation.
    """
    query = (
        "SELECT id, chunks.merged_id, tokens, data FROM chunks LEFT JOIN members ON chunk_id = id "
        "AND members.merged_id = chunks.merged_id WHERE chunks.merged_id IS NOT NULL "
        "AND pruned IS NULL ORDER BY chunks.merged_id, id"
    )
    last, size, damage = 0, 0, ""
    for chunk_id, merged_id, tokens, blob in connection.execute(query):
        if merged_id != last:
            last, damage = merged_id, ""
            try:
                size = len(views.read_shared(connection, merged_id)[0])
            except BlobError as error:
                damage = str(error)
        try:
            if damage:
                raise BlobError(damage)
            which = views.decode_member(blob or b"")
            if which.max() >= size:
                raise BlobError("it points beyond its set")
            if len(which) != tokens:
                raise BlobError(f"it has {len(which)} tokens instead of {tokens}")
        except BlobError as error:
            yield chunk_id, str(error)


def key_of(blob: bytes, own: Codec) -> NDArray[np.float16]:
    """The key float16 [E] of a modulation, or of a chunk's part of a shared one.

    Raises:
        BlobError: the blob is damaged.
    """
    if blob[:2] != MAGIC:
        return own.key(blob)
    _open(blob, own.key_size)
    return codec.key_in(blob, own.key_size)


def _open(blob: bytes, key_size: int) -> int:
    """Check everything in front of the frame and the checksum of all; returns T."""
    tokens, size = codec.unpack(blob, _FIELDS, [(MAGIC, VERSION)], key_size)
    if size != key_size or not 1 <= tokens <= MAX_TOKENS:
        raise BlobError(f"it claims {tokens} tokens and key size {size}")
    codec.check_sum(blob)
    return tokens


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Say in a `BlobError` what it is about."""
    try:
        yield
    except BlobError as error:
        raise BlobError(f"{what}: {error}") from error
