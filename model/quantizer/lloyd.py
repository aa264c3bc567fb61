"""Lloyd's iteration (scikit-learn), the quantizer of the KMeans-Net baseline."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from dpnet.model.quantizer.quantized import K_LIMIT, Quantized, check_k, check_rows


def lloyd(
    rows: ArrayLike,
    k: int,
    init: Literal["linear", "k-means++"] = "linear",
    *,
    n_init: int = 1,
    seed: int = 0,
    k_limit: int = K_LIMIT,
) -> Quantized:
    """A local optimum of the squared error for each row, in the form `quantize` returns.

    ``"linear"`` starts from k values evenly spaced over the row's range, as Deep Compression
    does; ``"k-means++"`` from `n_init` random draws, of which the best result stays. Rows with
    fewer than k distinct values keep these as their codebook.
    """
    if init not in ("linear", "k-means++"):
        raise ValueError(f"init must be 'linear' or 'k-means++', not {init!r}")
    if init == "linear" and n_init != 1:
        raise ValueError(f"n_init must be 1 with the linear start, not {n_init!r}")
    k = check_k(k, k_limit)
    values = check_rows(rows)
    out = Quantized(
        codebook=np.empty((len(values), k)),
        indices=np.empty(values.shape, np.uint8),
        cost=np.empty(len(values)),
        k_eff=np.empty(len(values), np.int64),
    )
    for row, row_values in enumerate(values):
        with threadpool_limits(1):  # starting threads takes longer than a row
            centroids, indices = _one_row(row_values, k, init, n_init, seed + row)
        out.codebook[row] = np.pad(centroids, (0, k - len(centroids)), "edge")
        out.indices[row] = indices
        out.cost[row] = np.sum((row_values - centroids[indices]) ** 2)
        out.k_eff[row] = len(centroids)
    return out


def _one_row(
    values: NDArray[np.float64], k: int, init: str, n_init: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """(ascending centroids, all of them used, and the index of each value) of one row."""
    distinct, indices = np.unique(values, return_inverse=True)
    if len(distinct) <= k:
        return distinct, indices
    start = np.linspace(distinct[0], distinct[-1], k)[:, None] if init == "linear" else init
    solver = KMeans(k, init=start, n_init=n_init, random_state=seed % 2**32)
    labels = solver.fit(values[:, None]).labels_
    used = np.unique(labels)
    means = np.array([values[labels == label].mean() for label in used])
    order = np.argsort(means)
    rank = np.zeros(k, np.intp)
    rank[used[order]] = np.arange(len(used))
    return means[order], rank[labels]
