"""Golden model of the array: exact integer matrix-vector products through buckets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class BucketProduct:
    """y[r] = Σ_k entries[r, k] · S[r, k] with S[r, k] = Σ of x[j] where indices[r, j] = k.

    Widths are in bits, signed; results need `entry_bits` + `activation_bits` - 1 + log2 of the
    columns and are exact, in any order of addition.
    """

    activation_bits: int = 25
    entry_bits: int = 25

    def buckets(self, indices: NDArray[np.integer], x: Integers, k: int) -> Integers:
        """Bucket contents after a whole row: indices (R, C), x (C,) -> (R, k)."""
        x = self._within("x", x, self.activation_bits)
        if indices.ndim != 2 or x.shape != indices.shape[1:]:
            raise ValueError(f"x must have shape {indices.shape[1:]}, not {x.shape}")
        if indices.size and (indices.min() < 0 or indices.max() >= k):
            raise ValueError(f"indices must be from 0 to {k - 1}, not up to {indices.max()}")
        return np.stack([np.where(indices == n, x, 0).sum(1, dtype=np.int64) for n in range(k)], 1)

    def compute(self, entries: Integers, indices: NDArray[np.integer], x: Integers) -> Integers:
        """entries (R, K), indices (R, C), x (C,) -> y (R,), int64, exact."""
        entries = self._within("entries", entries, self.entry_bits)
        sums: Integers = (entries * self.buckets(indices, x, entries.shape[1])).sum(1)
        return sums

    @staticmethod
    def _within(name: str, values: Integers, bits: int) -> Integers:
        values = np.asarray(values)
        if values.dtype.kind not in "iu":  # nothing is cut off to an integer
            raise TypeError(f"{name} must be integers, not {values.dtype}")
        if values.size and not -(1 << bits - 1) <= values.min() <= values.max() < 1 << bits - 1:
            raise ValueError(f"{name} must have at most {bits} signed bits, not {values!r}")
        return values.astype(np.int64, copy=False)
