"""What every quantizer takes and returns: checked values in, `Quantized` out."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

K_LIMIT = 16  # of the engine: indices of 4 bits, bucket memories 16 words deep
INDEX_LIMIT = 1 << 16  # indices are stored as uint8 or uint16


class QuantizeError(ValueError):
    """Values or a codebook size that no quantizer accepts; the message says which and where."""


class NonFiniteError(QuantizeError):
    """A row contains NaN or an infinity."""


class EmptyError(QuantizeError):
    """There is no value to quantize, or none that counts."""


class ShapeError(QuantizeError):
    """Not an array of real numbers, or not of the shape that goes with the others."""


class CodebookSizeError(QuantizeError):
    """K is less than 1 or above the limit."""


@dataclass(frozen=True, eq=False)
class Quantized:
    """Values replaced by the entries of one codebook per row.

    A row is what shares a codebook: the values along `axis`. The other axes, in their order, are
    ``batch``: () for a vector, (rows,) for a matrix whose rows are quantized. Arrays are NumPy's,
    or PyTorch's on the device of the tensor that was quantized.

    Attributes
    ----------
    codebook : (*batch, K) float64
        Ascending centroids. A row that uses fewer than K repeats its last one.
    indices : uint8 (K up to 256), uint16; tensors above 256: int32; shape of what was quantized
        Which centroid replaces each value; less than the row's `k_eff`.
    cost : batch, float64
        Sum of ``weight * |value - centroid| ** norm`` over the row, from the centroids as
        returned. Overflows to inf, or vanishes, only where that sum itself has no float64.
    k_eff : batch, int64
        How many different centroids the row has, at most K; a 0 of its own (`zero`) counts.
    axis : tuple of int
        The axes that share a codebook, counted from the last one (negative).
    curve : (*batch, K) float64, or None
        The least cost with 1, 2, …, K centroids, where it was asked for.
    price : batch, float64, or None
        What one more centroid takes off the cost, about: where the next solution of rows that
        moved a little starts. 0 where it is not known.
    """

    codebook: NDArray[np.float64]
    indices: NDArray[Any]
    cost: NDArray[np.float64]
    k_eff: NDArray[np.int64]
    axis: tuple[int, ...] = (-1,)
    curve: NDArray[np.float64] | None = None
    price: NDArray[np.float64] | None = None

    @property
    def dequantized(self) -> NDArray[np.float64]:
        """Every value replaced by its centroid: float64, in the shape of `indices`."""
        if not isinstance(self.indices, np.ndarray):
            return like_tensor(self.to_numpy().dequantized, self.indices)
        rows = rows_of(self.indices, self.axis)
        books = self.codebook.reshape(len(rows), -1)
        values = np.take_along_axis(books, rows.astype(np.intp), axis=1)
        return values_of(values, self.indices.shape, self.axis)

    @property
    def k(self) -> int:
        """Width of the codebooks, as asked for."""
        return int(self.codebook.shape[-1])

    def to_numpy(self) -> Quantized:
        """The same with NumPy's arrays."""
        return self._with(lambda array: array if array is None else np.asarray(array.cpu()))

    def to_tensors(self, like: Any) -> Quantized:
        """The same with PyTorch's tensors on the device of the tensor `like`."""
        return self._with(lambda array: array if array is None else like_tensor(array, like))

    def _with(self, change: Any) -> Quantized:
        names = ("codebook", "indices", "cost", "k_eff", "curve", "price")
        return replace(self, **{name: change(getattr(self, name)) for name in names})


def like_tensor(array: NDArray[Any], like: Any) -> Any:
    """`array` as a tensor on the device of the tensor `like`; uint16 becomes int32."""
    torch = importlib.import_module("torch")  # only where there are tensors
    known = array.astype(np.int32) if array.dtype == np.uint16 else array
    return torch.from_numpy(np.ascontiguousarray(known).reshape(array.shape)).to(like.device)


def is_tensor(values: Any) -> bool:
    """Whether it is PyTorch's; PyTorch is not imported for it."""
    return type(values).__module__.partition(".")[0] == "torch" and hasattr(values, "detach")


def is_masked(values: Any) -> bool:
    """Whether an entry of an array, or of an array in a list, is masked."""
    whole = values if isinstance(values, (list, tuple)) else (values,)
    return any(isinstance(one, np.ma.MaskedArray) and np.ma.is_masked(one) for one in whole)


