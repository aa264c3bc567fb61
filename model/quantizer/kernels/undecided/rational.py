"""The exact program over rational numbers: slow, for rows that 106 bits leave undecided."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

from dpnet.model.quantizer.kernels.undecided.errors import ABSOLUTE, SQUARED


class _Row:
    """Sums before each point, and the error of any cluster from these."""

    def __init__(
        self,
        points: Sequence[float],
        heavy: Sequence[float],
        kind: int,
        lowest: float,
        highest: float,
    ) -> None:
        self.kind, self.limits = kind, (int(lowest), int(highest)) if kind > SQUARED else (0, 0)
        self.points = [Fraction(value) for value in points]
        masses = [Fraction(weight) for weight in heavy]
        moments = [m * x for m, x in zip(masses, self.points, strict=True)]
        squares = [m * x for m, x in zip(moments, self.points, strict=True)]
        zero = Fraction(0)
        self.mass = list(accumulate(masses, initial=zero))
        self.moment = list(accumulate(moments, initial=zero))
        self.square = list(accumulate(squares, initial=zero))

    def error(self, a: int, b: int) -> Fraction:
        """That of the points a..b-1."""
        mass, moment = self.mass[b] - self.mass[a], self.moment[b] - self.moment[a]
        if self.kind == ABSOLUTE:
            half = (self.mass[a] + self.mass[b]) / 2
            p = bisect_left(self.mass, half, a + 1, b) - 1
            value = self.points[p]
            above = self.moment[b] - self.moment[p] - value * (self.mass[b] - self.mass[p])
            return above + value * (self.mass[p] - self.mass[a]) - self.moment[p] + self.moment[a]
        square = self.square[b] - self.square[a]
        if self.kind == SQUARED:
            return square - moment * moment / mass
        entry = min(max(round(moment / mass), self.limits[0]), self.limits[1])
        return square + entry * (entry * mass - 2 * moment)


def solve_rational(
    points: Sequence[float],
    heavy: Sequence[float],
    k: int,
    kind: int,
    lowest: float,
    highest: float,
    first: Sequence[int],
    last: Sequence[int],
) -> list[int]:
    """Bounds of the best k clusters, as `solve_windows` of `layers` gives them.

    Nothing is rounded; k n log n errors of clusters in Python's fractions, so it is slow.
    """
    row = _Row(points, heavy, kind, lowest, highest)
    before = {j: row.error(0, j) for j in range(first[1], last[1] + 1)}
    breaks: list[dict[int, int]] = [{}, dict.fromkeys(before, 0)]
    for clusters in range(2, k + 1):
        after: dict[int, Fraction] = {}
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
