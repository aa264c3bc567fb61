"""The fp32 dot product with interleaved partial sums: the order of the faster baseline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dpnet.model.golden.fp32 import Fp32, Fp32Add, Fp32Multiply, check_product

PARTIALS = 8
"""Partial sums of a row: a power of two, and more than the six cycles of an addition."""


@dataclass(frozen=True)
class InterleavedFp32:
    """A dot product in fp32 with `PARTIALS` partial sums.

    Partial sum i starts from +0 and takes the products of the columns j with j mod `PARTIALS` = i,
    in their order.  Those that have a column are then added in pairs, (q0 + q1), (q2 + q3), …, the
    pairs' sums in pairs again, until one is left; one without a partner goes on as it is.
    """

    def compute(self, matrix: ArrayLike, vector: ArrayLike) -> Fp32:
        """The products (R,) of the rows of `matrix` (R, C) with `vector` (C,), all float32.

        Raises `ValueError` if the shapes do not fit.
        """
        rows, inputs = check_product(matrix, vector)
        multiply, add = Fp32Multiply(), Fp32Add()
        level = np.zeros((len(rows), max(1, min(PARTIALS, len(inputs)))), np.float32)
        for start in range(0, len(inputs), PARTIALS):
            columns = slice(start, start + PARTIALS)
            products = multiply.compute(rows[:, columns], inputs[columns])
            taken = products.shape[1]
            level[:, :taken] = add.compute(level[:, :taken], products)
        while level.shape[1] > 1:
            pairs = level.shape[1] // 2 * 2
            sums = add.compute(level[:, :pairs:2], level[:, 1:pairs:2])
            level = np.concatenate([sums, level[:, pairs:]], axis=1)
        return level[:, 0]
