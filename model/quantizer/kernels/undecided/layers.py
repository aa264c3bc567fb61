"""Layer by layer: the least cost up to every end with one cluster more, by halving.

A candidate is first computed from the high halves of the sums; only those that may be the best by
this are computed with both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.price.table import UNIT
from dpnet.model.quantizer.kernels.undecided.errors import Errors, exact_error, rough_error

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Breaks = NDArray[np.int32]

DOUBTS = 64.0  # errors of a break that seems the best: its own, and one for each halving
PAIR_UNIT = 2.0**-100  # the largest relative error of what is computed with 106 bits


@compiled
def _best_break(
    errors: Errors, before: Floats, first: int, last: int, j: int, buffer: Floats
) -> tuple[int, float]:
    """The smallest i in first..last of the least before[i] + error of i..j-1; that cost."""
    limit = np.inf
    for i in range(first, last + 1):
        buffer[i] = before[i] + rough_error(errors, i, j)
        limit = min(limit, buffer[i])
    limit += 2.0 * (errors.doubt + 4.0 * UNIT * abs(limit))
    best, least = first, np.inf
    for i in range(first, last + 1):
        if buffer[i] <= limit:
            cost = before[i] + exact_error(errors, i, j)
            if cost < least:
                best, least = i, cost
    return best, least


@compiled
def layer(
    errors: Errors,
    before: Floats,
    after: Floats,
    breaks: Breaks,
    ends: tuple[int, int],
    begins: tuple[int, int],
    buffer: Floats,
) -> None:
    """The least cost up to each end of ends[0]..ends[1] with one cluster more, and its smallest
    break of begins[0]..begins[1]; before, after, buffer (n + 1,); breaks from the first end on."""
    stack = np.empty((80, 4), np.int64)  # two more per halving of at most 2**31 values
    stack[0] = ends[0], ends[1], begins[0], begins[1]
    depth = 1
    while depth:
        depth -= 1
        low, high, i_low, i_high = stack[depth]
        j = (low + high) // 2
        best, after[j] = _best_break(errors, before, i_low, min(i_high, j - 1), j, buffer)
        breaks[j - ends[0]] = best
        if low < j:
            stack[depth] = low, j - 1, i_low, best
            depth += 1
        if j < high:
            stack[depth] = j + 1, high, best, i_high
            depth += 1


@compiled
def solve_windows(errors: Errors, k: int, first: Ints, last: Ints, bounds: Ints) -> Floats:
    """The best k clusters whose breaks are between first and last, into bounds (k + 1,).

    first, last (k + 1,). Of equally good breaks the smallest are taken, from the last to the first.
    Returns (k,): the least cost of c clusters of all points where last[c] is n.
    """
    n = errors.sums.shape[1] - 1
    widest = 0
    for clusters in range(1, k + 1):
        widest = max(widest, last[clusters] - first[clusters] + 1)
    breaks, curve = np.zeros((k + 1, widest), np.int32), np.empty(k)
    before, after, buffer = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    for j in range(first[1], last[1] + 1):
        before[j] = exact_error(errors, 0, j)
    curve[0] = before[n] if last[1] == n else np.inf
    for clusters in range(2, k + 1):
        ends, begins = (first[clusters], last[clusters]), (first[clusters - 1], last[clusters - 1])
        layer(errors, before, after, breaks[clusters], ends, begins, buffer)
        before, after = after, before
        curve[clusters - 1] = before[n] if last[clusters] == n else np.inf
    j = n
    for clusters in range(k, 0, -1):
        bounds[clusters] = j
        j = breaks[clusters, j - first[clusters]]
    bounds[0] = 0
    return curve


@compiled
def shrink_windows(errors: Errors, k: int, precision: float, first: Ints, last: Ints) -> None:
    """Leave of the windows what may be in a best partition; errors are off by `precision` at most.

    The least costs up to all ends are potentials, as in `price.windows`: a break of a best
    partition is worse than the best one by no more than what was rounded. From the last window to
    the first: the breaks that this leaves for the first and for the last end of their cluster.
    Takes 12 bytes for each place in the widest window, k times.
    """
    n, widest = errors.sums.shape[1] - 1, 0
    for clusters in range(1, k + 1):
        widest = max(widest, last[clusters] - first[clusters] + 1)
    costs, breaks = np.full((k + 1, widest), np.inf), np.zeros(widest, np.int32)
    before, after, buffer = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    for j in range(first[1], last[1] + 1):
        before[j] = exact_error(errors, 0, j)
        costs[1, j - first[1]] = before[j]
    for clusters in range(2, k + 1):
        ends, begins = (first[clusters], last[clusters]), (first[clusters - 1], last[clusters - 1])
        layer(errors, before, after, breaks, ends, begins, buffer)
        before, after = after, before
        costs[clusters, : ends[1] - ends[0] + 1] = before[ends[0] : ends[1] + 1]
    doubt = DOUBTS * (k + 2.0) * (precision + UNIT * before[n])
    origins = first.copy()
    for clusters in range(k - 1, 0, -1):
        line, origin = costs[clusters], origins[clusters]
        end = first[clusters + 1]
        limit = costs[clusters + 1, end - origins[clusters + 1]] + doubt
        low, high = first[clusters], min(last[clusters], end - 1)
        while low < high and line[low - origin] + exact_error(errors, low, end) > limit:
            low += 1
        end = last[clusters + 1]
        limit = costs[clusters + 1, end - origins[clusters + 1]] + doubt
        high = min(last[clusters], end - 1)
        while high > low and line[high - origin] + exact_error(errors, high, end) > limit:
            high -= 1
        first[clusters], last[clusters] = low, high
