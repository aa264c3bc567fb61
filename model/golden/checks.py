"""What golden models refuse: parameters at construction, operands at computation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


class NonFiniteError(ValueError):
    """An fp32 operand is NaN or an infinity; the message says which and where."""


class RangeError(ValueError):
    """An operand does not fit the width that the gateware gives it; the message says which."""


def check_parameter(name: str, value: object, low: int, high: int) -> None:
    """Raise `TypeError` if `value` is no integer, `ValueError` if it is outside low..high."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, not {value!r}")


def check_integers(name: str, values: ArrayLike, low: int, high: int) -> NDArray[np.int64]:
    """`values` as int64; raises `RangeError` outside low..high, `TypeError` for no integers."""
    array = np.asarray(values)
    if array.dtype.kind == "O" and all(isinstance(value, int) for value in array.flat):
        raise RangeError(f"{name} must be in {low}..{high}, not beyond 64 bits")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, not {array.dtype}")
    wrong = (array < low) | (array > high)
    if wrong.any():
        raise RangeError(f"{name} must be in {low}..{high}, not {array[wrong].flat[0]}")
    return array.astype(np.int64)


def check_fp32(name: str, values: ArrayLike) -> NDArray[np.float32]:
    """`values`, which must be float32 already (no silent rounding); raises `TypeError` if not."""
    array = np.asarray(values)
    if array.dtype != np.float32:
        raise TypeError(f"{name} must be float32, not {array.dtype}")
    return array


def check_finite(name: str, values: NDArray[np.float32]) -> None:
    """Raise `NonFiniteError` if one of `values` is NaN or an infinity."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        position = tuple(int(axis[0]) for axis in np.nonzero(wrong))
        raise NonFiniteError(f"{name} must be finite, not {values[wrong][0]} at {position}")
