import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.modulations import codec as module
from store.modulations.codec import BlobError, Codec
from tests.store.samples import R, chunk

CODEC = Codec(R)
GOOD = chunk(1, tokens=9)
BLOB = CODEC.encode(GOOD.latents, GOOD.scales)
BODY = BLOB[14:]


def with_header(tokens=9, latent_size=R, version=1, body=BODY):
    """A blob with a right checksum, whatever it claims."""
    fields = struct.pack("<2sBBIH", b"mo", version, 0, tokens, latent_size)
    return fields + struct.pack("<I", zlib.crc32(body, zlib.crc32(fields))) + body


def check_round_trip(latents, scales):
    decoded, decoded_scales = Codec(latents.shape[1]).decode(
        Codec(latents.shape[1]).encode(latents, scales)
    )
    assert decoded.dtype == np.int8 and decoded_scales.dtype == np.float16
    assert decoded.flags.writeable and decoded.flags.c_contiguous and decoded_scales.flags.writeable
    np.testing.assert_array_equal(decoded, latents)
    np.testing.assert_array_equal(decoded_scales, scales)


@given(
    seed=st.integers(0, 1000),
    tokens=st.integers(1, 300),
    size=st.sampled_from([1, 8, 15, 16, 17, 40]),
    spread=st.sampled_from([0.0, 0.2, 1.0, 5.0, 40.0, 1000.0]),
)
def test_round_trip(seed, tokens, size, spread):
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 1, (tokens, size)) * spread * rng.random(size)
    latents = np.clip(np.rint(values), -128, 127).astype(np.int8)
    check_round_trip(latents, rng.random(tokens).astype(np.float16))


@pytest.mark.parametrize("value", [-128, -127, 0, 127])
def test_numbers_at_the_ends_of_the_range(value):
    check_round_trip(np.full((3, R), value, np.int8), np.ones(3, np.float16))


def test_all_numbers_can_follow_any_model():
    """An outlier among small numbers costs bits, but comes back."""
    latents = np.zeros((300, 16), np.int8)
    latents.ravel()[:256] = np.arange(-128, 128)
    check_round_trip(np.tile(latents, (9, 1)), np.ones(2700, np.float16))


def test_the_longest_modulation():
    latents = np.random.default_rng(0).integers(-9, 10, (module.MAX_TOKENS, 2)).astype(np.int8)
    check_round_trip(latents, np.ones(len(latents), np.float16))
    with pytest.raises(ValueError, match="1 to 65536 tokens, not 65537"):
        Codec(1).encode(np.zeros((65537, 1), np.int8), np.ones(65537, np.float16))


def test_arrays_need_not_be_contiguous():
    wide = np.repeat(GOOD.latents, 2, axis=1)[:, ::2]
    assert CODEC.encode(wide, GOOD.scales[::-1][::-1]) == BLOB


def test_a_blob_stays_readable():
    """What was written once must be read by every later version, and on every machine."""
    written = bytes.fromhex(
        "6d6f0100030000000800bd97db550038003c004019250f262d2deacfae9af8bc6f11320b45d9000000"
    )
    latents = np.arange(-12, 12).reshape(3, 8).astype(np.int8)
    scales = np.array([0.5, 1.0, 2.0], np.float16)
    assert CODEC.encode(latents, scales) == written
    np.testing.assert_array_equal(CODEC.decode(written)[0], latents)


def test_a_snippet_takes_at_most_5_kilobytes_and_a_half():
    # The spread of the shipped checkpoint's components, in steps of half a token's rms.
    rng = np.random.default_rng(0)
    places = (0, 1, 4, 8, 16, 24, 48, 96, 144, 192, 288, 384)
    spread = (12.1, 9.0, 6.5, 5.3, 3.9, 3.3, 2.4, 1.6, 1.2, 1.0, 0.8, 0.7)
    spread = np.interp(np.arange(384), places, spread)
    latents = np.rint(rng.normal(0, 1, (45, 384)) * spread).astype(np.int8)
    blob = Codec(384).encode(latents, np.ones(45, np.float16))
    assert len(blob) < 5.5 * 1024
    assert Codec(384).size(latents) == pytest.approx(len(blob), rel=0.005)


@given(position=st.integers(0, len(BLOB) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_noticed(position, bit):
    damaged = bytearray(BLOB)
    damaged[position] ^= 1 << bit
    for read in (CODEC.decode, CODEC.tokens):
        with pytest.raises(BlobError):
            read(bytes(damaged))


@given(length=st.integers(0, len(BLOB) - 1))
def test_every_cut_is_noticed(length):
    with pytest.raises(BlobError):
        CODEC.decode(BLOB[:length])


@given(noise=st.binary(max_size=200))
def test_noise_is_noticed(noise):
    for blob in (noise, BLOB + noise + b"x", BLOB[:28] + noise):
        with pytest.raises(BlobError):
            CODEC.decode(blob)


@given(noise=st.binary(max_size=200), tokens=st.integers(1, 40))
def test_noise_with_a_right_checksum_does_no_harm(noise, tokens):
    """Where it happens to be a stream, it is numbers of the right shape."""
    models = bytes(n % 49 for n in noise[:1])
    for body in (noise, GOOD.scales.tobytes() + models + noise[1:]):
        try:
            latents, scales = CODEC.decode(with_header(tokens=tokens, body=body))
        except BlobError:
            continue
        assert latents.shape == (tokens, R) and scales.shape == (tokens,)


@pytest.mark.parametrize("blob", [None, "text", 5, memoryview(BLOB)])
def test_what_is_no_blob(blob):
    with pytest.raises(BlobError, match="not a blob"):
        CODEC.decode(blob)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (with_header(version=2), "not a known format"),
        (with_header(latent_size=R + 1), "latent size 9, not 8"),
        (with_header(tokens=0), "claims 0 tokens"),
        (with_header(tokens=1 << 31), "claims 2147483648 tokens"),
        (with_header(tokens=1 << 16), "cut off"),
        (with_header(body=BODY[:18] + b"\xff" + BODY[19:]), "names model 255"),
        (with_header(body=BODY[:18] + bytes([49]) + BODY[19:]), "names model 49"),
        (with_header(body=BODY[:-3]), "cut off"),
        (with_header(body=BODY[:-4]), None),
        (with_header(body=BODY + b"more"), None),
        (with_header(body=BODY + bytes(4)), None),
    ],
)
def test_claims_are_not_believed(blob, message):
    with pytest.raises(BlobError, match=message):
        CODEC.decode(blob)


def test_the_models_are_probabilities_of_growing_width():
    widths = []
    for number in range(len(module._DECAYS)):
        likely = module._probabilities(number)
        assert likely.shape == (256,) and likely.min() > 0
        assert likely.sum() == pytest.approx(1)
        np.testing.assert_array_equal(likely[1:128], likely[:128:-1])
        widths.append((np.abs(np.arange(-128, 128)) * likely).sum())
    assert widths == sorted(widths)
