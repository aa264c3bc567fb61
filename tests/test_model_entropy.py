"""Entropy-constrained quantization against enumeration, a plain program, its bound and its gain."""

from __future__ import annotations

import itertools
import math
import os
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpnet.model.coding import intervals as entropy_program
from dpnet.model.coding.entropy import (
    EntropyQuantized,
    lower_hull,
    quantize_entropy,
    quantize_to_rate,
)
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.algorithm1 import algorithm1
from dpnet.model.quantizer.quantized import CodebookSizeError, NonFiniteError, ShapeError

SEED = int(os.environ.get("SEED", "20"))
NO_WEIGHTS = np.empty(0)


def objective(groups: list[list[tuple[Fraction, Fraction]]], n: int, mu: float) -> float:
    """Error + mu · bits of clusters of (value, weight), the error in rational numbers."""
    error, bits = Fraction(0), 0.0
    for group in groups:
        mass = sum(w for _, w in group)
        mean = sum(v * w for v, w in group) / mass if mass else Fraction(0)
        error += sum(w * (v - mean) ** 2 for v, w in group)
        bits += len(group) * math.log2(n / len(group))
    return float(error) + mu * bits


def enumerate_best(values: list[float], weights: list[float], k: int, mu: float) -> float:
    """The least objective over every partition into at most k intervals, ties whole."""
    pairs = sorted((Fraction(v), Fraction(w)) for v, w in zip(values, weights, strict=True))
    n, best = len(pairs), math.inf
    between = [i for i in range(1, n) if pairs[i][0] != pairs[i - 1][0]]
    for clusters in range(1, k + 1):
        for breaks in itertools.combinations(between, clusters - 1):
            edges = itertools.pairwise((0, *breaks, n))
            best = min(best, objective([pairs[a:b] for a, b in edges], n, mu))
    return best


def plain_program(row: NDArray[np.float64], k: int, mu: float) -> float:
    """The least objective in long doubles from prefix sums, one NumPy minimum per cluster."""
    x = np.sort(row).astype(np.longdouble)
    n = len(x)
    sums, squares = (np.concatenate([[0], np.cumsum(x**p)]) for p in (1, 2))
    count = np.arange(1, n + 1)
    least = np.full(n + 1, np.inf, np.longdouble)
    least[0] = 0
    for _ in range(k):
        after = least.copy()
        for j in range(1, n + 1):
            m = count[:j][::-1]
            cost = squares[j] - squares[:j] - (sums[j] - sums[:j]) ** 2 / m
            after[j] = np.min(least[:j] + cost - mu * m * np.log2(m / n))
        after[0] = 0
        least = after
    return float(least[n])


def check_contract(
    rows: NDArray[np.float64], k: int, q: EntropyQuantized, weights: NDArray | None = None
) -> None:
    """What the docstrings promise, recomputed in NumPy from the indices."""
    assert q.codebook.shape == (len(rows), k) and q.indices.shape == rows.shape
    for row, values in enumerate(rows):
        used = q.k_eff[row]
        importance = np.ones(len(values)) if weights is None else weights[row]
        counts = np.bincount(q.indices[row], minlength=k)
        assert np.all(counts[:used] > 0) and not counts[used:].any()
        members = [q.indices[row] == c for c in range(used)]
        means = [
            np.average(values[m], weights=importance[m] if importance[m].any() else None)
            for m in members
        ]
        np.testing.assert_allclose(q.codebook[row, :used], means, rtol=1e-12, atol=1e-14)
        assert np.all(np.diff(q.codebook[row, :used]) > 0)
        assert np.all(q.codebook[row, used:] == q.codebook[row, used - 1])
        cost = (importance * (values - q.dequantized[row]) ** 2).sum()
        share = counts[:used] / len(values)
        assert q.cost[row] == pytest.approx(cost, rel=1e-11, abs=1e-300)
        assert q.bits[row] == pytest.approx(-len(values) * (share @ np.log2(share)), abs=1e-9)
        assert q.objective[row] == pytest.approx(q.cost[row] + q.mu * q.bits[row], rel=1e-12)
    assert q.rate == pytest.approx(q.bits.sum() / rows.size)


