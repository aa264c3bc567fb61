"""The dense int8 layer: every weight multiplied, the sums requantized to int8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dpnet.model.golden.checks import check_integers
from dpnet.model.golden.requantize import Requantize
from dpnet.model.golden.rounding import Integers

INT8 = (-128, 127)
OUT_BITS = 8


@dataclass(frozen=True)
class RowParameters:
    """What `Requantize` needs of each of R rows, arrays (R,): `bias`, `multiplier`, `shift`,
    `relu`.
    """

    bias: Integers
    multiplier: Integers
    shift: Integers
    relu: Integers


@dataclass(frozen=True)
class Dense:
    """y = requantize(W x) to int8, exact; `requantize` has the widths."""

    requantize: Requantize

    def compute(self, matrix: ArrayLike, vectors: ArrayLike, rows: RowParameters) -> Integers:
        """`matrix` (R, C) and `vectors` (V, C) of int8 values -> (V, R), int64.

        Raises `ValueError` if the shapes do not fit, `RangeError` for a value beyond its width.
        """
        weights = check_integers("matrix", matrix, *INT8)
        inputs = check_integers("vectors", vectors, *INT8)
        if weights.ndim != 2 or inputs.ndim != 2 or inputs.shape[1] != weights.shape[1]:
            raise ValueError(
                "matrix and vectors must be (R, C) and (V, C), "
                f"not {weights.shape!r} and {inputs.shape!r}"
            )
        return self.requantize.compute(
            inputs @ weights.T,
            rows.bias,
            rows.multiplier,
            rows.shift,
            rows.relu,
            np.int64(OUT_BITS),
        )
