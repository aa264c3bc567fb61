"""What a compiler is given: numbers, quantized rows, bits; and what it says where it is not so."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.compile.errors import CompileError
from dpnet.model.image.header import LARGEST_K
from dpnet.model.quantizer.quantized import (
    Quantized,
    ShapeError,
    is_masked,
    is_tensor,
    plain_tensor,
)

Floats = NDArray[np.float64]


def check_bits(what: str, value: Any, low: int, high: int) -> int:
    """`value` as an int; `CompileError` unless it is one from `low` to `high`."""
    whole = not isinstance(value, bool) and isinstance(value, (int, np.integer))
    if whole and low <= value <= high:
        return int(value)
    raise CompileError(f"{what} must be a whole number from {low} to {high}, not {value!r}")


def real(what: str, values: Any) -> Floats:
    """An array or a tensor as float64; `CompileError` unless it holds finite real numbers."""
    if is_masked(values):
        raise CompileError(f"{what} must have no masked entries: leave these rows out")
    try:
        array = plain_tensor(values, what) if is_tensor(values) else np.asarray(values)
    except ShapeError as error:
        raise CompileError(str(error)) from None
    except ValueError:
        raise CompileError(f"{what} must be an array, not lists of different lengths") from None
    if array.dtype.kind not in "fiub":
        raise CompileError(f"{what} must be real numbers, not {array.dtype}")
    numbers = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise CompileError(f"{what} holds a NaN or an infinity")
    return numbers


def calibration_rows(values: object, columns: int) -> Floats:
    """Calibration inputs (n, columns) as float64; `CompileError` for any others."""
    rows = real("the input", values)
    if rows.ndim != 2 or rows.shape[1] != columns:
        raise CompileError(
            f"the calibration must have the shape (n, {columns}), as the first layer takes "
            f"{columns} values, not {rows.shape}"
        )
    if not len(rows):
        raise CompileError("the calibration must have at least one row, it has none")
    return rows


def check_quantized(name: str, given: Quantized) -> Quantized:
    """`given` with NumPy's arrays; `CompileError` unless it is a matrix of rows that an engine
    holds: indices (R, C) uint8, codebooks (R, K) with K up to 16."""
    rows = given.to_numpy() if is_tensor(given.indices) else given
    book, indices = np.asarray(rows.codebook), np.asarray(rows.indices)
    if indices.ndim != 2 or not indices.size or book.shape[:-1] != indices.shape[:1]:
        raise CompileError(
            f"layer {name}: its weights must be quantized by rows, with a codebook for each, not "
            f"indices {indices.shape} with codebooks {book.shape}"
        )
    if rows.k > LARGEST_K:
        raise CompileError(
            f"layer {name} has {rows.k} values a row, the engine holds {LARGEST_K}: quantize it "
            "with a smaller k"
        )
    if indices.dtype.kind not in "iu" or int(indices.min()) < 0 or int(indices.max()) >= rows.k:
        raise CompileError(f"layer {name}: an index does not name one of its {rows.k} values")
    real(f"layer {name}", book)
    return Quantized(book.astype(np.float64), indices.astype(np.uint8), rows.cost, rows.k_eff)
