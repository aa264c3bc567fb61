"""Rows to codebooks: as `quantize` wants them, from rows and a task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.ordered import Ordered
from dpnet.model.quantizer.quantized import Quantized
from dpnet.model.quantizer.solution import Solution
from dpnet.model.quantizer.task import Lattice, Task

__all__ = ["Lattice", "Task", "solve_part"]

Floats = NDArray[np.float64]


def solve_part(rows: NDArray[Any], weights: Floats | None, task: Task, prices: Floats) -> Quantized:
    """Solve (rows, n) values, float32 or float64; `weights` the same or None; `prices` (rows,)
    where to begin, or 0."""
    if task.symmetric:
        return _mirrored(rows, weights, task)
    given = Ordered(rows, weights)
    solution = Solution(given, task)
    if task.zero:
        return solution.with_zero()
    if not task.fast:
        return solution.careful()
    found = solution.fast(prices)
    if not task.curve:
        return found
    costs = [Solution(given, Task(k)).fast(prices * 0.0).cost for k in range(1, task.k)]
    return replace(found, curve=np.stack([*costs, found.cost], axis=1))


def _mirrored(rows: NDArray[Any], weights: Floats | None, task: Task) -> Quantized:
    """A codebook that is its own negative: half of it, for the magnitudes."""
    odd = task.k % 2
    half = replace(task, k=task.k // 2 + odd, symmetric=False, zero=bool(odd))
    found = solve_part(np.abs(rows), weights, half, np.zeros(len(rows)))
    book = np.empty((len(rows), task.k))
    below = rows < 0
    indices = np.empty(rows.shape, np.uint8 if task.k <= 256 else np.uint16)
    k_eff = np.empty(len(rows), np.int64)
    for row, used in enumerate(found.k_eff):
        positive = found.codebook[row, :used]
        once = int(positive[0] == 0)  # of an even codebook too: 0 is its own negative
        whole = np.concatenate([-positive[::-1][: used - once], positive])
        book[row], k_eff[row] = np.pad(whole + 0.0, (0, task.k - len(whole)), "edge"), len(whole)
        index = found.indices[row].astype(np.int64)
        indices[row] = np.where(below[row], used - 1 - index, used - once + index)
    return Quantized(book, indices, found.cost, k_eff)
