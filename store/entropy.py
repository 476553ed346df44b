"""Small numbers as few bits: what is rare takes more of them. N: numbers, S: steps, K: lanes.

Everything that decides how a stream is read is integers: every machine reads what any other wrote.

Numbers come in groups of similar width: the components of latents differ in theirs up to
twentyfold. Of a number in a group of `shift` k, the k lowest bits of its magnitude and its sign say
nothing that could be foreseen and are written as they are; the rest, cut off at 15, is one of 16
symbols, which table ANS (Duda, arXiv 1311.2540) writes in just over their entropy. Magnitudes of
15 and more are written out behind it.

The symbols are decoded in S steps of K at once, one a lane. Each lane begins with a state of 12
bits. That would be a loss, so the encoder lets the lanes end in the first of the bits that are
written as they are: the states carry them for nothing.

A stream is, in this order, each part beginning at a whole byte, bits from the highest down:

    log2 of S    1 byte
    groups       a byte each: the model, and 16 times the shift
    states       12 bits a lane
    symbols      for each step, of each lane the bits that its state asks for
    bits         of what is not in the states
    escapes      a byte for each symbol 15: the magnitude

Symbol number n (of N, filled up with zeros to S K) is in lane n // S at step n mod S.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SYMBOLS = 16
_ESCAPE = SYMBOLS - 1
_BITS = 12
_STATES = 1 << _BITS
# The decay of each model in 32nds: at 0 nearly all is zero, at 24 the spread is about 3.
_DECAYS = (0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24)
_SHIFTS = 6
_MAGNITUDES = 129
_FEWEST_STEPS, _MOST_STEPS = 5, 12  # as powers of 2


class StreamError(ValueError):
    """A stream is not what `encode` made."""


def encode(values: NDArray[np.int8], sizes: NDArray[np.int64]) -> bytes:
    """A stream of the numbers int8 [N], N at least 1, in groups of these sizes, int64 [G]."""
    magnitudes = np.abs(values.astype(np.int16)).astype(np.uint8)
    model, shift, _ = _chosen(magnitudes, sizes)
    shifts = np.repeat(shift, sizes)
    symbols = np.minimum(magnitudes >> shifts, _ESCAPE)
    raw = np.concatenate(
        [
            *(magnitudes[shifts > k] >> k & 1 for k in range(int(shift.max(initial=0)))),
            (values < 0)[magnitudes > 0],
        ]
    ).astype(np.uint8)
    power = _FEWEST_STEPS
    while power < _MOST_STEPS and _BITS * _lanes(len(values), power) > len(raw):
        power += 1
    lanes = _lanes(len(values), power)
    carried = np.zeros(_BITS * lanes, np.uint8)
    given = raw[: len(carried)]
    carried[: len(given)] = given
    states = _numbers(carried)
    pairs = np.zeros(lanes << power, np.int64)
    pairs[: len(values)] = np.repeat(model.astype(np.int64), sizes) * SYMBOLS + symbols
    pairs = np.ascontiguousarray(pairs.reshape(lanes, -1).T)
    number, taken = np.empty_like(pairs), np.empty_like(pairs)
    _, widths, offsets, following = _tables()
    for step in reversed(range(1 << power)):
        pair = pairs[step]
        whole = states + _STATES
        bits = (whole + widths[pair]) >> 16
        number[step], taken[step] = whole & ((1 << bits) - 1), bits
        states = following[(whole >> bits) + offsets[pair]]
    return b"".join(
        (
            bytes([power]),
            (model | shift << 4).tobytes(),
            _packed(states, np.full(lanes, _BITS)),
            _packed(number.ravel(), taken.ravel()),
            np.packbits(raw[len(carried) :]).tobytes(),
            magnitudes[symbols == _ESCAPE].tobytes(),
        )
    )


def decode(stream: bytes | memoryview, sizes: NDArray[np.int64]) -> NDArray[np.int8]:
    """The numbers int8 [N] of a stream, in groups of these sizes, int64 [G].

    Takes about 20 bytes of memory for each of the N numbers, whatever the stream says.

    Raises:
        StreamError: it is damaged.
    """
    data = np.frombuffer(stream, np.uint8)
    count, groups = int(sizes.sum()), len(sizes)
    if len(data) <= groups or not _FEWEST_STEPS <= data[0] <= _MOST_STEPS:
        raise StreamError("it does not begin as one")
    power = int(data[0])
    model, shift = data[1 : 1 + groups] & 15, data[1 : 1 + groups] >> 4
    if model.max() >= len(_DECAYS) or shift.max() >= _SHIFTS:
        raise StreamError("it names a model that there is not")
    lanes = _lanes(count, power)
    at = 1 + groups
    states = _numbers(_bits(data, at, _BITS * lanes))
    at += -(-_BITS * lanes // 8)
    symbols, at = _symbols(data, at, states, np.repeat(model, sizes), power)
    carried = _unnumbered(states)

    shifts = np.repeat(shift, sizes)
    low = [np.flatnonzero(shifts > k) for k in range(int(shift.max()))]
    # Which numbers have a sign is known only when their low bits are.
    known = sum(map(len, low))
    raw = np.concatenate([carried, _bits(data, at, max(0, known - len(carried)))])
    magnitudes = symbols << shifts
    start = 0
    for k, those in enumerate(low):
        magnitudes[those] |= raw[start : start + len(those)] << k
        start += len(those)
    escaped = np.flatnonzero(symbols == _ESCAPE)
    # An escaped magnitude is at least 15, so that it has a sign is known before it is read.
    magnitudes[escaped] = _ESCAPE
    signed = np.flatnonzero(magnitudes)
    more = max(0, known + len(signed) - len(carried))
    raw = np.concatenate([carried, _bits(data, at, more)])
    at += -(-more // 8)
    if len(data) != at + len(escaped):
        raise StreamError(f"it has {len(data)} bytes instead of {at + len(escaped)}")
    magnitudes[escaped] = data[at:]
    values = magnitudes.astype(np.int16)
    values[signed] *= 1 - 2 * raw[known : known + len(signed)].astype(np.int16)
    if values.max() > 127 or values.min() < -128:
        raise StreamError("it holds a number of more than 8 bits")
    return values.astype(np.int8)


def size(values: NDArray[np.int8], sizes: NDArray[np.int64]) -> int:
    """About how many bytes `encode` needs; a fraction of its work."""
    magnitudes = np.abs(values.astype(np.int16)).astype(np.uint8)
    cost = _chosen(magnitudes, sizes)[2]
    return 1 + len(sizes) + int(cost + np.count_nonzero(values)) // 8


def _lanes(count: int, power: int) -> int:
    return -(-count >> power)


def _chosen(
    magnitudes: NDArray[np.uint8], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], float]:
    """The model and the shift of each group that need the fewest bits, and how many, without signs.

    Which are chosen may differ between machines by rounding; what is written says it.
    """
    groups = len(sizes)
    owner = np.repeat(np.arange(groups) * _MAGNITUDES, sizes)
    counts = np.bincount(owner + magnitudes, minlength=groups * _MAGNITUDES)
    cost = counts.reshape(groups, _MAGNITUDES).astype(np.float64) @ _prices()
    best = cost.argmin(1)
    shift, model = np.divmod(best, len(_DECAYS))
    return model.astype(np.uint8), shift.astype(np.uint8), float(cost.min(1).sum())


@cache
def _prices() -> NDArray[np.float64]:
    """How many bits each magnitude takes without its sign, float64 [129, shifts x models]."""
    frequencies = np.stack([_frequencies(decay) for decay in _DECAYS])
    prices = (_BITS - np.log2(frequencies)).T
    prices[_ESCAPE] += 8  # the magnitude behind the bits
    all_of_them = np.arange(_MAGNITUDES)
    return np.concatenate(
        [prices[np.minimum(all_of_them >> k, _ESCAPE)] + k for k in range(_SHIFTS)], axis=1
    )


def _frequencies(decay: int) -> NDArray[np.int64]:
    """How many of the states stand for each of the 16 symbols.

    A number below m + 1/2 in magnitude has under a logistic distribution the probability
    (1 - r^(2m+1)) / (1 + r^(2m+1)), r = decay / 32. Each symbol has a state at least.
    """
    ends = [0]
    for m in range(_ESCAPE):
        far, near = decay ** (2 * m + 1), 32 ** (2 * m + 1)
        ends.append(m + 1 + (_STATES - SYMBOLS) * (near - far) // (near + far))
    return np.diff([*ends, _STATES])


@cache
def _tables() -> tuple[NDArray[np.int64], ...]:
    """For decoding and encoding.

    Returns:
        decoding: for each model's states in turn: symbol, bits to read (from bit 4) and what is to
            be added to them (from bit 8).
        widths, offsets: for each model's symbols in turn: how many bits a state s from 4096 gives
            away is (s + width) >> 16, and what is left of it plus the offset a place in following.
        following: the state that comes then, less 4096.
    """
    places = np.arange(_STATES) * ((_STATES >> 1) + (_STATES >> 3) + 3) % _STATES
    decoding, widths, offsets, following = [], [], [], []
    for number, decay in enumerate(_DECAYS):
        counts = _frequencies(decay)
        symbols = np.empty(_STATES, np.int64)
        symbols[places] = np.repeat(np.arange(SYMBOLS), counts)
        by_symbol = np.argsort(symbols, kind="stable")
        starts = np.cumsum(counts) - counts
        # The states of a symbol stand for the numbers from its count to twice that.
        inner = np.empty(_STATES, np.int64)
        inner[by_symbol] = np.arange(_STATES) - np.repeat(starts - counts, counts)
        bits = _BITS + 1 - _lengths(inner)
        decoding.append(symbols | bits << 4 | ((inner << bits) - _STATES) << 8)
        most = _BITS + 1 - _lengths(counts)
        # Of states from 4096 on, those below count << most give a bit less.
        widths.append((most << 16) - (counts << most))
        offsets.append(number * _STATES + starts - counts)
        following.append(by_symbol)
    return tuple(map(np.concatenate, (decoding, widths, offsets, following)))


def _lengths(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many binary digits each number has."""
    return np.array([int(number).bit_length() for number in numbers.tolist()], np.int64)