@given(
    st.lists(
        st.tuples(st.integers(-20, 20), st.sampled_from([0.0, 0.25, 1.0, 3.0])),
        min_size=1,
        max_size=9,
    ),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.01, 0.3, 2.0, 50.0]),
    st.booleans(),
)
@settings(max_examples=250, deadline=None)
def test_equals_enumeration_of_all_partitions(
    pairs: list[tuple[int, float]], k: int, mu: float, weighted: bool
) -> None:
    row = np.array([[v / 8 for v, _ in pairs]])
    weights = np.array([[w if weighted else 1.0 for _, w in pairs]])
    q = quantize_entropy(row, k, mu, weights=weights if weighted else None)
    check_contract(row, k, q, weights)
    expected = enumerate_best(row[0].tolist(), weights[0].tolist(), k, mu)
    assert q.objective[0] == pytest.approx(expected, rel=1e-12, abs=1e-13)
    assert q.bound[0] == 0


@pytest.mark.parametrize("kind", ["normal", "laplace", "half-pruned", "clustered", "offset"])
def test_equals_a_plain_program(kind: str) -> None:
    random = np.random.default_rng(SEED)
    row = random.laplace(size=250) if kind == "laplace" else random.normal(size=250)
    if kind == "half-pruned":
        row[np.abs(row) < 0.7] = 0.0
    if kind == "clustered":
        row = np.round(2 * row) + 0.05 * random.normal(size=250)
    for k, mu in ((3, 0.05), (8, 0.01), (16, 0.2), (9, 0.0)):
        q = quantize_entropy(row[None] + 1e4 * (kind == "offset"), k, mu)
        if kind != "half-pruned":  # the plain program may split the zeros
            assert q.objective[0] == pytest.approx(plain_program(row, k, mu), rel=1e-9)
        else:
            assert q.objective[0] >= plain_program(row, k, mu) * (1 - 1e-12)
            assert len(set(q.indices[0][row == 0])) == 1


def test_without_a_price_it_is_the_exact_quantizer() -> None:
    random = np.random.default_rng(SEED)
    rows = random.normal(size=(6, 700))
    rows[1] = np.round(2 * rows[1]) + 0.01 * random.normal(size=700)
    rows[2][np.abs(rows[2]) < 0.7] = 0.0
    rows[3] = rows[3].astype(np.float16)
    rows[4] = np.exp(2 * rows[4])
    rows[5] = np.resize([1.5, -2.0, 0.25], 700)
    for k in (1, 4, 7, 16):
        q, best = quantize_entropy(rows, k, 0.0), quantize(rows, k)
        np.testing.assert_allclose(q.cost, best.cost, rtol=1e-12)
        np.testing.assert_array_equal(q.indices, best.indices)
        np.testing.assert_array_equal(q.k_eff, best.k_eff)


def test_narrow_clusters_and_offsets_cost_no_digits() -> None:
    random = np.random.default_rng(SEED)
    for offset, width in ((0.0, 1e-9), (1e8, 1e-2), (0.0, 1e-13)):
        row = random.integers(0, 4, 24) + width * random.normal(size=24) + offset
        expected = algorithm1([Fraction(float(v)) for v in row], 9)[2]
        q = quantize_entropy(row[None], 9, 0.0)
        found = objective(
            [
                [(Fraction(float(v)), Fraction(1)) for v in row[q.indices[0] == c]]
                for c in range(q.k_eff[0])
            ],
            24,
            0.0,
        )
        assert found == pytest.approx(float(expected), rel=1e-12)


@pytest.mark.parametrize("scale", [1e-100, 1e-30, 1e100])
def test_scale_does_not_matter(scale: float) -> None:
    rows = np.random.default_rng(SEED).normal(size=(3, 80))
    q, scaled = quantize_entropy(rows, 8, 0.05), quantize_entropy(rows * scale, 8, 0.05 * scale**2)
    np.testing.assert_array_equal(q.indices, scaled.indices)
    np.testing.assert_allclose(scaled.objective, q.objective * scale**2, rtol=1e-12)
    weighted = quantize_entropy(rows, 8, 0.05 * scale, weights=np.full(rows.shape, scale))
    np.testing.assert_array_equal(q.indices, weighted.indices)


