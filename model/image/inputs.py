"""What a network is given: real numbers, or integers of so many bits, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.image.header import ImageError, require
from dpnet.model.quantizer.quantized import ShapeError, is_masked, is_tensor, plain_tensor


def finite(x: Any, what: str) -> NDArray[np.float64]:
    """`x`, an array or a tensor, as float64; `ImageError` unless all of it are finite real
    numbers."""
    try:
        values = plain_tensor(x, what) if is_tensor(x) else np.asarray(x)
    except ShapeError as error:
        raise ImageError(str(error)) from None
    except ValueError as error:
        raise ImageError(f"{what} must be an array of numbers: {error}") from error
    if is_masked(x):
        raise ImageError(f"{what} must be an array of numbers, not a masked one")
    require(values.dtype.kind in "fiub", f"{what} must be real numbers, not {values.dtype}")
    numbers = values.astype(np.float64)
    require(
        bool(np.isfinite(numbers).all()),
        f"{what} must be finite, it holds a NaN or an infinity",
    )
    return numbers


def activations(x: Any, bits: int, what: str) -> NDArray[np.int64]:
    """`x` as int64; `ImageError` unless all of it are whole numbers of `bits` bits, signed.

    Floats are taken if they are whole: nothing is rounded or cut off.
    """
    numbers = finite(x, what)
    limit = 1 << bits - 1
    outside = (numbers < -limit) | (numbers >= limit)
    require(
        not outside.any(),
        f"{what} must be integers of {bits} bits, not {numbers[outside][:1].tolist()}",
    )
    broken = numbers != np.rint(numbers)
    require(
        not broken.any(),
        f"{what} must be integers, not {numbers[broken][:1].tolist()}: quantize it first "
        "(Image.quantize_input)",
    )
    return numbers.astype(np.int64)


def fp32(x: Any, what: str) -> NDArray[np.float32]:
    """`x` as float32, rounded to nearest; `ImageError` unless it is finite in float32 too."""
    numbers = finite(x, what)
    with np.errstate(over="ignore"):
        narrow = np.ascontiguousarray(numbers, np.float32)
    wrong = ~np.isfinite(narrow)
    require(
        not wrong.any(), f"{what} must be finite fp32 numbers, not {numbers[wrong][:1].tolist()}"
    )
    return narrow
