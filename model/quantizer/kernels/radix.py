"""Floats in order, digit by digit of their bits: some passes, whatever the numbers.

As whole numbers the bits of positive floats are in order, and those of negative ones in the
opposite order. A digit that all share, as the last ones of fp16 and bf16 in fp32, takes no pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled

Bits = NDArray[Any]
Counts = NDArray[np.int64]


@compiled
def _keys(bits: Bits, key: Bits, width: int, digit: int, counts: Counts) -> None:
    """The keys of some bits, and how often each digit occurs in each place (places, 2^digit)."""
    sign, every = np.uint64(width - 1), np.uint64(2**64 - 1) >> np.uint64(64 - width)
    top, mask = np.uint64(1) << sign, np.uint64((1 << digit) - 1)
    counts[:] = 0
    for j in range(len(bits)):
        own = np.uint64(bits[j])
        own ^= every if own >> sign else top
        key[j] = own
        for place in range(len(counts)):
            counts[place, own & mask] += 1
            own >>= np.uint64(digit)


@compiled
def _pass(source: Bits, target: Bits, shift: int, digit: int, places: Counts) -> None:
    """In the order of one digit; `places` (2^digit,): how often it occurs, then where it ends."""
    down, mask = np.uint64(shift), np.uint64((1 << digit) - 1)
    before = 0
    for value in range(len(places)):
        places[value], before = before, before + places[value]
    for j in range(len(source)):
        own = (np.uint64(source[j]) >> down) & mask
        target[places[own]] = source[j]
        places[own] += 1


@compiled
def sort_bits(bits: Bits, width: int, digit: int) -> None:
    """Each row of the bits of floats (rows, n) in ascending order of these, in place.

    width: 32 or 64 bits; digit: so many bits at once, 8 for short rows, 11 for long ones. -0 comes
    before 0, NaN at the ends.
    """
    n = bits.shape[1]
    source, target = np.empty(n, bits.dtype), np.empty(n, bits.dtype)
    counts = np.empty(((width + digit - 1) // digit, 1 << digit), np.int64)
    sign, every = np.uint64(width - 1), np.uint64(2**64 - 1) >> np.uint64(64 - width)
    top, mask = np.uint64(1) << sign, np.uint64((1 << digit) - 1)
    for row in range(len(bits)):
        _keys(bits[row], source, width, digit, counts)
        for place in range(len(counts)):
            if counts[place, (np.uint64(source[0]) >> np.uint64(place * digit)) & mask] < n:
                _pass(source, target, place * digit, digit, counts[place])
                source, target = target, source
        for j in range(n):
            own = np.uint64(source[j])
            bits[row, j] = own ^ (top if own >> sign else every)
