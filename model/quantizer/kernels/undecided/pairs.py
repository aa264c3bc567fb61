"""Numbers of 106 bits, unevaluated pairs high + low, and the sums of a row in these."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled

Floats = NDArray[np.float64]
Pair = tuple[float, float]

SPLIT = 134217729.0  # 2**27 + 1 halves a float64's 53 bits (Dekker)

# Rows of what `pair_sums` returns; the low halves are one below.
VALUE, WEIGHT, SUM, SQUARES = 0, 2, 4, 6


@compiled
def two_sum(a: float, b: float) -> Pair:
    """a + b exactly, as its rounding and the rest (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@compiled
def two_product(a: float, b: float) -> Pair:
    """a * b exactly, as its rounding and the rest (Dekker); needs abs < 1e150."""
    product = a * b
    t = SPLIT * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = SPLIT * b
    b_high = t - (t - b)
    b_low = b - b_high
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, rest


@compiled
def add(a: Pair, b: Pair) -> Pair:
    """The sum of two pairs, to about 2**-104."""
    total, rest = two_sum(a[0], b[0])
    low_total, low_rest = two_sum(a[1], b[1])
    total, rest = two_sum(total, rest + low_total)
    return two_sum(total, rest + low_rest)


@compiled
def times(a: Pair, b: Pair) -> Pair:
    """The product of two pairs, to about 2**-102."""
    product, rest = two_product(a[0], b[0])
    return two_sum(product, rest + (a[0] * b[1] + a[1] * b[0]))


@compiled
def over(a: Pair, b: Pair) -> Pair:
    """The quotient of two pairs, to about 2**-102."""
    quotient = a[0] / b[0]
    back = times((quotient, 0.0), b)
    rest = add(a, (-back[0], -back[1]))
    return two_sum(quotient, (rest[0] + rest[1]) / b[0])


@compiled
def between(sums: Floats, row: int, a: int, b: int) -> Pair:
    """The pair sums[row, b] - sums[row, a]."""
    return add((sums[row, b], sums[row + 1, b]), (-sums[row, a], -sums[row + 1, a]))


@compiled
def pair_sums(points: Floats, heavy: Floats, center: float) -> Floats:
    """(8, n + 1) pairs: value - center; sums of weights, values and squares before each."""
    n = len(points)
    sums = np.zeros((8, n + 1))
    for j in range(n):
        weight = (heavy[j], 0.0)
        value = two_sum(points[j], -center)
        moment = times(weight, value)
        square = times(moment, value)
        sums[VALUE, j], sums[VALUE + 1, j] = value
        for row, pair in ((WEIGHT, weight), (SUM, moment), (SQUARES, square)):
            sums[row, j + 1], sums[row + 1, j + 1] = add((sums[row, j], sums[row + 1, j]), pair)
    return sums
