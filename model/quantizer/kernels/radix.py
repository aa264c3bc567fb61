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
Floats = NDArray[Any]
Counts = NDArray[np.uint32]

ONE = np.uint32(1)


@compiled
def _keys(bits: Bits, key: Bits, width: int) -> None:
    """Whole numbers in the order of the floats of these bits."""
    sign, every = np.uint64(width - 1), np.uint64(2**64 - 1) >> np.uint64(64 - width)
    top = np.uint64(1) << sign
    for j in range(len(bits)):
        own = np.uint64(bits[j])
        key[j] = own ^ (every if own >> sign else top)


@compiled
def _count(key: Bits, shift: int, mask: int, places: Counts) -> None:
    """How often each digit occurs in one place."""
    down, digit = np.uint64(shift), np.uint64(mask)
    places[:] = 0
    for j in range(len(key)):
        places[(np.uint64(key[j]) >> down) & digit] += ONE


@compiled
def _pass(source: Bits, target: Bits, shift: int, mask: int, places: Counts) -> None:
    """In the order of one digit; `places` (digits,): how often it occurs, then where it ends."""
    down, digit = np.uint64(shift), np.uint64(mask)
    before = np.uint32(0)
    for value in range(len(places)):
        places[value], before = before, before + places[value]
    for j in range(len(source)):
        own = source[j]
        at = (np.uint64(own) >> down) & digit
        place = places[at]
        target[place] = own
        places[at] = place + ONE


@compiled
def sort_bits(
    bits: Bits, width: int, digit: int, room: Bits, floats: Floats, ordered: Floats
) -> None:
    """Each row of the bits of floats (rows, n < 2**32) in ascending order of these, as float64.

    width: 32 or 64 bits; digit: so many bits at once, 8 for short rows, 11 for long ones. room
    (2, n) of bits, floats (2, n) the same memory as floats; ordered (rows, n) is written. -0 comes
    before 0, NaN at the ends.
    """
    n, mask, source = bits.shape[1], (1 << digit) - 1, 0
    places = np.empty(1 << digit, np.uint32)
    sign, every = np.uint64(width - 1), np.uint64(2**64 - 1) >> np.uint64(64 - width)
    top = np.uint64(1) << sign
    for row in range(len(bits)):
        _keys(bits[row], room[source], width)
        for shift in range(0, width, digit):
            _count(room[source], shift, mask, places)
            if places[(np.uint64(room[source, 0]) >> np.uint64(shift)) & np.uint64(mask)] < n:
                _pass(room[source], room[1 - source], shift, mask, places)
                source = 1 - source
        key, found = room[source], floats[source]
        for j in range(n):
            own = np.uint64(key[j])
            key[j] = own ^ (top if own >> sign else every)
        for j in range(n):
            ordered[row, j] = found[j]
