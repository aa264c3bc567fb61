"""Sums before each point of a row, and how far off what is computed from them may be."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled, unchecked
from dpnet.model.quantizer.kernels.lanes import LANES

Floats = NDArray[np.float64]

PAD = 2 * LANES  # vectors are read and written beyond the last value
UNIT = 2.0**-53  # the largest relative error of one rounding
LIGHT = 2.0**-40  # of all weights together: the difference of two sums has too few digits below

# Rows of a row's sums: weight, weighted value and weighted square of the points before each.
WEIGHT, SUM, SQUARES = 0, 1, 2
# Rows of the inverse numbers 1, 1/2, 1/3, …: as they are, and the other way round.
UP, DOWN = 0, 1


class Table(NamedTuple):
    """What a row's program works on.

    sums (3, n + 1 + PAD), see `tabulate`; inverse (2, …), see `inverses`, where `weighted` is
    False: then every point counts 1. `error` bounds how far a candidate's value may be off.
    """

    sums: Floats
    inverse: Floats
    weighted: bool
    n: int
    error: float


@compiled
def tabulate(
    points: Floats, heavy: Floats, n: int, whole: bool, scale: float, table: Floats
) -> tuple[float, float]:
    """Weights (1 each where `heavy` is empty), values and squares before each point.

    Returns the largest distance from the middle, and the largest sum of values.

    Each to one rounding: values count from their middle one, scaled, and what an addition loses
    is added up too (Knuth); `whole` weights lose nothing.
    """
    largest = 0.0
    center = points[n // 2] * scale
    weight = weight_lost = total = total_lost = square = square_lost = 0.0
    table[:, 0] = 0.0
    for j in range(n):
        value = points[j] * scale - center
        mass = heavy[j] if len(heavy) else 1.0
        more = mass * value
        new = total + more
        part = new - total
        total_lost += (total - (new - part)) + (more - part)
        total = new
        more *= value
        new = square + more
        part = new - square
        square_lost += (square - (new - part)) + (more - part)
        square = new
        if whole:
            weight += mass
        else:
            more = mass
            new = weight + more
            part = new - weight
            weight_lost += (weight - (new - part)) + (more - part)
            weight = new
        table[WEIGHT, j + 1] = weight + weight_lost
        table[SUM, j + 1] = total + total_lost
        largest = max(largest, abs(total))
        table[SQUARES, j + 1] = square + square_lost
    reach = max(abs(points[0] * scale - center), abs(points[n - 1] * scale - center))
    return reach, largest


@compiled
def rounding_error(
    mass: float, squares: float, reach: float, largest: float, light: float
) -> float:
    """How far a candidate's value may be off: each entry of the table is rounded once.

    A cluster's mean is within `reach` of the center, which bounds what errors of the sums and
    of the weights make of its square; the squares of these errors count where a weight is small.
    `light` is the smallest weight, or 0 where weights are whole numbers.
    """
    units = 8.0 * reach * largest + 24.0 * squares
    if light > 0.0:
        units += 8.0 * reach**2 * mass + 16.0 * UNIT * (largest**2 + (reach * mass) ** 2) / light
    return UNIT * units


@compiled
def inverses(n: int) -> Floats:
    """1 / m at [UP, m] and at [DOWN, -1 - LANES - m], with room for vectors beyond."""
    inverse = np.zeros((2, n + 1 + PAD))
    for m in range(1, n + 1 + LANES):
        inverse[UP, m] = inverse[DOWN, n + PAD - LANES - m] = 1.0 / m
    return inverse


@unchecked
def error_between(sums: Floats, a: int, b: int) -> float:
    """The error of the cluster of the points a..b-1."""
    distance = sums[SUM, b] - sums[SUM, a]
    over = sums[WEIGHT, b] - sums[WEIGHT, a]
    return float(sums[SQUARES, b] - sums[SQUARES, a] - distance * distance / over)


@unchecked
def coarse(table: Table, stride: int) -> Table:
    """Every `stride`-th point, the last one included, for clusters that end there."""
    few = table.n // stride
    shift = table.n - few * stride
    sums = np.zeros((3, few + 1 + PAD))
    root = math.sqrt(float(stride))
    for j in range(few + 1):
        for row in range(3):
            sums[row, j] = table.sums[row, shift + j * stride] - table.sums[row, shift]
        if not table.weighted:  # as if every point still counted 1
            sums[SUM, j] /= root
            sums[WEIGHT, j] = j
    return Table(sums, table.inverse, table.weighted, few, table.error)
