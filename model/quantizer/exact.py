"""Exact one-dimensional k-means and k-medians for arrays of rows."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from numba import config
from numpy.typing import ArrayLike, NDArray

from model.quantizer.program import solve_rows
from model.quantizer.quantized import K_LIMIT, Quantized, check_k, check_rows


def quantize(rows: ArrayLike, k: int, norm: int = 2, *, k_limit: int = K_LIMIT) -> Quantized:
    """The best codebook of at most `k` centroids for each row of `rows`, (rows, n).

    Minimizes ``sum(|value - centroid| ** norm)`` of every row, norm 2 (means) or 1 (medians),
    over all codebooks: the result is an optimum, not a local one. Equal values always share an
    index. Of several optima it is the one whose last break is smallest, then the break before,
    as far as float64 tells their costs apart; the result is the same on every run.

    The cost is within a factor 1 + 1e-8 of the optimum, whatever offset or scale the row has,
    unless the optimum is below 1e-18 of the squared (absolute) distances from the row's median
    or float64 centroids cannot come closer.

    Time is O(k n log n) a row, rows in parallel: about 1 s for 1000 rows of 1024 at k = 16 on
    two cores, three times that for rows that need the longer arithmetic. Thread-safe.

    Raises `NonFiniteError`, `EmptyError`, `ShapeError`, `CodebookSizeError` (all ValueErrors).
    """
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, not {norm!r}")
    k = check_k(k, k_limit)
    values = check_rows(rows)
    count = len(values)
    out = Quantized(
        codebook=np.empty((count, k)),
        indices=np.empty(values.shape, np.uint8),
        cost=np.empty(count),
        k_eff=np.empty(count, np.int64),
    )
    # Threads, not numba's parallel loops: those abort when two threads enter them at once.  To ask
    # numba for its number of threads would start them, which sets PyTorch's number of threads too.
    threads = min(vars(config)["NUMBA_NUM_THREADS"], count)
    edges = np.linspace(0, count, min(count, 4 * threads) + 1).astype(int)
    parts = [slice(start, stop) for start, stop in pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda part: _solve_part(values, k, norm, part, out), parts))
    return out


def _solve_part(
    values: NDArray[np.float64], k: int, norm: int, part: slice, out: Quantized
) -> None:
    """Solve some rows into `out`."""
    solve_rows(
        values[part], k, norm, out.codebook[part], out.indices[part], out.cost[part],
        out.k_eff[part],
    )