def test_a_high_price_leaves_one_cluster_and_extreme_rows_have_a_result() -> None:
    rows = np.random.default_rng(SEED).normal(size=(2, 50))
    for mu in (1e3, 1e300):
        q = quantize_entropy(rows, 8, mu)
        assert q.k_eff.tolist() == [1, 1] and q.bits.tolist() == [0.0, 0.0] and q.rate == 0
    assert quantize_entropy([[7.5]], 4, 0.1).codebook.tolist() == [[7.5] * 4]
    assert quantize_entropy(np.zeros((1, 9)), 4, 0.1).objective.tolist() == [0.0]
    q = quantize_entropy([[1.7e308, -1.7e308, 1.6e308]], 2, 0.0)
    assert q.indices.tolist() == [[1, 0, 1]] and q.cost.tolist() == [np.inf]


def test_whole_weights_are_repeated_values_where_bits_are_free() -> None:
    random = np.random.default_rng(SEED)
    row, weights = random.normal(size=60), random.integers(1, 5, 60)
    q = quantize_entropy(row[None], 7, 0.0, weights=weights[None])
    repeated = quantize(np.repeat(row, weights)[None], 7)
    np.testing.assert_allclose(q.codebook, repeated.codebook, rtol=1e-12)
    assert q.cost[0] == pytest.approx(repeated.cost[0], rel=1e-12)


def test_rows_are_independent_and_repeat_bit_for_bit() -> None:
    rows = np.random.default_rng(SEED).normal(size=(13, 60))
    together, again = (quantize_entropy(rows, 6, 0.02) for _ in range(2))
    for name in ("codebook", "indices", "cost", "k_eff", "bits", "objective", "bound"):
        alone = [getattr(quantize_entropy(row[None], 6, 0.02), name) for row in rows]
        np.testing.assert_array_equal(getattr(together, name), np.concatenate(alone))
        np.testing.assert_array_equal(getattr(together, name), getattr(again, name))


@pytest.mark.parametrize("kind", ["normal", "laplace", "lognormal", "float16", "clustered"])
def test_bins_keep_their_bound(kind: str) -> None:
    random = np.random.default_rng(SEED)
    row = getattr(random, kind if kind in ("laplace", "lognormal") else "normal")(size=1500)
    if kind == "float16":
        row = row.astype(np.float16).astype(float)
    if kind == "clustered":
        row = np.round(row) + 0.02 * random.normal(size=1500)
    ordered, excesses = np.sort(row), []
    for mu in (0.0, 0.003, 0.05):
        exact = quantize_entropy(row[None], 8, mu)
        assert exact.bound[0] == 0
        for bins in (8, 24, 100, 400):
            starts, bound = entropy_program._points(ordered, bins)
            bounds = entropy_program._best_intervals(ordered, NO_WEIGHTS, starts, 8, mu)
            _, cost, bits = entropy_program._evaluate(ordered, NO_WEIGHTS, bounds)
            excess = cost + mu * bits - exact.objective[0]
            assert -1e-9 <= excess <= bound
            excesses.append(excess)
            q = quantize_entropy(row[None], 8, mu, bins=bins)
            check_contract(row[None], 8, q)
            assert -1e-9 <= q.objective[0] - exact.objective[0] <= min(q.bound[0], excess + 1e-9)
            won = cost + mu * bits - q.objective[0]
            assert q.bound[0] == pytest.approx(max(bound - won, 0.0), rel=1e-9, abs=1e-9)
        assert bound < 0.05 * row.var() * 1500  # 400 bins: it says something
    assert max(excesses) > 1e-3  # and bins do cost something before the refinement


