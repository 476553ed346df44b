import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.pruning import pairs as near
from store.pruning.merge import average, concentrate, fit, merge
from store.pruning.tokens import TokenSet, quantise


def part(seed, tokens, *chunks, size=8):
    """A modulation of random latents that `chunks` share, each with all of its tokens."""
    z = np.random.default_rng(seed).standard_normal((tokens, size)).astype(np.float32)
    return TokenSet(*quantise(z), {chunk: np.arange(tokens) for chunk in chunks})


def values(one):
    return one.latents.astype(np.float32) * one.scales.astype(np.float32)[:, None]


def read(one, chunk):
    return values(one)[one.members[chunk]]


def squared_error(one, originals):
    return sum(((read(one, c) - read(p, c)) ** 2).sum() for p in originals for c in p.members)


def slowly(z, tokens):
    """Ward's clustering one pair at a time: the squared error that is left."""
    clusters = [[row] for row in z.astype(float)]
    while len(clusters) > tokens:
        means = [np.mean(c, axis=0) for c in clusters]
        costs = {
            (i, j): len(a) * len(b) / (len(a) + len(b)) * ((means[i] - means[j]) ** 2).sum()
            for i, a in enumerate(clusters)
            for j, b in enumerate(clusters)
            if i < j
        }
        i, j = min(costs, key=costs.get)
        clusters[i] += clusters.pop(j)
    return sum(((np.array(c) - np.mean(c, axis=0)) ** 2).sum() for c in clusters)


