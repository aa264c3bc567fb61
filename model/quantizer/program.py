"""The compiled half of the exact quantizer: a dynamic program over sorted distinct values.

All compiled functions are in this one file: numba's cache notices a change of the file that it
compiled, but not of functions that it took from other files.

A cluster's cost comes in O(1) from prefix sums. These are unevaluated pairs high + low (106 bits):
first only the high halves are used; rows whose clusters are so narrow that this may be wrong by
more than FLOAT_ERROR are solved again, with both halves wherever the high ones leave a doubt.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Pair = tuple[float, float]

FLOAT_ERROR = 1e-8  # possible relative error of the cost above which a row is solved again
EPSILON = 2.0**-52
SPLIT = 134217729.0  # 2**27 + 1 halves a float64's 53 bits (Dekker)

# Rows of what _prefix_sums returns; the low halves are one below.
VALUE, SUM, SQUARES = 0, 2, 4


@njit(cache=True, nogil=True)
def solve_rows(
    values: NDArray[np.float64],
    k: int,
    norm: int,
    codebook: NDArray[np.float64],
    indices: NDArray[np.uint8],
    cost: NDArray[np.float64],
    k_eff: NDArray[np.int64],
) -> None:
    """Solve row after row into the last four arguments."""
    for row in range(len(values)):
        ordered = np.sort(values[row])
        ends = _distinct_ends(ordered)
        used = min(k, len(ends) - 1)
        # A power of two near the largest magnitude: no square over- or underflows, no bit is lost.
        exponent = math.frexp(max(abs(ordered[0]), abs(ordered[-1])))[1]
        scaled = np.empty_like(ordered)
        for j in range(len(ordered)):
            scaled[j] = math.ldexp(ordered[j], -exponent)
        bounds, centroids, scaled_cost = _solve(scaled, ends, used, norm)
        for cluster in range(k):
            codebook[row, cluster] = math.ldexp(centroids[min(cluster, used - 1)], exponent)
        cost[row], k_eff[row] = math.ldexp(scaled_cost, norm * exponent), used
        for j in range(values.shape[1]):
            index = 0
            while values[row, j] > ordered[bounds[index + 1] - 1]:
                index += 1
            indices[row, j] = index


@njit(cache=True, nogil=True)
def _distinct_ends(ordered: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many sorted values are among the 0, 1, 2, … smallest distinct ones."""
    ends = np.zeros(len(ordered) + 1, np.int64)
    count = 0
    for j in range(1, len(ordered) + 1):
        if j == len(ordered) or ordered[j] != ordered[j - 1]:
            count += 1
            ends[count] = j
    return ends[: count + 1]


