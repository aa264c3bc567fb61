"""Shortest paths at a price: the best partition when every cluster costs it besides its error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled, unchecked
from dpnet.model.quantizer.kernels.breaks import best_break, break_span
from dpnet.model.quantizer.kernels.lanes import LANES, ends, weighted_ends
from dpnet.model.quantizer.kernels.price.table import (
    DOWN,
    PAD,
    SQUARES,
    SUM,
    UP,
    WEIGHT,
    Table,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK = 32  # ends that are solved together


class Room(NamedTuple):
    """Where a row's program writes, (n + 1 + PAD,) each: the least cost before each end, this and
    the price less the squares before it, and its best break. Then bounds, (n + 1,): of the path
    that was followed last, of one with more clusters and of one with fewer."""

    cost: Floats
    gain: Floats
    origin: Ints
    bounds: Ints
    more: Ints
    fewer: Ints


@compiled
def room_for(n: int) -> Room:
    """Room for n points."""
    cost, gain = np.empty((2, n + 1 + PAD))
    bounds, more, fewer = np.empty((3, n + 1), np.int64)
    return Room(cost, gain, np.empty(n + 1 + PAD, np.int64), bounds, more, fewer)


@unchecked
def shortest(table: Table, price: float, room: Room) -> None:
    """The least cost of the points before each end 1..n at a price per cluster, and its break.

    No candidate that could be the best is left out for a difference within the table's error. A
    block of ends starts with its last one. That none of the block's own ends is its best break is
    certain where the cost at the block's start plus the price exceeds what was found (the cost
    never falls with the end); otherwise the block is halved. The best breaks of two ends enclose
    those of all ends between: few candidates for most.
    """
    cost, gain, origin = room.cost, room.gain, room.origin
    sums, squares, weight = table.sums[SUM], table.sums[SQUARES], table.sums[WEIGHT]
    weighted, n, error = table.weighted, table.n, table.error
    across = weight if weighted else table.inverse[DOWN]
    cost[0], gain[0], origin[0] = 0.0, price, 0
    start, length, reach, first = 0, BLOCK, 0, 0
    while start < n:
        stop = min(start + length, n)
        distance = sums[stop] - sums[first]
        over = weight[stop] - weight[first]
        enough = gain[first] + squares[stop] - distance * distance / over - price + 4.0 * error
        reach = max(reach, first)
        while reach < start and cost[reach] <= enough:
            reach += 1  # candidates beyond cost more than the one at `first`
        value, index = best_break(gain, sums, across, weighted, stop, first, reach)
        if stop > start + 1 and cost[start] + price < value + squares[stop] + 4.0 * error:
            length = (stop - start) // 2
            continue
        cost[stop], gain[stop], origin[stop] = value + squares[stop], value + price, index
        _between(table, price, room, start, stop, first)
        # What is worse here by more than the error is worse at all later ends.
        limit = cost[stop] - squares[stop] + 2.0 * error
        first, _ = break_span(gain, sums, across, weighted, stop, first, origin[stop], limit)
        start, length = stop, min(2 * length, BLOCK)


@unchecked
def _between(table: Table, price: float, room: Room, start: int, stop: int, first: int) -> None:
    """The ends between start and stop, whose own are known, by halving; the last by vectors."""
    cost, gain, origin = room.cost, room.gain, room.origin
    sums, squares, weighted = table.sums[SUM], table.sums[SQUARES], table.weighted
    across = table.sums[WEIGHT] if weighted else table.inverse[DOWN]
    along = table.sums[WEIGHT] if weighted else table.inverse[UP]
    step = BLOCK // 2
    while step >= LANES:
        for j in range(start + step, stop, 2 * step):
            low = origin[j - step] if j - step > start else first
            high = origin[min(j + step, stop)]
            value, origin[j] = best_break(gain, sums, across, weighted, j, low, high)
            cost[j], gain[j] = value + squares[j], value + price
        step //= 2
    for j in range(start, stop - 1, LANES):
        low, high = origin[j] if j > start else first, origin[min(j + LANES, stop)]
        if weighted:
            weighted_ends(gain, sums, squares, along, 0, price, j + 1, low, high, cost, origin)
        else:
            ends(gain, sums, squares, along, 0, price, j + 1, low, high, cost, origin)


@compiled
def follow(origin: Ints, n: int, bounds: Ints) -> int:
    """How many clusters the path to n has; their bounds too, where these have room."""
    count, j = 0, n
    while j > 0:
        j = origin[j]
        count += 1
    if count < len(bounds):
        j = n
        for cluster in range(count, -1, -1):
            bounds[cluster] = j
            j = origin[j]
    return count


@compiled
def cross(room: Room, more_count: int, fewer_count: int, k: int) -> bool:
    """k clusters from the first ones of one path and the last ones of another with more."""
    more, fewer, bounds = room.more, room.fewer, room.bounds
    for cluster in range(fewer_count):
        other = cluster + 1 + more_count - k
        if (
            1 <= other <= more_count
            and fewer[cluster] <= more[other - 1]
            and more[other] <= fewer[cluster + 1]
        ):
            bounds[: cluster + 1] = fewer[: cluster + 1]
            bounds[cluster + 1 : k + 1] = more[other : more_count + 1]
            return True
    return False
