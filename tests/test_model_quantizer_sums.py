"""What the long rows' program takes its sums from, and the vectors of eight, against exact sums."""

from fractions import Fraction

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.least import cost_of
from dpnet.model.quantizer.judges.monge import monge_breaks
from dpnet.model.quantizer.kernels.grids.long import solve_long
from dpnet.model.quantizer.kernels.grids.places import heavy_places, moved_cost, window_grid
from dpnet.model.quantizer.kernels.grids.prefix import BLOCK, gather, long_row, sums
from dpnet.model.quantizer.kernels.grids.program import grid_program, narrow, shrink
from dpnet.model.quantizer.kernels.lanes import (
    compensated_sums,
    distances,
    sixteen_indices,
    squared_distances,
)
from dpnet.model.quantizer.kernels.price.rows import solve_rows
from dpnet.model.quantizer.kernels.price.table import PAD
from dpnet.model.quantizer.quantized import NonFiniteError

SEED = 5
UNIT = Fraction(1, 2**53)


@njit
def _each_intrinsic(
    values: NDArray[np.float64], scale: float, origin: float
) -> tuple[float, float, tuple[float, float, float, float]]:
    n = len(values)
    return (
        distances(values, 0, n, scale, origin),
        squared_distances(values, 0, n, scale, origin),
        compensated_sums(values, 0, n, scale, origin),
    )


@njit
def _sixteen(
    values: NDArray[np.float64], thresholds: NDArray[np.float64], indices: NDArray[np.integer]
) -> None:
    sixteen_indices(values, len(values), thresholds, indices)


