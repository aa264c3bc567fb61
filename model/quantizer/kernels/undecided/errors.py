"""The error of any cluster of a row, roughly and with 106 bits.

Kinds of error: ABSOLUTE (about a median), SQUARED (about a mean), LATTICE (squared, about the
nearest whole number within limits). All are concave Monge, so the best break never decreases with
the end, and halving finds all breaks of a layer in O(n log n) steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled, unchecked
from dpnet.model.quantizer.kernels.price.table import LIGHT, UNIT
from dpnet.model.quantizer.kernels.undecided.pairs import (
    SQUARES,
    SUM,
    VALUE,
    WEIGHT,
    add,
    between,
    over,
    times,
)

Floats = NDArray[np.float64]

ABSOLUTE, SQUARED, LATTICE = 1, 2, 3


@compiled
def _median(sums: Floats, a: int, b: int) -> int:
    """The lower weighted median of the points a..b-1."""
    low, high = a, b - 1
    while low < high:
        middle = (low + high) // 2
        up_to = between(sums, WEIGHT, a, middle + 1)
        beyond = between(sums, WEIGHT, middle + 1, b)
        more = add(up_to, (-beyond[0], -beyond[1]))
        if more[0] + more[1] >= 0.0:
            high = middle
        else:
            low = middle + 1
    return low


@compiled
def _entry(mean: float, lowest: float, highest: float) -> float:
    """The nearest whole number within the limits, ties to even."""
    return min(max(np.rint(mean), lowest), highest)


@unchecked
def exact_error(sums: Floats, kind: int, lowest: float, highest: float, a: int, b: int) -> float:
    """The error of the points a..b-1, to about 30 digits of the largest sum."""
    total = between(sums, SUM, a, b)
    if kind == ABSOLUTE:
        p = _median(sums, a, b)
        value = (sums[VALUE, p], sums[VALUE + 1, p])
        above, below = between(sums, WEIGHT, p, b), between(sums, WEIGHT, a, p)
        weight = times(value, add(below, (-above[0], -above[1])))
        above, below = between(sums, SUM, p, b), between(sums, SUM, a, p)
        error = add(add(above, (-below[0], -below[1])), weight)
        return max(error[0] + error[1], 0.0)
    weight = between(sums, WEIGHT, a, b)
    square = between(sums, SQUARES, a, b)
    if kind == SQUARED:
        part = over(times(total, total), weight)
        error = add(square, (-part[0], -part[1]))
    else:
        entry = _entry(total[0] / weight[0], lowest, highest)
        part = times((entry, 0.0), weight)
        part = times((entry, 0.0), add(part, (-2.0 * total[0], -2.0 * total[1])))
        error = add(square, part)
    return max(error[0] + error[1], 0.0)


@unchecked
def rough_error(sums: Floats, kind: int, lowest: float, highest: float, a: int, b: int) -> float:
    """The error of the points a..b-1 from the high halves."""
    total = sums[SUM, b] - sums[SUM, a]
    if kind == ABSOLUTE:
        p = _median(sums, a, b)
        above = sums[SUM, b] - sums[SUM, p] - sums[VALUE, p] * (sums[WEIGHT, b] - sums[WEIGHT, p])
        below = sums[SUM, p] - sums[SUM, a] - sums[VALUE, p] * (sums[WEIGHT, p] - sums[WEIGHT, a])
        return above - below
    weight = sums[WEIGHT, b] - sums[WEIGHT, a]
    if weight < LIGHT * sums[WEIGHT, -1]:
        return exact_error(sums, kind, lowest, highest, a, b)
    square = sums[SQUARES, b] - sums[SQUARES, a]
    if kind == SQUARED:
        return square - total * total / weight
    entry = _entry(total / weight, lowest, highest)
    return square + entry * (entry * weight - 2.0 * total)


@compiled
def error_units(sums: Floats, heavy: Floats, kind: int, whole: bool) -> float:
    """How many units the error of a cluster may be off, see `model.quantizer.kernels.program`."""
    n = sums.shape[1] - 1
    largest, reach, mass = np.abs(sums[SUM]).max(), np.abs(sums[VALUE]).max(), sums[WEIGHT, n]
    if kind == ABSOLUTE:
        return 8.0 * (largest + reach * mass)
    units = 8.0 * reach * largest + 24.0 * sums[SQUARES, n]
    if kind == LATTICE:
        units += 8.0 * (reach + 1.0) ** 2 * mass
    if whole:
        return units
    light = max(heavy.min(), LIGHT * mass)
    return units + 8.0 * reach**2 * mass + 16.0 * UNIT * (largest**2 + (reach * mass) ** 2) / light
