"""Rows in long arithmetic: what float64 leaves undecided, and the other errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.points import merge, power_of_two
from dpnet.model.quantizer.kernels.undecided.errors import ABSOLUTE, LATTICE
from dpnet.model.quantizer.kernels.undecided.layers import solve_windows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@compiled
def solve_careful(
    ordered: Floats,
    weights: Floats,
    k: int,
    kind: int,
    lowest: float,
    highest: float,
    steps: Floats,
    whole: bool,
    todo: NDArray[np.bool_],
    with_curve: bool,
    first: Ints,
    last: Ints,
    bounds: Ints,
    k_eff: Ints,
    curve: Floats,
    off: Floats,
) -> None:
    """Solve the sorted rows that are `todo`; see
    `dpnet.model.quantizer.kernels.program.solve_rows`.

    kind, lowest, highest: which error; steps (rows,): the lattice's, where it is one. Where
    last[row, 0] is negative all breaks are possible, otherwise those of first and last.
    curve (rows, k) or (0, 0): the least cost of 1..k clusters (with all breaks possible only).
    off (rows,): how far the cost may be off, as the cost counts.
    """
    n = ordered.shape[1]
    points, heavy, ends = np.empty(n), np.empty(n), np.zeros(n + 1, np.int64)
    found, line = np.zeros(k + 1, np.int64), np.empty(k)
    for row in range(len(ordered)):
        if not todo[row]:
            continue
        m = merge(ordered[row], weights[row], points, heavy, ends)
        clusters = min(k, m)
        scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
        if kind == LATTICE:
            scale = 1.0 / steps[row]
        points[:m] *= scale
        center = points[m // 2]
        if kind == LATTICE:
            center = np.rint(center)
        if last[row, 0] < 0:
            for cluster in range(1, clusters):
                first[row, cluster] = cluster
                last[row, cluster] = m if with_curve else m - clusters + cluster
            first[row, 0] = last[row, 0] = 0
            first[row, clusters] = last[row, clusters] = m
        off[row] = solve_windows(
            points[:m],
            heavy[:m],
            clusters,
            kind,
            lowest - center,
            highest - center,
            center,
            whole,
            first[row],
            last[row],
            found,
            line,
        )
        unit = scale if kind == ABSOLUTE else scale * scale
        off[row] /= unit
        if with_curve:
            curve[row, :clusters] = line[:clusters] / unit
            curve[row, clusters:] = line[clusters - 1] / unit
        k_eff[row] = clusters
        for cluster in range(1, clusters):
            bounds[row, cluster] = ends[found[cluster]]
        bounds[row, 0], bounds[row, clusters] = 0, n
