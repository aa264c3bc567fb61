"""Normalize: an integer and a power of two to fp32, rounded once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.golden.checks import check_integers, check_parameter
from dpnet.model.golden.rounding import Integers, shift_right_even

WIDTH_LIMIT = 62
SCALE_BITS = 12


@dataclass(frozen=True)
class Normalize:
    """Conversion of signed integers of `width` bits, times a power of two, to fp32."""

    width: int = WIDTH_LIMIT

    def __post_init__(self) -> None:
        check_parameter("width", self.width, 2, WIDTH_LIMIT)

    def compute(
        self, integers: ArrayLike, scale: ArrayLike
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """``integers * 2**scale`` as float32, and where it overflowed to an infinity.

        Rounds once, to nearest even, with gradual underflow.  An integer 0 gives +0; a result that
        underflows to zero keeps its sign.  `scale` (one, or one for each integer) is signed, 12
        bits.  Raises `RangeError` for integers beyond `width` bits and scales beyond 12.
        """
        half = 1 << (self.width - 1)
        values = check_integers("integers", integers, -half, half - 1)
        scales = check_integers(
            "scale", scale, -(1 << (SCALE_BITS - 1)), (1 << (SCALE_BITS - 1)) - 1
        )
        magnitudes = np.abs(values)
        # The weight of the result's last bit: 24 bits below the leading one, at least 2**-149.
        last = np.maximum(_bit_length(magnitudes) - 24 + scales, -149)
        drop = last - scales
        kept = shift_right_even(magnitudes, np.clip(drop, 0, 63)) << np.clip(-drop, 0, 24)
        # At most 2**24 times a power of two: exact in float64 and, short of overflow, in fp32.
        with np.errstate(over="ignore"):
            words = np.ldexp(np.where(values < 0, -1.0, 1.0) * kept, last).astype(np.float32)
        return words, np.isinf(words)


def _bit_length(magnitudes: Integers) -> Integers:
    """Bits of each magnitude, 0 for 0; in halves, which float64 holds exactly."""
    high = np.frexp((magnitudes >> 31).astype(np.float64))[1].astype(np.int64)
    low = np.frexp((magnitudes & 0x7FFF_FFFF).astype(np.float64))[1].astype(np.int64)
    return np.where(high > 0, high + 31, low)
