"""The solution of sorted rows: which program solves which, and what decides what one leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.kernels.assign import finish_rows
from dpnet.model.quantizer.kernels.grids.long import fewest, solve_long
from dpnet.model.quantizer.kernels.near import EXACT, solve_near
from dpnet.model.quantizer.kernels.points import merge, power_of_two, to_steps
from dpnet.model.quantizer.kernels.price.rows import solve_rows
from dpnet.model.quantizer.kernels.undecided.careful import solve_careful
from dpnet.model.quantizer.kernels.undecided.nearer import narrow_rows, solve_nearer
from dpnet.model.quantizer.kernels.undecided.rational import solve_rational
from dpnet.model.quantizer.kernels.undecided.zero import solve_zero
from dpnet.model.quantizer.ordered import Ordered
from dpnet.model.quantizer.quantized import Quantized
from dpnet.model.quantizer.task import Task

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BEYOND = 2.0**10  # steps of a lattice: its square, in float64, leaves others 1e-10 of a step's
MOST_LONG = 64  # clusters by windows: the first grids are k times 8 k k points


class Solution:
    """The arrays that the compiled programs fill.

    `off` and costs that it is compared with are those of rows scaled by a power of two: neither
    over- nor underflows.
    """

    def __init__(self, given: Ordered, task: Task) -> None:
        self.given, self.task = given, task
        count, k = len(given.rows), task.k
        heavy = given.weights if given.weights.shape[1] else None
        self.steps = np.ones(count)
        if task.lattice is not None:
            self.steps = task.lattice.steps(given.ordered, heavy)
        self.bounds = np.zeros((count, k + 1), np.int64)
        self.first, self.last = np.zeros((2, count, k + 1), np.int64)
        self.k_eff = np.ones(count, np.int64)

    def fast(self, prices: Floats) -> Quantized:
        """With a price per centroid, or by windows; then what that leaves undecided."""
        given, found, off = self.given, prices.copy(), np.zeros(len(prices))
        if not self._long(off):
            solve_rows(
                given.ordered,
                given.weights,
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
                given.ordered,
                given.weights,
                self.first,
                self.last,
                self.k_eff,
                self.bounds,
                todo,
                off,
            )
        if todo.any():
            self._decide_near(todo)
        solved, cost = self._finish()
        doubtful = off > EXACT * cost
        if doubtful.any():
            self._decide_near(doubtful)
            solved, _ = self._finish()
        return replace(solved, price=found)

    def _long(self, off: Floats) -> bool:
        """Row by row, by windows; False where a row does not suit."""
        k, given = self.task.k, self.given
        if not 2 <= k <= MOST_LONG or given.rows.shape[1] < fewest(k):
            return False
        self.k_eff[:] = k
        for row in range(len(off)):
            off[row] = solve_long(
                given.ordered[row],
                given.weights[row],
                k,
                self.bounds[row],
                self.first[row],
                self.last[row],
            )
            if off[row] < 0:
                off[:] = 0.0
                return False
        return True

    def _decide_near(self, todo: Flags) -> None:
        """Bounds of the rows that are `todo`: with far points brought near, else carefully."""
        given, left = self.given, todo.copy()
        solve_nearer(
            given.ordered,
            given.weights,
            self.k_eff,
            left,
            self.first,
            self.last,
            self.bounds,
        )
        if left.any():
            self._decide(left)

    def careful(self) -> Quantized:
        """In long arithmetic from the beginning, with the curve if it is asked for."""
        self.last[:, 0] = -1
        curve = self._decide(np.ones(len(self.given.rows), np.bool_))
        solved, _ = self._finish()
        return replace(solved, curve=curve if self.task.curve else None)

    def _decide(self, todo: Flags) -> Floats:
        """Bounds of the rows that are `todo` in long arithmetic; the curve."""
        given, task, off = self.given, self.task, np.zeros(len(todo))
        with_curve = task.curve and not task.fast
        curve = np.zeros((len(todo), task.k) if with_curve else (0, 0))
        solve_careful(
            given.ordered,
            given.weights,
            task.k,
            task.kind,
            task.limits,
            self.steps,
            todo,
            with_curve,
            self.first,
            self.last,
            self.bounds,
            self.k_eff,
            curve,
            off,
        )
        _, cost = self._fitted()
        doubtful = todo & ((off > EXACT * cost) | self._beyond())
        if doubtful.any():
            self._decide_rationally(doubtful)
            if with_curve:
                self._curve_apart(doubtful, off, curve)
        return curve * given.units[:, None] if with_curve else curve

    def _beyond(self) -> Flags:
        """Rows of which a value lies so far beyond the lattice that its cost hides the others'."""
        if self.task.lattice is None:
            return np.zeros(len(self.given.rows), np.bool_)
        lowest, highest = self.task.limits
        with np.errstate(over="ignore"):
            ends = self.given.ordered[:, [0, -1]] / self.steps[:, None]
        return (ends[:, 0] < lowest - BEYOND) | (ends[:, 1] > highest + BEYOND)

    def _curve_apart(self, doubtful: Flags, off: Floats, curve: Floats) -> None:
        """What the sums of doubtful rows hide of their curves: that number of clusters alone."""
        for k in range(1, self.task.k + 1):
            with np.errstate(over="ignore"):
                error = off / self._scales() ** (1 if self.task.norm == 1 else 2)
            rows = np.flatnonzero(doubtful & (error > EXACT * curve[:, k - 1]))
            if len(rows):
                given = self.given.some(rows)
                alone = Solution(given, replace(self.task, k=k, curve=False)).careful()
                curve[rows, k - 1] = alone.cost / given.units

    def _scales(self) -> Floats:
        """By what each row is scaled where costs and `off` are."""
        sizes = np.abs(self.given.ordered)
        if self.given.weights.shape[1]:
            sizes[self.given.weights == 0] = 0.0
        return np.array([power_of_two(size) for size in sizes.max(axis=1)])

    def _decide_rationally(self, todo: Flags) -> None:
        """Bounds of rows that 106 bits do not decide, apart from what these exclude."""
        given, task = self.given, self.task
        if task.lattice is not None:
            todo = todo & ~self._by_entries(todo)
        narrow_rows(
            given.ordered,
            given.weights,
            task.kind,
            task.limits,
            self.steps,
            todo,
            self.k_eff,
            self.first,
            self.last,
        )
        for row in np.flatnonzero(todo):
            self._row_rationally(int(row))

    def _points(self, row: int) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """The distinct values of a row, in steps of a lattice; weights; how many values they end"""
        n = self.given.rows.shape[1]
        points, heavy, ends = np.empty(n), np.empty(n), np.zeros(n + 1, np.int64)
        m = merge(self.given.ordered[row], self.given.weights[row], points, heavy, ends)
        if self.task.lattice is not None:
            to_steps(points[:m], self.steps[row])
        return points[:m], heavy[:m], ends[: m + 1]

    def _row_rationally(self, row: int) -> None:
        """Bounds of a row from its windows."""
        k = int(self.k_eff[row])
        first, last = self.first[row, : k + 1], self.last[row, : k + 1]
        points, heavy, ends = self._points(row)
        found = first.tolist()
        if (first != last).any():
            found = solve_rational(
                points.tolist(),
                heavy.tolist(),
                k,
                self.task.kind,
                self.task.limits,
                first.tolist(),
                last.tolist(),
            )
        self.bounds[row, 1:k] = ends[found[1:k]]

    def _by_entries(self, todo: Flags) -> Flags:
        """Rows whose values have no more nearest entries than clusters: these are the codebook."""
        done = np.zeros_like(todo)
        for row in np.flatnonzero(todo):
            points, _, ends = self._points(int(row))
            entries = np.clip(np.rint(points), *self.task.limits)
            starts = np.flatnonzero(np.diff(entries, prepend=np.nan))
            if len(starts) <= self.task.k:
                self.k_eff[row], done[row] = len(starts), True
                self.bounds[row, : len(starts)] = ends[starts]
                self.bounds[row, 0], self.bounds[row, len(starts)] = 0, self.given.rows.shape[1]
        return done

    def _fitted(self, codebook: Floats | None = None) -> tuple[Quantized, Floats]:
        """Centroids (unless given), indices and costs from the bounds; the costs, scaled."""
        given, k, count = self.given, self.task.k, len(self.given.rows)
        book = np.zeros((count, k)) if codebook is None else codebook
        indices = np.empty(given.rows.shape, np.uint8 if k <= 256 else np.uint16)
        cost, scaled = np.empty((2, count))
        finish_rows(
            given.rows,
            given.ordered,
            given.weights,
            self.task.norm,
            codebook is not None,
            self.bounds,
            self.k_eff,
            book,
            indices,
            cost,
            scaled,
        )
        return Quantized(book, indices, cost, self.k_eff.copy()), scaled

    def _finish(self) -> tuple[Quantized, Floats]:
        """The solution, its centroids on the lattice if there is one; its costs, scaled."""
        found, scaled = self._fitted()
        if self.task.lattice is not None:
            found, scaled = self._fitted(self._entries(found.codebook))
        return replace(found, cost=found.cost * self.given.units), scaled

    def _entries(self, means: Floats) -> Floats:
        """Whole multiples of the step; clusters with the same one become one cluster."""
        entries = np.clip(np.rint(means / self.steps[:, None]), *self.task.limits)
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
        given, task, count = self.given, self.task, len(self.given.rows)
        zero_at, curve = np.zeros(count, np.int64), np.zeros((count, task.k))
        solve_zero(
            given.ordered,
            given.weights,
            task.k,
            task.kind,
            task.limits,
            self.steps,
            self.bounds,
            self.k_eff,
            zero_at,
            curve,
        )
        book = self._fitted()[0].codebook
        book[np.arange(count), zero_at] = 0.0
        if task.lattice is not None:
            book = self._entries(book)
        found, _ = self._fitted(book)
        curve *= given.units[:, None]
        return replace(found, cost=found.cost * given.units, curve=curve if task.curve else None)
