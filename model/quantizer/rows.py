"""Rows to codebooks: which program solves which row, and what restricts the centroids."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.kernels.assign import finish_rows
from dpnet.model.quantizer.kernels.grids.long import fewest, solve_long
from dpnet.model.quantizer.kernels.points import merge
from dpnet.model.quantizer.kernels.price.rows import solve_rows
from dpnet.model.quantizer.kernels.undecided.careful import solve_careful
from dpnet.model.quantizer.kernels.undecided.errors import LATTICE
from dpnet.model.quantizer.kernels.undecided.near import solve_near
from dpnet.model.quantizer.kernels.undecided.rational import solve_rational
from dpnet.model.quantizer.kernels.undecided.zero import solve_zero
from dpnet.model.quantizer.quantized import CodebookSizeError, NonFiniteError, Quantized

Floats = NDArray[np.float64]

EXACT = 1e-13  # possible relative error of the cost above which rational numbers decide
LARGEST_BITS = 32
MOST_LONG = 64  # clusters by windows: the first grids are k times 8 k k points


@dataclass(frozen=True)
class Lattice:
    """Centroids that are whole multiples of a step: entries of `bits`, two's complement.

    Without a step each row has its own, the smallest power of two at which the largest
    magnitude of the row is within the entries.
    """

    bits: int
    step: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int):
            raise TypeError(f"bits must be an integer, not {self.bits!r}")
        if not 2 <= self.bits <= LARGEST_BITS:
            raise ValueError(f"bits must be in 2..{LARGEST_BITS}, not {self.bits!r}")
        if self.step is not None and not 0 < self.step < np.inf:
            raise ValueError(f"step must be positive and finite, not {self.step!r}")

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest entry."""
        return -(2.0 ** (self.bits - 1)), 2.0 ** (self.bits - 1) - 1.0

    def steps(self, rows: Floats) -> Floats:
        """The step of each row."""
        if self.step is not None:
            return np.full(len(rows), float(self.step))
        largest = np.abs(rows).max(axis=1)
        mantissa, exponent = np.frexp(largest / self.limits[1])
        exponent = np.where(mantissa == 0.5, exponent - 1, exponent)
        return np.ldexp(1.0, np.where(largest == 0, 0, np.maximum(exponent, -1000)))


@dataclass(frozen=True)
class Task:
    """What `quantize` is asked for, checked."""

    k: int
    norm: int = 2
    zero: bool = False
    symmetric: bool = False
    lattice: Lattice | None = None
    curve: bool = False

    def __post_init__(self) -> None:
        if self.norm not in (1, 2):
            raise ValueError(f"norm must be 1 or 2, not {self.norm!r}")
        if self.lattice is not None and not isinstance(self.lattice, Lattice):
            raise TypeError(f"lattice must be a Lattice, not {self.lattice!r}")
        if self.lattice is not None and self.norm != 2:
            raise ValueError(f"norm must be 2 with a lattice, not {self.norm!r}")
        if self.symmetric and self.curve:
            raise ValueError("curve must be False with symmetric: half of the k have no codebook")
        if self.symmetric and self.zero and self.k % 2 == 0:
            raise CodebookSizeError(f"k must be odd for a symmetric codebook with 0, not {self.k}")

    @property
    def kind(self) -> int:
        """Of the error, for `dpnet.model.quantizer.kernels.undecided.errors`."""
        return LATTICE if self.lattice is not None else self.norm

    @property
    def fast(self) -> bool:
        """Whether the program with a price per centroid solves it."""
        return self.norm == 2 and not self.zero and self.lattice is None


def solve_part(rows: Floats, weights: Floats | None, task: Task, prices: Floats) -> Quantized:
    """Solve (rows, n) values; `weights` the same or None; `prices` (rows,) where to begin, or 0."""
    if task.symmetric:
        return _mirrored(rows, weights, task)
    sorted_rows = _Sorted(rows, weights)
    solution = _Solution(sorted_rows, task)
    if task.zero:
        return solution.with_zero()
    if not task.fast:
        return solution.careful()
    found = solution.fast(prices)
    if not task.curve:
        return found
    costs = [_Solution(sorted_rows, Task(k)).fast(prices * 0.0).cost for k in range(1, task.k)]
    return replace(found, curve=np.stack([*costs, found.cost], axis=1))