def test_bins_have_the_least_largest_product_of_width_and_count() -> None:
    random = np.random.default_rng(SEED)
    for bins in (2, 5, 9):
        row = np.sort(np.round(random.normal(size=60), 1))
        starts, _ = entropy_program._points(row, bins)
        assert starts[0] == 0 and starts[-1] == 60 and 1 < len(starts) <= bins + 1
        assert all(row[b] != row[b - 1] for b in starts[1:-1])
        least = np.full((bins + 1, 61), np.inf)  # [bins used, values taken]
        least[:, 0] = 0
        for used, b in itertools.product(range(1, bins + 1), range(1, 61)):
            if b == 60 or row[b] != row[b - 1]:
                products = [(b - a) * (row[b - 1] - row[a]) for a in range(b)]
                least[used, b] = np.min(np.maximum(least[used - 1, :b], products))
        found = max((b - a) * (row[b - 1] - row[a]) for a, b in itertools.pairwise(starts))
        assert least[bins, 60] <= found + 1e-12 and found <= 1.01 * least[bins, 60] + 1e-12


def test_a_long_vector_is_within_a_hundredth_percent() -> None:
    row = np.random.default_rng(SEED).normal(size=(1, 300_000)).astype(np.float32)
    q = quantize_entropy(row, 16, 0.01)
    assert 0 < q.bound[0] < 1e-4 * q.objective[0]
    check_contract(row.astype(float), 16, q)
    # Refined: each value is where its distance² + mu · code length is least.
    lengths = -np.log2(np.bincount(q.indices[0], minlength=16) / row.size)
    prices = (row[0].astype(float)[:, None] - q.codebook[0]) ** 2 + q.mu * lengths
    assert np.all(prices[np.arange(row.size), q.indices[0]] <= prices.min(1) + 1e-9)


@pytest.mark.parametrize(
    ("distribution", "n", "k", "gain"),
    [
        # Of many draws: 16 to 17, 18 to 20, 37 to 43 and 31 to 35 %.
        ("normal", 1024, 4, (0.14, 0.19)),
        ("normal", 1024, 8, (0.16, 0.22)),
        ("laplace", 10_000, 4, (0.34, 0.46)),
        ("laplace", 1024, 8, (0.28, 0.38)),
    ],
)
def test_gain_over_optimal_k_means_and_an_ideal_entropy_coder(
    distribution: str, n: int, k: int, gain: tuple[float, float]
) -> None:
    rows = getattr(np.random.default_rng(SEED), distribution)(size=(20_480 // n, n))
    best = quantize(rows, k)
    counts = np.array([np.bincount(row, minlength=k) for row in best.indices])
    rate = -(counts * np.log2(counts / n)).sum() / rows.size
    q = quantize_to_rate(rows, 4 * k, rate)
    assert q.rate <= rate
    assert gain[0] <= 1 - q.cost.sum() / best.cost.sum() <= gain[1]


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (0, 1, 2)])
def test_any_axes_and_tensors(axis: int | tuple[int, ...]) -> None:
    values = np.random.default_rng(SEED).normal(size=(3, 4, 30)).astype(np.float32)
    axes = axis if isinstance(axis, tuple) else (axis,)
    moved = np.moveaxis(values, axes, range(-len(axes), 0))
    flat = moved.reshape(-1, math.prod(moved.shape[3 - len(axes) :]))
    q, plain = quantize_entropy(values, 3, 0.05, axis=axis), quantize_entropy(flat, 3, 0.05)
    batch = moved.shape[: 3 - len(axes)]
    assert q.codebook.shape == (*batch, 3) and q.bits.shape == q.bound.shape == batch
    np.testing.assert_array_equal(
        np.moveaxis(q.dequantized, axes, range(-len(axes), 0)).reshape(flat.shape),
        plain.dequantized,
    )
    assert q.rate == plain.rate
    tensors = quantize_entropy(torch.from_numpy(values).requires_grad_(), 3, 0.05, axis=axis)
    assert isinstance(tensors.bits, torch.Tensor) and tensors.rate == pytest.approx(q.rate)
    np.testing.assert_array_equal(tensors.indices.numpy(), q.indices)
    np.testing.assert_array_equal(tensors.to_numpy().objective, q.objective)


