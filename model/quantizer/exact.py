"""Exact one-dimensional k-means and k-medians for arrays of rows."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpnet.model.quantizer.quantized import (
    INDEX_LIMIT,
    EmptyError,
    NonFiniteError,
    Quantized,
    ShapeError,
    check_axis,
    check_k,
    check_values,
    is_tensor,
    plain_tensor,
    rows_of,
    values_of,
)
from dpnet.model.quantizer.rows import solve_part
from dpnet.model.quantizer.task import Lattice, Task
from dpnet.model.quantizer.threads import in_threads, slices, thread_count

PART = 1 << 16  # values that are worth a thread of their own


def quantize(
    values: ArrayLike,
    k: int,
    norm: int = 2,
    *,
    axis: int | tuple[int, ...] = -1,
    weights: ArrayLike | None = None,
    zero: bool = False,
    symmetric: bool = False,
    lattice: Lattice | None = None,
    curve: bool = False,
    start: Quantized | None = None,
    executor: Executor | None = None,
    k_limit: int = INDEX_LIMIT,
) -> Quantized:
    """The best codebook of at most `k` centroids for each row of `values`.

    Minimizes ``sum(weight * |value - centroid| ** norm)`` of every row, norm 2 (means) or 1
    (medians), over all codebooks: the result is an optimum, not a local one. Equal values always
    share an index. Of several optima it is the one whose last break is smallest, then the break
    before, as far as float64 tells their costs apart. The result does not depend on `start`, on
    threads or on the executor.

    Parameters
    ----------
    values : array or tensor of any shape, real and finite
    k : 1..k_limit (65,536 unless given)
    axis : the axis, or several, whose values share a codebook: -1 is a codebook per row of a
        matrix, (1, 2, 3) one per output channel of a convolution, (0, 1) one for a whole matrix.
    weights : how much each value counts, 0 or more, of a shape that broadcasts to that of
        `values`; see `dpnet.model.compression.sensitivity`. Values of weight 0 go to the nearest
        centroid.
    zero : one centroid is exactly 0, for pruned weights, and the others the best beside it.
    symmetric : the codebook is its own negative; for an odd k it has a 0.
    lattice : centroids are whole multiples of a step, see `Lattice`: the best of these.
    curve : also the least cost of 1..k centroids.
    start : an earlier solution for these rows; saves looking for its price, up to half of the time.
    executor : from `concurrent.futures`, Dask, Ray, MPI…: solves parts of the rows. Without it
        as many threads as numba has (NUMBA_NUM_THREADS).

    The cost is within a factor 1 + 1e-12 of the optimum, whatever offset or scale the row has,
    as long as float64 centroids can come that close. A row is solved in float64 with a bound on
    every rounding. What this leaves undecided is solved again with 106 bits, and rows that are
    too narrow for these (clusters 1e-8 of the range) in rational numbers; with `zero` 106 bits
    decide. `dpnet.model.quantizer.judges.certify` judges rows and weights; the options have tests
    of their own.

    Time is O(n log n) a row for the sort and some 15 passes over it. Beside `values` a long row
    takes some 10 bytes a value (`make bench-quantizer`), more where many are equal or weighted,
    and for norm 1, `zero` and `lattice` 4 k more. Thread-safe.

    Raises `NonFiniteError`, `EmptyError`, `ShapeError`, `CodebookSizeError` (all ValueErrors).
    """
    if is_tensor(values) or is_tensor(weights):
        return _of_tensors(
            values,
            k,
            norm,
            axis=axis,
            weights=weights,
            zero=zero,
            symmetric=symmetric,
            lattice=lattice,
            curve=curve,
            start=start,
            executor=executor,
            k_limit=k_limit,
        )
    array = check_values(values, finite=False, narrow=True)
    axes = check_axis(axis, array.ndim)
    task = Task(check_k(k, k_limit), norm, zero, symmetric, lattice, curve)
    rows = rows_of(array, axes)
    heavy = None if weights is None else _weights(weights, array.shape, axes)
    try:
        solved = _in_parts(rows, heavy, task, _prices(start, len(rows)), executor)
    except NonFiniteError:
        check_values(array)  # says where
        raise
    others = [a for a in range(-array.ndim, 0) if a not in axes]
    batch = tuple(array.shape[a] for a in others)
    return _shaped(solved, batch, array.shape, axes)


def _of_tensors(values: Any, k: int, norm: int, **options: Any) -> Quantized:
    """`quantize` of PyTorch's tensors; all of the result on the device of the values."""
    start, weights = options["start"], options["weights"]
    if start is not None and is_tensor(start.codebook):
        options["start"] = start.to_numpy()
    if is_tensor(weights):
        options["weights"] = plain_tensor(weights, "weights")
    plain = plain_tensor(values, "values") if is_tensor(values) else values
    solved = quantize(plain, k, norm, **options)
    return solved.to_tensors(values if is_tensor(values) else weights)


def _weights(
    weights: ArrayLike, shape: tuple[int, ...], axes: tuple[int, ...]
) -> NDArray[np.float64]:
    """Checked weights, (rows, n)."""
    checked = check_values(weights, "weights")
    try:
        whole = np.broadcast_to(checked, shape)
    except ValueError:
        raise ShapeError(
            f"weights must be of the values' shape {shape!r}, not {checked.shape!r}"
        ) from None
    if (whole < 0).any():
        raise ShapeError(f"weights must be 0 or more, not {whole.min()}")
    rows = rows_of(whole, axes)
    empty = ~rows.any(axis=1)
    if empty.any():
        raise EmptyError(f"weights must not all be 0, as those of row {int(empty.argmax())}")
    return rows


def _prices(start: Quantized | None, rows: int) -> NDArray[np.float64]:
    """Where the search begins, 0 where nothing is known."""
    if start is None or start.price is None:
        return np.zeros(rows)
    if start.price.size != rows:
        raise ShapeError(f"start must have {rows} codebooks, not {start.price.size}")
    return np.array(start.price, np.float64).reshape(rows)


def _in_parts(
    rows: NDArray[Any],
    weights: NDArray[np.float64] | None,
    task: Task,
    prices: NDArray[np.float64],
    executor: Executor | None,
) -> Quantized:
    """The rows solved by an executor, or by threads, and put together."""
    threads = thread_count()
    parts = min(len(rows), max(1, rows.size // PART), 4 * threads if executor is None else 64)
    pieces = slices(len(rows), parts)

    def given(piece: slice) -> tuple[Any, ...]:
        heavy = None if weights is None else weights[piece]
        return rows[piece], heavy, task, prices[piece]

    if executor is not None:
        return _joined(
            [
                future.result()
                for future in [executor.submit(solve_part, *given(piece)) for piece in pieces]
            ]
        )
    return _joined(in_threads(lambda piece: solve_part(*given(piece)), pieces, threads))


def _joined(parts: list[Quantized]) -> Quantized:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]

    def join(name: str) -> Any:
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays)

    return Quantized(**{f.name: join(f.name) for f in fields(Quantized) if f.name != "axis"})


def _shaped(
    solved: Quantized, batch: tuple[int, ...], shape: tuple[int, ...], axes: tuple[int, ...]
) -> Quantized:
    """The solution of rows in the shape of what was given."""

    def reshape(array: Any) -> Any:
        return None if array is None else array.reshape(batch + array.shape[1:])

    return replace(
        solved,
        codebook=reshape(solved.codebook),
        indices=values_of(solved.indices, shape, axes),
        cost=reshape(solved.cost),
        k_eff=reshape(solved.k_eff),
        curve=reshape(solved.curve),
        price=reshape(solved.price),
        axis=axes,
    )