def _mirrored(rows: Floats, weights: Floats | None, task: Task) -> Quantized:
    """A codebook that is its own negative: half of it, for the magnitudes."""
    odd = task.k % 2
    half = replace(task, k=task.k // 2 + odd, symmetric=False, zero=bool(odd))
    found = solve_part(np.abs(rows), weights, half, np.zeros(len(rows)))
    book = np.empty((len(rows), task.k))
    below = rows < 0
    indices = np.empty(rows.shape, np.uint8 if task.k <= 256 else np.uint16)
    k_eff = 2 * found.k_eff - odd
    for row, used in enumerate(found.k_eff):
        positive = found.codebook[row, :used]
        whole = np.concatenate([-positive[::-1][: used - odd], positive])
        book[row] = np.pad(whole + 0.0, (0, task.k - len(whole)), "edge")
        index = found.indices[row].astype(np.int64)
        indices[row] = np.where(below[row], used - 1 - index, used - odd + index)
    return Quantized(book, indices, found.cost, k_eff)


class _Sorted:
    """Rows in ascending order with their weights, these scaled.

    NaN and infinities, which sort to the ends, raise `NonFiniteError`.
    """

    def __init__(self, rows: Floats, weights: Floats | None) -> None:
        self.rows, self.units = rows, np.ones(len(rows))
        if weights is None:
            self.ordered, self.weights = np.sort(rows, axis=1), np.empty((len(rows), 0))
        else:
            order = np.argsort(rows, axis=1, kind="stable")
            self.ordered = np.take_along_axis(rows, order, axis=1)
        if not np.isfinite(self.ordered[:, [0, -1]]).all():
            raise NonFiniteError("values must be finite")
        if weights is None:
            return
        # A power of two near the largest: sums of weights neither over- nor underflow.
        exponents = np.clip(np.frexp(weights.max(axis=1))[1], -1000, 1000)
        self.units = np.ldexp(1.0, exponents)
        self.weights = np.take_along_axis(weights, order, axis=1) / self.units[:, None]


class _Solution:
    """The arrays that the compiled programs fill."""

    def __init__(self, given: _Sorted, task: Task) -> None:
        self.given, self.task = given, task
        count, k = len(given.rows), task.k
        self.lowest, self.highest = task.lattice.limits if task.lattice else (0.0, 0.0)
        self.steps = task.lattice.steps(given.rows) if task.lattice else np.ones(count)
        self.bounds = np.zeros((count, k + 1), np.int64)
        self.first, self.last = np.zeros((2, count, k + 1), np.int64)
        self.k_eff = np.ones(count, np.int64)

    def fast(self, prices: Floats) -> Quantized:
        """With a price per centroid, or by windows; then what that leaves undecided."""
        found, off = prices.copy(), np.zeros(len(prices))
        if not self._long(off):
            solve_rows(
                self.given.ordered,
                self.given.weights,
                self.task.k,
                found,
                self.bounds,
                self.k_eff,
                self.first,
                self.last,
            )
        todo = (self.first != self.last).any(axis=1)
        if todo.any():
            solve_near(
                self.given.ordered,
                self.given.weights,
                self.first,
                self.last,
                self.k_eff,
                self.bounds,
                todo,
                off,
            )
        if todo.any():
            self._decide(todo)
        solved = self._finish()
        doubtful = off * self.given.units > EXACT * solved.cost
        if doubtful.any():
            self._decide(doubtful)
            solved = self._finish()
        return replace(solved, price=found)

    def _long(self, off: Floats) -> bool:
        """Row by row, by windows; False where a row does not suit."""
        k = self.task.k
        if not 2 <= k <= MOST_LONG or self.given.rows.shape[1] < fewest(k):
            return False
        self.k_eff[:] = k
        for row in range(len(off)):
            off[row] = solve_long(
                self.given.ordered[row],
                self.given.weights[row],
                k,
                self.bounds[row],
                self.first[row],
                self.last[row],
            )
            if off[row] < 0:
                off[:] = 0.0
                return False
        return True

    def careful(self) -> Quantized:
        """In long arithmetic from the beginning, with the curve if it is asked for."""
        self.last[:, 0] = -1
        curve = self._decide(np.ones(len(self.given.rows), np.bool_))
        return replace(self._finish(), curve=curve if self.task.curve else None)

    def _decide(self, todo: NDArray[np.bool_]) -> Floats:
        """Bounds of the rows that are `todo` in long arithmetic; the curve."""
        off = np.zeros(len(todo))
        with_curve = self.task.curve and not self.task.fast
        curve = np.zeros((len(todo), self.task.k) if with_curve else (0, 0))
        solve_careful(
            self.given.ordered,
            self.given.weights,
            self.task.k,
            self.task.kind,
            self.lowest,
            self.highest,
            self.steps,
            self.given.weights.shape[1] == 0,
            todo,
            with_curve,
            self.first,
            self.last,
            self.bounds,
            self.k_eff,
            curve,
            off,
        )
        cost = self._fitted()[0].cost
        for row in np.flatnonzero(todo & (off > EXACT * cost)):
            self._decide_rationally(int(row))
        return curve * self.given.units[:, None] if with_curve else curve

    def _decide_rationally(self, row: int) -> None:
        """Bounds of a row that 106 bits do not decide."""
        n = self.given.rows.shape[1]
        points, heavy, ends = np.empty(n), np.empty(n), np.zeros(n + 1, np.int64)
        m = merge(self.given.ordered[row], self.given.weights[row], points, heavy, ends)
        k = int(self.k_eff[row])
        if self.task.lattice:
            points /= self.steps[row]
        found = solve_rational(
            points[:m].tolist(),
            heavy[:m].tolist(),
            k,
            self.task.kind,
            self.lowest,
            self.highest,
            self.first[row].tolist(),
            self.last[row].tolist(),
        )
        self.bounds[row, 1:k] = ends[found[1:k]]

    def _fitted(self, codebook: Floats | None = None) -> tuple[Quantized, Floats]:
        """Centroids (unless given), indices and costs from the bounds; the costs, scaled."""
        count, k = self.given.rows.shape[0], self.task.k
        book = np.zeros((count, k)) if codebook is None else codebook
        indices = np.empty(self.given.rows.shape, np.uint8 if k <= 256 else np.uint16)
        cost = np.empty(count)
        finish_rows(
            self.given.rows,
            self.given.ordered,
            self.given.weights,
            self.task.norm,
            codebook is not None,
            self.bounds,
            self.k_eff,
            book,
            indices,
            cost,
        )
        return Quantized(book, indices, cost, self.k_eff.copy()), cost

    def _finish(self) -> Quantized:
        """The solution, its centroids on the lattice if there is one."""
        found, cost = self._fitted()
        if self.task.lattice:
            found, cost = self._fitted(self._entries(found.codebook))
        return replace(found, cost=cost * self.given.units)

    def _entries(self, means: Floats) -> Floats:
        """Whole multiples of the step; clusters with the same one become one cluster."""
        entries = np.clip(np.rint(means / self.steps[:, None]), self.lowest, self.highest)
        for row, used in enumerate(self.k_eff):
            distinct, starts = np.unique(entries[row, :used], return_index=True)
            if len(distinct) < used:
                entries[row] = np.pad(distinct, (0, self.task.k - len(distinct)), "edge")
                self.bounds[row, : len(starts)] = self.bounds[row, starts]
                self.bounds[row, len(starts)] = self.given.rows.shape[1]
                self.k_eff[row] = len(starts)
        return entries * self.steps[:, None] + 0.0

    def with_zero(self) -> Quantized:
        """The best codebook that has a 0."""
        count, k = len(self.given.rows), self.task.k
        zero_at, curve = np.zeros(count, np.int64), np.zeros((count, k))
        solve_zero(
            self.given.ordered,
            self.given.weights,
            k,
            self.task.kind,
            self.lowest,
            self.highest,
            self.steps,
            self.given.weights.shape[1] == 0,
            self.bounds,
            self.k_eff,
            zero_at,
            curve,
        )
        book = self._fitted()[0].codebook
        book[np.arange(count), zero_at] = 0.0
        if self.task.lattice:
            book = self._entries(book)
        found, cost = self._fitted(book)
        curve *= self.given.units[:, None]
        return replace(
            found, cost=cost * self.given.units, curve=curve if self.task.curve else None
        )
