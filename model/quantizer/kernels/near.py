"""Few places left for each break: which of them, from what the points there add to the clusters.

The points that surely belong to a cluster are its core. What points on either side add to the
core's error is a sum of positive terms from their distances to its mean: nothing is
subtracted from large sums, and what all partitions have in common is left out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.points import merge, power_of_two

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST = 1 << 18  # pairs of places in two neighboring windows
EXACT = 1e-13  # possible relative error of the cost above which rational numbers decide
ROUNDINGS = 64.0 * 2.0**-53  # relative error of what points add


@compiled
def mean_of(points: Floats, heavy: Floats, scale: float, a: int, b: int) -> tuple[float, float]:
    """The weight and the mean of the scaled points a..b-1; each counts 1 if `heavy` is empty."""
    origin = points[a] * scale
    total = weight = 0.0
    for start in range(a, b, 1024):
        part = mass = 0.0
        for j in range(start, min(start + 1024, b)):
            weight_of = heavy[j] if len(heavy) else 1.0
            part += weight_of * (points[j] * scale - origin)
            mass += weight_of
        total += part
        weight += mass
    return weight, origin + total / weight


@compiled
def _side(
    points: Floats, heavy: Floats, scale: float, mean: float, start: int, step: int, added: Floats
) -> None:
    """Weight, moment and square from the mean of 0, 1, 2, … points: added (3, count + 1)."""
    j = start
    for count in range(added.shape[1]):
        if count == 0:
            added[:, 0] = 0.0
            continue
        distance, weight = points[j] * scale - mean, heavy[j] if len(heavy) else 1.0
        added[0, count] = added[0, count - 1] + weight
        added[1, count] = added[1, count - 1] + weight * distance
        added[2, count] = added[2, count - 1] + weight * distance * distance
        j += step


@compiled
def decidable(k: int, first: Ints, last: Ints) -> bool:
    """Whether the windows leave a core for each cluster, and are not too wide."""
    pairs = 0
    for cluster in range(1, k + 1):
        wide = last[cluster - 1] - first[cluster - 1] + 1
        pairs = max(pairs, wide * (last[cluster] - first[cluster] + 1))
        if last[cluster - 1] >= first[cluster]:
            return False
    return pairs <= MOST


@compiled
def decide(
    points: Floats,
    heavy: Floats,
    scale: float,
    k: int,
    first: Ints,
    last: Ints,
    weights: Floats,
    means: Floats,
    mean_error: float,
    tied: bool,
    found: Ints,
) -> tuple[float, float]:
    """The best breaks (k + 1,) within `decidable` windows; how far off their cost may be, and by
    how much any other breaks are worse, as computed.

    weights, means (k,) of the cores last[c] .. first[c + 1] - 1, scaled; the means off by
    `mean_error` at most. `tied`: equal points follow each other, and no break parts them.
    """
    widest = 1
    for cluster in range(1, k):
        widest = max(widest, last[cluster] - first[cluster] + 1)
    before, after = np.zeros((2, widest))
    origin, margin = np.zeros((k + 1, widest), np.int64), np.full((k + 1, widest), np.inf)
    largest = slipped = 0.0
    for cluster in range(1, k + 1):
        core, end = last[cluster - 1], first[cluster]
        weight, mean = weights[cluster - 1], means[cluster - 1]
        lefts, rights = core - first[cluster - 1] + 1, last[cluster] - end + 1
        left, right = np.empty((3, lefts)), np.empty((3, rights))
        _side(points, heavy, scale, mean, core - 1, -1, left)
        _side(points, heavy, scale, mean, end, 1, right)
        largest += left[2, lefts - 1] + right[2, rights - 1]
        slipped += abs(left[1, lefts - 1]) + abs(right[1, rights - 1])
        for r in range(rights):
            after[r] = np.inf
            if tied and r > 0 and points[end + r] == points[end + r - 1]:
                continue
            for i in range(lefts):  # breaks upwards: the first of equals is the smallest
                side = lefts - 1 - i
                moment = left[1, side] + right[1, r]
                mass = weight + left[0, side] + right[0, r]
                cost = before[i] + left[2, side] + right[2, r] - moment * moment / mass
                if cost < after[r]:
                    margin[cluster, r] = after[r] - cost
                    after[r], origin[cluster, r] = cost, i
                else:
                    margin[cluster, r] = min(margin[cluster, r], cost - after[r])
        before, after = after, before
    place, least = 0, np.inf
    for cluster in range(k, 0, -1):
        found[cluster] = first[cluster] + place
        least = min(least, margin[cluster, place])
        place = origin[cluster, place]
    return ROUNDINGS * largest + 4.0 * mean_error * slipped, least


@compiled
def solve_near(
    ordered: Floats,
    weights: Floats,
    first: Ints,
    last: Ints,
    k_eff: Ints,
    bounds: Ints,
    todo: NDArray[np.bool_],
    off: Floats,
) -> None:
    """Decide those of the rows that are `todo` whose windows leave a core; these are done then.

    Arguments as for `solve_careful`.
    """
    n = ordered.shape[1]
    points, heavy, ends = np.empty(n), np.empty(n), np.empty(n + 1, np.int64)
    found = np.zeros(first.shape[1], np.int64)
    cores, means = np.empty((2, first.shape[1]))
    for row in range(len(ordered)):
        k = k_eff[row]
        if not todo[row] or not decidable(k, first[row], last[row]):
            continue
        m = merge(ordered[row], weights[row], points, heavy, ends)
        scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
        for cluster in range(k):
            cores[cluster], means[cluster] = mean_of(
                points, heavy, scale, last[row, cluster], first[row, cluster + 1]
            )
        off[row], _ = decide(
            points, heavy, scale, k, first[row], last[row], cores, means, 0.0, False, found
        )
        for cluster in range(1, k):
            bounds[row, cluster] = ends[found[cluster]]
        bounds[row, 0], bounds[row, k] = 0, n
        todo[row] = False
