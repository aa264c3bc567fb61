"""The error of any cluster of a row, roughly and with 106 bits.

All kinds are concave Monge, so the best break never decreases with the end, and halving finds all
breaks of a layer in O(n log n) steps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled, unchecked
from dpnet.model.quantizer.kernels.pairs import (
    SQUARES,
    SUM,
    VALUE,
    WEIGHT,
    add,
    between,
    over,
    times,
)
from dpnet.model.quantizer.kernels.points import ABSOLUTE, LATTICE, SQUARED
from dpnet.model.quantizer.kernels.price.table import LIGHT, UNIT

Floats = NDArray[np.float64]


class Errors(NamedTuple):
    """What the errors of a row's clusters are computed from.

    sums (8, n + 1), see `pair_sums`; lowest, highest: limits of the entries of a LATTICE, as the
    values count; doubt: how far off a rough error may be; alone: whether the error of one point is
    0, or what the sums say of it.
    """

    sums: Floats
    kind: int
    lowest: float
    highest: float
    doubt: float
    alone: bool


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
    return float(min(max(np.rint(mean), lowest), highest))


@compiled
def _absolute(sums: Floats, a: int, b: int) -> float:
    """The error of the points a..b-1 about their median."""
    p = _median(sums, a, b)
    value = (sums[VALUE, p], sums[VALUE + 1, p])
    above, below = between(sums, WEIGHT, p, b), between(sums, WEIGHT, a, p)
    weight = times(value, add(below, (-above[0], -above[1])))
    above, below = between(sums, SUM, p, b), between(sums, SUM, a, p)
    error = add(add(above, (-below[0], -below[1])), weight)
    return max(error[0] + error[1], 0.0)


@unchecked
def exact_error(errors: Errors, a: int, b: int) -> float:
    """The error of the points a..b-1, to about 30 digits of the largest sum."""
    sums = errors.sums
    if errors.alone and b == a + 1:
        return 0.0
    if errors.kind == ABSOLUTE:
        return _absolute(sums, a, b)
    total, weight = between(sums, SUM, a, b), between(sums, WEIGHT, a, b)
    square = between(sums, SQUARES, a, b)
    if errors.kind == SQUARED:
        part = over(times(total, total), weight)
        error = add(square, (-part[0], -part[1]))
    else:
        entry = _entry(total[0] / weight[0], errors.lowest, errors.highest)
        part = times((entry, 0.0), weight)
        part = times((entry, 0.0), add(part, (-2.0 * total[0], -2.0 * total[1])))
        error = add(square, part)
    return max(error[0] + error[1], 0.0)


@unchecked
def rough_error(errors: Errors, a: int, b: int) -> float:
    """The error of the points a..b-1 from the high halves."""
    sums = errors.sums
    total = sums[SUM, b] - sums[SUM, a]
    if errors.kind == ABSOLUTE:
        p = _median(sums, a, b)
        above = sums[SUM, b] - sums[SUM, p] - sums[VALUE, p] * (sums[WEIGHT, b] - sums[WEIGHT, p])
        below = sums[SUM, p] - sums[SUM, a] - sums[VALUE, p] * (sums[WEIGHT, p] - sums[WEIGHT, a])
        return float(above - below)
    weight = sums[WEIGHT, b] - sums[WEIGHT, a]
    if weight < LIGHT * (sums[WEIGHT, -1] - sums[WEIGHT, 0]):
        return exact_error(errors, a, b)
    square = sums[SQUARES, b] - sums[SQUARES, a]
    if errors.kind == SQUARED:
        return float(square - total * total / weight)
    entry = _entry(total / weight, errors.lowest, errors.highest)
    return float(square + entry * (entry * weight - 2.0 * total))


@compiled
def less_beyond(points: Floats, heavy: Floats, limits: tuple[float, float]) -> None:
    """Points far beyond a lattice's limits, nearer: as far as their entry is the last for sure.

    One of weight w that lies D beyond a limit costs 2 w D more with another entry: more than all
    entries' width squared times all weights, which is what two clusters at the limits cost others.
    """
    width = limits[1] - limits[0] + 1.0
    far = width + 4.0 * width * width * heavy.sum() / heavy.min()
    for j in range(len(points)):
        points[j] = min(max(points[j], limits[0] - far), limits[1] + far)


@compiled
def relieve(sums: Floats, heavy: Floats, start: int, lowest: float, highest: float) -> float:
    """Less what each point costs by itself on a LATTICE: squares of the sums are rewritten.

    What is far beyond the limits costs much in every partition, and hides nothing then. Sums from
    `start` on, as of `pair_sums`. Returns how many units an error may be off.
    """
    n, largest = sums.shape[1] - 1, 0.0
    sums[SQUARES : SQUARES + 2, start] = 0.0
    for step in (1, -1):
        for j in range(start if step > 0 else start - 1, n if step > 0 else -1, step):
            value = (sums[VALUE, j], sums[VALUE + 1, j])
            entry = _entry(value[0], lowest, highest)
            term = times(add(add(value, value), (-entry, 0.0)), (step * entry, 0.0))
            term = times(term, (heavy[j], 0.0))
            before, after = (j, j + 1) if step > 0 else (j + 1, j)
            total = add((sums[SQUARES, before], sums[SQUARES + 1, before]), term)
            sums[SQUARES, after], sums[SQUARES + 1, after] = total
            largest = max(largest, abs(entry))
    reach, mass = np.abs(sums[VALUE]).max(), sums[WEIGHT, -1] - sums[WEIGHT, 0]
    return float(32.0 * (largest + 1.0) * (2.0 * reach + largest + 1.0) * mass)


@compiled
def error_units(sums: Floats, heavy: Floats, kind: int, whole: bool) -> float:
    """How many units the error of a cluster may be off, see `rounding_error`."""
    largest, reach = np.abs(sums[SUM]).max(), np.abs(sums[VALUE]).max()
    mass = sums[WEIGHT, -1] - sums[WEIGHT, 0]
    if kind == ABSOLUTE:
        return float(8.0 * (largest + reach * mass))
    units = 8.0 * reach * largest + 24.0 * (sums[SQUARES, -1] - sums[SQUARES, 0])
    if kind == LATTICE:
        units += 8.0 * (reach + 1.0) ** 2 * mass
    if whole:
        return float(units)
    light = max(heavy.min(), LIGHT * mass)
    return float(
        units + 8.0 * reach**2 * mass + 16.0 * UNIT * (largest**2 + (reach * mass) ** 2) / light
    )
