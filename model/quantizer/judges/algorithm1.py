"""The paper's Algorithm 1, kept readable: the reference that the fast solver must equal."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

Number = TypeVar("Number", float, Fraction)


def algorithm1(
    values: Sequence[Number], k: int, norm: int = 2
) -> tuple[list[Number], list[int], Number]:
    """Optimal clustering of one row into at most `k` clusters, in O(n^2 k) steps.

    Equations (5) and (6) of the paper: with the values sorted as x[1..n],
    ``G[n, k] = min over i of G[i, k-1] + h(i+1, n)`` where ``h(l, q)`` is the squared error of
    x[l..q] about its mean (norm 2, the paper's) or the absolute error about its median (norm 1).
    Among equally good breaks the smallest i wins. Two corrections: the printed line 21,
    ``n <- n - 1``, is ``n <- l - 1`` (the next cluster ends where this one begins), and k counts
    as n where there are fewer values than clusters.

    Works in the arithmetic of its values: exactly for `fractions.Fraction`; for floats h loses
    digits where a cluster is far from zero, which `dpnet.model.quantizer.exact` does not.

    Returns (centroids ascending, the cluster of each value in the order given, cost).
    """
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, not {norm!r}")
    if not values or k < 1:
        raise ValueError(f"values and k must not be empty or zero, not {values!r} and {k!r}")
    order = sorted(range(len(values)), key=lambda j: values[j])
    x = [values[j] for j in order]
    k = min(k, len(x))
    cost, start = _program(x, k, norm)
    centroids = [x[0]] * k
    cluster_of = [0] * len(x)
    n = len(x)
    for clusters in range(k, 0, -1):
        left = start[n][clusters]
        members = x[left - 1 : n]
        mean, median = sum(members, x[0] - x[0]) / len(members), members[(len(members) - 1) // 2]
        centroids[clusters - 1] = mean if norm == 2 else median
        for position in range(left - 1, n):
            cluster_of[order[position]] = clusters - 1
        n = left - 1  # line 21, corrected
    return centroids, cluster_of, cost[len(x)][k]


def _program(x: list[Number], k: int, norm: int) -> tuple[list[list[Number]], list[list[int]]]:
    """G[q][clusters] of the sorted values, and where the last cluster of that optimum starts."""
    zero = x[0] - x[0]
    cost = [[zero] * (k + 1) for _ in range(len(x) + 1)]
    start = [[0] * (k + 1) for _ in range(len(x) + 1)]  # 0: not reached yet
    for q in range(1, len(x) + 1):
        total, squares, absolute = zero, zero, zero
        for left in range(q, 0, -1):
            total += x[left - 1]
            squares += x[left - 1] * x[left - 1]
            absolute += x[(left + q + 1) // 2 - 1] - x[left - 1]
            h = squares - total * total / (q - left + 1) if norm == 2 else absolute
            fewest = 1 if left == 1 else 2  # one cluster begins at the first value
            for clusters in range(fewest, min(k, left) + 1):
                candidate = cost[left - 1][clusters - 1] + h
                # `<=` while left falls: of equal costs the smallest break stays.
                if start[q][clusters] == 0 or candidate <= cost[q][clusters]:
                    cost[q][clusters], start[q][clusters] = candidate, left
    return cost, start
