"""Rows in ascending order, by the quickest way that this machine has."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.kernels.radix import sort_bits
from dpnet.model.quantizer.quantized import NonFiniteError

Floats = NDArray[np.float64]

SHORT, LONG = 1 << 8, 1 << 13  # values from which on digits are worth a try, 8 and 11 bits at once
TRIAL_ROWS, TRIALS = 8, 3


class Ordered:
    """Rows (rows, n) in ascending order with their weights, these scaled.

    rows : float32 or float64, as they come: of equal order, but fewer bytes
    NaN and infinities, which sort to the ends, raise `NonFiniteError`.
    """

    def __init__(self, rows: NDArray[Any], weights: Floats | None) -> None:
        self.rows, self.units = rows.astype(np.float64, copy=False), np.ones(len(rows))
        if weights is None:
            self.ordered, self.weights = in_order(rows), np.empty((len(rows), 0))
        else:
            order = np.argsort(rows, axis=1, kind="stable")
            self.ordered = np.take_along_axis(self.rows, order, axis=1)
        if not np.isfinite(self.ordered[:, [0, -1]]).all():
            raise NonFiniteError("values must be finite")
        if weights is None:
            return
        # A power of two near the largest: sums of weights neither over- nor underflow.
        exponents = np.clip(np.frexp(weights.max(axis=1))[1], -1000, 1000)
        self.units = np.ldexp(1.0, exponents)
        self.weights = np.take_along_axis(weights, order, axis=1) / self.units[:, None]

    def some(self, places: NDArray[np.intp]) -> Ordered:
        """These rows only."""
        found = Ordered.__new__(Ordered)
        found.rows, found.units = self.rows[places], self.units[places]
        found.ordered, found.weights = self.ordered[places], self.weights[places]
        return found


def in_order(rows: NDArray[Any]) -> Floats:
    """Each row of float32 or float64 values (rows, n) in ascending order, as float64.

    NumPy sorts with vectors where it has been built for those of the processor. Where it has not,
    or is slower for another reason, a sort by digits takes its place: what is quicker here is
    measured once a process.
    """
    n, long = rows.shape[1], rows.shape[1] >= LONG
    if n >= SHORT and _by_digits(rows.dtype.itemsize, long):
        return digits_in_order(rows)
    return np.sort(rows, axis=1).astype(np.float64, copy=False)


def digits_in_order(rows: NDArray[Any]) -> Floats:
    """`in_order` by digits."""
    given, ordered = np.ascontiguousarray(rows), np.empty(rows.shape)
    size, room = given.dtype.itemsize, np.empty((2, rows.shape[1]), given.dtype)
    digit = 11 if rows.shape[1] >= LONG else 8
    sort_bits(given.view(f"u{size}"), 8 * size, digit, room.view(f"u{size}"), room, ordered)
    return ordered


@lru_cache(maxsize=4)
def _by_digits(size: int, long: bool) -> bool:
    """Whether digits are quicker for floats of `size` bytes: milliseconds, once."""
    shape = (1, 2 * LONG) if long else (TRIAL_ROWS, 4 * SHORT)
    rows = np.random.default_rng(0).normal(size=shape).astype(f"f{size}")
    return _seconds(lambda: digits_in_order(rows)) < _seconds(lambda: np.sort(rows, axis=1))


def _seconds(action: Callable[[], Any]) -> float:
    """The least of some trials, after one that compiles."""
    action()
    found = []
    for _ in range(TRIALS):
        start = time.perf_counter()
        action()
        found.append(time.perf_counter() - start)
    return min(found)
