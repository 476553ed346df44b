"""Modulations that several chunks share.

T: tokens of a chunk, S: tokens of a shared modulation, R: latent size.

After a merge, several chunks have one set of S latents between them. Each keeps its own key, so
that it is found as before, and for each of its T tokens which of the S latents now stands for it:
2 bytes instead of R. So a chunk is still answered from, and named, by itself, with its own tokens
in their own places; only the latents are averages.

A shared modulation is stored as any other. A chunk's part of it is (little-endian)

    2s  b"mp"      B  format version (1)     B  zero
    I   T
    I   CRC-32 of the 8 bytes before and of everything after
    frame          zstandard: T x uint16, the tokens' places in the shared modulation
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from store.modulations import codec
from store.modulations.codec import MAX_TOKENS, BlobError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"mp"
VERSION = 1
_FIELDS = struct.Struct("<2sBBI")
_HEADER_SIZE = _FIELDS.size + 4


def encode_member(rows: NDArray[np.int64]) -> bytes:
    """Return a blob of the places int64 [T], below 65,536, of a chunk's tokens."""
    body = zstandard.ZstdCompressor().compress(rows.astype("<u2").tobytes())
    return codec.seal(_FIELDS.pack(MAGIC, VERSION, 0, len(rows)), body)


def decode_member(blob: bytes) -> NDArray[np.int64]:
    """Return the places int64 [T] in a blob of `encode_member`.

    Raises:
        BlobError: the blob is damaged.
    """
    (tokens,) = codec.unpack(blob, _FIELDS, MAGIC, VERSION)
    if not 1 <= tokens <= MAX_TOKENS:
        raise BlobError(f"it claims {tokens} tokens")
    frame = memoryview(blob)[_HEADER_SIZE:]
    try:
        # The frame's own claim decides how much is allocated, so it must be the right one.
        claimed = zstandard.get_frame_parameters(frame).content_size
        if claimed != 2 * tokens:
            raise BlobError(f"it holds {claimed} bytes instead of {2 * tokens}")
        payload = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BlobError(str(error)) from error
    return np.frombuffer(payload, "<u2").astype(np.int64)
