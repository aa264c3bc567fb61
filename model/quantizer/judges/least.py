"""The least cost of a row, by other formulas, other code and other arithmetic than the quantizer's.

`least_costs` is the paper's program in O(n^2 k), Eqs. (5) and (6), in long double, with Welford's
update for a cluster's error: no prefix sums, no order of breaks, no price, nothing subtracted.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.judges.algorithm1 import algorithm1

Long = np.longdouble
SUSPICIOUS = 1e-13  # a difference that rounding in long double may have made


def least_costs(
    rows: NDArray[np.float64], k: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.longdouble]:
    """The least weighted squared error of each row with 1..k clusters, (rows, k) long double.

    rows, weights (rows, n). To about n times the rounding of a long double (2**-64 on x86), as
    every sum has terms of one sign only.
    """
    order = np.argsort(rows, axis=1, kind="stable")
    values = np.take_along_axis(rows, order, axis=1).astype(Long)
    masses = np.ones_like(values)
    if weights is not None:
        masses = np.take_along_axis(weights, order, axis=1).astype(Long)
    count, n = rows.shape
    # Of the values from i to the last one; the mean from the value i on.
    mean, error, mass = np.zeros((3, count, n), Long)
    least = np.full((k + 1, count, n + 1), np.inf, Long)
    least[0, :, 0] = 0
    for j in range(n):
        x, w = values[:, j, None], masses[:, j, None]
        seen = slice(0, j + 1)
        mass[:, seen] += w
        away = (x - values[:, seen]) - mean[:, seen]
        share = np.divide(w, mass[:, seen], out=np.zeros_like(away), where=mass[:, seen] > 0)
        error[:, seen] += w * away * away * (1 - share)
        mean[:, seen] += away * share
        for clusters in range(1, min(k, j + 1) + 1):
            candidates = least[clusters - 1, :, seen] + error[:, seen]
            least[clusters, :, j + 1] = candidates.min(axis=1)
    return np.minimum.accumulate(least[1:, :, n].T, axis=1)


def cost_of(
    rows: NDArray[np.float64],
    indices: NDArray[np.integer],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.longdouble]:
    """The squared error of each row about the means of its clusters, in two passes, long double."""
    values, masses = rows.astype(Long), np.ones(rows.shape, Long)
    if weights is not None:
        masses = weights.astype(Long)
    total = np.zeros(len(rows), Long)
    for index in range(int(indices.max()) + 1):
        inside = np.where(indices == index, masses, 0)
        mass = inside.sum(axis=1, keepdims=True)
        first = np.take_along_axis(values, inside.argmax(axis=1)[:, None], axis=1)
        mean = (inside * (values - first)).sum(axis=1, keepdims=True) / np.where(mass > 0, mass, 1)
        total += (inside * (values - first - mean) ** 2).sum(axis=1)
    return total


def grouped_least(values: list[Fraction], k: int) -> Fraction:
    """Algorithm 1 over rational numbers; nothing where there is a cluster for every value."""
    return Fraction(0) if len(set(values)) <= k else Fraction(algorithm1(values, k)[2])


def rational_cost(
    values: list[Fraction], indices: NDArray[np.integer], weights: list[Fraction] | None = None
) -> Fraction:
    """The squared error about the clusters' means."""
    masses, total = weights or [Fraction(1)] * len(values), Fraction(0)
    for index in set(indices.tolist()):
        inside = [(v, m) for v, m, i in zip(values, masses, indices, strict=True) if i == index]
        mass = sum((m for _, m in inside), Fraction(0))
        mean = sum((v * m for v, m in inside), Fraction(0)) / (mass or 1)
        total += sum((m * (v - mean) ** 2 for v, m in inside), Fraction(0))
    return total


def rational_least(values: list[Fraction], weights: list[Fraction], k: int) -> Fraction:
    """The least cost of at most k clusters over rational numbers, in O(n^2 k)."""
    pairs = sorted(zip(values, weights, strict=True))
    least: list[list[Fraction]] = [[Fraction(0)] * (k + 1)]
    for end in range(1, len(pairs) + 1):
        mass, mean, error = Fraction(0), Fraction(0), Fraction(0)
        best: list[Fraction | None] = [None] * (k + 1)
        for start in range(end - 1, -1, -1):
            value, weight = pairs[start]
            if weight:
                mass += weight
                away = value - mean
                mean += away * weight / mass
                error += weight * away * (value - mean)
            for clusters in range(1, k + 1):
                if start and clusters == 1:
                    continue
                candidate = least[start][clusters - 1] + error
                known = best[clusters]
                best[clusters] = candidate if known is None else min(known, candidate)
        least.append([Fraction(0), *(cost for cost in best[1:] if cost is not None)])
    return least[-1][k]


def excess_of(
    values: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    k: int,
    indices: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Each row's cost over the least one, minus 1 (infinite where nothing must be lost).

    Where the two differ by more than long doubles explain, rational numbers decide.
    """
    least = least_costs(values, k, weights)[:, -1]
    cost = cost_of(values, indices, weights)
    more = np.where(cost > 0, np.inf, 0.0)  # where the least is 0
    excess = np.where(least > 0, cost / np.where(least > 0, least, 1) - 1, more).astype(float)
    for row in np.flatnonzero(np.abs(excess) > SUSPICIOUS):
        line = [Fraction(float(v)) for v in values[row]]
        masses = [Fraction(1)] * len(line)
        if weights is not None:
            masses = [Fraction(float(w)) for w in weights[row]]
        best = rational_least(line, masses, k)
        mine = rational_cost(line, indices[row], masses)
        excess[row] = float(mine / best - 1) if best else np.inf if mine else 0.0
    return excess
