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


def with_header(tokens=9, latent_size=R, key_size=E, version=2, body=BLOB[16:]):
    """A blob with a right checksum, whatever it claims."""
    fields = struct.pack("<2sBBIHH", b"mz", version, 0, tokens, latent_size, key_size)
    return fields + struct.pack("<I", zlib.crc32(body, zlib.crc32(fields))) + body


def first(payload=None, **claims):
    """A blob of version 1, as stores have that were made before there was version 2."""
    if payload is None:
        payload = GOOD.latents.tobytes() + GOOD.scales.tobytes()
    frame = zstandard.ZstdCompressor().compress(payload)
    return with_header(version=1, body=GOOD.key.tobytes() + frame, **claims)


@given(seed=st.integers(0, 1000), tokens=st.integers(1, 300))
def test_round_trip(seed, tokens):
    made = chunk(seed, tokens=tokens)
    blob = CODEC.encode(made.latents, made.scales, made.key)
    latents, scales = CODEC.decode(blob)
    np.testing.assert_array_equal(latents, made.latents)
    np.testing.assert_array_equal(scales, made.scales)
    np.testing.assert_array_equal(CODEC.key(blob), made.key)


@pytest.mark.parametrize("tokens", [1, 511, 512, 513, 1025])
def test_long_modulations_are_coded_in_pieces(tokens):
    made = chunk(5, tokens=tokens)
    latents, scales = CODEC.decode(CODEC.encode(made.latents, made.scales, made.key))
    np.testing.assert_array_equal(latents, made.latents)
    np.testing.assert_array_equal(scales, made.scales)


def test_version_1_is_still_read():
    latents, scales = CODEC.decode(first())
    np.testing.assert_array_equal(latents, GOOD.latents)
    np.testing.assert_array_equal(scales, GOOD.scales)
    np.testing.assert_array_equal(CODEC.key(first()), GOOD.key)
    assert CODEC.tokens(first()) == CODEC.tokens(BLOB) == 9


def test_arrays_need_not_be_contiguous():
    wide = np.repeat(GOOD.latents, 2, axis=1)[:, ::2]
    assert CODEC.encode(wide, GOOD.scales[::-1][::-1], GOOD.key) == BLOB


def test_a_snippet_takes_at_most_6_kilobytes():
    # The spread of the shipped checkpoint's components, in steps of half a token's rms.
    rng = np.random.default_rng(0)
    places = (0, 1, 4, 8, 16, 24, 48, 96, 144, 192, 288, 384)
    spread = (12.1, 9.0, 6.5, 5.3, 3.9, 3.3, 2.4, 1.6, 1.2, 1.0, 0.8, 0.7)
    spread = np.interp(np.arange(384), places, spread)
    latents = np.rint(rng.normal(0, 1, (45, 384)) * spread).astype(np.int8)
    codec = Codec(384, 384)
    blob = codec.encode(latents, np.ones(45, np.float16), np.ones(384, np.float16))
    assert len(blob) < 6 << 10
    assert codec.size(latents) == pytest.approx(len(blob), rel=0.005)


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
        (with_header(version=3), "no known format"),
        (with_header(latent_size=R + 1), "latent size 9 and key size 6, not 8 and 6"),
        (with_header(key_size=E - 1), "key size 5, not 8 and 6"),
        (with_header(tokens=0), "claims 0 tokens"),
        (with_header(tokens=1 << 31), "claims 2147483648 tokens"),
        (with_header(tokens=10), None),
        (with_header(tokens=1 << 16), "cut off"),
        (first(tokens=10), "holds 90 bytes instead of 100"),
        (first(bytes(256 << 20)), "holds 268435456 bytes instead of 90"),
        (with_header(body=BLOB[16:-3]), None),
        (with_header(body=BLOB[16:] + b"more"), None),
    ],
)
def test_claims_are_not_believed(blob, message):
    with pytest.raises(BlobError, match=message):
        CODEC.decode(blob)
