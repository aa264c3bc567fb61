"""Long rows with equal values, and rows of which a few values hide what the others cost."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.least import cost_of
from dpnet.model.quantizer.judges.monge import monge_breaks
from dpnet.model.quantizer.kernels.grids.long import solve_long
from dpnet.model.quantizer.kernels.grids.places import moved_cost, window_grid
from dpnet.model.quantizer.kernels.grids.prefix import gather, long_row, start_of
from dpnet.model.quantizer.kernels.grids.program import grid_program, narrow, shrink
from dpnet.model.quantizer.kernels.grids.tied import among_distinct
from dpnet.model.quantizer.kernels.points import repeated
from dpnet.model.quantizer.kernels.price.rows import are_hidden
from dpnet.model.quantizer.kernels.price.table import PAD

SEED = 6
N = 60_000


def _tied(kind: str) -> NDArray[np.float64]:
    """Sorted values, none of them often enough to be a place of its own."""
    random = np.random.default_rng([SEED, len(kind)])
    if kind == "pairs":
        return np.repeat(np.sort(random.normal(size=N // 2)), 2)
    if kind == "rounded":
        return np.sort(np.round(random.normal(size=N) * 2.0**16) * 2.0**-16)
    if kind == "ends":  # equal values at both ends, and at the breaks of a regular grid
        values = np.repeat(np.arange(N // 3, dtype=float), 3)
        return np.asarray(values - 10_000.0)
    return np.sort(random.laplace(size=N).astype(np.float32).astype(np.float64))


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("kind", ["pairs", "rounded", "ends", "laplace"])
def test_long_rows_with_equal_values(kind: str, k: int) -> None:
    values = _tied(kind)
    assert 0 < repeated(values) < 0.7 * N
    bounds, first, last = np.zeros((3, k + 1), np.int64)
    assert solve_long(values, np.empty(0), k, bounds, first, last) >= 0
    breaks = bounds[1:k]
    assert (values[breaks] != values[breaks - 1]).all() and (first == last).all()
    _, starts = np.unique(values, return_index=True)
    assert starts[first[1:k]].tolist() == breaks.tolist()
    best = monge_breaks(values, k)
    costs = [
        float(cost_of(values[None], np.repeat(np.arange(k), np.diff(found))[None])[0])
        for found in (bounds, best)
    ]
    assert costs[0] == pytest.approx(costs[1], rel=1e-12)
    if kind != "ends":  # of which several partitions cost the same
        assert bounds.tolist() == best.tolist()
    found = quantize(values.astype(np.float32), k)
    assert np.searchsorted(found.indices, np.arange(k)).tolist() == bounds[:k].tolist()


@pytest.mark.parametrize("kind", ["pairs", "laplace"])
@pytest.mark.parametrize("far", [1e8, 1e15, 1e200])
def test_far_ends_of_long_rows_are_clusters_of_their_own(far: float, kind: str) -> None:
    """Two below, of which one occurs twice, one above; the breaks of the others are as without."""
    inner = _tied(kind)
    values = np.concatenate([[-3.0 * far, -far, -far], inner, [2.0 * far]])
    best = monge_breaks(inner, 3) + 3
    bounds, first, last = np.zeros((3, 7), np.int64)
    assert solve_long(values, np.empty(0), 6, bounds, first, last) >= 0
    assert bounds.tolist() == [0, 1, *best.tolist(), len(values)]
    ranks = np.searchsorted(np.unique(values), values[bounds[:-1]])
    assert first[:-1].tolist() == last[:-1].tolist() == ranks.tolist()


def test_places_of_equal_values_are_those_of_distinct_ones() -> None:
    values = np.repeat(np.arange(5.0), [3, 1, 1, 4, 2])
    places = np.array([0, 3, 5, 5, 9, 11, 4])
    among_distinct(values, places)
    assert places.tolist() == [0, 1, 3, 3, 4, 5, 2]


@pytest.mark.parametrize("skip", [0, 1])
def test_windows_of_equal_values_narrow_around_the_best_breaks(skip: int) -> None:
    """As for distinct ones: one step from any windows and grids that hold them."""
    random = np.random.default_rng([SEED, skip])
    narrower = 0
    for _ in range(600):
        n, k = int(random.integers(20, 70)), int(random.integers(2, 6))
        points = np.sort(random.normal(size=n // 3)[random.integers(0, n // 3, n)])
        row = long_row(points, np.empty(0), n, 1.0, True)
        best = monge_breaks(points, k)
        assert all(start_of(row, int(place)) == place for place in best)
        least = float(cost_of(points[None], np.repeat(np.arange(k), np.diff(best))[None])[0])
        first, last = best.copy(), best.copy()
        for c in range(1, k):
            first[c] = start_of(row, max(int(random.integers(0, best[c] + 1)), first[c - 1]))
        for c in range(k - 1, 0, -1):
            last[c] = start_of(row, min(int(random.integers(best[c], n)), last[c + 1]))
        begin, path, low, high = np.zeros((4, k + 2), np.int64)
        most, power = int(random.integers(2, 12)), float(random.choice([0.0, 0.5]))
        before = int((last - first).sum())
        places = window_grid(row, first, last, most, power, skip, np.empty(0, np.int64), begin)
        starts = [j for c in range(1, k) for j in places[begin[c] : begin[c + 1] - skip]]
        assert all(start_of(row, int(place)) == place for place in starts)
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


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [2, 4, 16])
def test_a_few_far_values_hide_what_the_others_cost(k: int, weighted: bool) -> None:
    """Then no price is looked for, and the partition is the same as without them."""
    random = np.random.default_rng([SEED, k])
    values = np.sort(random.normal(size=1024))
    heavy = np.full(1024, 2.0) if weighted else np.empty(0)
    error = 24.0 * 2.0**-53 * float((values**2).sum())
    assert not are_hidden(values, heavy, 1.0, k, error)
    for far in (1e8, 1e10, 1e15, 1e100):
        outlier = np.append(values[:-1], far)
        inside = quantize(values[:-1], k)
        found = quantize(outlier, k + 1, weights=heavy if weighted else None)
        np.testing.assert_array_equal(found.indices[:-1], inside.indices)
        assert found.indices[-1] == k
        np.testing.assert_allclose(found.codebook[:-1], inside.codebook, rtol=1e-12)
        if far < 1e16:
            scaled = outlier / far
            assert are_hidden(scaled, heavy, 1.0, k + 1, 24.0 * 2.0**-53 * (2.0 if weighted else 1))


def test_groups_of_which_one_is_narrow_hide_nothing() -> None:
    """Half of the values within 1e-9, the others apart: float64 tells their clusters."""
    random = np.random.default_rng(SEED)
    values = np.sort(np.append(1e-9 * random.normal(size=700), 10.0 * random.normal(size=324)))
    error = 24.0 * 2.0**-53 * float((values**2).sum())
    assert not are_hidden(values, np.empty(0), 1.0, 8, error)
