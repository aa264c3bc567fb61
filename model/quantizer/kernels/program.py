"""The compiled half of the exact quantizer: shortest paths with a price for every centroid.

With a price for each cluster the best partition needs no limit on their number:
``cost[j] = min over i of cost[i] + error(i, j) + price``. The error of a cluster is concave Monge,
so the best i never decreases with j, and the least error of k clusters is convex in k: there is a
price at which the best partition has k clusters, and then no other k clusters are better
(Aggarwal, Schieber, Tokuyama 1994). One price takes O(n) steps, eight candidates in each.

All compiled functions are in this one file: numba's cache notices a change of the file that it
compiled, but not of functions that it took from other files.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dpnet.model.quantizer.kernels.lanes import (
    LANES,
    candidates,
    ends,
    span,
    weighted_candidates,
    weighted_ends,
    weighted_span,
)
from dpnet.model.quantizer.kernels.points import is_plain, merge, power_of_two

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAD = 2 * LANES  # vectors are read and written beyond the last value
BLOCK = 32  # ends that are solved together
COARSE = 8  # points for one where a price is looked for
TRIES = 60
# Powers of the number of clusters by which a price moves first: on coarse tables, from their price
# on, and from that of a row which has moved a little.
COARSELY, FINELY, BARELY = 3.0, 2.0, 1.0
NEAR = 4  # clusters between two partitions: the slope between them is a price for one of these
RAISES = 4  # of a price that does: the higher it is, the longer are the blocks
UNIT = 2.0**-53  # the largest relative error of one rounding
LIGHT = 2.0**-40  # of all weights together: the difference of two sums has too few digits below
DOUBTS = 16.0  # errors of a break that seems the best: its own, and one for each halving of a block

# Rows of a row's table: weight, weighted value and weighted square of the points before each.
WEIGHT, SUM, SQUARES = 0, 1, 2
# Rows of the inverse numbers 1, 1/2, 1/3, …: as they are, and the other way round.
UP, DOWN = 0, 1


@njit(cache=True, nogil=True, error_model="numpy")
def best_break(
    gain: Floats,
    sums: Floats,
    spread: Floats,
    weighted: bool,
    gap: int,
    j: int,
    first: int,
    last: int,
) -> tuple[float, int]:
    """The least of first..last as the break before j, and where it is."""
    if weighted:
        return weighted_candidates(gain, sums, spread, gap, j, first, last, 0.0)
    return candidates(gain, sums, spread, gap, j, first, last, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def break_span(
    gain: Floats,
    sums: Floats,
    spread: Floats,
    weighted: bool,
    gap: int,
    j: int,
    first: int,
    last: int,
    limit: float,
) -> tuple[int, int]:
    """The first and the last break of first..last before j whose value is at most `limit`."""
    if weighted:
        return weighted_span(gain, sums, spread, gap, j, first, last, limit)
    return span(gain, sums, spread, gap, j, first, last, limit)


@njit(cache=True, nogil=True, error_model="numpy")
def _shortest(
    table: Floats,
    inverse: Floats,
    weighted: bool,
    n: int,
    price: float,
    error: float,
    cost: Floats,
    gain: Floats,
    origin: Ints,
) -> None:
    """The least cost of the points before each end 1..n at a price per cluster, and its break.

    `error` bounds that of a candidate's value: none that could be the best is left out for a
    difference within it. A block of ends starts with its last one. That none of the block's own
    ends is its best break is certain where the cost at the block's start plus the price exceeds
    what was found (the cost never falls with the end); otherwise the block is halved.
    The best breaks of two ends enclose those of all ends between: few candidates for most.
    """
    sums, squares = table[SUM], table[SQUARES]
    across = table[WEIGHT] if weighted else inverse[DOWN]
    along = table[WEIGHT] if weighted else inverse[UP]
    cost[0], gain[0], origin[0] = 0.0, price, 0
    start, length, reach, first = 0, BLOCK, 0, 0
    while start < n:
        stop = min(start + length, n)
        distance = sums[stop] - sums[first]
        over = table[WEIGHT, stop] - table[WEIGHT, first]
        enough = gain[first] + squares[stop] - distance * distance / over - price + 4.0 * error
        reach = max(reach, first)
        while reach < start and cost[reach] <= enough:
            reach += 1  # candidates beyond cost more than the one at `first`
        value, index = best_break(gain, sums, across, weighted, 0, stop, first, reach)
        if stop > start + 1 and cost[start] + price < value + squares[stop] + 4.0 * error:
            length = (stop - start) // 2
            continue
        cost[stop], gain[stop], origin[stop] = value + squares[stop], value + price, index
        step = BLOCK // 2
        while step >= LANES:
            for j in range(start + step, stop, 2 * step):
                low = origin[j - step] if j - step > start else first
                value, origin[j] = best_break(
                    gain,
                    sums,
                    across,
                    weighted,
                    0,
                    j,
                    low,
                    origin[min(j + step, stop)],
                )
                cost[j], gain[j] = value + squares[j], value + price
            step //= 2
        for j in range(start, stop - 1, LANES):
            low, high = origin[j] if j > start else first, origin[min(j + LANES, stop)]
            if weighted:
                weighted_ends(gain, sums, squares, along, 0, price, j + 1, low, high, cost, origin)
            else:
                ends(gain, sums, squares, along, 0, price, j + 1, low, high, cost, origin)
        # What is worse here by more than the error is worse at all later ends.
        limit = cost[stop] - squares[stop] + 2.0 * error
        first, _ = break_span(gain, sums, across, weighted, 0, stop, first, origin[stop], limit)
        start, length = stop, min(2 * length, BLOCK)


@njit(cache=True, nogil=True)
def _follow(origin: Ints, n: int, bounds: Ints) -> int:
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


@njit(cache=True, nogil=True, error_model="numpy")
def _search(
    table: Floats,
    inverse: Floats,
    weighted: bool,
    n: int,
    k: int,
    price: float,
    error: float,
    power: float,
    tries: int,
    cost: Floats,
    gain: Floats,
    origin: Ints,
    bounds: Ints,
    more: Ints,
    fewer: Ints,
) -> tuple[bool, float]:
    """A price at which `bounds` are those of the best k clusters: (found, price).

    The price falls like a power of the number of clusters, the third for a density; `power` is the
    first that is tried. Once there is one partition with more and one with fewer clusters, and not
    many numbers between the two, or else every other time, the slope between them is tried: if
    nothing is better there, all numbers of clusters between cost the same (equal values, regular
    grids), and no price ends with exactly k. Then the two paths cross, and one half of each makes
    k clusters.
    """
    low_price, high_price = 0.0, math.inf
    low_count, high_count, low_cost, high_cost = 0, 0, 0.0, 0.0
    on_slope = False
    for attempt in range(tries):
        _shortest(table, inverse, weighted, n, price, error, cost, gain, origin)
        count = _follow(origin, n, bounds)
        if count == k:
            return True, price
        squared = cost[n] - price * count
        if on_slope and count in (low_count, high_count):
            crossed = _cross(more, low_count, fewer, high_count, k, bounds)
            return crossed, price
        if count > k:
            low_price, low_count, low_cost = price, count, squared
            more[: count + 1] = bounds[: count + 1]
        else:
            high_price, high_count, high_cost = price, count, squared
            fewer[: count + 1] = bounds[: count + 1]
        on_slope = (
            low_count > 0
            and high_count > 0
            and (low_count - high_count <= NEAR or (attempt > 6 and attempt % 2 == 0))
        )
        if low_count == 0 or high_count == 0:
            price *= (count / k) ** power
            power *= 1.5
        elif on_slope:
            price = (high_cost - low_cost) / (low_count - high_count)
        else:
            share = math.log(low_count / (k + 0.1)) / math.log(low_count / high_count)
            share = min(max(share, 0.1), 0.9)
            price = low_price * (high_price / low_price) ** share
        if not 0.0 < price < math.inf:
            break
    return False, price


@njit(cache=True, nogil=True)
def _cross(
    more: Ints, more_count: int, fewer: Ints, fewer_count: int, k: int, bounds: Ints
) -> bool:
    """k clusters from the first ones of one path and the last ones of another with more."""
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


@njit(cache=True, nogil=True, error_model="numpy")
def _error_of(table: Floats, a: int, b: int) -> float:
    """The error of the cluster of the points a..b-1."""
    distance = table[SUM, b] - table[SUM, a]
    over = table[WEIGHT, b] - table[WEIGHT, a]
    return table[SQUARES, b] - table[SQUARES, a] - distance * distance / over


@njit(cache=True, nogil=True, error_model="numpy")
def _excess(table: Floats, n: int, k: int, price: float, cost: Floats, bounds: Ints) -> float:
    """By how much the clusters of `bounds` miss the bound that the price gives."""
    squared = 0.0
    for cluster in range(k):
        squared += _error_of(table, bounds[cluster], bounds[cluster + 1])
    return max(squared - (cost[n] - price * k), 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _windows(
    table: Floats,
    inverse: Floats,
    weighted: bool,
    n: int,
    k: int,
    doubt: float,
    error: float,
    cost: Floats,
    gain: Floats,
    bounds: Ints,
    first: Ints,
    last: Ints,
) -> None:
    """Between which points every best partition into k clusters has its breaks.

    Take cost[] as potentials: a partition's error and price are cost[n] plus what each of its
    breaks is worse than the best one. No break of a best partition is worse by more than `doubt`.
    From the last to the first: the breaks that this leaves, of the first and of the last possible
    end of their cluster; those of the ends between lie between (the error is Monge).

    A break that is too bad even without a price rules out all before it: a cluster that begins
    earlier costs no less than its two parts, and cost[] rises by no more than one part and a price.
    """
    across = table[WEIGHT] if weighted else inverse[DOWN]
    for cluster in range(k - 1, 0, -1):
        j, until = first[cluster + 1], last[cluster + 1]
        limit = cost[j] + doubt
        begin = cluster - 1
        while begin > 0:
            early = bounds[begin]
            if early < j and cost[early] + _error_of(table, early, j) > limit + 8.0 * error:
                break
            begin -= 1
        early, limit = bounds[begin], limit - table[SQUARES, j]
        low, high = break_span(gain, table[SUM], across, weighted, 0, j, early, j - 1, limit)
        if until > j:
            limit = cost[until] + doubt - table[SQUARES, until]
            _, high = break_span(
                gain, table[SUM], across, weighted, 0, until, early, until - 1, limit
            )
        if low > high:  # nothing was found: nothing is known
            low, high = cluster, n - k + cluster
        first[cluster] = max(low, cluster)
        last[cluster] = max(min(high, n - k + cluster), first[cluster])


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True, error_model="numpy")
def _coarse(table: Floats, n: int, stride: int, weighted: bool) -> Floats:
    """The table at every `stride`-th point, the last one included, for clusters that end there."""
    few = n // stride
    shift = n - few * stride
    coarse = np.zeros((3, few + 1 + PAD))
    root = math.sqrt(float(stride))
    for j in range(few + 1):
        for row in range(3):
            coarse[row, j] = table[row, shift + j * stride] - table[row, shift]
        if not weighted:  # as if every point still counted 1
            coarse[SUM, j] /= root
            coarse[WEIGHT, j] = j
    return coarse


@njit(cache=True, nogil=True)
def inverses(n: int) -> Floats:
    """1 / m at [UP, m] and at [DOWN, -1 - LANES - m], with room for vectors beyond."""
    inverse = np.zeros((2, n + 1 + PAD))
    for m in range(1, n + 1 + LANES):
        inverse[UP, m] = inverse[DOWN, n + PAD - LANES - m] = 1.0 / m
    return inverse


@njit(cache=True, nogil=True, error_model="numpy")
def _first_price(
    table: Floats,
    inverse: Floats,
    weighted: bool,
    n: int,
    k: int,
    error: float,
    cost: Floats,
    gain: Floats,
    origin: Ints,
    bounds: Ints,
    more: Ints,
    fewer: Ints,
) -> float:
    """A price near the one looked for, from coarser and coarser tables."""
    stride = 1
    while n // (stride * COARSE) >= 4 * k:
        stride *= COARSE
    price = 5.0 * table[SQUARES, n] / k**3  # about that of a bell shape
    while stride > 1:
        few = n // stride
        coarse = _coarse(table, n, stride, weighted)
        done, price = _search(
            coarse,
            inverse,
            weighted,
            few,
            k,
            price,
            error,
            COARSELY,
            12,
            cost,
            gain,
            origin,
            bounds,
            more,
            fewer,
        )
        for _ in range(RAISES if done else 0):  # where clusters are apart, prices span decades
            _shortest(coarse, inverse, weighted, few, 3.0 * price, error, cost, gain, origin)
            if _follow(origin, few, bounds) != k:
                break
            price *= 3.0
        stride //= COARSE
    return price


@njit(cache=True, nogil=True)
def solve_rows(
    ordered: Floats,
    weights: Floats,
    k: int,
    prices: Floats,
    bounds: Ints,
    k_eff: Ints,
    first: Ints,
    last: Ints,
) -> None:
    """The best partition of each sorted row, or where its breaks are.

    ordered (rows, n); weights the same, or (rows, 0); prices (rows,): 0 or a guess on entry, that
    of the solution afterwards. Cluster c of a row is the sorted values bounds[c] .. bounds[c+1]-1
    for c < k_eff. Where first and last (rows, k + 1) differ, float64 has not decided: then the
    breaks of every best partition lie between these points, counted as `merge` counts.
    """
    n = ordered.shape[1]
    merged, heavy, ends_at = np.empty(n), np.empty(n), np.empty(n + 1, np.int64)
    table, inverse = np.empty((3, n + 1 + PAD)), np.empty((2, 0))
    cost, gain = np.empty((2, n + 1 + PAD))
    origin = np.empty(n + 1 + PAD, np.int64)
    found, more, fewer = np.empty((3, n + 1), np.int64)
    for row in range(len(ordered)):
        plain = is_plain(ordered[row], weights[row])
        m = n if plain else merge(ordered[row], weights[row], merged, heavy, ends_at)
        points = ordered[row] if plain else merged
        clusters = min(k, m)
        if plain and inverse.shape[1] == 0:
            inverse = inverses(n)
        k_eff[row] = clusters
        if clusters == m or clusters == 1:
            found[0], found[clusters] = 0, m
            for cluster in range(1, clusters):
                found[cluster] = cluster
            first[row], last[row] = 0, 0
        else:
            weighted = m < n or weights.shape[1] > 0
            scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
            reach, largest = tabulate(
                points, heavy[: 0 if plain else m], m, weights.shape[1] == 0, scale, table
            )
            light = heavy[:m].min() if weights.shape[1] > 0 else 1.0
            error = rounding_error(
                table[WEIGHT, m],
                table[SQUARES, m],
                reach,
                largest,
                light if weights.shape[1] > 0 else 0.0,
            )
            price, power = prices[row], BARELY
            if not 0.0 < price < math.inf:
                price = _first_price(
                    table,
                    inverse,
                    weighted,
                    m,
                    clusters,
                    error,
                    cost,
                    gain,
                    origin,
                    found,
                    more,
                    fewer,
                )
                power = FINELY
            done, price = _search(
                table,
                inverse,
                weighted,
                m,
                clusters,
                price,
                error,
                power,
                TRIES,
                cost,
                gain,
                origin,
                found,
                more,
                fewer,
            )
            for cluster in range(1, clusters):
                first[row, cluster], last[row, cluster] = cluster, m - clusters + cluster
            first[row, 0] = last[row, 0] = 0
            first[row, clusters] = last[row, clusters] = m
            prices[row] = 0.0
            if done and light > LIGHT * table[WEIGHT, m]:
                prices[row] = price
                doubt = _excess(table, m, clusters, price, cost, found)
                doubt += DOUBTS * (clusters + 2.0) * error
                _windows(
                    table,
                    inverse,
                    weighted,
                    m,
                    clusters,
                    doubt,
                    error,
                    cost,
                    gain,
                    found,
                    first[row],
                    last[row],
                )
            else:
                found[: clusters + 1] = first[row, : clusters + 1]
        for cluster in range(clusters + 1):
            bounds[row, cluster] = found[cluster] if plain else ends_at[found[cluster]]
        bounds[row, 0], bounds[row, clusters] = 0, n
