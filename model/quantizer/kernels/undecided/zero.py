"""The best codebook that has a 0: clusters on either side of it share nothing but their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.points import merge, power_of_two
from dpnet.model.quantizer.kernels.price.table import UNIT
from dpnet.model.quantizer.kernels.undecided.errors import (
    ABSOLUTE,
    LATTICE,
    error_units,
    exact_error,
)
from dpnet.model.quantizer.kernels.undecided.layers import layer
from dpnet.model.quantizer.kernels.undecided.pairs import SQUARES, SUM, between, pair_sums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def _one_side(
    points: Floats,
    heavy: Floats,
    k: int,
    kind: int,
    lowest: float,
    highest: float,
    whole: bool,
    breaks: NDArray[np.int32],
    least: Floats,
    free_until: Ints,
) -> None:
    """Up to k clusters of negative points, ascending, and the rest to 0.

    least (k + 1,): the least cost with 0..k clusters; free_until: how many points these have.
    """
    n = len(points)
    least[:], free_until[:] = np.inf, 0
    if n == 0:
        least[0] = 0.0
        return
    sums = pair_sums(points, heavy, 0.0)
    doubt = UNIT * error_units(sums, heavy, kind, whole)
    rest = np.empty(n + 1)
    for j in range(n + 1):
        if kind == ABSOLUTE:
            total = between(sums, SUM, j, n)
            rest[j] = -(total[0] + total[1])
        else:
            total = between(sums, SQUARES, j, n)
            rest[j] = total[0] + total[1]
    before, after, buffer = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    least[0], free_until[0] = rest[0], 0
    for clusters in range(1, k + 1):
        if clusters > n:
            continue
        if clusters == 1:
            for j in range(1, n + 1):
                after[j] = exact_error(sums, kind, lowest, highest, 0, j)
        else:
            layer(
                sums,
                kind,
                lowest,
                highest,
                doubt,
                before,
                after,
                breaks[clusters, clusters:],
                clusters,
                n,
                clusters - 1,
                n - 1,
                buffer,
            )
        for j in range(clusters, n + 1):
            if after[j] + rest[j] < least[clusters]:
                least[clusters], free_until[clusters] = after[j] + rest[j], j
        before, after = after, before


@compiled
def _side_bounds(breaks: NDArray[np.int32], clusters: int, until: int, found: Ints) -> None:
    """Where the clusters of one side end: found[0] = 0, …, found[clusters] = until."""
    found[0], j = 0, until
    for cluster in range(clusters, 0, -1):
        found[cluster] = j
        j = breaks[cluster, j] if cluster > 1 else 0


@compiled
def solve_zero(
    ordered: Floats,
    weights: Floats,
    k: int,
    kind: int,
    lowest: float,
    highest: float,
    steps: Floats,
    whole: bool,
    bounds: Ints,
    k_eff: Ints,
    zero_at: Ints,
    curve: Floats,
) -> None:
    """The best codebook with a 0 of each sorted row; arguments as for `solve_careful`.

    zero_at (rows,): which cluster goes to 0; it may have no values. curve (rows, k) is written.
    Clusters below 0 and those above share nothing but their number, so each side is solved alone,
    its values beyond the last cluster going to 0.
    """
    n = ordered.shape[1]
    points, heavy, ends = np.empty(n), np.empty(n), np.zeros(n + 1, np.int64)
    left, right = np.zeros((2, k, n + 1), np.int32)
    below, above = np.empty((2, k))
    left_until, right_until, left_found, right_found = np.zeros((4, k + 1), np.int64)
    for row in range(len(ordered)):
        m = merge(ordered[row], weights[row], points, heavy, ends)
        scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
        if kind == LATTICE:
            scale = 1.0 / steps[row]
        points[:m] *= scale
        negative = np.searchsorted(points[:m], 0.0)
        positive = m - np.searchsorted(points[:m], 0.0, side="right")
        _one_side(
            points[:negative],
            heavy[:negative],
            k - 1,
            kind,
            lowest,
            highest,
            whole,
            left,
            below,
            left_until,
        )
        mirrored = -points[m - positive : m][::-1]
        _one_side(
            mirrored,
            heavy[m - positive : m][::-1].copy(),
            k - 1,
            kind,
            -highest,
            -lowest,
            whole,
            right,
            above,
            right_until,
        )
        best = 0
        for free in range(k):
            least = np.inf
            for c in range(free + 1):
                if below[c] + above[free - c] < least:
                    least, best = below[c] + above[free - c], c
            unit = scale if kind == ABSOLUTE else scale * scale
            curve[row, free] = least / unit
            if free and not least / unit < curve[row, free - 1]:
                curve[row, free] = curve[row, free - 1]
        free = k - 1  # as few as make no difference
        while free > 0 and not curve[row, free] < curve[row, free - 1]:
            free -= 1
        least = np.inf
        for c in range(free + 1):
            if below[c] + above[free - c] < least:
                least, best = below[c] + above[free - c], c
        _side_bounds(left, best, left_until[best], left_found)
        _side_bounds(right, free - best, right_until[free - best], right_found)
        zero_at[row], k_eff[row] = best, free + 1
        for cluster in range(best + 1):
            bounds[row, cluster] = ends[left_found[cluster]]
        for cluster in range(free - best + 1):
            bounds[row, free + 1 - cluster] = ends[m - right_found[cluster]]
        bounds[row, 0], bounds[row, free + 1] = 0, n
