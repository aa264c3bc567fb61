"""The exact quantizer against enumeration, Algorithm 1 in fractions, and rows that break others."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.algorithm1 import algorithm1
from dpnet.model.quantizer.lloyd import lloyd
from dpnet.model.quantizer.quantized import (
    CodebookSizeError,
    EmptyError,
    NonFiniteError,
    Quantized,
    ShapeError,
)

SEED = int(os.environ.get("SEED", "20"))


def enumerate_best(values: list[int], k: int, norm: int) -> Fraction:
    """Least cost over every assignment of values to k clusters, contiguous or not."""
    best: Fraction | None = None
    for labels in itertools.product(range(k), repeat=len(values)):
        cost = Fraction(0)
        for label in set(labels):
            members = sorted(v for v, at in zip(values, labels, strict=True) if at == label)
            if norm == 2:
                mean = Fraction(sum(members), len(members))
                cost += sum((v - mean) ** 2 for v in members)
            else:
                cost += sum(abs(v - members[len(members) // 2]) for v in members)
        best = cost if best is None else min(best, cost)
    assert best is not None
    return best


def exact_cost(row: NDArray[np.float64], indices: NDArray[np.uint8], norm: int) -> Fraction:
    """The cost of a partition in rational numbers, from nothing but its indices."""
    cost = Fraction(0)
    for index in np.unique(indices):
        members = sorted(Fraction(float(v)) for v in row[indices == index])
        mean = sum(members, Fraction(0)) / len(members)
        middle = members[len(members) // 2]
        cost += sum(((v - mean) ** 2 if norm == 2 else abs(v - middle)) for v in members)
    return cost


def check_contract(rows: NDArray[np.float64], k: int, q: Quantized, norm: int = 2) -> None:
    """What the docstring of Quantized promises, recomputed in NumPy."""
    assert q.codebook.shape == (len(rows), k) and q.codebook.dtype == np.float64
    assert q.indices.shape == rows.shape and q.indices.dtype == np.uint8
    assert np.all(np.diff(q.codebook, axis=1) >= 0)
    for row, codebook, indices, cost, k_eff in zip(
        rows, q.codebook, q.indices, q.cost, q.k_eff, strict=True
    ):
        assert set(indices) == set(range(k_eff))
        assert np.all(codebook[k_eff:] == codebook[k_eff - 1])
        distances = np.abs(row[:, None] - codebook[None, :])
        np.testing.assert_allclose(
            np.abs(row - codebook[indices]), distances.min(1), atol=1e-12 * np.abs(row).max()
        )
        np.testing.assert_allclose(cost, (np.abs(row - codebook[indices]) ** norm).sum(), 1e-9)


@pytest.mark.parametrize("norm", [1, 2])
def test_equals_enumeration_of_all_assignments(norm: int) -> None:
    random = np.random.default_rng(SEED)
    for _ in range(150):
        n, k = int(random.integers(1, 7)), int(random.integers(1, 4))
        values = random.integers(-6, 7, n)
        expected = enumerate_best(values.tolist(), k, norm)
        q = quantize(values[None, :], k, norm)
        assert exact_cost(values.astype(float), q.indices[0], norm) == expected
        assert q.cost[0] == pytest.approx(float(expected), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("norm", [1, 2])
def test_algorithm1_equals_enumeration(norm: int) -> None:
    random = np.random.default_rng(SEED)
    for _ in range(100):
        n, k = int(random.integers(1, 7)), int(random.integers(1, 4))
        values = random.integers(-6, 7, n).tolist()
        _, clusters, cost = algorithm1([Fraction(v) for v in values], k, norm)
        assert cost == enumerate_best(values, k, norm)
        assert exact_cost(np.array(values, float), np.array(clusters, np.uint8), norm) == cost


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("kind", ["normal", "few values", "clustered"])
def test_equals_algorithm1_on_thousands_of_rows(kind: str, norm: int) -> None:
    random = np.random.default_rng(SEED)
    for n in (1, 2, 3, 5, 8, 13, 30):
        rows = random.normal(size=(60, n))
        if kind == "few values":
            rows = random.integers(-4, 5, (60, n)).astype(float)
        if kind == "clustered":
            rows = np.round(2 * rows) + 1e-3 * random.normal(size=(60, n))
        for k in (1, 2, 3, 4, 7, 16) if n < 30 else (4, 16):
            q = quantize(rows, k, norm)
            check_contract(rows, k, q, norm)
            for row, indices, cost in zip(rows, q.indices, q.cost, strict=True):
                expected = algorithm1(row.tolist(), k, norm)[2]
                assert cost == pytest.approx(expected, rel=1e-9, abs=1e-12)
                assert exact_cost(row, indices, norm) == pytest.approx(expected, 1e-9, 1e-12)


def test_same_partition_as_algorithm1_where_the_optimum_is_unique() -> None:
    rows = np.random.default_rng(SEED).normal(size=(200, 20))
    q = quantize(rows, 5)
    for row, codebook, indices in zip(rows, q.codebook, q.indices, strict=True):
        centroids, clusters, _ = algorithm1(row.tolist(), 5)
        np.testing.assert_array_equal(indices, clusters)
        np.testing.assert_allclose(codebook, centroids, rtol=0, atol=1e-13)


def test_long_rows_equal_algorithm1() -> None:
    rows = np.random.default_rng(SEED).laplace(size=(2, 300))
    q = quantize(rows, 16)
    for row, indices, cost in zip(rows, q.indices, q.cost, strict=True):
        _, clusters, expected = algorithm1(row.tolist(), 16)
        assert cost == pytest.approx(expected, rel=1e-10)
        np.testing.assert_array_equal(indices, clusters)


@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=14),
    st.integers(1, 6),
    st.sampled_from([1, 2]),
)
@settings(max_examples=300, deadline=None)
def test_any_row_equals_algorithm1_in_fractions(values: list[float], k: int, norm: int) -> None:
    expected = algorithm1([Fraction(v) for v in values], k, norm)[2]
    row = np.array(values)
    q = quantize(row[None, :], k, norm)
    found = exact_cost(row, q.indices[0], norm)
    spread = exact_cost(row, np.zeros(len(row), np.uint8), norm)
    assert expected <= found <= expected * (1 + Fraction(1, 10**8)) + spread / 10**18


@pytest.mark.parametrize("norm", [1, 2])
def test_ties_take_the_smallest_break(norm: int) -> None:
    # {0}{1 2} and {0 1}{2} cost the same, as do the three ways to cut 0 1 2 3 into three.
    assert quantize([[2, 0, 1]], 2, norm).indices.tolist() == [[1, 0, 1]]
    assert quantize([[0, 1, 2, 3]], 3, norm).indices.tolist() == [[0, 1, 2, 2]]
    assert algorithm1([2, 0, 1], 2, norm)[1] == [1, 0, 1]
    assert algorithm1([0, 1, 2, 3], 3, norm)[1] == [0, 1, 2, 2]


def test_duplicates_share_an_index_and_fewer_values_than_k_cost_nothing() -> None:
    q = quantize([[3.0, 1.0, 3.0, 3.0, 1.0, -0.0, 0.0]], 5)
    assert q.k_eff.tolist() == [3] and q.cost.tolist() == [0.0]
    assert q.codebook.tolist() == [[0.0, 1.0, 3.0, 3.0, 3.0]]
    assert q.indices.tolist() == [[2, 1, 2, 2, 1, 0, 0]]
    assert q.dequantized.tolist() == [[3.0, 1.0, 3.0, 3.0, 1.0, 0.0, 0.0]]


def test_one_value_one_cluster_and_constant_rows() -> None:
    assert quantize([[7.5]], 4).codebook.tolist() == [[7.5] * 4]
    q = quantize([[1.0, 2.0, 6.0]], 1)
    assert q.codebook.tolist() == [[3.0]] and q.cost.tolist() == [14.0]
    q = quantize([[1.0, 2.0, 6.0]], 1, norm=1)
    assert q.codebook.tolist() == [[2.0]] and q.cost.tolist() == [5.0]
    q = quantize(np.full((2, 100), 0.1), 16)
    assert q.k_eff.tolist() == [1, 1] and q.cost.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("norm", [1, 2])
def test_clusters_far_from_zero(norm: int) -> None:
    random = np.random.default_rng(SEED)
    labels = np.sort(random.permutation(np.arange(400) % 4))
    row = labels + random.uniform(-0.01, 0.01, 400) + 1e8
    q = quantize(row[None, :], 4, norm)
    np.testing.assert_array_equal(q.indices[0], labels)
    assert q.cost[0] == pytest.approx(float(exact_cost(row, q.indices[0], norm)), rel=1e-6)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("outliers", [[1e6], [-1e6], [-1e9, 1e9], [1e12]])
def test_outliers_do_not_cost_the_others_their_digits(outliers: list[float], norm: int) -> None:
    bulk = np.random.default_rng(SEED).normal(size=24)
    expected = quantize(bulk[None, :], 3, norm).cost[0]
    assert expected == pytest.approx(algorithm1(bulk.tolist(), 3, norm)[2], rel=1e-10)
    row = np.concatenate([bulk, outliers])[None, :]
    q = quantize(row, 3 + len(outliers), norm)
    assert q.cost[0] == pytest.approx(expected, rel=1e-8)


def test_narrow_clusters_equal_algorithm1_in_fractions() -> None:
    # Two values 1e-9 apart inside clusters 1 apart: float64 prefix sums see nothing of them.
    random = np.random.default_rng(SEED)
    for _ in range(20):
        row = random.integers(0, 4, 24) + 1e-9 * random.normal(size=24)
        expected = algorithm1([Fraction(float(v)) for v in row], 9)[2]
        q = quantize(row[None, :], 9)
        assert float(exact_cost(row, q.indices[0], 2) / expected) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("scale", [1e-170, 1e-300, 1e30, 1e150])
def test_scale_does_not_matter(scale: float) -> None:
    row = np.random.default_rng(SEED).normal(size=(1, 40))
    q, scaled = quantize(row, 6), quantize(row * scale, 6)
    np.testing.assert_array_equal(q.indices, scaled.indices)
    np.testing.assert_allclose(scaled.codebook, q.codebook * scale, rtol=1e-12)


def test_largest_floats_have_a_codebook_and_an_infinite_cost() -> None:
    q = quantize([[1.7e308, -1.7e308, 1.6e308]], 2)
    assert q.indices.tolist() == [[1, 0, 1]] and q.cost.tolist() == [np.inf]
    np.testing.assert_allclose(q.codebook, [[-1.7e308, 1.65e308]])


def test_float32_offset_and_large_values() -> None:
    random = np.random.default_rng(SEED)
    for row in (
        random.normal(size=40).astype("f") + np.float32(1e5),
        random.normal(size=40).astype("f") * np.float32(1e30),
    ):
        q = quantize(row[None, :], 4)
        expected = algorithm1([Fraction(float(v)) for v in row], 4)[2]
        assert exact_cost(row.astype(float), q.indices[0], 2) == expected


def test_256_centroids_and_a_limit_for_them() -> None:
    row = np.random.default_rng(SEED).normal(size=(1, 600))
    with pytest.raises(CodebookSizeError, match=re.escape("k must be in 1..16, not 256")):
        quantize(row, 256, k_limit=16)
    q = quantize(row, 256)
    check_contract(row, 256, q)
    assert q.k_eff.tolist() == [256]
    many = quantize(np.arange(300.0)[None, :], 256)
    assert many.cost[0] == 44 * 0.5  # 44 pairs at 1 apart, everything else alone


def test_rows_are_independent_and_repeat_bit_for_bit() -> None:
    rows = np.random.default_rng(SEED).normal(size=(37, 50))
    together, again = quantize(rows, 4), quantize(rows, 4)
    for field in ("codebook", "indices", "cost", "k_eff", "price"):
        value = vars(together)[field]
        alone = np.concatenate([vars(quantize(row[None, :], 4))[field] for row in rows])
        np.testing.assert_array_equal(value, alone)
        np.testing.assert_array_equal(value, vars(again)[field])


def test_order_of_the_columns_does_not_matter() -> None:
    random = np.random.default_rng(SEED)
    rows, order = random.normal(size=(3, 50)), random.permutation(50)
    np.testing.assert_array_equal(
        quantize(rows, 4).indices[:, order], quantize(rows[:, order], 4).indices
    )


@pytest.mark.parametrize(
    ("values", "k", "error", "message"),
    [
        ([[1.0, np.nan]], 2, NonFiniteError, "must be finite, not nan at row 0, column 1"),
        ([[1.0], [-np.inf]], 2, NonFiniteError, "must be finite, not -inf at row 1, column 0"),
        (np.empty((0, 4)), 2, EmptyError, "must hold at least one value, not shape (0, 4)"),
        (np.empty((4, 0)), 2, EmptyError, "must hold at least one value, not shape (4, 0)"),
        ([[1j]], 2, ShapeError, "must be real numbers, not complex128"),
        ([["a"]], 2, ShapeError, "must be real numbers, not <U1"),
        ([[object()]], 2, ShapeError, "must be real numbers, not object"),
        ([[1.0, 2.0], [1.0]], 2, ShapeError, "must be an array, not lists of different lengths"),
    ],
)
def test_bad_values_are_refused(
    values: object, k: int, error: type[Exception], message: str
) -> None:
    for solver, what in ((quantize, "values"), (lloyd, "rows")):
        with pytest.raises(error, match=f"^{what} {re.escape(message)}$"):
            solver(values, k)


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"not a single number$"):
        quantize(1.0, 2)
    with pytest.raises(ShapeError, match=re.escape("not of shape (1,)")):
        lloyd([1.0], 2)
    with pytest.raises(NonFiniteError, match=re.escape("not nan at [0, 1, 0]")):
        quantize(np.array([[[1.0], [np.nan]]]), 2)
    for axis in (2, (0, 0), (), 0.5):
        with pytest.raises(ShapeError, match=r"^axis must"):
            quantize(np.ones((2, 3)), 2, axis=axis)


@pytest.mark.parametrize("solver", [quantize, lloyd])
def test_bad_codebook_sizes_are_refused(solver: Callable[..., Quantized]) -> None:
    limit = 65536 if solver is quantize else 16
    for k in (0, -1, limit + 1):
        with pytest.raises(CodebookSizeError, match=rf"^k must be in 1\.\.{limit}, not {k}$"):
            solver([[1.0]], k)
    for k in (2.0, True, "2", None):
        with pytest.raises(TypeError, match=r"^k must be an integer, not"):
            solver([[1.0]], k)


def test_bad_norm_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^norm must be 1 or 2, not 3$"):
        quantize([[1.0]], 2, 3)
    with pytest.raises(ValueError, match=r"^norm must be 1 or 2, not 3$"):
        algorithm1([1.0], 2, 3)


@pytest.mark.parametrize("init", ["linear", "k-means++"])
def test_lloyd_is_a_fixed_point_and_never_better(init: str) -> None:
    rows = np.random.default_rng(SEED).normal(size=(10, 100))
    q, best = lloyd(rows, 8, init), quantize(rows, 8)
    check_contract(rows, 8, q)
    assert np.all(q.cost >= best.cost * (1 - 1e-9))
    assert q.cost.sum() > best.cost.sum() * 1.001
    for row, codebook, indices in zip(rows, q.codebook, q.indices, strict=True):
        means = [row[indices == index].mean() for index in range(8)]
        np.testing.assert_allclose(codebook, means)


def test_lloyd_takes_few_distinct_values_as_they_are() -> None:
    q = lloyd([[2.0, 1.0, 2.0]], 4)
    assert q.codebook.tolist() == [[1.0, 2.0, 2.0, 2.0]] and q.cost.tolist() == [0.0]
    assert q.k_eff.tolist() == [2] and q.indices.tolist() == [[1, 0, 1]]


def test_lloyd_repeats_with_its_seed_and_refuses_unknown_starts() -> None:
    rows = np.random.default_rng(SEED).normal(size=(3, 60))
    first, again = (lloyd(rows, 8, "k-means++", seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.codebook, again.codebook)
    assert np.all(lloyd(rows, 8, "k-means++", n_init=20).cost <= first.cost * 1.05)
    with pytest.raises(ValueError, match=r"^init must be 'linear' or 'k-means\+\+', not 'x'$"):
        lloyd(rows, 8, "x")
    with pytest.raises(ValueError, match=r"^n_init must be 1 with the linear start, not 2$"):
        lloyd(rows, 8, n_init=2)


def test_pytorch_keeps_its_number_of_threads():
    threads = torch.get_num_threads()
    for wanted in (1, 3):
        torch.set_num_threads(wanted)
        quantize(np.arange(40.0).reshape(4, 10), 3)
        assert torch.get_num_threads() == wanted
    torch.set_num_threads(threads)
