"""Partitions of long vectors by halving, O(n k log n): the judge where O(n^2 k) is too long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.compiled import compiled


@compiled
def monge_breaks(ordered: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Breaks (k + 1,) of a best partition of sorted values, to the rounding of float64 sums.

    The best break before an end never decreases with the end: that of the middle one halves the
    work for those on either side.
    """
    n = len(ordered)
    total, square = np.zeros(n + 1), np.zeros(n + 1)
    for j in range(n):
        away = ordered[j] - ordered[n // 2]
        total[j + 1], square[j + 1] = total[j] + away, square[j] + away * away
    cost, origin = np.full((k + 1, n + 1), np.inf), np.zeros((k + 1, n + 1), np.int64)
    cost[0, 0] = 0.0
    todo = np.empty((64, 4), np.int64)
    for clusters in range(1, k + 1):
        todo[0], depth = np.array([clusters, n, clusters - 1, n - 1]), 1
        while depth:
            depth -= 1
            first, last, low, high = todo[depth]
            if first > last:
                continue
            end = (first + last) // 2
            for begin in range(low, min(high, end - 1) + 1):
                moment = total[end] - total[begin]
                error = square[end] - square[begin] - moment * moment / (end - begin)
                if cost[clusters - 1, begin] + error < cost[clusters, end]:
                    cost[clusters, end] = cost[clusters - 1, begin] + error
                    origin[clusters, end] = begin
            best = origin[clusters, end]
            todo[depth] = np.array([first, end - 1, low, best])
            todo[depth + 1] = np.array([end + 1, last, best, high])
            depth += 2
    breaks = np.full(k + 1, n)
    for clusters in range(k, 0, -1):
        breaks[clusters - 1] = origin[clusters, breaks[clusters]]
    return breaks
