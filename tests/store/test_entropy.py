from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from store import entropy
from store.entropy import StreamError


def sizes_of(count, group=16):
    return np.diff(np.minimum(np.arange(group, count + group, group), count), prepend=0)


def sample(seed, count, spread):
    values = np.random.default_rng(seed).normal(0, 1, count) * spread
    return np.clip(np.rint(values), -128, 127).astype(np.int8)


@settings(deadline=None)  # the tables are made once
@given(
    values=arrays.arrays(np.int8, st.integers(1, 600), elements=st.integers(-128, 127)),
    group=st.integers(1, 700),
)
def test_any_numbers_come_back(values, group):
    sizes = sizes_of(len(values), group)
    np.testing.assert_array_equal(entropy.decode(entropy.encode(values, sizes), sizes), values)


@pytest.mark.parametrize("spread", [0, 0.05, 0.3, 1, 4, 20, 60, 500])
@pytest.mark.parametrize("count", [1, 31, 33, 384, 20_000])
def test_numbers_of_every_spread_come_back(spread, count):
    values, sizes = sample(0, count, spread), sizes_of(count, 720)
    stream = entropy.encode(values, sizes)
    np.testing.assert_array_equal(entropy.decode(stream, sizes), values)


@pytest.mark.parametrize("spread", [0.4, 0.7, 1, 1.5, 2.3, 5, 11, 30])
def test_it_comes_close_to_the_entropy(spread):
    values, sizes = sample(1, 20_000, spread), np.array([20_000])
    shares = np.bincount(values.astype(int) + 128) / len(values)
    shares = shares[shares > 0]
    least = -(shares * np.log2(shares)).sum() * len(values) / 8
    stream = entropy.encode(values, sizes)
    assert least * 0.999 < len(stream) < least * 1.04
    assert entropy.size(values, sizes) == pytest.approx(len(stream), rel=0.005)


def test_groups_of_different_spread_do_not_cost_each_other_anything():
    narrow, wide = sample(2, 8000, 0.7), sample(3, 8000, 20)
    apart = [len(entropy.encode(v, np.array([8000]))) for v in (narrow, wide)]
    both = len(entropy.encode(np.concatenate([narrow, wide]), np.array([8000, 8000])))
    assert both < sum(apart) + 3


def test_what_was_written_once_is_read_for_ever():
    """A stream that was written when this test was: the tables must never change."""
    values = sample(4, 64, np.repeat([0, 0.5, 2, 40], 16))
    stream = bytes.fromhex("05000520564c91af6ea87c07e0d1de489d7f6df12526d1c49c67b65000")
    np.testing.assert_array_equal(entropy.decode(stream, sizes_of(64)), values)


@given(noise=st.binary(max_size=400), count=st.integers(1, 300))
def test_noise_is_refused_or_gives_so_many_numbers(noise, count):
    sizes = sizes_of(count)
    for stream in (noise, b"\x05" + bytes(len(sizes)) + noise):
        with suppress(StreamError):
            assert entropy.decode(stream, sizes).shape == (count,)


STREAM = entropy.encode(sample(5, 500, 3), sizes_of(500))


@given(position=st.integers(0, len(STREAM) - 1), value=st.integers(0, 255))
def test_damage_never_gives_other_shapes_or_errors(position, value):
    damaged = bytearray(STREAM)
    damaged[position] = value
    with suppress(StreamError):
        assert entropy.decode(bytes(damaged), sizes_of(500)).shape == (500,)


@given(length=st.integers(0, len(STREAM) - 1), more=st.binary(min_size=1, max_size=9))
def test_cuts_and_additions_are_refused(length, more):
    for stream in (STREAM[:length], STREAM + more):
        with pytest.raises(StreamError):
            entropy.decode(stream, sizes_of(500))
