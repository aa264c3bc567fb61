"""A sorted row as the program takes it: distinct values of positive weight, well scaled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Kinds of error: about a median, about a mean, about the nearest whole number within limits.
ABSOLUTE, SQUARED, LATTICE = 1, 2, 3


FARTHEST = 2.0**200  # steps of a lattice: beyond, a square would overflow; the entry is the same


@compiled
def to_steps(points: Floats, step: float) -> None:
    """Points in steps of a lattice."""
    unit = 1.0 / step
    for j in range(len(points)):
        points[j] = min(max(points[j] * unit, -FARTHEST), FARTHEST)


@compiled
def repeated(ordered: Floats) -> int:
    """How many values are equal to the one before."""
    same = 0
    for j in range(1, len(ordered)):
        same += ordered[j] == ordered[j - 1]
    return same


@compiled
def is_plain(ordered: Floats, weights: Floats) -> bool:
    """Whether all values are different and count 1: then `merge` would change nothing."""
    return len(weights) == 0 and repeated(ordered) == 0


@compiled
def merge(ordered: Floats, weights: Floats, points: Floats, heavy: Floats, ends: Ints) -> int:
    """Distinct values of positive weight, their weights, and how many sorted values they end.

    `weights` may be empty: then every value counts 1. Returns how many distinct values there are.
    """
    ends[0] = count = 0
    for j in range(len(ordered)):
        weight = weights[j] if len(weights) else 1.0
        if weight > 0.0:
            if count and ordered[j] == points[count - 1]:
                heavy[count - 1] += weight
            else:
                points[count], heavy[count] = ordered[j], weight
                count += 1
            ends[count] = j + 1
    return count


@compiled
def power_of_two(largest: float) -> float:
    """The inverse of a power of two near `largest`: no square over- or underflows by it."""
    exponent = math.frexp(largest)[1]
    return math.ldexp(1.0, min(max(-exponent, -1000), 1000))
