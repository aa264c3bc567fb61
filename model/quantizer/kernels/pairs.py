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
def centered(points: Floats, center: float) -> Floats:
    """(2, n): point - center, exactly."""
    values = np.empty((2, len(points)))
    for j in range(len(points)):
        values[0, j], values[1, j] = two_sum(points[j], -center)
    return values


@compiled
def pair_sums(values: Floats, heavy: Floats, start: int) -> Floats:
    """(8, n + 1) pairs: values; sums of weights, values and squares before each.

    values (2, n), high and low. Sums are added up from the place `start` on, in both directions,
    and below it they are negative: differences are the same, and have no digits of what is far
    from `start` but between its own ends.
    """
    n = values.shape[1]
    sums = np.zeros((8, n + 1))
    sums[VALUE : VALUE + 2, :n] = values
    for j in range(start, n):
        for row, pair in _terms(values, heavy, j):
            sums[row, j + 1], sums[row + 1, j + 1] = add((sums[row, j], sums[row + 1, j]), pair)
    for j in range(start - 1, -1, -1):
        for row, pair in _terms(values, heavy, j):
            less = (-pair[0], -pair[1])
            sums[row, j], sums[row + 1, j] = add((sums[row, j + 1], sums[row + 1, j + 1]), less)
    return sums


@compiled
def _terms(
    values: Floats, heavy: Floats, j: int
) -> tuple[tuple[int, Pair], tuple[int, Pair], tuple[int, Pair]]:
    """What the point j adds to each of the sums."""
    weight = (heavy[j], 0.0)
    value = (values[0, j], values[1, j])
    moment = times(weight, value)
    return (WEIGHT, weight), (SUM, moment), (SQUARES, times(moment, value))