def _symbols(
    data: NDArray[np.uint8],
    at: int,
    states: NDArray[np.int64],
    models: NDArray[np.uint8],
    power: int,
) -> tuple[NDArray[np.uint8], int]:
    """The symbols uint8 [N] of models [N], and where they end. `states` [K] is changed."""
    lanes, steps = len(states), 1 << power
    base = np.zeros(lanes * steps, np.uint16)
    base[: len(models)] = models.astype(np.uint16) << _BITS
    base = np.ascontiguousarray(base.reshape(lanes, steps).T)
    found = np.empty((steps, lanes), np.uint8)
    table = _tables()[0]
    # One more than there are bytes: reading no bits may begin behind the last.
    padded = np.concatenate([data[at:], np.zeros(3, np.uint8)]).astype(np.int32)
    windows = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
    end, place = 8 * (len(data) - at), 0
    for step in range(steps):
        entry = table[states + base[step]]
        found[step] = entry & 15
        bits = entry >> 4 & 15
        ends = np.cumsum(bits)
        if place + ends[-1] > end:
            raise StreamError("it is cut off")
        starts = ends - bits + place
        states[:] = windows[starts >> 3] >> (24 - bits - (starts & 7)) & ((1 << bits) - 1)
        states += entry >> 8
        place += int(ends[-1])
    return found.T.ravel()[: len(models)], at + -(-place // 8)


def _packed(numbers: NDArray[np.int64], widths: NDArray[np.int64]) -> bytes:
    """The lowest `widths` bits, at most 12, of each number, one after the other."""
    ends = widths.cumsum()
    starts = ends - widths
    words = starts >> 5
    # Each in 64 bits, of which the first is that of its word of 32; no two have a bit in common.
    low = (numbers & (1 << widths) - 1).astype(np.uint64)
    placed = low << (64 - widths - (starts & 31)).astype(np.uint64)
    firsts = np.concatenate(([0], np.flatnonzero(words[1:] != words[:-1]) + 1))
    whole = np.zeros(int(words[-1]) + 2, np.uint64)
    whole[words[firsts]] = np.add.reduceat(placed, firsts)
    stream = (whole >> np.uint64(32)).astype(">u4")
    stream[1:] |= whole[:-1].astype(np.uint32)
    return stream.tobytes()[: -(-int(ends[-1]) // 8)]


def _bits(data: NDArray[np.uint8], at: int, number: int) -> NDArray[np.uint8]:
    """So many bits from byte `at` on, each as 0 or 1."""
    piece = data[at : at + -(-number // 8)]
    if 8 * len(piece) < number:
        raise StreamError("it is cut off")
    return np.unpackbits(piece)[:number]


def _numbers(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers of 12 bits."""
    return bits.reshape(-1, _BITS).astype(np.int64) @ (1 << np.arange(_BITS)[::-1])


def _unnumbered(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The bits of numbers of 12 bits."""
    bits = np.unpackbits((numbers << (16 - _BITS)).astype(">u2").view(np.uint8))
    return bits.reshape(-1, 16)[:, :_BITS].ravel()
