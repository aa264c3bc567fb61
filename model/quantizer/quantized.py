"""What every quantizer takes and returns: checked rows in, `Quantized` out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

K_LIMIT = 16  # indices of 4 bits; the engine's bucket memories are 16 words deep
INDEX_LIMIT = 256  # indices are stored as uint8


class QuantizeError(ValueError):
    """Rows or a codebook size that no quantizer accepts; the message says which and where."""


class NonFiniteError(QuantizeError):
    """A row contains NaN or an infinity."""


class EmptyError(QuantizeError):
    """There is no value to quantize."""


class ShapeError(QuantizeError):
    """The rows are not a two-dimensional array of real numbers."""


class CodebookSizeError(QuantizeError):
    """K is less than 1 or above the limit."""


@dataclass(frozen=True, eq=False)
class Quantized:
    """Rows whose values are replaced by the entries of one codebook per row.

    Attributes
    ----------
    codebook : (rows, K) float64
        Ascending centroids. A row that uses fewer than K repeats its last one.
    indices : (rows, n) uint8
        ``indices[r, j] < k_eff[r]`` selects the centroid of value ``j`` in row ``r``.
    cost : (rows,) float64
        Sum of ``|value - centroid| ** norm`` over the row, from the centroids as returned.
        Overflows to inf, or vanishes, only where that sum itself has no float64.
    k_eff : (rows,) int64
        How many different centroids the row uses, at most K.
    """

    codebook: NDArray[np.float64]
    indices: NDArray[np.uint8]
    cost: NDArray[np.float64]
    k_eff: NDArray[np.int64]

    @property
    def dequantized(self) -> NDArray[np.float64]:
        """The rows with every value replaced by its centroid, (rows, n) float64."""
        return np.take_along_axis(self.codebook, self.indices.astype(np.intp), axis=1)

    @property
    def k(self) -> int:
        """Width of the codebooks, as asked for."""
        return self.codebook.shape[1]


def check_rows(rows: ArrayLike) -> NDArray[np.float64]:
    """`rows` as a C-ordered (rows, n) float64 array; raises a `QuantizeError` for any other."""
    array = np.asarray(rows)
    if array.ndim != 2:
        raise ShapeError(f"rows must be a two-dimensional array, not of shape {array.shape!r}")
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"rows must be real numbers, not {array.dtype}")
    if array.size == 0:
        raise EmptyError(f"rows must hold at least one value, not shape {array.shape!r}")
    values = np.ascontiguousarray(array, dtype=np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise NonFiniteError(
            f"rows must be finite, not {values[row, column]} at row {row}, column {column}"
        )
    return values


def check_k(k: int, k_limit: int = K_LIMIT) -> int:
    """`k` as an int; raises `CodebookSizeError` outside 1..k_limit, TypeError if no integer."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, not {k!r}")
    if not 1 <= k_limit <= INDEX_LIMIT:
        raise CodebookSizeError(f"k_limit must be in 1..{INDEX_LIMIT}, not {k_limit!r}")
    if not 1 <= k <= k_limit:
        raise CodebookSizeError(f"k must be in 1..{k_limit}, not {int(k)!r}")
    return int(k)
