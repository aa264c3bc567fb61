"""Rounding of integers to nearest even: the one rounding that the engine knows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def shift_right_even(values: Integers, amount: Integers) -> Integers:
    """`values / 2**amount` to the nearest integer, halves to the even one; `amount` in 0..63."""
    floor = values >> amount
    rest = values & ((np.uint64(1) << amount.astype(np.uint64)) - np.uint64(1)).astype(np.int64)
    half = np.int64(1) << np.maximum(amount - 1, 0)
    rounded: Integers = floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))
    return rounded
