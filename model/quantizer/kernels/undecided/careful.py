"""Rows in long arithmetic: what float64 leaves undecided, and the other errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.pairs import centered, pair_sums
from dpnet.model.quantizer.kernels.points import (
    ABSOLUTE,
    LATTICE,
    merge,
    power_of_two,
    to_steps,
)
from dpnet.model.quantizer.kernels.price.table import UNIT
from dpnet.model.quantizer.kernels.undecided.errors import Errors, error_units
from dpnet.model.quantizer.kernels.undecided.layers import PAIR_UNIT, solve_windows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def all_breaks(n: int, k: int, for_all: bool, first: Ints, last: Ints) -> None:
    """Windows (k + 1,) that leave all breaks of n points; `for_all`: with fewer clusters too."""
    for cluster in range(1, k):
        first[cluster], last[cluster] = cluster, n if for_all else n - k + cluster
    first[0] = last[0] = 0
    first[k] = last[k] = n


@compiled
def solve_careful(
    ordered: Floats,
    weights: Floats,
    k: int,
    kind: int,
    limits: tuple[float, float],
    steps: Floats,
    todo: NDArray[np.bool_],
    with_curve: bool,
    first: Ints,
    last: Ints,
    bounds: Ints,
    k_eff: Ints,
    curve: Floats,
    off: Floats,
) -> None:
    """Solve the sorted rows that are `todo`; see `solve_rows` of `price.rows`.

    kind, limits: which error; steps (rows,): the lattice's, where it is one. Where last[row, 0] is
    negative all breaks are possible, otherwise those of first and last. curve (rows, k) or (0, 0):
    the least cost of 1..k clusters (with all breaks possible only). off (rows,): how far the cost
    may be off, of the row as `power_of_two` scales it.
    """
    n, whole = ordered.shape[1], weights.shape[1] == 0
    points, heavy, ends = np.empty(n), np.empty(n), np.zeros(n + 1, np.int64)
    found = np.zeros(k + 1, np.int64)
    for row in range(len(ordered)):
        if not todo[row]:
            continue
        m = merge(ordered[row], weights[row], points, heavy, ends)
        clusters = min(k, m)
        scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
        unit = 1.0 / steps[row] if kind == LATTICE else scale
        if kind == LATTICE:
            to_steps(points[:m], steps[row])
            center = np.rint(points[m // 2])
        else:
            points[:m] *= unit
            center = points[m // 2]
        if last[row, 0] < 0:
            all_breaks(m, clusters, with_curve, first[row], last[row])
        sums = pair_sums(centered(points[:m], center), heavy[:m], 0)
        units = error_units(sums, heavy[:m], kind, whole)
        errors = Errors(sums, kind, limits[0] - center, limits[1] - center, UNIT * units, False)
        line = solve_windows(errors, clusters, first[row], last[row], found)
        off[row] = PAIR_UNIT * units * clusters
        if kind == LATTICE:
            off[row] *= (steps[row] * scale) ** 2
        if with_curve:
            line = line / unit if kind == ABSOLUTE else line / unit / unit
            curve[row, :clusters], curve[row, clusters:] = line, line[clusters - 1]
        k_eff[row] = clusters
        for cluster in range(1, clusters):
            bounds[row, cluster] = ends[found[cluster]]
        bounds[row, 0], bounds[row, clusters] = 0, n
