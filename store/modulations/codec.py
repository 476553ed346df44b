"""Modulations as bytes. T: tokens of a modulation, R: latent size, G: groups of 16 components.

A blob is a header of 14 bytes (little-endian), the scales and the latents:

    2s  b"mo"      B  format version (1)     B  zero
    I   T          H  R
    I   CRC-32 of the 10 bytes before and of everything after
    T x float16    the scales
    G x uint8      for each group of 16 components (the last may have fewer) the number of its model
    words          uint32, the T x R latents, entropy coded by the library constriction

The components of latents differ in their width up to twentyfold. Each group takes that of 49
logistic distributions which needs the fewest bits. The numbers are coded component by component,
those of the narrowest model first, by asymmetric numeral systems (Duda, arXiv 1311.2540).
"""

from __future__ import annotations

import math
import struct
import zlib
from functools import cache
from typing import TYPE_CHECKING, Any

import constriction
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAGIC = b"mo"
VERSION = 1
MAX_TOKENS = 1 << 16
_FIELDS = struct.Struct("<2sBBIH")
_CHECKSUM = struct.Struct("<I")
_HEADER_SIZE = _FIELDS.size + _CHECKSUM.size
_GROUP = 16
# Of model m a magnitude below x has the probability (1 - r ** 2x) / (1 + r ** 2x), where r is
# about exp(-1 / 2s) in 65,536ths and s = 0.12 * 1.15 ** m. They are part of the format.
# fmt: off
_DECAYS = (
    1016, 1750, 2807, 4233, 6051, 8257, 10818, 13684, 16785, 20049, 23398, 26763, 30079, 33295,
    36369, 39273, 41986, 44496, 46801, 48902, 50806, 52521, 54060, 55435, 56658, 57744, 58706,
    59555, 60303, 60961, 61539, 62046, 62491, 62880, 63220, 63517, 63777, 64004, 64202, 64374,
    64524, 64656, 64770, 64869, 64956, 65031, 65097, 65154, 65204,
)
# fmt: on
_FLOOR = 2.0**-16


class BlobError(ValueError):
    """A blob is not what was encoded, or is not of this store's shapes."""


