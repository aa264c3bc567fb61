"""The places of grids, and what it costs at most to move breaks to them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled, unchecked
from dpnet.model.quantizer.kernels.grids.prefix import BLOCK, Row, start_of, sums
from dpnet.model.quantizer.kernels.price.table import SUM, WEIGHT

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HEAVY = 2.0**-12  # of all weights: more than a bin of a grid has of a density


@compiled
def heavy_places(row: Row) -> Ints:
    """Places of points that weigh more than HEAVY of all: breaks beside them are not moved."""
    marks, count = np.empty(int(1.0 / HEAVY) + 1, np.int64), 0
    least = row.heavy.sum() * HEAVY
    for j in range(len(row.heavy)):
        if row.heavy[j] > least:
            marks[count], count = j, count + 1
    return marks[:count]


@compiled
def _ascending(places: Ints) -> int:
    """Sort, leave each once; how many there are."""
    places.sort()
    kept, last = 0, -1
    for place in places:
        if place != last:
            last = place
            places[kept], kept = place, kept + 1
    return kept


@unchecked
def spread(
    row: Row, first: int, last: int, most: int, power: float, marks: Ints, places: Ints
) -> int:
    """About `most` ascending places first..last, and `marks` with what follows them: how many.

    Half of them share the number of points evenly, half the width of so many points to `power`;
    if this is 0, all share the number of points.
    """
    size = last - first + 1
    parts = max(min(size, most) // (2 if power > 0.0 else 1), 1)
    wide = size / parts
    share = np.empty(parts + 1)
    share[0] = 0.0
    for part in range(parts if power > 0.0 else 0):
        low, high = first + int(part * wide), min(first + int((part + 1) * wide), last)
        width = row.points[high] * row.scale - row.points[low] * row.scale
        share[part + 1] = share[part] + (math.sqrt(width) if power == 0.5 else width**power)
    each, count, before = share[parts] / parts if power > 0.0 else 0.0, 0, -1
    for part in range(parts):
        low, high = first + int(part * wide), first + int((part + 1) * wide)
        more = int(share[part + 1] / each) - int(share[part] / each) if each > 0.0 else 0
        steps = min(1 + more, high - low)
        step = (high - low) / steps
        for inner in range(steps):
            place = low + int(inner * step)
            if step >= BLOCK and before >= 0:
                place -= place % BLOCK  # where the sums are known
            place = start_of(row, place)
            if place > before:
                places[count], count, before = place, count + 1, place
    if len(marks):
        for place in np.concatenate((marks, marks + 1)):
            if first <= place <= last:
                places[count], count = place, count + 1
        count = _ascending(places[:count])
    return count


@compiled
def window_grid(
    row: Row, first: Ints, last: Ints, most: int, power: float, skip: int, marks: Ints, begin: Ints
) -> Ints:
    """About `most` places first..last of each break, then n; begin (k + 2,) is written.

    What a moved break costs at most is a bin's width times its weight: `power` 0.5 makes this even
    within a window, 0 is quicker where widths differ little. With skip each window and n
    have one place more, where the last bin ends.
    """
    k, n = len(first) - 1, len(row.points)
    places, count = np.empty((k - 1) * (most + 2 * len(marks) + skip) + 1 + skip, np.int64), 0
    for cluster in range(1, k):
        begin[cluster] = count
        if last[cluster] - first[cluster] < most:
            for place in range(first[cluster], last[cluster] + 1):
                if place == start_of(row, place):
                    places[count], count = place, count + 1
        else:
            count += spread(row, first[cluster], last[cluster], most, power, marks, places[count:])
        if skip:
            places[count], count = last[cluster] + 1, count + 1
    begin[k], places[count] = count, n
    places[count + skip] = n
    begin[k + 1] = count + 1 + skip
    return places[: count + 1 + skip]


@unchecked
def moved_cost(row: Row, at: Floats, places: Ints, begin: Ints, first: Ints, last: Ints) -> float:
    """What moving the breaks of a best partition down to their grid costs at most."""
    k, total = len(first) - 1, 0.0
    for cluster in range(1, k):
        bin_ = 0.0
        for j in range(begin[cluster], begin[cluster + 1]):
            if j + 1 < begin[cluster + 1]:
                end = places[j + 1] - 1
                weight = at[WEIGHT, j + 1] - (row.heavy[end] if len(row.heavy) else 1.0)
            else:
                end = last[cluster]
                weight = sums(row, end)[WEIGHT]
            width = row.points[end] * row.scale - row.points[places[j]] * row.scale
            bin_ = max(bin_, width * (weight - at[WEIGHT, j]))
        if bin_ > 0.0:
            above = _mean(row, last[cluster], last[cluster + 1], 1)
            below = _mean(row, first[cluster - 1], first[cluster], 0)
            total += 2.0 * (above - below) * bin_
    return total


@unchecked
def _mean(row: Row, a: int, b: int, above: int) -> float:
    """The mean of the points a..b-1 from the center; if there is none, a bound for it."""
    before, after = sums(row, a), sums(row, b)
    weight = after[WEIGHT] - before[WEIGHT]
    if b > a and weight > 0.0:
        return (after[SUM] - before[SUM]) / weight
    place = min(max(a, b), len(row.points) - 1) if above else min(a, b)
    return float(row.points[place] * row.scale - row.center)
