"""Modulations as bytes. T: tokens a modulation, R: latent size, E: key size.

A blob is a header of 16 bytes (little-endian), the key, and a zstandard frame:

    2s  b"mz"      B  format version (1)     B  zero
    I   T          H  R                      H  E
    I   CRC-32 of the 12 bytes before and of everything behind
    E x float16    the key, uncompressed: a key file is rebuilt without decompressing anything
    frame          T x R int8 latents, then T float16 scales
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import zstandard

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"mz"
VERSION = 1
MAX_TOKENS = 1 << 16
_FIELDS = struct.Struct("<2sBBIHH")
_CHECKSUM = struct.Struct("<I")
_HEADER_SIZE = _FIELDS.size + _CHECKSUM.size
_LEVEL = 3


class BlobError(ValueError):
    """A blob is not what `Codec.encode` made."""


class Codec:
    """Encodes and decodes the modulations of one store. Not for use by two threads at once.

    Args:
        latent_size: R, at most 65,535.
        key_size: E, at most 65,535.
    """

    def __init__(self, latent_size: int, key_size: int) -> None:
        self.latent_size = latent_size
        self.key_size = key_size
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def encode(
        self, latents: NDArray[np.int8], scales: NDArray[np.float16], key: NDArray[np.float16]
    ) -> bytes:
        """A blob from latents int8 [T, R], scales float16 [T] and a key float16 [E].

        Raises:
            ValueError: a dtype or shape is another, or a scale or the key is not finite.
        """
        tokens = len(latents)
        _check("latents", latents, np.dtype(np.int8), (tokens, self.latent_size))
        _check("scales", scales, np.dtype(np.float16), (tokens,))
        _check("key", key, np.dtype(np.float16), (self.key_size,))
        if not 1 <= tokens <= MAX_TOKENS:
            raise ValueError(f"a modulation has 1 to {MAX_TOKENS} tokens, not {tokens}")
        if not (np.isfinite(key).all() and np.isfinite(scales).all()):
            raise ValueError("a modulation's key and scales must be finite numbers")
        payload = latents.tobytes() + scales.astype("<f2", copy=False).tobytes()
        fields = _FIELDS.pack(MAGIC, VERSION, 0, tokens, self.latent_size, self.key_size)
        body = key.astype("<f2", copy=False).tobytes() + self._compressor.compress(payload)
        return seal(fields, body)

    def decode(self, blob: bytes) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        """Latents int8 [T, R] and scales float16 [T] of a blob.

        No more memory is taken than the shapes of this store allow, whatever the blob claims.

        Raises:
            BlobError: the blob is damaged, or not of this store's shapes.
        """
        tokens = self._open(blob)
        size = tokens * (self.latent_size + 2)
        payload = decompress(self._decompressor, blob, self.key_size, size)
        values = np.frombuffer(bytearray(payload), dtype=np.int8)
        cut = tokens * self.latent_size
        scales = values[cut:].view("<f2").astype(np.float16, copy=False)
        return values[:cut].reshape(tokens, self.latent_size), scales

    def key(self, blob: bytes) -> NDArray[np.float16]:
        """The key float16 [E] of a blob. Raises `BlobError` like `decode`."""
        self._open(blob)
        return key_in(blob, self.key_size)

    def _open(self, blob: bytes) -> int:
        """Check everything in front of the frame and the checksum of all; returns T."""
        tokens, latent_size, key_size = unpack(blob, _FIELDS, (MAGIC, VERSION), self.key_size)
        if (latent_size, key_size) != (self.latent_size, self.key_size):
            raise BlobError(
                f"it has latent size {latent_size} and key size {key_size}, not "
                f"{self.latent_size} and {self.key_size}"
            )
        if not 1 <= tokens <= MAX_TOKENS:
            raise BlobError(f"it claims {tokens} tokens")
        check_sum(blob)
        return tokens


# Every kind of blob is 12 bytes of fields, their and the body's checksum, a key and a frame.


def seal(fields: bytes, body: bytes) -> bytes:
    """A blob of its first fields and what follows the checksum."""
    return fields + _CHECKSUM.pack(_checksum(fields, body)) + body


def unpack(
    blob: bytes, fields: struct.Struct, kind: tuple[bytes, int], key_size: int
) -> tuple[int, ...]:
    """What follows magic, version and zero in a blob's fields.

    Raises:
        BlobError: the blob is too short for its key, or of another magic or version than `kind`.
    """
    if len(blob) < _HEADER_SIZE + 2 * key_size:
        raise BlobError(f"it is cut off after {len(blob)} bytes")
    magic, version, _, *numbers = fields.unpack_from(blob)
    if (magic, version) != kind:
        raise BlobError(f"it starts with {blob[:3]!r}, which is no known format")
    return tuple(numbers)


def check_sum(blob: bytes) -> None:
    """Raise `BlobError` unless a blob's checksum is right."""
    (stored,) = _CHECKSUM.unpack_from(blob, _FIELDS.size)
    if stored != _checksum(blob[: _FIELDS.size], memoryview(blob)[_HEADER_SIZE:]):
        raise BlobError("its checksum is wrong")


def key_in(blob: bytes, key_size: int) -> NDArray[np.float16]:
    """The key float16 [E] of a checked blob."""
    key = np.frombuffer(blob, dtype="<f2", count=key_size, offset=_HEADER_SIZE)
    return key.astype(np.float16)


def decompress(
    decompressor: zstandard.ZstdDecompressor, blob: bytes, key_size: int, size: int
) -> bytes:
    """The `size` bytes in the frame of a checked blob.

    Raises:
        BlobError: the frame is damaged, or claims another size.
    """
    frame = memoryview(blob)[_HEADER_SIZE + 2 * key_size :]
    try:
        # The frame's own claim decides how much is allocated, so it must be the right one.
        claimed = zstandard.get_frame_parameters(frame).content_size
        if claimed != size:
            raise BlobError(f"it holds {claimed} bytes instead of {size}")
        return decompressor.decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise BlobError(str(error)) from error


def _checksum(fields: bytes, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(fields))


def _check(
    name: str, array: NDArray[np.generic], dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} must be {dtype} {list(shape)}, not {array.dtype} {list(array.shape)}"
        )
