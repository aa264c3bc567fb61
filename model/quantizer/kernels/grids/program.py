"""A program on the places of a grid, and which places are left for the breaks after it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled, unchecked
from dpnet.model.quantizer.kernels.breaks import best_break, break_span
from dpnet.model.quantizer.kernels.lanes import LANES, weighted_ends
from dpnet.model.quantizer.kernels.price.table import SQUARES, SUM, WEIGHT

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@unchecked
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
        high = below(places, i_first, i_last, places[j])
        value, origin[j] = best_break(gain, sums, weight, True, j, i_first, high)
        cost[j], origin[j] = value + squares[j], max(origin[j], i_first)
    step = LANES
    while 2 * step < last - first:
        step *= 2
    while step >= LANES:
        for j in range(first + step, last, 2 * step):
            low = origin[j - step]
            high = below(places, low, origin[min(j + step, last)], places[j])
            value, origin[j] = best_break(gain, sums, weight, True, j, low, high)
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
                end,
                low,
                below(places, low, high, places[end]),
            )
            cost[end], origin[end] = value + squares[end], max(origin[end], low)


@compiled
def below(places: Ints, low: int, high: int, place: int) -> int:
    """The last of low..high whose place is below `place`; low - 1 if none is."""
    while high >= low and places[high] >= place:
        high -= 1
    return high


@unchecked
def grid_program(
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
    return float(lowest)


@compiled
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


@compiled
def _reach(places: Ints, j: int, skip: int) -> int:
    """Up to where the break before that at j can be."""
    return int(places[j + 1] - 1 if skip else places[j])


@unchecked
def shrink(
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
            until = below(places, start, stop, places[j])
            first, last = break_span(gain, at[SUM], at[WEIGHT], True, j, start, until, limit)
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


@compiled
def narrow(places: Ints, begin: Ints, low: Ints, high: Ints, first: Ints, last: Ints) -> None:
    """Windows from the places that are left: up to before the place after the last one."""
    for cluster in range(1, len(first) - 1):
        beyond = high[cluster] + 1
        if beyond < begin[cluster + 1]:
            last[cluster] = max(places[beyond] - 1, places[low[cluster]])
        first[cluster] = places[low[cluster]]