def test_rate_is_kept_and_nearly_used() -> None:
    rows = np.random.default_rng(SEED).normal(size=(12, 300)) * np.arange(1, 13)[:, None]
    for rate in (0.3, 1.0, 2.5):
        q = quantize_to_rate(rows, 16, rate, tolerance=0.01)
        assert rate - 0.01 <= q.rate <= rate
        np.testing.assert_array_equal(quantize_entropy(rows, 16, q.mu).indices, q.indices)
        assert q.bits[0] < q.bits[-1]  # small rows get fewer bits
    free = quantize_to_rate(rows, 16, 4.0)
    assert free.mu == 0 and free.rate < 4


def test_between_two_corners_the_rate_is_the_lower_one() -> None:
    row = np.random.default_rng(SEED).normal(size=(1, 40))
    q = quantize_to_rate(row, 8, 1.5, tolerance=1e-9)
    sweep = [quantize_entropy(row, 8, mu) for mu in np.geomspace(1e-3, 30, 400)]
    allowed = [s for s in sweep if s.rate <= 1.5]
    assert q.rate <= 1.5
    assert q.cost[0] <= min(s.cost[0] for s in allowed) * (1 + 1e-12)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
@settings(max_examples=200, deadline=None)
def test_hull_has_what_is_best_at_some_price(points: list[tuple[int, int]]) -> None:
    rates, costs = (np.array(axis, float) for axis in zip(*points, strict=True))
    hull = lower_hull(rates, costs)
    assert np.all(np.diff(rates[hull]) > 0) and np.all(np.diff(costs[hull]) < 0)
    slopes = np.diff(costs[hull]) / np.diff(rates[hull])
    assert np.all(np.diff(slopes) > 0)
    least = min(points), min(points, key=lambda p: p[::-1])
    corners = [points[i] for i in hull]
    assert corners[0] == least[0] and corners[-1] == least[1]
    for price in (0.001, 0.1, 0.5, 1.0, 2.0, 9.0, 100.0):
        totals = costs + price * rates
        assert totals[hull].min() == totals.min()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: quantize_entropy([[1.0, np.nan]], 2, 0.1), NonFiniteError, None),
        (lambda: quantize_entropy([[1.0]], 0, 0.1), CodebookSizeError, None),
        (
            lambda: quantize_entropy([[1.0]], 2, -0.1),
            ValueError,
            "mu must be finite and not negative, not -0.1",
        ),
        (
            lambda: quantize_entropy([[1.0]], 2, np.nan),
            ValueError,
            "mu must be finite and not negative, not nan",
        ),
        (lambda: quantize_entropy([[1.0]], 2, "1"), TypeError, "mu must be a number, not '1'"),
        (
            lambda: quantize_entropy([[1.0]], 2, 0.1, bins=1),
            ValueError,
            "bins must be an integer of at least 2, not 1",
        ),
        (
            lambda: quantize_entropy([[1.0]], 2, 0.1, weights=[[1.0, 2.0]]),
            ShapeError,
            "weights must be of the values' shape (1, 1), not (1, 2)",
        ),
        (
            lambda: quantize_entropy([[1.0]], 2, 0.1, weights=[[-1.0]]),
            ShapeError,
            "weights must be 0 or more, not -1.0",
        ),
        (
            lambda: quantize_entropy([np.arange(9.0)], 2, 0.1, weights=np.ones((1, 9)), bins=8),
            ShapeError,
            "weighted rows must have at most 8 distinct values (bins), not 9",
        ),
        (
            lambda: quantize_to_rate([[1.0]], 2, 0),
            ValueError,
            "rate must be a positive number, not 0",
        ),
        (
            lambda: quantize_to_rate([[1.0]], 2, 1.0, tolerance=np.inf),
            ValueError,
            "tolerance must be a positive number, not inf",
        ),
        (
            lambda: lower_hull([1.0], [1.0, 2.0]),
            ValueError,
            "rate and distortion must be vectors of one length, not (1,) and (2,)",
        ),
        (lambda: lower_hull([1.0], [np.nan]), ValueError, "rate and distortion must be finite"),
    ],
)
def test_bad_input_is_refused(call, error: type[Exception], message: str | None) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$" if message else None):
        call()
