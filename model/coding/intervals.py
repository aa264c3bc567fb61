"""The compiled half of entropy-constrained quantization: a program over intervals of a sorted row.

A row becomes *points*, distinct values or bins of neighboring values, each with its count, weight,
mean and inner error. A cluster's error grows point by point by Welford's update, with its mean kept
relative to its first point: only positive terms are added, so offset and outliers cost no digits.
Costs of at most 1, 2, … clusters lie side by side in memory, which is what vectorizes the minimum.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled, unchecked

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LANES = 8  # columns of the table are filled up to a multiple: a vector of float64 (AVX-512)
POLISHES = 100  # descents on all values after the program on bins; each lowers the objective
MU_LIMIT = 1e200  # above any scaled error, and its product with the bits is still finite


@compiled
def solve_entropy(
    values: Floats,
    ordered: Floats,
    weights: Floats,
    mu: float,
    bins: int,
    codebook: Floats,
    indices: NDArray[np.unsignedinteger],
    k_eff: Integers,
    figures: Floats,
) -> None:
    """Solve row after row into the last four arguments; figures (rows, 4): cost, bits, objective
    and how far this may be above the optimum. `weights` go with `ordered`, or have no columns.
    """
    k = codebook.shape[1]
    for row in range(len(values)):
        exponent = _exponent(ordered[row])
        scaled = _scale(ordered[row], -exponent)
        heavy = _exponent(weights[row]) if weights.shape[1] else 0
        importance = _scale(weights[row], -heavy)
        price = min(math.ldexp(mu, -2 * exponent - heavy), MU_LIMIT)
        starts, excess = _points(scaled, bins)
        bounds = _best_intervals(scaled, importance, starts, min(k, len(starts) - 1), price)
        if excess > 0.0:
            bounds, excess = _polish(scaled, bounds, price, excess)
        centroids, cost, bits = _evaluate(scaled, importance, bounds)
        used = len(centroids)
        for cluster in range(k):
            codebook[row, cluster] = math.ldexp(centroids[min(cluster, used - 1)], exponent)
        k_eff[row] = used
        figures[row, 0] = math.ldexp(cost, 2 * exponent + heavy)
        figures[row, 1] = bits
        figures[row, 2] = figures[row, 0] + (mu * bits if mu > 0.0 and bits > 0.0 else 0.0)
        figures[row, 3] = math.ldexp(excess, 2 * exponent + heavy)
        _assign(values[row], ordered[row], bounds, indices[row])


@compiled
def _exponent(values: Floats) -> int:
    """Of the power of two just above the largest magnitude."""
    largest = 0.0
    for value in values:
        largest = max(largest, abs(value))
    return math.frexp(largest)[1]


@compiled
def _scale(values: Floats, exponent: int) -> Floats:
    """values · 2^exponent: no square over- or underflows afterwards, and no bit is lost."""
    scaled = np.empty_like(values)
    for j in range(len(values)):
        scaled[j] = math.ldexp(values[j], exponent)
    return scaled


@compiled
def _assign(
    values: Floats, ordered: Floats, bounds: Integers, indices: NDArray[np.unsignedinteger]
) -> None:
    """The cluster of each value, by the largest value of the clusters."""
    for j in range(len(values)):
        low, high = 0, len(bounds) - 2
        while low < high:
            middle = (low + high) // 2
            if values[j] > ordered[bounds[middle + 1] - 1]:
                low = middle + 1
            else:
                high = middle
        indices[j] = low


@compiled
def _points(ordered: Floats, bins: int) -> tuple[Integers, float]:
    """Where each point starts, with the row's length at the end; the excess that bins may cause.

    At most `bins` distinct values stay as they are, excess 0. More are gathered so that the
    largest product of a bin's width and count, which the excess is proportional to, is least
    (to 1 %) for that many bins. Equal values share a bin.
    """
    n = len(ordered)
    starts = np.empty(min(n, bins) + 1, np.int64)
    if _gather(ordered, 0.0, starts):
        return starts[: _count(starts, n) + 1], 0.0
    reach = ordered[-1] - ordered[0]
    high = n * reach
    low = high * 1e-18
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        if _gather(ordered, middle, starts):
            high = middle
        else:
            low = middle
    _gather(ordered, high, starts)
    used = _count(starts, n)
    worst = 0.0
    for point in range(used):
        a, b = starts[point], starts[point + 1]
        worst = max(worst, (b - a) * (ordered[b - 1] - ordered[a]))
    return starts[: used + 1], 0.5 * reach * worst * (1.0 + 1e-12)


@compiled
def _count(starts: Integers, n: int) -> int:
    """How many points `starts` holds."""
    point = 0
    while starts[point] < n:
        point += 1
    return point


@compiled
def _gather(ordered: Floats, limit: float, starts: Integers) -> bool:
    """Whether points of width · count up to `limit` fit into `starts`; greedily, so the fewest."""
    n, a = len(ordered), 0
    for point in range(len(starts)):
        starts[point] = a
        if a == n:
            return True
        b, step = a + 1, 1
        while step > 0:  # gallop forward, then back: the last b of which the product is allowed
            end = b + step
            if end <= n and (end - a) * (ordered[end - 1] - ordered[a]) <= limit:
                b, step = end, 2 * step
            else:
                step //= 2
        if b < n and ordered[b] == ordered[b - 1] and ordered[b] > ordered[a]:
            b = a + np.searchsorted(ordered[a:b], ordered[b])
        a = b
    return False


@compiled
def _describe(
    ordered: Floats, importance: Floats, starts: Integers
) -> tuple[Floats, Floats, Floats]:
    """(means, weights, inner errors) of the points."""
    count = len(starts) - 1
    means, mass, inner = np.empty(count), np.empty(count), np.empty(count)
    for point in range(count):
        a, b = starts[point], starts[point + 1]
        means[point], mass[point], inner[point] = _cluster(ordered, importance, a, b)
    return means, mass, inner


@compiled
def _cluster(ordered: Floats, importance: Floats, a: int, b: int) -> tuple[float, float, float]:
    """(mean, weight, squared error about this mean) of sorted values a..b-1, in two passes.

    Where nothing has a weight the mean is that of the values.
    """
    first, mass, moment, error = ordered[a], 0.0, 0.0, 0.0
    if len(importance) == 0 or not np.any(importance[a:b] > 0.0):
        for j in range(a, b):
            moment += ordered[j] - first
        mass = float(b - a)
        mean = first + moment / mass
        for j in range(a, b):
            error += (ordered[j] - mean) ** 2
        if len(importance) > 0:
            mass = error = 0.0
    else:
        for j in range(a, b):
            mass += importance[j]
            moment += importance[j] * (ordered[j] - first)
        mean = first + moment / mass
        for j in range(a, b):
            error += importance[j] * (ordered[j] - mean) ** 2
    return mean, mass, error


@compiled
def _bits(count: int, total: int) -> float:
    """count · log2(total / count), to a few units in the last place even where both are near."""
    if 2 * count > total:
        return -count * math.log1p((count - total) / total) / math.log(2.0)
    return count * math.log2(total / count)


@compiled
def _best_intervals(
    ordered: Floats, importance: Floats, starts: Integers, k: int, mu: float
) -> Integers:
    """Bounds of the best at most k clusters, as positions in the sorted row."""
    means, mass, inner = _describe(ordered, importance, starts)
    total = starts[-1]
    price = np.zeros(total + 1)
    if mu > 0.0:
        for count in range(1, total + 1):
            price[count] = mu * _bits(count, total)
    table = _table(means, mass, inner, starts, price, k)
    ends = np.empty(k + 1, np.int64)
    ends[k] = end = len(means)
    clusters = k
    while end > 0:
        end = _last_break(means, mass, inner, starts, price, table, clusters, end)
        clusters -= 1
        ends[clusters] = end
    return starts[ends[clusters:]]


@compiled
def _table(
    means: Floats, mass: Floats, inner: Floats, starts: Integers, price: Floats, k: int
) -> Floats:
    """table[j, c]: the least objective of the first j points in at most c + 1 clusters."""
    count = len(means)
    width = LANES * (-(-k // LANES))
    table = np.zeros((count + 1, width))
    error, weight, shift, cost = inner.copy(), mass.copy(), np.zeros(count), np.empty(count)
    best, falling = np.empty(width), price[::-1].copy()
    for j in range(count):
        _grow(means[:j], weight, shift, error, means[j], mass[j], inner[j])
        _add_bits(error[: j + 1], starts, falling, len(price) - 1 - starts[j + 1], cost)
        _least(table, cost, j + 1, best)
        table[j + 1, 0] = cost[0]
        for column in range(1, width):
            table[j + 1, column] = best[column - 1]
    return table


@unchecked
def _grow(
    means: Floats,
    weight: Floats,
    shift: Floats,
    error: Floats,
    value: float,
    added: float,
    own: float,
) -> None:
    """Welford's update of the clusters that start at each of the points by one more point."""
    for i in range(len(means)):
        together = weight[i] + added
        share = added / together if together > 0.0 else 0.0
        distance = (value - means[i]) - shift[i]
        error[i] += own + weight[i] * share * distance * distance
        shift[i] += share * distance
        weight[i] = together


