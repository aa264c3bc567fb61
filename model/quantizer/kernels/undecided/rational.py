"""The exact program over rational numbers: slow, for rows that 106 bits leave undecided."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

from dpnet.model.quantizer.kernels.points import ABSOLUTE, SQUARED


def _whole(values: Sequence[float]) -> tuple[list[int], int]:
    """The values as whole numbers of 1 / the number that follows them, a power of two."""
    ratios = [value.as_integer_ratio() for value in values]
    unit = max(below for _, below in ratios)
    return [above * (unit // below) for above, below in ratios], unit


class _Row:
    """Sums before each point, and the error of any cluster from these, in units of its own."""

    def __init__(
        self, points: Sequence[float], heavy: Sequence[float], kind: int, limits: tuple[float, ...]
    ) -> None:
        self.kind, self.limits = kind, (int(limits[0]), int(limits[1]))
        self.points, self.unit = _whole(points)
        masses, _ = _whole(heavy)
        moments = [m * x for m, x in zip(masses, self.points, strict=True)]
        squares = [m * x for m, x in zip(moments, self.points, strict=True)]
        self.mass = list(accumulate(masses, initial=0))
        self.twice = [2 * mass for mass in self.mass]
        self.moment = list(accumulate(moments, initial=0))
        self.square = list(accumulate(squares, initial=0))

    def error(self, a: int, b: int) -> Fraction | int:
        """That of the points a..b-1."""
        mass, moment = self.mass[b] - self.mass[a], self.moment[b] - self.moment[a]
        if self.kind == ABSOLUTE:
            p = bisect_left(self.twice, self.mass[a] + self.mass[b], a + 1, b) - 1
            value = self.points[p]
            above = self.moment[b] - self.moment[p] - value * (self.mass[b] - self.mass[p])
            return above + value * (self.mass[p] - self.mass[a]) - self.moment[p] + self.moment[a]
        square = self.square[b] - self.square[a]
        if self.kind == SQUARED:
            return Fraction(square * mass - moment * moment, mass)
        entry = min(max(round(Fraction(moment, mass * self.unit)), self.limits[0]), self.limits[1])
        return square + entry * self.unit * (entry * self.unit * mass - 2 * moment)


def solve_rational(
    points: Sequence[float],
    heavy: Sequence[float],
    k: int,
    kind: int,
    limits: tuple[float, float],
    first: Sequence[int],
    last: Sequence[int],
) -> list[int]:
    """Bounds of the best k clusters, as `solve_windows` of `layers` gives them.

    Nothing is rounded; k n log n errors of clusters in whole numbers of any length and their
    fractions, n the width of the windows, so it is slow.
    """
    row = _Row(points, heavy, kind, limits)
    before: dict[int, Fraction | int] = {j: row.error(0, j) for j in range(first[1], last[1] + 1)}
    breaks: list[dict[int, int]] = [{}, dict.fromkeys(before, 0)]
    for clusters in range(2, k + 1):
        after: dict[int, Fraction | int] = {}
        origin: dict[int, int] = {}
        parts = [(first[clusters], last[clusters], first[clusters - 1], last[clusters - 1])]
        while parts:
            low, high, i_low, i_high = parts.pop()
            j = (low + high) // 2
            after[j], origin[j] = min(
                (before[i] + row.error(i, j), i) for i in range(i_low, min(i_high, j - 1) + 1)
            )
            if low < j:
                parts.append((low, j - 1, i_low, origin[j]))
            if j < high:
                parts.append((j + 1, high, origin[j], i_high))
        before = after
        breaks.append(origin)
    bounds = [len(points)]
    for clusters in range(k, 0, -1):
        bounds.append(breaks[clusters][bounds[-1]])
    return bounds[::-1]
