"""The exact program in long arithmetic: what float64 leaves undecided, and the other errors.

Kinds of error: ABSOLUTE (about a median), SQUARED (about a mean), LATTICE (squared, about the
nearest whole number within limits). All are concave Monge, so the best break never decreases with
the end, and halving finds all breaks of a layer in O(n log n) steps.

Sums are unevaluated pairs high + low (106 bits). A candidate is first computed from the high
halves; only those that may be the best by this are computed with both. All compiled functions that
these call are in this file, for numba's cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dpnet.model.quantizer.kernels.points import merge, power_of_two

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pair = tuple[float, float]

ABSOLUTE, SQUARED, LATTICE = 1, 2, 3

UNIT = 2.0**-53
PAIR_UNIT = 2.0**-100
LIGHT = 2.0**-40  # of all weights together: the difference of two sums has too few digits below
SPLIT = 134217729.0  # 2**27 + 1 halves a float64's 53 bits (Dekker)

# Rows of what `_pairs` returns; the low halves are one below.
VALUE, WEIGHT, SUM, SQUARES = 0, 2, 4, 6


@njit(cache=True, nogil=True)
def _two_sum(a: float, b: float) -> Pair:
    """a + b exactly, as its rounding and the rest (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@njit(cache=True, nogil=True)
def _two_product(a: float, b: float) -> Pair:
    """a * b exactly, as its rounding and the rest (Dekker); needs abs < 1e150."""
    product = a * b
    t = SPLIT * a
    a_high = t - (t - a)
    a_low = a - a_high
    t = SPLIT * b
    b_high = t - (t - b)
    b_low = b - b_high
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product, rest


@njit(cache=True, nogil=True)
def _add(a: Pair, b: Pair) -> Pair:
    """The sum of two pairs, to about 2**-104."""
    total, rest = _two_sum(a[0], b[0])
    low_total, low_rest = _two_sum(a[1], b[1])
    total, rest = _two_sum(total, rest + low_total)
    return _two_sum(total, rest + low_rest)


@njit(cache=True, nogil=True)
def _times(a: Pair, b: Pair) -> Pair:
    """The product of two pairs, to about 2**-102."""
    product, rest = _two_product(a[0], b[0])
    return _two_sum(product, rest + (a[0] * b[1] + a[1] * b[0]))


@njit(cache=True, nogil=True)
def _over(a: Pair, b: Pair) -> Pair:
    """The quotient of two pairs, to about 2**-102."""
    quotient = a[0] / b[0]
    back = _times((quotient, 0.0), b)
    rest = _add(a, (-back[0], -back[1]))
    return _two_sum(quotient, (rest[0] + rest[1]) / b[0])


@njit(cache=True, nogil=True)
def _between(sums: Floats, row: int, a: int, b: int) -> Pair:
    """The pair sums[row, b] - sums[row, a]."""
    return _add((sums[row, b], sums[row + 1, b]), (-sums[row, a], -sums[row + 1, a]))


@njit(cache=True, nogil=True)
def _pairs(points: Floats, heavy: Floats, center: float) -> Floats:
    """(8, n + 1) pairs: value - center; sums of weights, values and squares before each."""
    n = len(points)
    sums = np.zeros((8, n + 1))
    for j in range(n):
        weight = (heavy[j], 0.0)
        value = _two_sum(points[j], -center)
        moment = _times(weight, value)
        square = _times(moment, value)
        sums[VALUE, j], sums[VALUE + 1, j] = value
        for row, pair in ((WEIGHT, weight), (SUM, moment), (SQUARES, square)):
            sums[row, j + 1], sums[row + 1, j + 1] = _add((sums[row, j], sums[row + 1, j]), pair)
    return sums


@njit(cache=True, nogil=True)
def _median(sums: Floats, a: int, b: int) -> int:
    """The lower weighted median of the points a..b-1."""
    low, high = a, b - 1
    while low < high:
        middle = (low + high) // 2
        up_to = _between(sums, WEIGHT, a, middle + 1)
        beyond = _between(sums, WEIGHT, middle + 1, b)
        more = _add(up_to, (-beyond[0], -beyond[1]))
        if more[0] + more[1] >= 0.0:
            high = middle
        else:
            low = middle + 1
    return low


@njit(cache=True, nogil=True)
def _entry(mean: float, lowest: float, highest: float) -> float:
    """The nearest whole number within the limits, ties to even."""
    return min(max(np.rint(mean), lowest), highest)


@njit(cache=True, nogil=True, error_model="numpy")
def _exact(sums: Floats, kind: int, lowest: float, highest: float, a: int, b: int) -> float:
    """The error of the points a..b-1, to about 30 digits of the largest sum."""
    total = _between(sums, SUM, a, b)
    if kind == ABSOLUTE:
        p = _median(sums, a, b)
        value = (sums[VALUE, p], sums[VALUE + 1, p])
        above, below = _between(sums, WEIGHT, p, b), _between(sums, WEIGHT, a, p)
        weight = _times(value, _add(below, (-above[0], -above[1])))
        above, below = _between(sums, SUM, p, b), _between(sums, SUM, a, p)
        error = _add(_add(above, (-below[0], -below[1])), weight)
        return max(error[0] + error[1], 0.0)
    weight = _between(sums, WEIGHT, a, b)
    square = _between(sums, SQUARES, a, b)
    if kind == SQUARED:
        part = _over(_times(total, total), weight)
        error = _add(square, (-part[0], -part[1]))
    else:
        entry = _entry(total[0] / weight[0], lowest, highest)
        part = _times((entry, 0.0), weight)
        part = _times((entry, 0.0), _add(part, (-2.0 * total[0], -2.0 * total[1])))
        error = _add(square, part)
    return max(error[0] + error[1], 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _rough(sums: Floats, kind: int, lowest: float, highest: float, a: int, b: int) -> float:
    """The error of the points a..b-1 from the high halves."""
    total = sums[SUM, b] - sums[SUM, a]
    if kind == ABSOLUTE:
        p = _median(sums, a, b)
        above = sums[SUM, b] - sums[SUM, p] - sums[VALUE, p] * (sums[WEIGHT, b] - sums[WEIGHT, p])
        below = sums[SUM, p] - sums[SUM, a] - sums[VALUE, p] * (sums[WEIGHT, p] - sums[WEIGHT, a])
        return above - below
    weight = sums[WEIGHT, b] - sums[WEIGHT, a]
    if weight < LIGHT * sums[WEIGHT, -1]:
        return _exact(sums, kind, lowest, highest, a, b)
    square = sums[SQUARES, b] - sums[SQUARES, a]
    if kind == SQUARED:
        return square - total * total / weight
    entry = _entry(total / weight, lowest, highest)
    return square + entry * (entry * weight - 2.0 * total)


@njit(cache=True, nogil=True)
def _best_break(
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
        buffer[i] = before[i] + _rough(sums, kind, lowest, highest, i, j)
        limit = min(limit, buffer[i])
    limit += 2.0 * (doubt + 4.0 * UNIT * abs(limit))
    best, least = first, np.inf
    for i in range(first, last + 1):
        if buffer[i] <= limit:
            cost = before[i] + _exact(sums, kind, lowest, highest, i, j)
            if cost < least:
                best, least = i, cost
    return best, least


@njit(cache=True, nogil=True)
def _layer(
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
        best, after[j] = _best_break(
            sums, kind, lowest, highest, doubt, before, i_low, min(i_high, j - 1), j, buffer
        )
        breaks[j - first] = best
        if low < j:
            stack[depth] = low, j - 1, i_low, best
            depth += 1
        if j < high:
            stack[depth] = j + 1, high, best, i_high
            depth += 1


@njit(cache=True, nogil=True)
def error_units(sums: Floats, heavy: Floats, kind: int, whole: bool) -> float:
    """How many units the error of a cluster may be off, see `model.quantizer.kernels.program`."""
    n = sums.shape[1] - 1
    largest, reach, mass = np.abs(sums[SUM]).max(), np.abs(sums[VALUE]).max(), sums[WEIGHT, n]
    if kind == ABSOLUTE:
        return 8.0 * (largest + reach * mass)
    units = 8.0 * reach * largest + 24.0 * sums[SQUARES, n]
    if kind == LATTICE:
        units += 8.0 * (reach + 1.0) ** 2 * mass
    if whole:
        return units
    light = max(heavy.min(), LIGHT * mass)
    return units + 8.0 * reach**2 * mass + 16.0 * UNIT * (largest**2 + (reach * mass) ** 2) / light


@njit(cache=True, nogil=True)
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
    sums = _pairs(points, heavy, center)
    units = error_units(sums, heavy, kind, whole)
    doubt = UNIT * units
    widest = 0
    for clusters in range(1, k + 1):
        widest = max(widest, last[clusters] - first[clusters] + 1)
    breaks = np.zeros((k + 1, widest), np.int32)
    before, after, buffer = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    for j in range(first[1], last[1] + 1):
        before[j] = _exact(sums, kind, lowest, highest, 0, j)
    curve[0] = before[n] if last[1] == n else np.inf
    for clusters in range(2, k + 1):
        _layer(
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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
    sums = _pairs(points, heavy, 0.0)
    doubt = UNIT * error_units(sums, heavy, kind, whole)
    rest = np.empty(n + 1)
    for j in range(n + 1):
        if kind == ABSOLUTE:
            total = _between(sums, SUM, j, n)
            rest[j] = -(total[0] + total[1])
        else:
            total = _between(sums, SQUARES, j, n)
            rest[j] = total[0] + total[1]
    before, after, buffer = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    least[0], free_until[0] = rest[0], 0
    for clusters in range(1, k + 1):
        if clusters > n:
            continue
        if clusters == 1:
            for j in range(1, n + 1):
                after[j] = _exact(sums, kind, lowest, highest, 0, j)
        else:
            _layer(
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


@njit(cache=True, nogil=True)
def _side_bounds(breaks: NDArray[np.int32], clusters: int, until: int, found: Ints) -> None:
    """Where the clusters of one side end: found[0] = 0, …, found[clusters] = until."""
    found[0], j = 0, until
    for cluster in range(clusters, 0, -1):
        found[cluster] = j
        j = breaks[cluster, j] if cluster > 1 else 0


@njit(cache=True, nogil=True)
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
