"""Align: an fp32 vector, or each row of a codebook, to integers under one shared exponent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.golden.checks import (
    NonFiniteError,
    RangeError,
    check_finite,
    check_fp32,
    check_integers,
    check_parameter,
)
from dpnet.model.golden.rounding import Integers, shift_right_even

BITS_LIMIT = 25  # the wide operand of a DSP48E1
LARGEST_EXPONENT = 254  # biased, of a finite fp32


@dataclass(frozen=True)
class Align:
    """Alignment of fp32 values to signed integers of `bits` bits under a biased exponent `e_max`.

    ``x = RNE(v * 2**(125 + bits - e_max))``, so that ``v`` is about ``x * unit(e_max)``.  At 25
    bits ``|x * unit - v| <= unit / 2``, and values with the exponent `e_max` are exact.  Below 25
    bits a value that would round up to ``2**(bits - 1)`` saturates at ``2**(bits - 1) - 1``, so the
    error is less than one unit.
    """

    bits: int = BITS_LIMIT

    def __post_init__(self) -> None:
        check_parameter("bits", self.bits, 2, BITS_LIMIT)

    def scale(self, e_max: int) -> int:
        """The power of two that one integer step is worth: ``e_max - 125 - bits``."""
        return e_max - 125 - self.bits

    def exponent(self, vector: ArrayLike) -> int:
        """The largest biased exponent in `vector` (float32); zeros and subnormals count as 1.

        Raises `NonFiniteError` for NaN and infinities, `ValueError` for an empty vector.
        """
        values = check_fp32("vector", vector)
        if values.size == 0:
            raise ValueError(f"vector must hold at least one value, not shape {values.shape!r}")
        check_finite("vector", values)
        return int(_exponents(values).max())

    def compute(self, vector: ArrayLike) -> tuple[Integers, int]:
        """The integers (int64) and the shared exponent of `vector`; errors as `exponent`."""
        e_max = self.exponent(vector)
        return self.compute_at(vector, e_max), e_max

    def compute_at(self, vector: ArrayLike, e_max: int) -> Integers:
        """The integers (int64) of `vector` under the exponent `e_max`, 1..254.

        Raises `NonFiniteError` for NaN and infinities, `RangeError` if a value's own exponent is
        above `e_max`.
        """
        check_parameter("e_max", e_max, 1, LARGEST_EXPONENT)
        values = check_fp32("vector", vector)
        check_finite("vector", values)
        exponents = _exponents(values)
        if values.size and exponents.max() > e_max:
            raise RangeError(f"exponents must be at most e_max = {e_max}, not {exponents.max()}")
        magnitudes = _rounded(values, e_max - exponents + BITS_LIMIT - self.bits)
        limited = np.minimum(magnitudes, (1 << (self.bits - 1)) - 1)
        return np.where(np.signbit(values), -limited, limited)

    def compute_integers(self, integers: ArrayLike) -> Integers:
        """Signed integers as they are; raises `RangeError` if one does not fit `bits` bits."""
        half = 1 << (self.bits - 1)
        return check_integers("integers", integers, -half, half - 1)


def align_codebook(rows: ArrayLike, bits: int = BITS_LIMIT) -> tuple[Integers, Integers]:
    """Entries (R, K) and exponents (R,) of a codebook: value = entry * 2**exponent.

    `rows` is (R, K) real numbers; they are rounded to fp32 first, and that fp32 codebook is what
    the entries stand for.  Per row: under the row's largest exponent, to nearest even, with
    ``|entry| < 2**(bits - 1)``; where rounding reaches ``2**(bits - 1)`` (possible below 25 bits)
    the row is rounded under the next exponent instead, so the error is at most
    ``2**exponent / 2`` always.  A row of zeros has the exponent 0.

    Raises `NonFiniteError` for a value that is not finite in fp32, `ValueError` for other shapes.
    """
    check_parameter("bits", bits, 2, BITS_LIMIT)
    values = codebook_fp32(rows)
    exponents = _exponents(values)
    largest = exponents.max(axis=1, keepdims=True)
    shift = largest - exponents + BITS_LIMIT - bits
    carries = _rounded(values, shift).max(axis=1, keepdims=True) >> (bits - 1)
    magnitudes = _rounded(values, shift + carries)
    scale = (largest + carries)[:, 0] - 125 - bits
    entries = np.where(np.signbit(values), -magnitudes, magnitudes)
    return entries, np.where(values.any(axis=1), scale, 0)


def codebook_fp32(rows: ArrayLike) -> NDArray[np.float32]:
    """`rows` (R, K) rounded to fp32; errors as `align_codebook`."""
    array = np.asarray(rows)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"rows must be a filled two-dimensional array, not {array.shape!r}")
    with np.errstate(over="ignore", under="ignore"):
        values = array.astype(np.float32)
    wrong = ~np.isfinite(values)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise NonFiniteError(
            f"rows must be finite in fp32, not {array[row, column]} at ({row}, {column})"
        )
    return values


def _exponents(values: NDArray[np.float32]) -> Integers:
    """Biased exponents, 1 for zeros and subnormals."""
    words = np.ascontiguousarray(values).view(np.uint32).reshape(values.shape).astype(np.int64)
    exponents: Integers = np.maximum(words >> 23 & 0xFF, 1)
    return exponents


def _rounded(values: NDArray[np.float32], shift: Integers) -> Integers:
    """The 24-bit significands, divided by 2**shift and rounded to nearest even."""
    words = np.ascontiguousarray(values).view(np.uint32).reshape(values.shape).astype(np.int64)
    hidden = (words & 0x7F80_0000 != 0).astype(np.int64) << 23
    return shift_right_even(words & 0x7F_FFFF | hidden, np.minimum(shift, 63))
