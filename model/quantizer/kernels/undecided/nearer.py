"""Rows that float64 leaves undecided, with the points that are far apart brought near."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.apart import bring_near
from dpnet.model.quantizer.kernels.near import decidable, decide, mean_of
from dpnet.model.quantizer.kernels.pairs import centered, pair_sums
from dpnet.model.quantizer.kernels.points import (
    LATTICE,
    SQUARED,
    merge,
    power_of_two,
    to_steps,
)
from dpnet.model.quantizer.kernels.price.paths import room_for
from dpnet.model.quantizer.kernels.price.rows import solve_points
from dpnet.model.quantizer.kernels.price.table import PAD, UNIT, inverses
from dpnet.model.quantizer.kernels.undecided.errors import (
    Errors,
    error_units,
    less_beyond,
    relieve,
)
from dpnet.model.quantizer.kernels.undecided.layers import PAIR_UNIT, shrink_windows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@compiled
def _beyond_doubt(near: Floats, heavy: Floats, k: int, first: Ints, last: Ints) -> bool:
    """Whether `decide` leaves one partition only; then the windows are closed around it."""
    if not decidable(k, first, last):
        return False
    cores, means, found = np.empty(k), np.empty(k), np.zeros(k + 1, np.int64)
    for cluster in range(k):
        cores[cluster], means[cluster] = mean_of(
            near, heavy, 1.0, last[cluster], first[cluster + 1]
        )
    off, margin = decide(near, heavy, 1.0, k, first, last, cores, means, 0.0, False, found)
    if not margin > 2.0 * off:
        return False
    first[: k + 1], last[: k + 1] = found, found
    return True


@compiled
def solve_nearer(
    ordered: Floats,
    weights: Floats,
    k_eff: Ints,
    todo: Flags,
    first: Ints,
    last: Ints,
    bounds: Ints,
) -> None:
    """Decide those rows that are `todo` of which points can be brought near; these are done then.

    Of others the windows are narrower, or the same. Squares only; arguments as for `solve_careful`.
    """
    n, whole = ordered.shape[1], weights.shape[1] == 0
    points, heavy, ends = np.empty(n), np.empty(n), np.empty(n + 1, np.int64)
    near, sums, room = np.empty((2, n)), np.empty((3, n + 1 + PAD)), room_for(n)
    inverse = np.empty((2, 0))
    for row in range(len(ordered)):
        if not todo[row]:
            continue
        m, k = merge(ordered[row], weights[row], points, heavy, ends), k_eff[row]
        if bring_near(points[:m], heavy[:m], k, SQUARED, near[:, :m]) == 0.0:
            continue
        plain = whole and m == n
        if plain and inverse.shape[1] == 0:
            inverse = inverses(n)
        low, high = np.zeros((2, k + 1), np.int64)
        price = solve_points(
            near[0, :m],
            heavy[: 0 if plain else m],
            whole,
            1.0,
            k,
            0.0,
            sums,
            inverse,
            room,
            low,
            high,
        )
        if price == 0.0:
            continue
        first[row, : k + 1], last[row, : k + 1] = low, high
        if (low == high).all() or _beyond_doubt(near[0, :m], heavy[:m], k, low, high):
            todo[row] = False
            for cluster in range(1, k):
                bounds[row, cluster] = ends[low[cluster]]
            bounds[row, 0], bounds[row, k] = 0, n


@compiled
def _errors_of(
    points: Floats, heavy: Floats, whole: bool, k: int, kind: int, limits: tuple[float, float]
) -> tuple[Errors, float]:
    """The errors of clusters, and how far off these may be.

    Of a LATTICE only what a cluster costs more than its points by themselves: what is far beyond
    the limits costs much in every partition, and hides nothing.
    """
    m = len(points)
    if kind == LATTICE:
        less_beyond(points, heavy, limits)
        center = np.rint(points[m // 2])
        limits = limits[0] - center, limits[1] - center
        sums = pair_sums(centered(points, center), heavy, m // 2)
        units = relieve(sums, heavy, m // 2, limits[0], limits[1])
    else:
        values = np.empty((2, m))
        if bring_near(points, heavy, k, kind, values) == 0.0:
            scale = power_of_two(max(abs(points[0]), abs(points[m - 1])))
            values = centered(points * scale, points[m // 2] * scale)
        sums = pair_sums(values, heavy, m // 2)
        units = error_units(sums, heavy, kind, whole)
    alone = kind != LATTICE
    errors = Errors(sums, kind, limits[0], limits[1], UNIT * units, alone)
    return errors, PAIR_UNIT * units


@compiled
def narrow_rows(
    ordered: Floats,
    weights: Floats,
    kind: int,
    limits: tuple[float, float],
    steps: Floats,
    todo: Flags,
    k_eff: Ints,
    first: Ints,
    last: Ints,
) -> None:
    """Leave of the windows of the rows that are `todo` what 106 bits cannot exclude.

    Arguments as for `solve_careful`.
    """
    n, whole = ordered.shape[1], weights.shape[1] == 0
    points, heavy, ends = np.empty(n), np.empty(n), np.empty(n + 1, np.int64)
    for row in range(len(ordered)):
        if not todo[row]:
            continue
        m, k = merge(ordered[row], weights[row], points, heavy, ends), k_eff[row]
        if (first[row, : k + 1] == last[row, : k + 1]).all():
            continue
        if kind == LATTICE:
            to_steps(points[:m], steps[row])
        errors, precision = _errors_of(points[:m], heavy[:m], whole, k, kind, limits)
        shrink_windows(errors, k, precision, first[row], last[row])