@pytest.mark.parametrize("n", [0, 8, 64, 1024])
def test_sums_of_eight_lanes(n: int) -> None:
    values = np.random.default_rng(SEED).normal(size=n) * 1e3
    scale, origin = 0.125, 0.7
    parts = [Fraction(v) for v in (values * scale - origin).tolist()]
    squares = [Fraction(float(part) * float(part)) for part in parts]
    plain, squared, (total, lost, square, square_lost) = _each_intrinsic(values, scale, origin)
    reach = n * UNIT * sum(abs(part) for part in parts)
    assert abs(Fraction(plain) - sum(parts)) <= reach
    assert abs(Fraction(squared) - sum(squares)) <= n * UNIT * sum(squares)
    # What was lost makes up for it, to the second order.
    assert abs(Fraction(total) + Fraction(lost) - sum(parts)) <= n * UNIT * reach
    exact = sum(squares)
    assert abs(Fraction(square) + Fraction(square_lost) - exact) <= (n * UNIT) ** 2 * exact


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shift", [0, 1, 3])
def test_indices_of_eight_lanes(dtype: type, shift: int) -> None:
    random = np.random.default_rng(SEED)
    thresholds = np.full(32, np.inf)
    thresholds[1:12] = np.sort(random.normal(size=11))
    values = np.concatenate([random.normal(size=53), thresholds[1:12]])
    indices = np.full(len(values) + shift + 8, 99, dtype)
    _sixteen(values, thresholds, indices[shift : shift + len(values)])
    expected = np.searchsorted(thresholds[1:12], values, side="right")
    np.testing.assert_array_equal(indices[shift:-8], expected)
    assert (indices[:shift] == 99).all() and (indices[-8:] == 99).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("half", [0, 15, BLOCK // 2, 117])
def test_sums_before_any_place_are_exact_to_one_rounding(half: int, weighted: bool) -> None:
    """Of a row that is its own negative: at its end all digits that were added up cancel."""
    random = np.random.default_rng([SEED, half])
    above, n = np.sort(random.lognormal(sigma=3.0, size=half)), 2 * half + 1
    points = np.concatenate([-above[::-1], [0.0], above])
    heavy = np.empty(0)
    if weighted:
        heavy = random.lognormal(sigma=3.0, size=half)
        heavy = np.concatenate([heavy[::-1], [1.0], heavy])
    row = long_row(points, heavy, n, 2.0**-20, False)
    values = [Fraction(v) for v in (points * row.scale - row.center).tolist()]
    masses = [Fraction(m) for m in heavy.tolist()] if weighted else [Fraction(1)] * n
    exact = [Fraction(0)] * 3
    sizes = [Fraction(0)] * 3
    for place in range(n + 1):
        found = sums(row, place)
        for part in range(3):
            # Products are rounded before they are added up.
            slip = (part * weighted * UNIT + (3 * n * UNIT) ** 2) * sizes[part]
            assert abs(Fraction(found[part]) - exact[part]) <= 2 * UNIT * abs(exact[part]) + slip
        if place < n:
            for part in range(3):
                term = masses[place] * values[place] ** part
                exact[part] += term
                sizes[part] += abs(term)


def test_sums_of_many_places_are_those_of_each() -> None:
    random = np.random.default_rng(SEED)
    points = np.sort(random.normal(size=1000))
    row = long_row(points, np.empty(0), 1000, 1.0, False)
    places = random.integers(0, 1001, 300)
    places[:100].sort()
    found = gather(row, places, 4)
    assert found.shape == (3, 304) and not found[:, 300:].any()
    for place, column in zip(places, found.T, strict=False):
        assert tuple(column) == sums(row, int(place))


def test_points_that_weigh_much_are_no_hindrance() -> None:
    """Half pruned, and clipped at both ends: these are solved by windows too."""
    random = np.random.default_rng(SEED)
    values = np.clip(random.normal(size=120_000), -2.5, 2.5) * (random.random(120_000) < 0.5)
    bounds, first, last = np.zeros((3, 9), np.int64)
    assert solve_long(np.sort(values), np.empty(0), 8, bounds, first, last) >= 0
    assert (np.diff(bounds) > 0).all() and (first == last).all()


def test_large_values_are_finite_and_infinite_ones_are_not() -> None:
    """Their sum overflows, which alone says nothing."""
    large = np.array([1.7e308, 1.6e308, 1.5e308, -1.7e308] * 5)
    assert quantize(large, 4).k_eff == 4
    long = np.random.default_rng(SEED).uniform(-1.7, 1.7, 20_000)
    np.testing.assert_array_equal(quantize(long * 2.0**1023, 4).indices, quantize(long, 4).indices)
    for bad in ([np.inf, -np.inf], [np.nan, 1.0], [1.7e308, 1.7e308, np.inf]):
        with pytest.raises(NonFiniteError):
            quantize(np.array(bad), 2)


def _best_breaks(values: list[float], k: int) -> list[set[int]]:
    """Where the best partitions into k clusters have break c = 0..k, in rational numbers."""
    n, points = len(values), [Fraction(v) for v in values]

    def error(a: int, b: int) -> Fraction:
        part = points[a:b]
        return sum(v * v for v in part) - sum(part) ** 2 / len(part)

    errors = {(a, b): error(a, b) for a in range(n) for b in range(a + 1, n + 1)}
    ahead: list[dict[int, Fraction]] = [{0: Fraction(0)}]
    behind: list[dict[int, Fraction]] = [{n: Fraction(0)}]
    for _ in range(k):
        before, after = ahead[-1], behind[-1]
        ahead.append(
            {
                b: min(before[a] + errors[a, b] for a in before if a < b)
                for b in range(len(ahead), n + 1)
            }
        )
        behind.append(
            {
                a: min(after[b] + errors[a, b] for b in after if a < b)
                for a in range(n - len(behind) + 1)
            }
        )
    least = ahead[k][n]
    return [
        {j for j in ahead[c] if j in behind[k - c] and ahead[c][j] + behind[k - c][j] == least}
        for c in range(k + 1)
    ]


@pytest.mark.parametrize("kind", ["grid", "symmetric", "groups", "random"])
def test_windows_hold_the_breaks_of_every_best_partition(kind: str) -> None:
    random = np.random.default_rng([SEED, len(kind)])
    several = 0
    for attempt in range(150):
        n, k = int(random.integers(10, 24)), int(random.integers(2, 7))
        if kind == "grid":
            points = np.arange(n)
        elif kind == "symmetric":
            half = np.cumsum(random.integers(1, 20, n // 2))
            points = np.concatenate([-half[::-1], half])
        elif kind == "groups":
            points = np.concatenate([1000 * g + np.arange(5) for g in range(n // 5)])
        else:
            points = np.cumsum(random.integers(1, 50, n))
        # Tenths are rounded: what was equally good is now so but for some units in the last place.
        values = points * (0.1 if attempt % 3 else 1.0)
        bounds, first, last = np.zeros((3, 1, k + 1), np.int64)
        solve_rows(
            values[None],
            np.empty((1, 0)),
            k,
            np.zeros(1),
            bounds,
            np.zeros(1, np.int64),
            first,
            last,
        )
        for c, places in enumerate(_best_breaks(values.tolist(), k)):
            several += len(places) > 1
            assert first[0, c] <= min(places) and max(places) <= last[0, c], (values, k, c)
    assert several > 5 or kind == "random"


def test_points_of_much_weight_are_places_of_the_grids() -> None:
    heavy = np.ones(50_000)
    heavy[[7, 30_000]] = 49_998 / 1024
    row = long_row(np.arange(50_000.0), heavy, 50_000, 1.0, False)
    marks = heavy_places(row)
    assert marks.tolist() == [7, 30_000]
    begin = np.zeros(4, np.int64)
    first, last = np.array([0, 5, 50_000]), np.array([0, 40_000, 50_000])
    grid = window_grid(row, first, last, 100, 0.5, 0, marks, begin)
    assert {5, 7, 8, 30_000, 30_001, 50_000} <= set(grid.tolist())
    assert (np.diff(grid) > 0).all() and begin[1:].tolist() == [0, len(grid) - 1, len(grid)]


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("kind", ["normal", "far", "groups"])
def test_windows_narrow_around_the_best_breaks(kind: str, skip: int) -> None:
    """One step from any windows and grids that hold them; many a grid has one place for two."""
    random = np.random.default_rng([SEED, skip, len(kind)])
    narrower = 0
    for _ in range(600):
        n, k = int(random.integers(9, 60)), int(random.integers(2, 8))
        points = random.normal(size=n)
        if kind == "far":
            points[:6] *= 10.0 ** random.integers(1, 6, 6)
        if kind == "groups":
            points = random.integers(0, 6, n) + 1e-3 * points
        points.sort()
        best = monge_breaks(points, k)
        least = float(cost_of(points[None], np.repeat(np.arange(k), np.diff(best))[None])[0])
        first, last = best.copy(), best.copy()
        for c in range(1, k):
            first[c] = max(random.integers(c, best[c] + 1), first[c - 1])
        for c in range(k - 1, 0, -1):
            last[c] = min(random.integers(best[c], n - k + c + 1), last[c + 1])
        row = long_row(points, np.empty(0), n, 1.0, False)
        begin, path, low, high = np.zeros((4, k + 2), np.int64)
        most, power = int(random.integers(2, 12)), float(random.choice([0.0, 0.5]))
        before = int((last - first).sum())
        places = window_grid(row, first, last, most, power, skip, np.empty(0, np.int64), begin)
        at = gather(row, places, PAD)
        moved = 0.0 if skip else moved_cost(row, at, places, begin, first, last)
        join = bool(skip) or moved > 0.0
        cost, gain = np.empty((2, at.shape[1]))
        lowest = grid_program(at, places, begin, skip, join, path, cost, gain)
        slack = 1e-12 * float((points**2).sum())
        assert lowest - moved <= least + slack
        doubt = max(least - lowest, 0.0) + moved + slack
        shrink(at, places, begin, skip, join, doubt, cost, gain, low, high)
        narrow(places, begin, low, high, first, last)
        assert (first <= best).all() and (best <= last).all(), (points, k, best, first, last)
        narrower += int((last - first).sum()) < before
    assert narrower > 100
