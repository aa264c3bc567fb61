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

numba's cache does not notice changes of `dpnet.model.quantizer.kernels.program`, which this takes
functions from: change this file too.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dpnet.model.quantizer.kernels.lanes import LANES, weighted_ends
from dpnet.model.quantizer.kernels.near import decidable, decide, mean_of
from dpnet.model.quantizer.kernels.points import is_plain, merge, power_of_two
from dpnet.model.quantizer.kernels.prefix import BLOCK, Row, gather, long_row, sums
from dpnet.model.quantizer.kernels.program import (
    LIGHT,
    PAD,
    SQUARES,
    SUM,
    UNIT,
    WEIGHT,
    best_break,
    break_span,
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
HEAVY = 2.0**-12  # of all weights: more than a bin of a grid has of a density
LLOYD = 30  # iterations at most
DOUBTS = 64.0  # errors of a break that seems the best: its own, and one for each halving


@njit(cache=True, nogil=True)
def fewest(k: int) -> int:
    """Different values from which on k clusters are solved here."""
    return max(FEWEST, int(PER_BREAKS * k**1.5), PER_CUBE * k**3)


@njit(cache=True, nogil=True, error_model="numpy")
def _layer(
    at: Floats,
    places: Ints,
    first: int,
    last: int,
    i_first: int,
    i_last: int,
    gain: Floats,
    cost: Floats,
    origin: Ints,
) -> None:
    """The least gain[i] + error between i and j + squares[j], and its i, for j in first..last.

    Candidates are those of i_first..i_last whose place is below that of j. The best of the two
    outer ends enclose all others, those of each half what is between.
    """
    sums, squares, weight = at[SUM], at[SQUARES], at[WEIGHT]
    for j in (first, last):
        high = _below(places, i_first, i_last, places[j])
        value, origin[j] = best_break(gain, sums, weight, True, 0, j, i_first, high)
        cost[j], origin[j] = value + squares[j], max(origin[j], i_first)
    step = LANES
    while 2 * step < last - first:
        step *= 2
    while step >= LANES:
        for j in range(first + step, last, 2 * step):
            low = origin[j - step]
            high = _below(places, low, origin[min(j + step, last)], places[j])
            value, origin[j] = best_break(gain, sums, weight, True, 0, j, low, high)
            cost[j], origin[j] = value + squares[j], max(origin[j], low)
        step //= 2
    for j in range(first, last - 1, LANES):
        low, high = origin[j], origin[min(j + LANES, last)]
        if j + LANES <= last and places[high] <= places[j]:
            weighted_ends(gain, sums, squares, weight, 0, 0.0, j + 1, low, high, cost, origin)
            continue
        for end in range(j + 1, min(j + LANES, last)):
            value, origin[end] = best_break(
                gain,
                sums,
                weight,
                True,
                0,
                end,
                low,
                _below(places, low, high, places[end]),
            )
            cost[end], origin[end] = value + squares[end], max(origin[end], low)


@njit(cache=True, nogil=True)
def _below(places: Ints, low: int, high: int, place: int) -> int:
    """The last of low..high whose place is below `place`; low - 1 if none is."""
    while high >= low and places[high] >= place:
        high -= 1
    return high


@njit(cache=True, nogil=True, error_model="numpy")
def _program(
    at: Floats,
    places: Ints,
    begin: Ints,
    skip: int,
    join: bool,
    path: Ints,
    cost: Floats,
    gain: Floats,
) -> float:
    """The least cost with breaks c at the places begin[c] .. begin[c + 1] - 1 - skip.

    skip 0: clusters begin at a break. skip 1: a break is in the bin that begins at its place, and
    the points of the bin count for neither side: a lower bound. `join`: two breaks may be at one
    place, in one bin or in adjacent ones. `path` (k + 1,) is written; cost of each break, gain of
    each beginning.
    """
    k = len(begin) - 2
    size = at.shape[1]
    cost[:], gain[:] = np.inf, np.inf
    origin = np.zeros(size, np.int64)
    for cluster in range(1, k + 1):
        start, stop = begin[cluster], begin[cluster + 1] - 1 - skip
        if cluster == 1:
            for j in range(start, stop + 1):
                weight, total = at[WEIGHT, j], at[SUM, j]
                cost[j] = at[SQUARES, j] - (total * total / weight if weight > 0.0 else 0.0)
        else:
            before = begin[cluster - 1]
            _layer(at, places, start, stop, before + skip, start - 1, gain, cost, origin)
            if join:
                _join(cost, origin, places, start, stop, before, skip)
        for j in range(start, stop + 1):
            gain[j + skip] = cost[j] - at[SQUARES, j + skip]
    lowest, j = cost[begin[k]], begin[k]
    for cluster in range(k, 0, -1):
        path[cluster] = j
        j = origin[j] - skip
    return lowest


@njit(cache=True, nogil=True)
def _join(
    cost: Floats, origin: Ints, places: Ints, start: int, stop: int, before: int, skip: int
) -> None:
    """Two breaks with nothing between them: at one place; skip 1: in bins that meet."""
    low = before
    for j in range(start, stop + 1):
        while low < start - 1 - skip and places[low + skip] < places[j]:
            low += 1
        for other in range(low, start - skip):
            if places[other] > _reach(places, j, skip):
                break
            if places[other + skip] >= places[j] and cost[other] < cost[j]:
                cost[j], origin[j] = cost[other], other + skip


@njit(cache=True, nogil=True)
def _reach(places: Ints, j: int, skip: int) -> int:
    """Up to where the break before that at j can be."""
    return places[j + 1] - 1 if skip else places[j]


@njit(cache=True, nogil=True, error_model="numpy")
def _shrink(
    at: Floats,
    places: Ints,
    begin: Ints,
    skip: int,
    join: bool,
    doubt: float,
    cost: Floats,
    gain: Floats,
    low: Ints,
    high: Ints,
) -> None:
    """Which places (k + 1,) low..high of each break `doubt` leaves, from the last to the first."""
    k = len(begin) - 2
    low[k] = high[k] = begin[k]
    for cluster in range(k - 1, 0, -1):
        start, stop = begin[cluster] + skip, begin[cluster + 1] - 1
        for side in range(2):
            j = low[cluster + 1] if side == 0 else high[cluster + 1]
            limit = cost[j] + doubt - at[SQUARES, j]
            until = _below(places, start, stop, places[j])
            first, last = break_span(gain, at[SUM], at[WEIGHT], True, 0, j, start, until, limit)
            for other in range(until + 1, stop + 1) if join else range(0):
                if places[other - skip] > _reach(places, j, skip):
                    break
                if cost[other - skip] <= cost[j] + doubt:
                    first, last = min(first, other), max(last, other)
            if first > last:
                first, last = start, stop
            if side == 0:
                low[cluster] = first - skip
            high[cluster] = max(last - skip, low[cluster])


@njit(cache=True, nogil=True)
def _narrow(places: Ints, begin: Ints, low: Ints, high: Ints, first: Ints, last: Ints) -> None:
    """Windows from the places that are left: up to before the place after the last one."""
    for cluster in range(1, len(first) - 1):
        beyond = high[cluster] + 1
        if beyond < begin[cluster + 1]:
            last[cluster] = max(places[beyond] - 1, places[low[cluster]])
        first[cluster] = places[low[cluster]]


@njit(cache=True, nogil=True, error_model="numpy")
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


@njit(cache=True, nogil=True)
def _heavy_places(row: Row) -> Ints:
    """Places of points that weigh more than HEAVY of all: breaks beside them are not moved."""
    marks, count = np.empty(int(1.0 / HEAVY) + 1, np.int64), 0
    least = row.heavy.sum() * HEAVY
    for j in range(len(row.heavy)):
        if row.heavy[j] > least:
            marks[count], count = j, count + 1
    return marks[:count]


@njit(cache=True, nogil=True)
def _ascending(places: Ints) -> int:
    """Sort, leave each once; how many there are."""
    places.sort()
    kept, last = 0, -1
    for place in places:
        if place != last:
            last = place
            places[kept], kept = place, kept + 1
    return kept


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(
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
            if place > before:
                places[count], count, before = place, count + 1, place
    if len(marks):
        for place in np.concatenate((marks, marks + 1)):
            if first <= place <= last:
                places[count], count = place, count + 1
        count = _ascending(places[:count])
    return count


@njit(cache=True, nogil=True)
def _window_grid(
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
                places[count], count = place, count + 1
        else:
            count += _spread(row, first[cluster], last[cluster], most, power, marks, places[count:])
        if skip:
            places[count], count = last[cluster] + 1, count + 1
    begin[k], places[count] = count, n
    places[count + skip] = n
    begin[k + 1] = count + 1 + skip
    return places[: count + 1 + skip]


@njit(cache=True, nogil=True, error_model="numpy")
def _moved(row: Row, at: Floats, places: Ints, begin: Ints, first: Ints, last: Ints) -> float:
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


@njit(cache=True, nogil=True, error_model="numpy")
def _mean(row: Row, a: int, b: int, above: int) -> float:
    """The mean of the points a..b-1 from the center; if there is none, a bound for it."""
    before, after = sums(row, a), sums(row, b)
    weight = after[WEIGHT] - before[WEIGHT]
    if b > a and weight > 0.0:
        return (after[SUM] - before[SUM]) / weight
    place = min(max(a, b), len(row.points) - 1) if above else min(a, b)
    return row.points[place] * row.scale - row.center


@njit(cache=True, nogil=True, error_model="numpy")
def _first_windows(
    row: Row, marks: Ints, slack: float, trial: Ints, first: Ints, last: Ints
) -> float:
    """Windows from the first grid; an upper bound of the least cost."""
    k, n = len(first) - 1, len(row.points)
    most = PER_CLUSTER * k * k
    grid = np.empty(most + 2 * len(marks) + 1, np.int64)
    # Best clusters share width**(2/3) * weight**(1/3) evenly.
    few = _spread(row, 0, n - 1, most, 2.0 / 3.0, marks, grid)
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
    lowest = _program(at, places, begin, 1, True, path, cost, gain)
    trial[0], trial[1:] = 0, places[path[1:]]
    upper = _lloyd(row, trial)
    _shrink(at, places, begin, 1, True, max(upper - lowest, 0.0) + slack, cost, gain, low, high)
    for cluster in range(1, k):
        first[cluster] = max(places[low[cluster]], cluster)
        last[cluster] = min(places[high[cluster] + 1] - 1, n - k + cluster)
    first[0] = last[0] = 0
    first[k] = last[k] = n
    return upper


@njit(cache=True, nogil=True, error_model="numpy")
def _error_of(row: Row, light: float) -> float:
    """How far a candidate's value may be off; `light` as for `rounding_error`."""
    n = len(row.points)
    weight, total, squares = sums(row, n)
    # Sums of sorted values are largest at the end, or where the values change their sign.
    largest = max(abs(sums(row, n // 2)[SUM]), abs(total))
    low, high = row.points[0] * row.scale, row.points[n - 1] * row.scale
    reach = max(abs(low - row.center), abs(high - row.center))
    return rounding_error(weight, squares, reach, largest, light)


@njit(cache=True, nogil=True, error_model="numpy")
def solve_long(
    ordered: Floats, weights: Floats, k: int, bounds: Ints, first: Ints, last: Ints
) -> float:
    """One long sorted row, as `dpnet.model.quantizer.kernels.program.solve_rows` does it; -1: not
    done.

    ordered (n,), weights (n,) or (0,), k from 2; bounds, first, last (k + 1,) are written. Takes
    little where all values differ and count 1, else 24 bytes a value. Not done where there are too
    few distinct values, or weights too far apart.
    Where windows stay that `decide` can take, it has, and they are closed: how far off it may be
    is returned.
    """
    n = len(ordered)
    plain, m = is_plain(ordered, weights), n
    points, heavy, ends_at = ordered, np.empty(0), np.empty(0, np.int64)
    if not plain:
        points, heavy, ends_at = np.empty(n), np.empty(n), np.empty(n + 1, np.int64)
        m = merge(ordered, weights, points, heavy, ends_at)
    light, mass = 1.0, float(n)
    if len(weights):
        light, mass = heavy[:m].min(), heavy[:m].sum()
    if m < fewest(k) or not light > LIGHT * mass:
        return -1.0
    row = long_row(points, heavy, m, power_of_two(max(abs(points[0]), abs(points[m - 1]))))
    marks = _heavy_places(row)
    slack = DOUBTS * (k + 2.0) * _error_of(row, light if len(weights) else 0.0)
    trial = np.array([m * c // k for c in range(k + 1)])
    upper = _first_windows(row, marks, slack, trial, first, last)
    begin = np.zeros(k + 2, np.int64)
    path, low, high = np.zeros((3, k + 1), np.int64)
    most, power, begun = PER_WINDOW * k, 0.0, False
    while most * k < 2 * m:
        before = (last - first).sum()
        places = _window_grid(row, first, last, most, power, 0, marks, begin)
        at = gather(row, places, PAD)
        moved = _moved(row, at, places, begin, first, last)
        skip = int(not begun and moved > WIDE * upper)
        if skip:
            places = _window_grid(row, first, last, PER_WIDE_WINDOW * k, power, 1, marks, begin)
            at = gather(row, places, PAD)
        cost, gain = np.empty((2, at.shape[1]))
        join = moved > 0.0  # else every point is a place, and the best clusters have some each
        lowest = _program(at, places, begin, skip, join, path, cost, gain)
        trial[0], trial[1:] = 0, places[path[1:]]
        upper = min(upper, _lloyd(row, trial.copy()))
        doubt = slack
        if moved > 0.0:
            doubt += max(upper - lowest, 0.0) + (0.0 if skip else moved)
        _shrink(at, places, begin, skip, join, doubt, cost, gain, low, high)
        _narrow(places, begin, low, high, first, last)
        if moved == 0.0:
            off = 0.0
            if (first != last).any() and decidable(k, first, last):
                off = _close(row, k, first, last, trial)
            bounds[0], bounds[k] = 0, n
            for c in range(1, k):
                bounds[c] = trial[c] if plain else ends_at[trial[c]]
            return off
        if not skip and 2 * (last - first).sum() > before:
            most, power = 2 * most, 0.5
        begun = True
    return -1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _close(row: Row, k: int, first: Ints, last: Ints, found: Ints) -> float:
    """Decide what is left, with means of cores from the sums; how far off this may be."""
    n = len(row.points)
    weights, means = np.empty((2, k))
    mass = sums(row, n)[WEIGHT]
    lightest = mass
    for c in range(k):
        if 4 * k * (first[c + 1] - last[c]) < n:  # few points of many: the sums are too coarse
            weights[c], means[c] = mean_of(row.points, row.heavy, row.scale, last[c], first[c + 1])
            continue
        before, after = sums(row, last[c]), sums(row, first[c + 1])
        weights[c] = after[WEIGHT] - before[WEIGHT]
        means[c] = (after[SUM] - before[SUM]) / weights[c] + row.center
        lightest = min(lightest, weights[c])
    reach = max(abs(row.points[0]), abs(row.points[n - 1])) * row.scale
    mean_error = 16.0 * UNIT * reach * mass / lightest
    off = decide(
        row.points, row.heavy, row.scale, k, first, last, weights, means, mean_error, found
    )
    first[:], last[:] = found, found
    return off / row.scale**2