@njit(cache=True, nogil=True)
def _solve(
    ordered: NDArray[np.float64], ends: NDArray[np.int64], k: int, norm: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """(bounds, centroids, cost) of the best k clusters of sorted values within -1..1."""
    if len(ends) - 1 == k:
        centroids, cost = _centroids(ordered, ends, norm)
        return ends, centroids, cost
    sums = _prefix_sums(ordered, ordered[len(ordered) // 2])
    bounds = _best_partition(sums, ends, k, norm, 0.0)
    centroids, cost = _centroids(ordered, bounds, norm)
    doubt = _error_bound(sums, k, norm)
    if doubt > FLOAT_ERROR * cost:
        bounds = _best_partition(sums, ends, k, norm, doubt)
        centroids, cost = _centroids(ordered, bounds, norm)
    return bounds, centroids, cost


@njit(cache=True, nogil=True)
def _error_bound(sums: NDArray[np.float64], k: int, norm: int) -> float:
    """How far float64 prefix sums can be from the cost of k clusters."""
    largest = np.max(np.abs(sums[SUM]))
    if norm == 1:
        return 8.0 * k * EPSILON * largest
    reach = np.max(np.abs(sums[VALUE]))
    return 4.0 * k * EPSILON * (sums[SQUARES, -1] + 2.0 * reach * largest)


@njit(cache=True, nogil=True)
def _centroids(
    ordered: NDArray[np.float64], bounds: NDArray[np.int64], norm: int
) -> tuple[NDArray[np.float64], float]:
    """Mean or lower median of each cluster, then the cost in a second pass from these."""
    centroids = np.empty(len(bounds) - 1)
    cost = 0.0
    for cluster in range(len(centroids)):
        members = ordered[bounds[cluster] : bounds[cluster + 1]]
        if norm == 1:
            centroids[cluster] = members[(len(members) - 1) // 2]
            cost += np.sum(np.abs(members - centroids[cluster]))
        else:
            centroids[cluster] = members[0] + np.mean(members - members[0])
            cost += np.sum((members - centroids[cluster]) ** 2)
    return centroids, cost


@njit(cache=True, nogil=True, error_model="numpy")
def _squared_error(sums: NDArray[np.float64], a: int, b: int) -> float:
    """Squared error of the sorted values a..b-1 about their mean, in float64."""
    total = sums[SUM, b] - sums[SUM, a]
    return max((sums[SQUARES, b] - sums[SQUARES, a]) - total * total / (b - a), 0.0)


@njit(cache=True, nogil=True)
def _absolute_error(sums: NDArray[np.float64], a: int, b: int) -> float:
    """Absolute error of the sorted values a..b-1 about their median, in float64."""
    middle = (a + b) // 2
    cost = (sums[SUM, b] - sums[SUM, middle]) - (sums[SUM, middle] - sums[SUM, a])
    return max(cost - sums[VALUE, middle] * (a + b - 2 * middle), 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _best_break(
    sums: NDArray[np.float64],
    ends: NDArray[np.int64],
    norm: int,
    before: NDArray[np.float64],
    first: int,
    last: int,
    j: int,
) -> tuple[int, float]:
    """The smallest i in first..last of the least before[i] + cost of values i..j-1; that cost."""
    best, lowest, end = first, np.inf, ends[j]
    if norm == 1:
        for i in range(first, last + 1):
            candidate = before[i] + _absolute_error(sums, ends[i], end)
            if candidate < lowest:
                best, lowest = i, candidate
    else:  # the same for the other norm: deciding inside the loop would double its time
        for i in range(first, last + 1):
            candidate = before[i] + _squared_error(sums, ends[i], end)
            if candidate < lowest:
                best, lowest = i, candidate
    return best, lowest


@njit(cache=True, nogil=True)
def _best_break_exact(
    sums: NDArray[np.float64],
    ends: NDArray[np.int64],
    norm: int,
    doubt: float,
    before: NDArray[np.float64],
    first: int,
    last: int,
    j: int,
) -> tuple[int, float]:
    """As `_best_break` where a cost in float64 is off by up to `doubt`."""
    best, limit = _best_break(sums, ends, norm, before, first, last, j)
    limit, lowest, end = limit + 2.0 * doubt, np.inf, ends[j]
    for i in range(first, last + 1):
        error = (
            _squared_error(sums, ends[i], end)
            if norm == 2
            else _absolute_error(sums, ends[i], end)
        )
        if before[i] + error <= limit:
            candidate = before[i] + _exact_error(sums, norm, ends[i], end)
            if candidate < lowest:
                best, lowest = i, candidate
    return best, lowest


@njit(cache=True, nogil=True)
def _layer(
    sums: NDArray[np.float64],
    ends: NDArray[np.int64],
    norm: int,
    doubt: float,
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    breaks: NDArray[np.int32],
    first: int,
    last: int,
    fewest: int,
) -> None:
    """G[j, clusters] for j in first..last from G[i, clusters - 1], and the smallest best i.

    The best i never decreases with j (the cost is concave Monge), so the middle j splits both
    the js and the is: O(n log n) instead of O(n^2).
    """
    stack = np.empty((80, 4), np.int64)  # two more per halving of at most 2**31 values
    stack[0] = first, last, fewest, last - 1
    depth = 1
    while depth:
        depth -= 1
        low, high, i_low, i_high = stack[depth]
        j = (low + high) // 2
        i_last = min(i_high, j - 1)
        if doubt > 0.0:
            best, after[j] = _best_break_exact(
                sums, ends, norm, doubt, before, i_low, i_last, j
            )
        else:
            best, after[j] = _best_break(sums, ends, norm, before, i_low, i_last, j)
        breaks[j] = best
        if low < j:
            stack[depth] = low, j - 1, i_low, best
            depth += 1
        if j < high:
            stack[depth] = j + 1, high, best, i_high
            depth += 1


@njit(cache=True, nogil=True)
def _best_partition(
    sums: NDArray[np.float64], ends: NDArray[np.int64], k: int, norm: int, doubt: float
) -> NDArray[np.int64]:
    """Bounds (k + 1) of the best k clusters, as positions in the sorted row.

    ``ends[j]`` is how many values are among the j smallest distinct ones; there must be at
    least k of these. Cluster c holds the sorted values ``bounds[c] .. bounds[c + 1] - 1``.
    `doubt` is how far a cost in float64 may be off, 0 to take it as it is.
    """
    distinct = len(ends) - 1
    breaks = np.zeros((k + 1, distinct + 1), np.int32)
    before = np.empty(distinct + 1)
    after = np.empty(distinct + 1)
    for j in range(1, distinct + 1):
        before[j] = _exact_error(sums, norm, 0, ends[j])
    for clusters in range(2, k + 1):
        last = distinct - (k - clusters)  # the later clusters need a value each
        first = last if clusters == k else clusters
        _layer(
            sums, ends, norm, doubt, before, after, breaks[clusters], first, last,
            clusters - 1,
        )
        before, after = after, before
    bounds = np.zeros(k + 1, np.int64)
    j = distinct
    for clusters in range(k, 0, -1):
        bounds[clusters] = ends[j]
        j = breaks[clusters, j]
    return bounds


@njit(cache=True, nogil=True)
def _two_sum(a: float, b: float) -> Pair:
    """a + b exactly, as its rounding and the rest (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@njit(cache=True, nogil=True)
def _two_product(a: float, b: float) -> Pair:
    """a * b exactly, as its rounding and the rest (Dekker); needs abs < 1e150."""
    product = a * b
    t = SPLIT * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = SPLIT * b
    b_high = t - (t - b)
    b_low = b - b_high
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, rest


@njit(cache=True, nogil=True)
def _add_pairs(a: float, a_low: float, b: float, b_low: float) -> Pair:
    """The sum of two pairs, to about 2**-104."""
    total, rest = _two_sum(a, b)
    low_total, low_rest = _two_sum(a_low, b_low)
    total, rest = _two_sum(total, rest + low_total)
    return _two_sum(total, rest + low_rest)


@njit(cache=True, nogil=True)
def _prefix_sums(ordered: NDArray[np.float64], center: float) -> NDArray[np.float64]:
    """Pairs of value - center, and of their sums and sums of squares before each position.

    (6, n + 1): rows VALUE, SUM, SQUARES and, one below each, their low halves.
    """
    n = len(ordered)
    sums = np.zeros((6, n + 1))
    for j in range(n):
        high, low = _two_sum(ordered[j], -center)
        sums[VALUE, j], sums[VALUE + 1, j] = high, low
        sums[SUM, j + 1], sums[SUM + 1, j + 1] = _add_pairs(
            sums[SUM, j], sums[SUM + 1, j], high, low
        )
        square, rest = _two_product(high, high)
        sums[SQUARES, j + 1], sums[SQUARES + 1, j + 1] = _add_pairs(
            sums[SQUARES, j], sums[SQUARES + 1, j], square, rest + 2.0 * high * low
        )
    return sums


@njit(cache=True, nogil=True)
def _difference(sums: NDArray[np.float64], row: int, a: int, b: int) -> Pair:
    """The pair sums[row, b] - sums[row, a]."""
    return _add_pairs(sums[row, b], sums[row + 1, b], -sums[row, a], -sums[row + 1, a])


@njit(cache=True, nogil=True)
def _exact_error(sums: NDArray[np.float64], norm: int, a: int, b: int) -> float:
    """The error of the sorted values a..b-1, to about 30 digits of the largest prefix sum."""
    if norm == 1:
        middle = (a + b) // 2
        odd = a + b - 2 * middle
        above, above_low = _difference(sums, SUM, middle, b)
        below, below_low = _difference(sums, SUM, a, middle)
        high, low = _add_pairs(above, above_low, -below, -below_low)
        high, low = _add_pairs(
            high, low, -odd * sums[VALUE, middle], -odd * sums[VALUE + 1, middle]
        )
        return max(high + low, 0.0)
    total, total_low = _difference(sums, SUM, a, b)
    square, square_low = _two_product(total, total)
    square_low += 2.0 * total * total_low
    quotient = square / (b - a)
    back, back_low = _two_product(quotient, float(b - a))
    rest, rest_low = _add_pairs(square, square_low, -back, -back_low)
    high, low = _difference(sums, SQUARES, a, b)
    high, low = _add_pairs(high, low, -quotient, -(rest + rest_low) / (b - a))
    return max(high + low, 0.0)
