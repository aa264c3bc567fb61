"""The exact program for long vectors: windows for the breaks, from coarse to fine.

First a grid of some points: a program that leaves out the points between the two grid points
around a break cannot exceed the least cost, and Lloyd's iteration from its breaks gives an upper
bound. Where a best partition can have its breaks after this are the first windows.

Then grids of some points in each window. The breaks of a best partition, moved down to the
grid, cost at most ``2 * (distance of the two means) * (width of the bin) * (weight of the bin)``
more each: the points moved lie within a bin of the middle between the means. So breaks of which
the program on the grid says more are excluded. A point that weighs much (pruned weights are all 0)
is a place of the grids, and so is the next: it is in no bin with others. Windows shrink to a half
or less each time, or their grids get twice the points, until a grid is every point and the program
exact.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled, unchecked
from dpnet.model.quantizer.kernels.apart import bring_near, far_ends
from dpnet.model.quantizer.kernels.grids.places import (
    heavy_places,
    moved_cost,
    spread,
    window_grid,
)
from dpnet.model.quantizer.kernels.grids.prefix import Row, gather, long_row, start_of, sums
from dpnet.model.quantizer.kernels.grids.program import grid_program, narrow, shrink
from dpnet.model.quantizer.kernels.grids.tied import among_distinct, is_heavy, merged
from dpnet.model.quantizer.kernels.near import EXACT, decidable, decide, mean_of
from dpnet.model.quantizer.kernels.points import SQUARED, power_of_two, repeated
from dpnet.model.quantizer.kernels.price.table import (
    LIGHT,
    PAD,
    SQUARES,
    SUM,
    UNIT,
    WEIGHT,
    rounding_error,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Different values from which on this is quicker than the other program, which takes some
# values**2 / k: this one takes k**3 for its grids, and with many breaks, over which slack adds up,
# the windows of few values do not become narrow.
FEWEST, PER_BREAKS, PER_CUBE = 1 << 13, 1600, 16
# Places of the grids for each of k, as slack adds up over all breaks: of the first one a cluster,
# of a window, and of the first windows if what is moved would be more than WIDE of the least cost.
PER_CLUSTER, PER_WINDOW, PER_WIDE_WINDOW = 8, 40, 96
WIDE = 1e-3
LLOYD = 30  # iterations at most
COARSE = 1e-3  # of the least cost: where rounding is more, points are brought near to each other
FAR = 2.0**-16  # of the range: where the middle half is less, ends may be clusters by themselves
NOT_DONE, TOO_COARSE = -1.0, -2.0
DOUBTS = 64.0  # errors of a break that seems the best: its own, and one for each halving


@compiled
def fewest(k: int) -> int:
    """Different values from which on k clusters are solved here."""
    return max(FEWEST, int(PER_BREAKS * k**1.5), PER_CUBE * k**3)


@unchecked
def _lloyd(row: Row, bounds: Ints) -> float:
    """Improve a partition until it stays; its error, computed from the sums."""
    k, n = len(bounds) - 1, len(row.points)
    for c in range(1, k):
        bounds[c] = max(bounds[c], bounds[c - 1] + 1)
    for c in range(k - 1, 0, -1):
        bounds[c] = min(bounds[c], bounds[c + 1] - 1)
    means = np.empty(k)
    error = math.inf
    for _ in range(LLOYD):
        at = gather(row, bounds, 0)
        total = at[SQUARES, k]
        for c in range(k):
            weight = at[WEIGHT, c + 1] - at[WEIGHT, c]
            if not weight > 0.0:
                return error
            moment = at[SUM, c + 1] - at[SUM, c]
            means[c] = moment / weight
            total -= moment * means[c]
        if not total < error:
            return error
        error = total
        for c in range(1, k):
            middle = 0.5 * (means[c - 1] + means[c])
            low, high = 0, n
            while low < high:
                j = (low + high) // 2
                if row.points[j] * row.scale - row.center < middle:
                    low = j + 1
                else:
                    high = j
            bounds[c] = low
    return error


@unchecked
def _first_windows(
    row: Row, marks: Ints, slack: float, trial: Ints, first: Ints, last: Ints
) -> float:
    """Windows from the first grid; an upper bound of the least cost."""
    k, n = len(first) - 1, len(row.points)
    most = PER_CLUSTER * k * k
    grid = np.empty(most + 2 * len(marks) + 1, np.int64)
    # Best clusters share width**(2/3) * weight**(1/3) evenly.
    few = spread(row, 0, n - 1, most, 2.0 / 3.0, marks, grid)
    grid[few] = n
    grid = grid[: few + 1]
    begin = np.arange(-1, k + 1) * (few + 1)
    begin[k + 1] = begin[k] + 2
    places = np.empty(begin[k + 1], np.int64)
    at, at_grid = np.zeros((3, begin[k + 1] + PAD)), gather(row, grid, 0)
    for cluster in range(1, k):
        places[begin[cluster] : begin[cluster + 1]] = grid
        at[:, begin[cluster] : begin[cluster + 1]] = at_grid
    places[begin[k] :] = n
    for j in range(begin[k], begin[k + 1]):
        at[:, j] = at_grid[:, few]
    cost, gain = np.empty((2, at.shape[1]))
    path, low, high = np.zeros((3, k + 1), np.int64)
    lowest = grid_program(at, places, begin, 1, True, path, cost, gain)
    trial[0], trial[1:] = 0, places[path[1:]]
    upper = _lloyd(row, trial)
    shrink(at, places, begin, 1, True, max(upper - lowest, 0.0) + slack, cost, gain, low, high)
    for cluster in range(1, k):
        first[cluster] = max(places[low[cluster]], cluster)
        while start_of(row, first[cluster]) < first[cluster]:
            first[cluster] += 1
        last[cluster] = start_of(row, min(places[high[cluster] + 1] - 1, n - k + cluster))
    first[0] = last[0] = 0
    first[k] = last[k] = n
    return upper


@unchecked
def _error_of(row: Row, light: float) -> float:
    """How far a candidate's value may be off; `light` as for `rounding_error`."""
    n = len(row.points)
    weight, total, squares = sums(row, n)
    # Sums of sorted values are largest at the end, or where the values change their sign.
    largest = max(abs(sums(row, n // 2)[SUM]), abs(total))
    low, high = row.points[0] * row.scale, row.points[n - 1] * row.scale
    reach = max(abs(low - row.center), abs(high - row.center))
    return rounding_error(weight, squares, reach, largest, light)


@unchecked
def solve_long(
    ordered: Floats, weights: Floats, k: int, bounds: Ints, first: Ints, last: Ints
) -> float:
    """One long sorted row, as `solve_rows` of `price.rows` does it; -1: not done.

    ordered (n,), weights (n,) or (0,), k from 2; bounds, first, last (k + 1,) are written. Takes
    little where values count 1 and few of them are equal, else 24 bytes a value. Not done where
    there are too few distinct values, or weights too far apart.
    Where windows stay that `decide` can take, it has, and they are closed: how far off it may be
    is returned, of the row as `power_of_two` scales it.
    """
    n, same = len(ordered), repeated(ordered)
    if n - same < fewest(k):
        return NOT_DONE
    points, heavy, ends_at = ordered, np.empty(0), np.empty(0, np.int64)
    tied = 0 < same <= n // 2 and not len(weights) and not is_heavy(ordered)
    if len(weights) or (same and not tied):
        points, heavy, ends_at = merged(ordered, weights)
    light, mass = 0.0, float(n)
    if len(weights):
        light, mass = heavy.min(), heavy.sum()
    m = len(points) - (same if tied else 0)
    if m < fewest(k) or (len(weights) and not light > LIGHT * mass):
        return NOT_DONE
    scale, trial = power_of_two(max(abs(points[0]), abs(points[-1]))), np.empty(k + 1, np.int64)
    off = TOO_COARSE
    if points[3 * m // 4] - points[m // 4] < FAR * (points[-1] - points[0]):
        off = _solve_inner(points, heavy, light, scale, k, first, last, trial, tied)
    if off == TOO_COARSE:
        off = _solve_points(points, heavy, light, scale, k, first, last, trial, COARSE, tied)
    if off == TOO_COARSE:
        if tied:
            points, heavy, ends_at = merged(ordered, weights)
        near, ones, ratio = np.empty((2, m)), heavy if len(heavy) else np.ones(m), 1.0
        nearer = bring_near(points, ones, k, SQUARED, near)
        if nearer > 0.0:
            points, scale, ratio = near[0], 1.0, scale / nearer
        off = _solve_points(points, heavy, light, scale, k, first, last, trial, np.inf, False)
        off *= ratio * ratio if off > 0.0 else 1.0
    bounds[0], bounds[k] = 0, n
    for c in range(1, k):
        bounds[c] = ends_at[trial[c]] if len(ends_at) else trial[c]
    if tied and not len(ends_at):
        among_distinct(ordered, first)
        among_distinct(ordered, last)
    return off


@unchecked
def _solve_inner(
    points: Floats,
    heavy: Floats,
    light: float,
    scale: float,
    k: int,
    first: Ints,
    last: Ints,
    trial: Ints,
    tied: bool,
) -> float:
    """`_solve_points` without those at the ends that are clusters of their own; TOO_COARSE too
    where there are none."""
    below, above, start, stop = far_ends(points, heavy, scale, k)
    if below + above == 0:
        return TOO_COARSE
    inner, few = points[start:stop], k + 1 - above
    nearer = power_of_two(max(abs(inner[0]), abs(inner[-1])))
    places = first[below:few], last[below:few], trial[below:few]
    off = _solve_points(
        inner,
        heavy[start:stop] if len(heavy) else heavy,
        light,
        nearer,
        few - 1 - below,
        places[0],
        places[1],
        places[2],
        COARSE,
        tied,
    )
    for c in range(len(places[0])):
        for found in places:
            found[c] += start
    place = 0
    for c in range(below):
        first[c] = last[c] = trial[c] = place
        place += 1
        while points[place] == points[place - 1]:
            place += 1
    place = len(points)
    for c in range(k, few - 1, -1):
        first[c] = last[c] = trial[c] = place
        place -= 1
        while points[place - 1] == points[place]:
            place -= 1
    return off * (scale / nearer) ** 2 if off > 0.0 else off


@unchecked
def _solve_points(
    points: Floats,
    heavy: Floats,
    light: float,
    scale: float,
    k: int,
    first: Ints,
    last: Ints,
    trial: Ints,
    coarse: float,
    tied: bool,
) -> float:
    """`solve_long` for points, distinct unless `tied`, `light` the least weight or 0 where these
    are whole; trial (k + 1,): the breaks. TOO_COARSE where rounding is more than `coarse` of the
    least cost."""
    m = len(points)
    row = long_row(points, heavy, m, scale, tied)
    marks = heavy_places(row)
    slack = DOUBTS * (k + 2.0) * _error_of(row, light)
    for c in range(k + 1):
        trial[c] = m * c // k
    upper = _first_windows(row, marks, slack, trial, first, last)
    if slack > coarse * upper:
        return TOO_COARSE
    begin = np.zeros(k + 2, np.int64)
    path, low, high = np.zeros((3, k + 1), np.int64)
    most, power, begun = PER_WINDOW * k, 0.0, False
    while most * k < 2 * m:
        before = (last - first).sum()
        places = window_grid(row, first, last, most, power, 0, marks, begin)
        at = gather(row, places, PAD)
        moved = moved_cost(row, at, places, begin, first, last)
        skip = int(not begun and moved > WIDE * upper)
        if skip:
            places = window_grid(row, first, last, PER_WIDE_WINDOW * k, power, 1, marks, begin)
            at = gather(row, places, PAD)
        cost, gain = np.empty((2, at.shape[1]))
        join = moved > 0.0  # else every point is a place, and the best clusters have some each
        lowest = grid_program(at, places, begin, skip, join, path, cost, gain)
        trial[0], trial[1:] = 0, places[path[1:]]
        upper = min(upper, _lloyd(row, trial.copy()))
        doubt = slack
        if moved > 0.0:
            doubt += max(upper - lowest, 0.0) + (0.0 if skip else moved)
        shrink(at, places, begin, skip, join, doubt, cost, gain, low, high)
        narrow(places, begin, low, high, first, last)
        for c in range(1, k):
            last[c] = start_of(row, last[c])
        if moved == 0.0:
            if (first != last).any() and decidable(k, first, last):
                return _close(row, k, first, last, EXACT * lowest, trial)
            return 0.0
        if not skip and 2 * (last - first).sum() > before:
            most, power = 2 * most, 0.5
        begun = True
    return NOT_DONE


@unchecked
def _close(row: Row, k: int, first: Ints, last: Ints, doubt: float, found: Ints) -> float:
    """Decide what is left, with means of cores from the sums, or if this may be off by more than
    `doubt`, from their points; how far off it may be."""
    off = _close_by(row, k, first, last, len(row.points) // (4 * k), found)
    if off > doubt:
        off = _close_by(row, k, first, last, len(row.points), found)
    first[:], last[:] = found, found
    return off


@unchecked
def _close_by(row: Row, k: int, first: Ints, last: Ints, few: int, found: Ints) -> float:
    """`decide`, with means of cores of up to `few` points from these."""
    n = len(row.points)
    weights, means = np.empty((2, k))
    mass = sums(row, n)[WEIGHT]
    lightest, mean_error = mass, 0.0
    for c in range(k):
        if first[c + 1] - last[c] <= few:  # few points of many: the sums are too coarse
            weights[c], means[c] = mean_of(row.points, row.heavy, row.scale, last[c], first[c + 1])
            continue
        before, after = sums(row, last[c]), sums(row, first[c + 1])
        weights[c] = after[WEIGHT] - before[WEIGHT]
        means[c] = (after[SUM] - before[SUM]) / weights[c] + row.center
        lightest = min(lightest, weights[c])
        reach = max(abs(row.points[0]), abs(row.points[n - 1])) * row.scale
        mean_error = 16.0 * UNIT * reach * mass / lightest
    off, _ = decide(
        row.points,
        row.heavy,
        row.scale,
        k,
        first,
        last,
        weights,
        means,
        mean_error,
        row.tied,
        found,
    )
    return off
