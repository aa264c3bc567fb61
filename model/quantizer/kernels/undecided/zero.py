"""The best codebook that has a 0: clusters on either side of it share nothing but their number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.pairs import (
    SQUARES,
    SUM,
    between,
    centered,
    pair_sums,
)
from dpnet.model.quantizer.kernels.points import (
    ABSOLUTE,
    LATTICE,
    merge,
    power_of_two,
    to_steps,
)
from dpnet.model.quantizer.kernels.price.table import UNIT
from dpnet.model.quantizer.kernels.undecided.errors import Errors, error_units, exact_error
from dpnet.model.quantizer.kernels.undecided.layers import layer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Side(NamedTuple):
    """The clusters of one side of 0, from the farthest on.

    breaks (k, n + 1): the last break before each end; least (k,): the least cost of 0..k - 1
    clusters; until (k,): how many points these have, the others going to 0.
    """

    breaks: NDArray[np.int32]
    least: Floats
    until: Ints


@compiled
def _side(k: int, n: int) -> Side:
    return Side(np.zeros((k, n + 1), np.int32), np.empty(k), np.zeros(k, np.int64))


@compiled
def _errors_of(
    points: Floats, heavy: Floats, kind: int, limits: tuple[float, float], whole: bool
) -> Errors:
    """The errors of clusters of negative points; the nearer to 0, the fewer digits are lost."""
    sums = pair_sums(centered(points, 0.0), heavy, len(points))
    doubt = UNIT * error_units(sums, heavy, kind, whole) if len(points) else 0.0
    return Errors(sums, kind, limits[0], limits[1], doubt, kind != LATTICE)


@compiled
def _to_zero(errors: Errors, first: int) -> float:
    """The error of the points from `first` on about 0."""
    n = errors.sums.shape[1] - 1
    total = between(errors.sums, SUM if errors.kind == ABSOLUTE else SQUARES, first, n)
    return -(total[0] + total[1]) if errors.kind == ABSOLUTE else total[0] + total[1]


@compiled
def _solve_side(errors: Errors, side: Side) -> None:
    """Up to k - 1 clusters of negative points, ascending, and the rest to 0."""
    n, least, until = errors.sums.shape[1] - 1, side.least, side.until
    least[:], until[:] = np.inf, 0
    if n == 0:
        least[0] = 0.0
        return
    rest = np.empty(n + 1)
    for j in range(n + 1):
        rest[j] = _to_zero(errors, j)
    before, after, buffer = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    least[0] = rest[0]
    for clusters in range(1, min(len(least), n + 1)):
        if clusters == 1:
            for j in range(1, n + 1):
                after[j] = exact_error(errors, 0, j)
        else:
            breaks = side.breaks[clusters, clusters:]
            layer(errors, before, after, breaks, (clusters, n), (clusters - 1, n - 1), buffer)
        for j in range(clusters, n + 1):
            if after[j] + rest[j] < least[clusters]:
                least[clusters], until[clusters] = after[j] + rest[j], j
        before, after = after, before


@compiled
def _side_bounds(side: Side, clusters: int) -> Ints:
    """Where the clusters of one side end: 0 and `clusters` more places."""
    found, j = np.zeros(clusters + 1, np.int64), side.until[clusters]
    for cluster in range(clusters, 0, -1):
        found[cluster] = j
        j = side.breaks[cluster, j] if cluster > 1 else 0
    return found


@compiled
def _share(left: Side, right: Side, line: Floats) -> tuple[int, int]:
    """How many clusters to the left, and on both sides: as few as make no difference.

    line (k,): the least costs of 0..k - 1 clusters on both sides.
    """
    k = len(line)
    best = np.zeros(k, np.int64)
    for free in range(k):
        line[free] = np.inf
        for c in range(free + 1):
            if left.least[c] + right.least[free - c] < line[free]:
                line[free], best[free] = left.least[c] + right.least[free - c], c
        if free and not line[free] < line[free - 1]:
            line[free] = line[free - 1]
    free = k - 1
    while free > 0 and not line[free] < line[free - 1]:
        free -= 1
    return best[free], free


@compiled
def solve_zero(
    ordered: Floats,
    weights: Floats,
    k: int,
    kind: int,
    limits: tuple[float, float],
    steps: Floats,
    bounds: Ints,
    k_eff: Ints,
    zero_at: Ints,
    curve: Floats,
) -> None:
    """The best codebook with a 0 of each sorted row; arguments as for `solve_careful`.

    zero_at (rows,): which cluster goes to 0; it may have no values. curve (rows, k) is written.
    """
    n, whole = ordered.shape[1], weights.shape[1] == 0
    points, heavy, ends = np.empty(n), np.empty(n), np.zeros(n + 1, np.int64)
    left, right, line = _side(k, n), _side(k, n), np.empty(k)
    for row in range(len(ordered)):
        m = merge(ordered[row], weights[row], points, heavy, ends)
        scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
        if kind == LATTICE:
            scale = 1.0 / steps[row]
            to_steps(points[:m], steps[row])
        else:
            points[:m] *= scale
        negative = np.searchsorted(points[:m], 0.0)
        positive = m - np.searchsorted(points[:m], 0.0, side="right")
        below, light = points[:negative], heavy[:negative]
        _solve_side(_errors_of(below, light, kind, limits, whole), left)
        mirrored, light = -points[m - positive : m][::-1], heavy[m - positive : m][::-1].copy()
        above = _errors_of(mirrored, light, kind, (-limits[1], -limits[0]), whole)
        _solve_side(above, right)
        lefts, free = _share(left, right, line)
        curve[row] = line / scale if kind == ABSOLUTE else line / scale / scale
        zero_at[row], k_eff[row] = lefts, free + 1
        for cluster, place in enumerate(_side_bounds(left, lefts)):
            bounds[row, cluster] = ends[place]
        for cluster, place in enumerate(_side_bounds(right, free - lefts)):
            bounds[row, free + 1 - cluster] = ends[m - place]
        bounds[row, 0], bounds[row, free + 1] = 0, n