class Codec:
    """Encodes and decodes modulations.

    Args:
        latent_size: R, at most 65,535.
    """

    def __init__(self, latent_size: int) -> None:
        self.latent_size = latent_size

    def encode(self, latents: NDArray[np.int8], scales: NDArray[np.float16]) -> bytes:
        """Return a blob of latents int8 [T, R] and scales float16 [T].

        Raises:
            ValueError: a dtype or shape is another, or a scale is not finite.
        """
        tokens = len(latents)
        _check("latents", latents, np.dtype(np.int8), (tokens, self.latent_size))
        _check("scales", scales, np.dtype(np.float16), (tokens,))
        if not 1 <= tokens <= MAX_TOKENS:
            raise ValueError(f"a modulation has 1 to {MAX_TOKENS} tokens, not {tokens}")
        if not np.isfinite(scales).all():
            raise ValueError("a modulation's scales must be finite numbers")
        models = self._costs(latents).argmin(1)
        components = np.repeat(models, _GROUP)[: self.latent_size]
        coder = constriction.stream.stack.AnsCoder()
        for model in np.unique(models)[::-1]:  # what is encoded last is decoded first
            symbols = latents[:, components == model].T.astype(np.int32, order="C") + 128
            coder.encode_reverse(symbols.ravel(), _model(int(model)))
        words = coder.get_compressed().astype("<u4")
        body = scales.astype("<f2").tobytes() + models.astype(np.uint8).tobytes() + words.tobytes()
        return seal(_FIELDS.pack(MAGIC, VERSION, 0, tokens, self.latent_size), body)

    def size(self, latents: NDArray[np.int8]) -> int:
        """Return about how many bytes `encode` needs for latents int8 [T, R]; half its work."""
        costs = self._costs(latents)
        return _HEADER_SIZE + 2 * len(latents) + len(costs) + int(costs.min(1).sum() / 8) + 4

    def decode(self, blob: bytes) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
        """Return latents int8 [T, R] and scales float16 [T] of a blob.

        No more memory is taken than the shapes of this store allow, whatever the blob claims.

        Raises:
            BlobError: the blob is damaged, or not of this store's shapes.
        """
        tokens = self.tokens(blob)
        groups = -(-self.latent_size // _GROUP)
        start = _HEADER_SIZE + 2 * tokens
        if len(blob) < start + groups or (len(blob) - start - groups) % 4:
            raise BlobError(f"it is cut off after {len(blob)} bytes")
        scales = np.frombuffer(blob, "<f2", tokens, _HEADER_SIZE).astype(np.float16)
        models = np.frombuffer(blob, np.uint8, groups, start)
        if models.max() >= len(_DECAYS):
            raise BlobError(f"it names model {models.max()}, which does not exist")
        components = np.repeat(models, _GROUP)[: self.latent_size]
        latents = np.empty((self.latent_size, tokens), np.int8)
        try:
            words = np.frombuffer(blob, "<u4", -1, start + groups).astype(np.uint32)
            coder = constriction.stream.stack.AnsCoder(words)
            for model in np.unique(models):
                rows = np.flatnonzero(components == model)
                symbols = coder.decode(_model(int(model)), len(rows) * tokens)
                latents[rows] = (symbols - 128).reshape(len(rows), tokens)
        except ValueError as error:
            raise BlobError(str(error)) from error
        if not coder.is_empty():
            raise BlobError("its numbers do not end where they should")
        return np.ascontiguousarray(latents.T), scales

    def tokens(self, blob: bytes) -> int:
        """Return T of a blob whose checksum is right. Raises `BlobError` like `decode`."""
        tokens, latent_size = unpack(blob, _FIELDS, MAGIC, VERSION)
        if latent_size != self.latent_size:
            raise BlobError(f"it has latent size {latent_size}, not {self.latent_size}")
        if not 1 <= tokens <= MAX_TOKENS:
            raise BlobError(f"it claims {tokens} tokens")
        return tokens

    def _costs(self, latents: NDArray[np.int8]) -> NDArray[np.float64]:
        """Return how many bits each group of latents [T, R] takes by each model: [G, models]."""
        groups = -(-self.latent_size // _GROUP)
        owner = np.arange(self.latent_size) // _GROUP * 256 + 128
        counts = np.bincount((latents + owner).ravel(), minlength=groups * 256)
        return counts.reshape(groups, 256).astype(np.float64) @ _prices()


@cache
def _model(number: int) -> Any:
    """Return a model of the symbols 0 to 255, which stand for the numbers -128 to 127."""
    return constriction.stream.model.Categorical(_probabilities(number), perfect=False)


@cache
def _prices() -> NDArray[np.float64]:
    """Return how many bits each symbol takes by each model, float64 [256, models]."""
    models = range(len(_DECAYS))
    return -np.log2(np.stack([_probabilities(number) for number in models], axis=1))


def _probabilities(number: int) -> NDArray[np.float64]:
    """Return how likely each symbol is, float64 [256].

    Only operations that IEEE 754 defines to the bit are used, so that every machine reads what any
    other wrote.
    """
    decay = _DECAYS[number] / 65536
    powers = np.cumprod(np.array([decay, *[decay * decay] * 128]))  # decay ** (2m + 1)
    within = (1 - powers) / (1 + powers)
    outer = np.diff(within) / 2
    likely = np.concatenate((outer[::-1], within[:1], outer[:127]))
    likely /= math.fsum(likely)  # int8 cuts off the ends
    return np.asarray(likely * (1 - 256 * _FLOOR) + _FLOOR)


# Every kind of blob is its first fields, a checksum of them and the body, and the body.


def seal(fields: bytes, body: bytes) -> bytes:
    """Return a blob of its first fields and what follows the checksum."""
    return fields + _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(fields))) + body


def unpack(blob: bytes, fields: struct.Struct, magic: bytes, version: int) -> tuple[int, ...]:
    """Return what follows magic, version and zero in the fields of a blob, once all is checked.

    Raises:
        BlobError: the blob is cut off, of another kind or version, or its checksum is wrong.
    """
    start = fields.size + _CHECKSUM.size
    if not isinstance(blob, bytes):
        raise BlobError(f"it is not a blob but {type(blob).__name__}")
    if len(blob) < start:
        raise BlobError(f"it is cut off after {len(blob)} bytes")
    have, have_version, _, *numbers = fields.unpack_from(blob)
    if (have, have_version) != (magic, version):
        raise BlobError(f"it starts with {blob[:3]!r}, which is not a known format")
    (checksum,) = _CHECKSUM.unpack_from(blob, fields.size)
    if checksum != zlib.crc32(memoryview(blob)[start:], zlib.crc32(blob[: fields.size])):
        raise BlobError("its checksum is wrong")
    return tuple(numbers)


def _check(
    name: str, array: NDArray[np.generic], dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"{name} must be {dtype} {list(shape)}, not {array.dtype} {list(array.shape)}"
        )
