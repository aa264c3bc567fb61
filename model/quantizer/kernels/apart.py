"""Points far apart, brought near to each other.

A break that every best partition has leaves no cluster across it: what is beyond may be moved
towards it, and the partitions that are best stay the same. So an outlier does not cost the
others their digits, nor do clusters whose distances are many times their widths.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.pairs import add, two_sum
from dpnet.model.quantizer.kernels.points import ABSOLUTE, SQUARED, power_of_two

Floats = NDArray[np.float64]

ROUNDS = 8  # of bringing near, each at the scale of what the one before has left
SMALL = 2.0**-20  # of the reach before: then squares are computed at another scale
LOST = 2.0**-1060  # what a square at most loses to underflow
SURE = 1.0 + 1e-6  # more than the rounding of a cost
AWAY = 4.0  # costs of a partition: what is left of a gap costs so much to have inside a cluster


@compiled
def _penalty(gap: float, one: float, other: float, kind: int) -> float:
    """The least error of a cluster with two neighbors of these weights, so far apart."""
    if kind == ABSOLUTE:
        return gap * min(one, other)
    return gap * (one * (other / (one + other))) * gap


@compiled
def _gap_for(penalty: float, one: float, other: float, kind: int) -> float:
    """How far apart two neighbors must be for this penalty."""
    if kind == ABSOLUTE:
        return penalty / min(one, other)
    return math.sqrt(penalty) / math.sqrt(one * (other / (one + other)))


@compiled
def _mass(heavy: Floats, j: int) -> float:
    """The weight of point j, 1 if `heavy` is empty."""
    return float(heavy[j]) if len(heavy) else 1.0


@compiled
def _spread_of(points: Floats, heavy: Floats, scale: float, kind: int, a: int, b: int) -> float:
    """The error of the points a..b-1 about their mean or median, times `scale` first."""
    origin = points[a] * scale
    total = weight = cost = 0.0
    for j in range(a, b):
        total += _mass(heavy, j) * (points[j] * scale - origin)
        weight += _mass(heavy, j)
    center = origin + total / weight
    if kind == ABSOLUTE:
        below, j = _mass(heavy, a), a
        while j < b - 1 and below < 0.5 * weight:
            j += 1
            below += _mass(heavy, j)
        center = points[j] * scale
    for j in range(a, b):
        distance = abs(points[j] * scale - center)
        cost += _mass(heavy, j) * distance * (1.0 if kind == ABSOLUTE else distance)
    return cost


@compiled
def cost_at_gaps(
    points: Floats, heavy: Floats, scale: float, kind: int, k: int, pens: Floats
) -> float:
    """More than the least cost with k clusters: the cost with breaks at the k - 1 widest gaps.

    pens (m,) becomes what each gap costs at least inside a cluster.
    """
    m = len(points)
    pens[0] = 0.0
    for j in range(1, m):
        gap = points[j] * scale - points[j - 1] * scale
        pens[j] = _penalty(gap, _mass(heavy, j - 1), _mass(heavy, j), kind)
    limit = np.partition(pens[1:], m - k)[m - k] if k > 1 else np.inf
    equal = k - 1
    for j in range(1, m):
        equal -= pens[j] > limit
    cost, start = 0.0, 0
    for j in range(1, m):
        if pens[j] > limit or (pens[j] == limit and equal > 0):
            equal -= pens[j] == limit
            cost += _spread_of(points, heavy, scale, kind, start, j)
            start = j
    cost += _spread_of(points, heavy, scale, kind, start, m)
    return cost * SURE + LOST * m


@compiled
def far_ends(points: Floats, heavy: Floats, scale: float, k: int) -> tuple[int, int, int, int]:
    """Values at the ends so far from all others that each is a cluster of every best partition.

    points (m,) ascending, of which equal ones count once; k from 3, else there are none. How many
    clusters there are below and above, and the points start..stop - 1 between, which are 2 clusters
    or more.
    """
    pens, start, stop = np.empty(len(points)), 0, len(points)
    enough, below, above = cost_at_gaps(points, heavy, scale, SQUARED, k, pens), 0, 0
    while below + 2 < k:
        end = start + 1
        while points[end] == points[start]:
            end += 1
        if not pens[end] > enough:
            break
        start, below = end, below + 1
    while below + above + 2 < k:
        begin = stop - 1
        while points[begin - 1] == points[begin]:
            begin -= 1
        if not pens[begin] > enough:
            break
        stop, above = begin, above + 1
    return below, above, start, stop


@compiled
def _move(points: Floats, scale: float, most: Floats, near: Floats) -> None:
    """Each point's distance from the middle one, gaps being no wider than `most`, exactly."""
    m, middle = len(points), len(points) // 2
    near[:, middle] = 0.0
    for step in (1, -1):
        edge, place = (0.0, 0.0), points[middle]
        for j in range(middle + step, m if step > 0 else -1, step):
            gap = max(j, j - step)
            if most[gap] < np.inf:
                before = (near[0, j - step], near[1, j - step])
                edge, place = add(before, (step * most[gap], 0.0)), points[j]
            away = two_sum(points[j] * scale, -place * scale)
            near[0, j], near[1, j] = add(edge, away)


@compiled
def bring_near(points: Floats, heavy: Floats, k: int, kind: int, near: Floats) -> float:
    """Points whose best partitions into k clusters are those of `points`, times what is returned.
    0: none can be nearer.

    points (m,) ascending and distinct, their weights `heavy` (m,) or (0,), k in 2..m - 1; kind
    ABSOLUTE or SQUARED. near (2, m) becomes pairs, high and low, with the middle point at 0, within
    -1..1.
    """
    m = len(points)
    scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
    pens, most = np.zeros(m), np.full(m, np.inf)
    moved = False
    for _ in range(ROUNDS):
        enough, forced = cost_at_gaps(points, heavy, scale, kind, k, pens), 0
        most[:] = np.inf
        for j in range(1, m):
            if pens[j] > enough:
                gap = _gap_for(AWAY * enough, _mass(heavy, j - 1), _mass(heavy, j), kind)
                forced += 1
                if gap < points[j] * scale - points[j - 1] * scale:
                    most[j] = gap
                    moved = True
        if not moved or forced >= k:
            return 0.0
        _move(points, scale, most, near)
        reach = max(near[0, m - 1], -near[0, 0])
        again = power_of_two(reach)
        if reach > SMALL or math.isinf(max(abs(points[0]), abs(points[m - 1])) * scale * again):
            near *= again
            return scale * again
        scale *= again
    return 0.0
