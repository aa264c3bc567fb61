"""Between which points the breaks of every best partition are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import unchecked
from dpnet.model.quantizer.kernels.breaks import break_span
from dpnet.model.quantizer.kernels.price.paths import Room
from dpnet.model.quantizer.kernels.price.table import (
    DOWN,
    SQUARES,
    SUM,
    WEIGHT,
    Table,
    error_between,
)

Ints = NDArray[np.int64]


@unchecked
def excess(table: Table, k: int, price: float, room: Room) -> float:
    """By how much the clusters of the room's bounds miss the bound that the price gives."""
    squared = 0.0
    for cluster in range(k):
        squared += error_between(table.sums, room.bounds[cluster], room.bounds[cluster + 1])
    return float(max(squared - (room.cost[table.n] - price * k), 0.0))


@unchecked
def windows(table: Table, k: int, doubt: float, room: Room, first: Ints, last: Ints) -> None:
    """Between which points every best partition into k clusters has its breaks.

    Take the room's costs as potentials: a partition's error and price are cost[n] plus what each of
    its breaks is worse than the best one. No break of a best partition is worse by more than
    `doubt`. From the last to the first: the breaks that this leaves, of the first and of the last
    possible end of their cluster; those of the ends between lie between (the error is Monge).

    A break that is too bad even without a price rules out all before it: a cluster that begins
    earlier costs no less than its two parts, and cost[] rises by no more than one part and a price.
    """
    sums, cost, gain, bounds, n = table.sums, room.cost, room.gain, room.bounds, table.n
    across = sums[WEIGHT] if table.weighted else table.inverse[DOWN]
    for cluster in range(k - 1, 0, -1):
        j, until = first[cluster + 1], last[cluster + 1]
        limit = cost[j] + doubt
        enough, begin = limit + 8.0 * table.error, cluster - 1
        while begin > 0:
            early = bounds[begin]
            if early < j and cost[early] + error_between(sums, early, j) > enough:
                break
            begin -= 1
        early, limit = bounds[begin], limit - sums[SQUARES, j]
        low, high = break_span(gain, sums[SUM], across, table.weighted, j, early, j - 1, limit)
        if until > j:
            limit = cost[until] + doubt - sums[SQUARES, until]
            _, high = break_span(
                gain, sums[SUM], across, table.weighted, until, early, until - 1, limit
            )
        if low > high:  # nothing was found: nothing is known
            low, high = cluster, n - k + cluster
        first[cluster] = max(low, cluster)
        last[cluster] = max(min(high, n - k + cluster), first[cluster])
