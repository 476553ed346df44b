"""Modulations as bytes. T: tokens a modulation, R: latent size, E: key size.

A blob is a header of 16 bytes (little-endian), the key, the scales and the latents:

    2s  b"mz"      B  format version (2)     B  zero
    I   T          H  R                      H  E
    I   CRC-32 of the 12 bytes before and of everything behind
    E x float16    the key, uncompressed: a key file is rebuilt without decompressing anything
    T x float16    the scales
    streams        T x R int8 latents, entropy coded (see entropy.py) in pieces of 512 tokens (the
                   last may have fewer), in each piece component by component, in groups of 16
                   components; in front of all streams but the last their lengths, uint32

In version 1, which is still read, a zstandard frame follows the key: T x R latents as they are,
then the T scales.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import zstandard

from store import entropy

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"mz"
VERSION = 2
MAX_TOKENS = 1 << 16
_FIELDS = struct.Struct("<2sBBIHH")
_CHECKSUM = struct.Struct("<I")
_HEADER_SIZE = _FIELDS.size + _CHECKSUM.size
_LENGTH = struct.Struct("<I")
_PIECE = 512
_GROUP = 16


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
        streams = [
            entropy.encode(np.ascontiguousarray(latents[piece].T).ravel(), self._groups(piece))
            for piece in _pieces(tokens)
        ]
        fields = _FIELDS.pack(MAGIC, VERSION, 0, tokens, self.latent_size, self.key_size)
        numbers = (key.astype("<f2", copy=False), scales.astype("<f2", copy=False))
        lengths = (_LENGTH.pack(len(stream)) for stream in streams[:-1])
        return seal(fields, b"".join((*(n.tobytes() for n in numbers), *lengths, *streams)))

    def size(self, latents: NDArray[np.int8]) -> int:
        """About how many bytes `encode` needs for latents int8 [T, R]; a fraction of its work."""
        return (
            _HEADER_SIZE
            + 2 * (self.key_size + len(latents))
            + sum(
                entropy.size(np.ascontiguousarray(latents[piece].T).ravel(), self._groups(piece))
                for piece in _pieces(len(latents))
            )
        )

    def decode(self, blob: bytes) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        """Latents int8 [T, R] and scales float16 [T] of a blob.

        No more memory is taken than the shapes of this store allow, whatever the blob claims.

        Raises:
            BlobError: the blob is damaged, or not of this store's shapes.
        """
        version, tokens = self._open(blob)
        if version == 1:
            return self._decode_first(blob, tokens)
        rest = memoryview(blob)[_HEADER_SIZE + 2 * self.key_size :]
        pieces = list(_pieces(tokens))
        start = 2 * tokens + _LENGTH.size * (len(pieces) - 1)
        if len(rest) < start:
            raise BlobError(f"it is cut off after {len(blob)} bytes")
        scales = np.frombuffer(rest, "<f2", tokens).astype(np.float16)
        latents = np.empty((tokens, self.latent_size), np.int8)
        for number, piece in enumerate(pieces, start=1):
            end = len(rest)
            if number < len(pieces):
                at = 2 * tokens + _LENGTH.size * (number - 1)
                end = min(end, start + _LENGTH.unpack_from(rest, at)[0])
            try:
                values = entropy.decode(rest[start:end], self._groups(piece))
            except entropy.StreamError as error:
                raise BlobError(str(error)) from error
            latents[piece] = values.reshape(self.latent_size, -1).T
            start = end
        return latents, scales

    def tokens(self, blob: bytes) -> int:
        """T of a blob whose checksum is right. Raises `BlobError` like `decode`."""
        return self._open(blob)[1]

    def key(self, blob: bytes) -> NDArray[np.float16]:
        """The key float16 [E] of a blob. Raises `BlobError` like `decode`."""
        self._open(blob)
        return key_in(blob, self.key_size)

    def _decode_first(
        self, blob: bytes, tokens: int
    ) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        """`decode` for version 1."""
        size = tokens * (self.latent_size + 2)
        payload = decompress(self._decompressor, blob, self.key_size, size)
        values = np.frombuffer(bytearray(payload), dtype=np.int8)
        cut = tokens * self.latent_size
        scales = values[cut:].view("<f2").astype(np.float16, copy=False)
        return values[:cut].reshape(tokens, self.latent_size), scales

    def _groups(self, piece: slice) -> NDArray[np.int64]:
        """How many latents each group of a piece has."""
        groups = np.full(-(-self.latent_size // _GROUP), _GROUP)
        groups[-1] -= len(groups) * _GROUP - self.latent_size
        groups *= piece.stop - piece.start
        return groups

    def _open(self, blob: bytes) -> tuple[int, int]:
        """Check everything before the scales and the checksum of all; returns version and T."""
        kinds = (MAGIC, 1), (MAGIC, VERSION)
        tokens, latent_size, key_size = unpack(blob, _FIELDS, kinds, self.key_size)
        if (latent_size, key_size) != (self.latent_size, self.key_size):
            raise BlobError(
                f"it has latent size {latent_size} and key size {key_size}, not "
                f"{self.latent_size} and {self.key_size}"
            )
        if not 1 <= tokens <= MAX_TOKENS:
            raise BlobError(f"it claims {tokens} tokens")
        check_sum(blob)
        return blob[2], tokens


def _pieces(tokens: int) -> Iterator[slice]:
    for start in range(0, tokens, _PIECE):
        yield slice(start, min(start + _PIECE, tokens))


# Every kind of blob is 12 bytes of fields, their and the body's checksum, a key and the rest.


def seal(fields: bytes, body: bytes) -> bytes:
    """A blob of its first fields and what follows the checksum."""
    return fields + _CHECKSUM.pack(_checksum(fields, body)) + body


def unpack(
    blob: bytes, fields: struct.Struct, kinds: Sequence[tuple[bytes, int]], key_size: int
) -> tuple[int, ...]:
    """What follows magic, version and zero in a blob's fields.

    Raises:
        BlobError: the blob is too short for its key, or its magic and version are none of `kinds`.
    """
    if len(blob) < _HEADER_SIZE + 2 * key_size:
        raise BlobError(f"it is cut off after {len(blob)} bytes")
    magic, version, _, *numbers = fields.unpack_from(blob)
    if (magic, version) not in kinds:
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
