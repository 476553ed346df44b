import struct
import zlib

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from store.modulations.codec import BlobError
from store.modulations.shared import decode_member, encode_member

PLACES = np.array([0, 3, 3, 65_535, 1])
BLOB = encode_member(PLACES)


def with_header(tokens=5, version=1, places=PLACES):
    """A blob with a right checksum, whatever it claims."""
    body = zstandard.ZstdCompressor().compress(places.astype("<u2").tobytes())
    fields = struct.pack("<2sBBI", b"mp", version, 0, tokens)
    return fields + struct.pack("<I", zlib.crc32(body, zlib.crc32(fields))) + body


@given(places=st.lists(st.integers(0, 65_535), min_size=1, max_size=300))
def test_round_trip(places):
    decoded = decode_member(encode_member(np.array(places)))
    assert decoded.dtype == np.int64 and decoded.tolist() == places


@given(position=st.integers(0, len(BLOB) - 1), bit=st.integers(0, 7))
def test_every_flipped_bit_is_noticed(position, bit):
    damaged = bytearray(BLOB)
    damaged[position] ^= 1 << bit
    with pytest.raises(BlobError):
        decode_member(bytes(damaged))


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (b"", "cut off after 0 bytes"),
        (BLOB[:-1], "checksum"),
        (BLOB + b"x", "checksum"),
        (None, "not a blob"),
        (with_header(version=2), "not a known format"),
        (with_header(tokens=0), "claims 0 tokens"),
        (with_header(tokens=1 << 20), "claims 1048576 tokens"),
        (with_header(tokens=6), "holds 10 bytes instead of 12"),
        (with_header(places=np.zeros(100 << 20, np.uint8)), "bytes instead of 10"),
    ],
)
def test_claims_are_not_believed(blob, message):
    with pytest.raises(BlobError, match=message):
        decode_member(blob)