@pytest.mark.parametrize("tokens", [1, 4, 9, 16])
def test_merging_is_about_as_good_as_one_pair_at_a_time(tokens):
    parts = [part(1, 9, 1), part(2, 8, 2)]
    merged = merge(parts, tokens)
    assert len(merged.latents) == tokens
    best = slowly(np.concatenate([values(p) for p in parts]), tokens)
    rounding = 0.02 * sum((values(p) ** 2).sum() for p in parts)
    assert squared_error(merged, parts) <= 1.15 * best + rounding


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    tokens=st.integers(1, 20),
    order=st.randoms(use_true_random=False),
)
def test_the_order_does_not_matter_and_every_token_stands_for_something(lengths, tokens, order):
    parts = [part(n, length, 2 * n, 2 * n + 1) for n, length in enumerate(lengths)]
    shuffled = list(parts)
    order.shuffle(shuffled)
    for one, other in (
        (merge(parts, tokens), merge(shuffled, tokens)),
        (average(parts), average(shuffled)),
    ):
        assert one.members.keys() == other.members.keys() == set(range(2 * len(parts)))
        assert one.counts().sum() == 2 * sum(lengths) and one.counts().min() >= 1
        for chunk in one.members:
            assert len(one.members[chunk]) == lengths[chunk // 2]
            np.testing.assert_array_equal(read(one, chunk), read(other, chunk))
    assert len(merge(parts, tokens).latents) <= max(tokens, 1)
    assert len(average(parts).latents) == max(lengths)


def test_an_average_is_taken_place_by_place_over_the_longest():
    short, long = part(1, 3, 1), part(2, 5, 2)
    one = average([long, short])
    mean = (values(short) + values(long)[:3]) / 2
    np.testing.assert_allclose(values(one)[:3], mean, atol=np.abs(mean).max() / 100)
    np.testing.assert_array_equal(values(one)[3:], values(long)[3:])
    np.testing.assert_array_equal(one.members[1], [0, 1, 2])
    # A third chunk counts as one of three, not as half.
    third = part(3, 3, 3)
    again = average([one, third])
    mean = (values(short) + values(long)[:3] + values(third)) / 3
    np.testing.assert_allclose(values(again)[:3], mean, atol=np.abs(mean).max() / 50)


def test_what_stands_for_more_weighs_more():
    near = np.array([[1.0, 0], [0.9, 0], [0, 9]], np.float32)
    two = merge([TokenSet(*quantise(near), {1: np.array([0, 0, 0, 1, 2])})], 2)
    np.testing.assert_allclose(values(two)[0], [0.975, 0], atol=0.01)
    np.testing.assert_array_equal(two.members[1], [0, 0, 0, 0, 1])


def test_twins_are_kept_to_the_bit():
    one, twin = part(5, 7, 1), part(5, 7, 2)
    merged = merge([one, twin], 7)
    for chunk in (1, 2):
        np.testing.assert_array_equal(merged.latents[merged.members[chunk]], one.latents)
        np.testing.assert_array_equal(merged.scales[merged.members[chunk]], one.scales)


def test_tokens_of_removed_chunks_are_left_out():
    shared = part(1, 6)
    shared.members[4] = np.array([1, 3, 3])
    compact = merge([shared], 6)
    assert len(compact.latents) == 2
    np.testing.assert_array_equal(read(compact, 4), values(shared)[[1, 3, 3]])
    assert len(average([shared, part(2, 2, 7)]).latents) == 4


def test_large_sets_are_merged_in_parts(monkeypatch):
    monkeypatch.setattr("store.pruning.merge._MOST", 32)
    monkeypatch.setattr("store.pruning.merge._BLOCK", 7)
    parts = [part(n, 11, n) for n in range(12)]
    merged = merge(parts, 10)
    assert len(merged.latents) == 10 and merged.members.keys() == set(range(12))
    nothing = sum(((values(p) - values(p).mean(0)) ** 2).sum() for p in parts)
    assert squared_error(merged, parts) < nothing


def test_a_set_needs_a_token():
    with pytest.raises(ValueError, match="at least 1 token, not 0"):
        merge([part(1, 3, 1)], 0)


# pairs


def twins(n, rng, size=16):
    """2n vectors, the i-th near the (i + n)-th."""
    half = rng.standard_normal((n, size))
    noise = 0.05 * rng.standard_normal((n, size))
    return np.concatenate([half, half + noise]).astype(np.float16)


def test_nearest_pairs_are_found():
    vectors = twins(60, np.random.default_rng(0))
    pairs = near.near_pairs(vectors, 60, seed=0)
    assert sorted(map(tuple, np.sort(pairs, axis=1).tolist())) == [(i, i + 60) for i in range(60)]
    z = vectors.astype(np.float32)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    cosines = (z[pairs[:, 0]] * z[pairs[:, 1]]).sum(1)
    assert (np.diff(cosines) <= 1e-6).all()
    np.testing.assert_array_equal(near.near_pairs(vectors, 9, seed=0), pairs[:9])


@pytest.mark.parametrize("n", [2, 3, 40, 101])
def test_everyone_finds_a_partner(n, monkeypatch):
    monkeypatch.setattr(near, "_NEAREST", 2)
    monkeypatch.setattr(near, "_PRODUCTS", 100)
    vectors = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float16)
    vectors[0] = 0
    pairs = near.near_pairs(vectors, n // 2, seed=1)
    assert pairs.shape == (n // 2, 2) and len(np.unique(pairs)) == 2 * (n // 2)


def test_cells_lose_few_pairs(monkeypatch):
    monkeypatch.setattr(near, "CELL", 50)
    vectors = twins(200, np.random.default_rng(1))
    pairs = near.near_pairs(vectors, 200, seed=0)
    assert len(np.unique(pairs)) == 400
    assert (np.abs(pairs[:, 0] - pairs[:, 1]) == 200).mean() > 0.6
    np.testing.assert_array_equal(pairs, near.near_pairs(vectors, 200, seed=0))


def test_random_pairs_are_disjoint():
    pairs = near.random_pairs(11, 5, seed=3)
    assert pairs.shape == (5, 2) and len(np.unique(pairs)) == 10


# within a number of bytes


def packed(latents, scales):
    return len(zlib.compress(latents.tobytes())) + scales.nbytes


@pytest.mark.parametrize("share", [0.75, 0.5, 0.25, 0.1])
def test_what_fits_has_less_error_than_so_many_fewer_tokens(share):
    parts = [part(n, 24, n, size=128) for n in range(3)]
    size = sum(packed(p.latents, p.scales) for p in parts)
    one = fit(parts, share, packed)
    assert packed(one.latents, one.scales) <= share * size
    assert one.members.keys() == {0, 1, 2} and one.counts().min() >= 1
    fewer = merge(parts, round(share * 72))
    assert squared_error(one, parts) < 0.9 * squared_error(fewer, parts)
    again = fit(parts[::-1], share, packed)
    for chunk in one.members:
        np.testing.assert_array_equal(read(one, chunk), read(again, chunk))


def test_twins_fit_into_half_without_loss():
    one = fit([part(5, 30, 1, size=128), part(5, 30, 2, size=128)], 0.5, packed)
    for chunk in (1, 2):
        np.testing.assert_array_equal(read(one, chunk), values(part(5, 30, 1, size=128)))


def test_few_bytes_go_to_the_newest():
    parts = [part(n, 24, n, size=128) for n in range(8)]
    size = sum(packed(p.latents, p.scales) for p in parts)
    one = concentrate(parts, 0.125, packed)
    assert packed(one.latents, one.scales) <= 0.125 * size
    assert one.members.keys() == set(range(8))
    alone = fit(parts[4:], 0.25, packed)
    for chunk in (4, 5, 6, 7):  # half of them, each at a quarter of its bytes
        error = ((read(one, chunk) - values(parts[chunk])) ** 2).sum()
        assert error <= 1.1 * ((read(alone, chunk) - values(parts[chunk])) ** 2).sum()
    again = concentrate(parts[::-1], 0.125, packed)
    for chunk in one.members:
        np.testing.assert_array_equal(read(one, chunk), read(again, chunk))


def test_a_quarter_of_the_bytes_is_for_all():
    parts = [part(n, 24, n, size=128) for n in range(3)]
    for share in (0.25, 0.9):
        one, other = concentrate(parts, share, packed), fit(parts, share, packed)
        assert one.latents.tobytes() == other.latents.tobytes()


def test_one_alone_gets_coarser():
    alone = part(1, 20, 1, size=128)
    one = fit([alone], 0.5, packed)
    assert (
        len(one.latents) == 20 and squared_error(one, [alone]) < 0.05 * (values(alone) ** 2).sum()
    )
    assert fit([alone], 1.0, packed).latents.tobytes() == alone.latents.tobytes()
