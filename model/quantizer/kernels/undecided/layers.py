"""Layer by layer: the least cost up to every end with one cluster more, by halving.

A candidate is first computed from the high halves of the sums; only those that may be the best by
this are computed with both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.kernels.price.table import UNIT
from dpnet.model.quantizer.kernels.undecided.errors import error_units, exact_error, rough_error
from dpnet.model.quantizer.kernels.undecided.pairs import pair_sums

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAIR_UNIT = 2.0**-100


@compiled
def best_break(
    sums: Floats,
    kind: int,
    lowest: float,
    highest: float,
    doubt: float,
    before: Floats,
    first: int,
    last: int,
    j: int,
    buffer: Floats,
) -> tuple[int, float]:
    """The smallest i in first..last of the least before[i] + error of i..j-1; that cost."""
    limit = np.inf
    for i in range(first, last + 1):
        buffer[i] = before[i] + rough_error(sums, kind, lowest, highest, i, j)
        limit = min(limit, buffer[i])
    limit += 2.0 * (doubt + 4.0 * UNIT * abs(limit))
    best, least = first, np.inf
    for i in range(first, last + 1):
        if buffer[i] <= limit:
            cost = before[i] + exact_error(sums, kind, lowest, highest, i, j)
            if cost < least:
                best, least = i, cost
    return best, least


@compiled
def layer(
    sums: Floats,
    kind: int,
    lowest: float,
    highest: float,
    doubt: float,
    before: Floats,
    after: Floats,
    breaks: NDArray[np.int32],
    first: int,
    last: int,
    i_first: int,
    i_last: int,
    buffer: Floats,
) -> None:
    """The least cost up to each end first..last with one cluster more, and its smallest break."""
    stack = np.empty((80, 4), np.int64)  # two more per halving of at most 2**31 values
    stack[0] = first, last, i_first, i_last
    depth = 1
    while depth:
        depth -= 1
        low, high, i_low, i_high = stack[depth]
        j = (low + high) // 2
        best, after[j] = best_break(
            sums, kind, lowest, highest, doubt, before, i_low, min(i_high, j - 1), j, buffer
        )
        breaks[j - first] = best
        if low < j:
            stack[depth] = low, j - 1, i_low, best
            depth += 1
        if j < high:
            stack[depth] = j + 1, high, best, i_high
            depth += 1


@compiled
def solve_windows(
    points: Floats,
    heavy: Floats,
    k: int,
    kind: int,
    lowest: float,
    highest: float,
    center: float,
    whole: bool,
    first: Ints,
    last: Ints,
    bounds: Ints,
    curve: Floats,
) -> float:
    """The best k clusters whose breaks are between first and last; how far off their cost may be.

    points (n,) ascending and distinct within -1..1 (LATTICE: any, in units of the lattice), of
    positive weight `heavy`, `whole` if these are whole numbers; bounds (k + 1,) is written;
    curve[c - 1] becomes the least cost of c clusters of all points where last[c] is n. Of equally
    good breaks the smallest are taken, from the last to the first.
    """
    n = len(points)
    sums = pair_sums(points, heavy, center)
    units = error_units(sums, heavy, kind, whole)
    doubt = UNIT * units
    widest = 0
    for clusters in range(1, k + 1):
        widest = max(widest, last[clusters] - first[clusters] + 1)
    breaks = np.zeros((k + 1, widest), np.int32)
    before, after, buffer = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    for j in range(first[1], last[1] + 1):
        before[j] = exact_error(sums, kind, lowest, highest, 0, j)
    curve[0] = before[n] if last[1] == n else np.inf
    for clusters in range(2, k + 1):
        layer(
            sums,
            kind,
            lowest,
            highest,
            doubt,
            before,
            after,
            breaks[clusters],
            first[clusters],
            last[clusters],
            first[clusters - 1],
            last[clusters - 1],
            buffer,
        )
        before, after = after, before
        curve[clusters - 1] = before[n] if last[clusters] == n else np.inf
    j = n
    for clusters in range(k, 0, -1):
        bounds[clusters] = j
        j = breaks[clusters, j - first[clusters]]
    bounds[0] = 0
    return PAIR_UNIT * units * k
