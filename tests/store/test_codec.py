import struct
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from store.codec import BlobError, Codec
from tests.store.samples import E, R, chunk

CODEC = Codec(R, E)
GOOD = chunk(1, tokens=9)
BLOB = CODEC.encode(GOOD.latents, GOOD.scales, GOOD.key)


def with_header(tokens=9, latent_size=R, key_size=E, version=1, body=BLOB[16:]):
    """A blob with a right checksum, whatever it claims."""
    fields = struct.pack("<2sBBIHH", b"mz", version, 0, tokens, latent_size, key_size)
    return fields + struct.pack("<I", zlib.crc32(body, zlib.crc32(fields))) + body


def bomb():
    """A key and a frame of 8 KiB that grows to 256 MiB."""
    return BLOB[16 : 16 + 2 * E] + zstandard.ZstdCompressor().compress(bytes(256 << 20))


@given(seed=st.integers(0, 1000), tokens=st.integers(1, 300))
def test_round_trip(seed, tokens):
    made = chunk(seed, tokens=tokens)
    blob = CODEC.encode(made.latents, made.scales, made.key)
    latents, scales = CODEC.decode(blob)
    np.testing.assert_array_equal(latents, made.latents)
    np.testing.assert_array_equal(scales, made.scales)
    np.testing.assert_array_equal(CODEC.key(blob), made.key)


def test_arrays_need_not_be_contiguous():
    wide = np.repeat(GOOD.latents, 2, axis=1)[:, ::2]
    assert CODEC.encode(wide, GOOD.scales[::-1][::-1], GOOD.key) == BLOB


def test_latents_of_real_statistics_shrink():
    latents = np.random.default_rng(0).laplace(0, 12, (45, 256)).clip(-127, 127).astype(np.int8)
    codec = Codec(256, 2)
    blob = codec.encode(latents, np.ones(45, np.float16), np.ones(2, np.float16))
    assert len(blob) < latents.nbytes


@given(position=st.integers(0, len(BLOB) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_noticed(position, bit):
    damaged = bytearray(BLOB)
    damaged[position] ^= 1 << bit
    with pytest.raises(BlobError):
        CODEC.decode(bytes(damaged))
    with pytest.raises(BlobError):
        CODEC.key(bytes(damaged))


@given(length=st.integers(0, len(BLOB) - 1))
def test_every_cut_is_noticed(length):
    with pytest.raises(BlobError):
        CODEC.decode(BLOB[:length])


@given(noise=st.binary(max_size=200))
def test_noise_is_noticed(noise):
    for blob in (noise, BLOB + noise + b"x", with_header(body=noise), BLOB[:28] + noise):
        with pytest.raises(BlobError):
            CODEC.decode(blob)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (with_header(version=2), "no known format"),
        (with_header(latent_size=R + 1), "latent size 9 and key size 6, not 8 and 6"),
        (with_header(key_size=E - 1), "key size 5, not 8 and 6"),
        (with_header(tokens=0), "claims 0 tokens"),
        (with_header(tokens=1 << 31), "claims 2147483648 tokens"),
        (with_header(tokens=10), "holds 90 bytes instead of 100"),
        (with_header(body=bomb()), "holds 268435456 bytes instead of 90"),
        (with_header(body=BLOB[16:-3]), None),
        (with_header(body=BLOB[16:] + b"more"), None),
    ],
)
def test_claims_are_not_believed(blob, message):
    with pytest.raises(BlobError, match=message):
        CODEC.decode(blob)