@compiled
def _add_bits(error: Floats, starts: Integers, falling: Floats, offset: int, cost: Floats) -> None:
    """cost[i] = error[i] + price of the values from starts[i] on; `falling`: from many down."""
    if starts[len(error)] == len(error):  # single values: read in order, five times as fast
        for i in range(len(error)):
            cost[i] = error[i] + falling[offset + i]
    else:
        for i in range(len(error)):
            cost[i] = error[i] + falling[offset + starts[i]]


@compiled
def _least(table: Floats, cost: Floats, count: int, best: Floats) -> None:
    """best[c] = min over i below count of table[i, c] + cost[i]; four rows at once."""
    for c in range(len(best)):
        best[c] = np.inf
    for i in range(0, count - 3, 4):
        row0, row1, row2, row3 = table[i], table[i + 1], table[i + 2], table[i + 3]
        cost0, cost1, cost2, cost3 = cost[i], cost[i + 1], cost[i + 2], cost[i + 3]
        for c in range(len(best)):
            a, b = row0[c] + cost0, row1[c] + cost1
            d, e = row2[c] + cost2, row3[c] + cost3
            a = a if a < b else b
            d = d if d < e else e
            a = a if a < d else d
            best[c] = a if a < best[c] else best[c]
    for i in range(count - count % 4, count):
        for c in range(len(best)):
            a = table[i, c] + cost[i]
            best[c] = a if a < best[c] else best[c]


