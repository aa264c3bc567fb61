"""IEEE 754 single precision as the baseline engines use it; NumPy's float32 is the specification.

Round to nearest even, gradual underflow, infinities; every NaN result is the canonical 0x7FC00000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.golden.checks import check_fp32

CANONICAL_NAN = 0x7FC0_0000

Fp32 = NDArray[np.float32]


@dataclass(frozen=True)
class Fp32Multiply:
    """fp32 multiplication."""

    def compute(self, a: ArrayLike, b: ArrayLike) -> Fp32:
        """``a * b`` of float32 arrays that broadcast."""
        with np.errstate(all="ignore"):
            return canonical(np.multiply(check_fp32("a", a), check_fp32("b", b)))


@dataclass(frozen=True)
class Fp32Add:
    """fp32 addition."""

    def compute(self, a: ArrayLike, b: ArrayLike) -> Fp32:
        """``a + b`` of float32 arrays that broadcast."""
        with np.errstate(all="ignore"):
            return canonical(np.add(check_fp32("a", a), check_fp32("b", b)))


@dataclass(frozen=True)
class SequentialFp32:
    """The plain dot product: fp32 multiply, fp32 add, one column after the other.

    ``acc = +0``, then ``acc = fl(acc + fl(w * x))`` for each column; the paper's baseline.
    """

    def compute(self, matrix: ArrayLike, vector: ArrayLike) -> Fp32:
        """The products (R,) of the rows of `matrix` (R, C) with `vector` (C,), all float32.

        Raises `ValueError` if the shapes do not fit.
        """
        rows, inputs = check_product(matrix, vector)
        multiply, add = Fp32Multiply(), Fp32Add()
        total = np.zeros(len(rows), dtype=np.float32)
        for weights, x in zip(rows.T, inputs, strict=True):
            total = add.compute(total, multiply.compute(weights, x))
        return total


def check_product(matrix: ArrayLike, vector: ArrayLike) -> tuple[Fp32, Fp32]:
    """`matrix` (R, C) and `vector` (C,), both float32; raises `ValueError` if they do not fit."""
    rows, inputs = check_fp32("matrix", matrix), check_fp32("vector", vector)
    if rows.ndim != 2 or inputs.shape != rows.shape[1:]:
        raise ValueError(
            f"matrix and vector must be (R, C) and (C,), not {rows.shape!r} and {inputs.shape!r}"
        )
    return rows, inputs


def canonical(values: ArrayLike) -> Fp32:
    """`values` with every NaN replaced by the canonical one."""
    array = np.asarray(values, dtype=np.float32)
    nan = np.array(CANONICAL_NAN, dtype=np.uint32).view(np.float32)
    return np.where(np.isnan(array), nan, array)