def plain_tensor(values: Any, what: str) -> NDArray[Any]:
    """The values of a tensor without its history, on the host: float16 and bfloat16 as float32,
    others as they are or as float64; raises `ShapeError` for those that are not plain numbers."""
    torch = importlib.import_module("torch")  # only where there are tensors
    kind = values.dtype
    if values.is_complex() or values.is_quantized:
        raise ShapeError(f"{what} must be real numbers, not {kind}")
    if values.is_nested or values.layout is not torch.strided or values.is_meta:
        form = "nested" if values.is_nested else "meta" if values.is_meta else str(values.layout)
        raise ShapeError(f"{what} must be a dense tensor that holds its values, not {form}")
    short = kind in (torch.float32, torch.float16, torch.bfloat16)
    try:
        whole = values.detach().to(torch.float32 if short else torch.float64)
    except (RuntimeError, NotImplementedError):
        raise ShapeError(f"{what} must be real numbers, not {kind}") from None
    return np.asarray(whole.cpu().resolve_neg().numpy())


def rows_of(values: NDArray[Any], axis: tuple[int, ...]) -> NDArray[Any]:
    """(rows, n) of any array: the `axis` (negative) that share a codebook last, C-ordered."""
    others = [a for a in range(-values.ndim, 0) if a not in axis]
    moved = values.transpose([a + values.ndim for a in [*others, *axis]])
    batch = moved.shape[: len(others)]
    return np.ascontiguousarray(moved.reshape(math.prod(batch), -1))


def values_of(rows: NDArray[Any], shape: tuple[int, ...], axis: tuple[int, ...]) -> NDArray[Any]:
    """The array of `shape` whose `rows_of` these are."""
    others = [a for a in range(-len(shape), 0) if a not in axis]
    order = [a + len(shape) for a in [*others, *axis]]
    moved = rows.reshape([shape[a] for a in order])
    return np.ascontiguousarray(moved.transpose(np.argsort(order)))


def check_axis(axis: int | tuple[int, ...], ndim: int) -> tuple[int, ...]:
    """The axes of a codebook, negative and ascending; raises `ShapeError`."""
    given = axis if isinstance(axis, tuple) else (axis,)
    if not given or not all(isinstance(a, (int, np.integer)) and -ndim <= a < ndim for a in given):
        raise ShapeError(f"axis must be of an array of {ndim} axes, not {axis!r}")
    negative = sorted(int(a) - ndim if a >= 0 else int(a) for a in given)
    if len(set(negative)) < len(negative):
        raise ShapeError(f"axis must name each axis once, not {axis!r}")
    return tuple(negative)


def check_values(
    values: ArrayLike, what: str = "values", *, finite: bool = True, narrow: bool = False
) -> NDArray[Any]:
    """Any real array as float64; raises a `QuantizeError` for others and for NaN or infinities
    (with `finite` False these are left to who sorts the values and finds them at the ends).

    With `narrow` float32 stays, and float16 becomes it: fewer bytes to sort.
    """
    if is_masked(values):
        raise ShapeError(
            f"{what} must have no masked entries: fill them, and give them weight 0 "
            "(weights=~values.mask)"
        )
    try:
        array = np.asarray(values)
    except ValueError:
        raise ShapeError(f"{what} must be an array, not lists of different lengths") from None
    if array.dtype.kind not in "fiub":
        raise ShapeError(f"{what} must be real numbers, not {array.dtype}")
    if array.ndim == 0:
        raise ShapeError(f"{what} must be an array of one axis or more, not a single number")
    if array.size == 0:
        raise EmptyError(f"{what} must hold at least one value, not shape {array.shape!r}")
    short = narrow and array.dtype.kind == "f" and array.dtype.itemsize <= 4
    checked = np.asarray(array, dtype=np.float32 if short else np.float64)
    if finite and not (known := np.isfinite(checked)).all():
        place = tuple(int(i) for i in np.argwhere(~known)[0])
        where = f"row {place[0]}, column {place[1]}" if len(place) == 2 else f"{list(place)}"
        raise NonFiniteError(f"{what} must be finite, not {checked[place]} at {where}")
    return checked


def check_rows(rows: ArrayLike) -> NDArray[np.float64]:
    """`rows` as a C-ordered (rows, n) float64 array; raises a `QuantizeError` for any other."""
    values = check_values(rows, "rows")
    if values.ndim != 2:
        raise ShapeError(f"rows must be a two-dimensional array, not of shape {values.shape!r}")
    return np.ascontiguousarray(values)


def check_k(k: int, k_limit: int = K_LIMIT) -> int:
    """`k` as an int; raises `CodebookSizeError` outside 1..k_limit, TypeError if no integer."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k must be an integer, not {k!r}")
    if not 1 <= k_limit <= INDEX_LIMIT:
        raise CodebookSizeError(f"k_limit must be in 1..{INDEX_LIMIT}, not {k_limit!r}")
    if not 1 <= k <= k_limit:
        raise CodebookSizeError(f"k must be in 1..{k_limit}, not {int(k)!r}")
    return int(k)