@compiled
def _last_break(
    means: Floats,
    mass: Floats,
    inner: Floats,
    starts: Integers,
    price: Floats,
    table: Floats,
    clusters: int,
    end: int,
) -> int:
    """Where the last of at most `clusters` clusters of the first `end` points starts."""
    if clusters == 1:
        return 0
    best, lowest = 0, np.inf
    error, weight, shift = 0.0, 0.0, 0.0
    for i in range(end - 1, -1, -1):  # the same update from the other side
        share = mass[i] / (weight + mass[i]) if weight + mass[i] > 0.0 else 0.0
        distance = (means[i] - means[end - 1]) - shift
        error += inner[i] + weight * share * distance * distance
        shift += share * distance
        weight += mass[i]
        candidate = table[i, clusters - 2] + error + price[starts[end] - starts[i]]
        if candidate <= lowest:  # of equal costs the smallest break stays
            best, lowest = i, candidate
    return best


@compiled
def _evaluate(ordered: Floats, importance: Floats, bounds: Integers) -> tuple[Floats, float, float]:
    """(centroids, error, bits) of a partition, from nothing but its bounds."""
    centroids, cost, bits = np.empty(len(bounds) - 1), 0.0, 0.0
    for cluster in range(len(centroids)):
        a, b = bounds[cluster], bounds[cluster + 1]
        centroids[cluster], _, error = _cluster(ordered, importance, a, b)
        cost += error
        bits += _bits(b - a, bounds[-1])
    return centroids, cost, bits


@compiled
def _polish(ordered: Floats, bounds: Integers, mu: float, excess: float) -> tuple[Integers, float]:
    """Better bounds on all values from those on bins, and the excess that is still possible.

    Each value goes to the centroid of least distance² + mu · code length, then both are refitted,
    while that helps. What is won lowers the possible excess.
    """
    nothing = ordered[:0]
    centroids, cost, bits = _evaluate(ordered, nothing, bounds)
    first = best = cost + mu * bits
    for _ in range(POLISHES):
        moved = _reassign(ordered, bounds, centroids, mu)
        if len(moved) == len(bounds) and np.all(moved == bounds):
            break
        centroids, cost, bits = _evaluate(ordered, nothing, moved)
        if cost + mu * bits >= best:
            break
        best, bounds = cost + mu * bits, moved
    return bounds, max(excess - (first - best), 0.0)


@compiled
def _reassign(ordered: Floats, bounds: Integers, centroids: Floats, mu: float) -> Integers:
    """Bounds at the thresholds between neighbors; clusters that this empties are gone."""
    moved = np.empty_like(bounds)
    moved[0] = used = 0
    for cluster in range(len(centroids) - 1):
        low, high = centroids[cluster], centroids[cluster + 1]
        here = bounds[cluster + 1] - bounds[cluster]
        ratio = here / (bounds[cluster + 2] - bounds[cluster + 1])
        threshold = 0.5 * (low + high) + mu * math.log2(ratio) / (2.0 * (high - low))
        end = np.searchsorted(ordered, threshold, side="right")
        if moved[used] < end < len(ordered):
            used += 1
            moved[used] = end
    moved[used + 1] = len(ordered)
    return moved[: used + 2]
