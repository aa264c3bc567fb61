"""Requantize: an accumulator to the next layer's integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dpnet.model.golden.checks import check_integers, check_parameter
from dpnet.model.golden.rounding import Integers, shift_right_even

OUT_BITS_LIMIT = 25
SHIFT_LIMIT = 63


@dataclass(frozen=True)
class Requantize:
    """Bias, ReLU, multiplier, shift, saturation.  Widths: signed `acc_bits` and `bias_bits`,
    unsigned `multiplier_bits`; `width` is what the product takes, at most 62 bits.
    """

    acc_bits: int = 40
    bias_bits: int = 40
    multiplier_bits: int = 16

    def __post_init__(self) -> None:
        check_parameter("acc_bits", self.acc_bits, 24, 48)
        check_parameter("bias_bits", self.bias_bits, 2, 48)
        check_parameter("multiplier_bits", self.multiplier_bits, 1, 17)
        if self.width > 62:
            raise ValueError(
                f"the product must have at most 62 bits, not {self.width!r} (the wider of acc_bits "
                "and bias_bits, 1, and multiplier_bits)"
            )

    @property
    def width(self) -> int:
        """Bits of ``(acc + bias) * multiplier``, signed."""
        return max(self.acc_bits, self.bias_bits) + 1 + self.multiplier_bits

    def factors(self, factor: ArrayLike) -> tuple[Integers, Integers]:
        """(multiplier, shift) with ``multiplier / 2**shift`` next to `factor`, all bits of the
        multiplier used; below the smallest such number, what is next to it, or 0.

        Raises `ValueError` for a factor that is ``2**multiplier_bits`` or rounded to it.
        """
        bits = self.multiplier_bits
        mantissa, exponent = np.frexp(np.asarray(factor, np.float64))
        multiplier = np.rint(np.ldexp(mantissa, bits)).astype(np.int64)
        shift = bits - exponent.astype(np.int64)
        carried = multiplier >> bits
        multiplier, shift = multiplier >> carried, shift - carried
        if (shift < 0).any():
            raise ValueError(f"factors must be below 2^{bits}, not {np.max(factor):g}")
        tiny = np.maximum(shift - SHIFT_LIMIT, 0)
        return multiplier >> np.minimum(tiny, bits), np.minimum(shift, SHIFT_LIMIT)

    def compute(
        self,
        acc: ArrayLike,
        bias: ArrayLike,
        multiplier: ArrayLike,
        shift: ArrayLike,
        relu: ArrayLike,
        out_bits: ArrayLike,
    ) -> Integers:
        """``(acc + bias) * multiplier / 2**shift``, to nearest even, saturated to `out_bits` bits.

        Where `relu`, a negative ``acc + bias`` counts as 0.  `shift` is in 0..63, `out_bits` in
        2..25 (signed).  All arguments broadcast; int64.  Raises `RangeError` for an operand beyond
        its width.
        """
        total = _signed("acc", acc, self.acc_bits) + _signed("bias", bias, self.bias_bits)
        factor = check_integers("multiplier", multiplier, 0, (1 << self.multiplier_bits) - 1)
        amount = check_integers("shift", shift, 0, SHIFT_LIMIT)
        limit = np.int64(1) << (check_integers("out_bits", out_bits, 2, OUT_BITS_LIMIT) - 1)
        rectified = np.where(np.asarray(relu, dtype=bool), np.maximum(total, 0), total)
        product, amount = np.broadcast_arrays(rectified * factor, amount)
        return np.clip(shift_right_even(product, amount), -limit, limit - 1)


def _signed(name: str, values: ArrayLike, bits: int) -> Integers:
    return check_integers(name, values, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)
