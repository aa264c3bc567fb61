"""Bit allocation against enumeration, its bound at full size, and the bytes that it counts."""

from __future__ import annotations

import itertools
import math
import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

from dpnet.model.compression.allocate import (
    BudgetError,
    Curves,
    allocate,
    allocate_codebooks,
    matrix_bytes,
)
from dpnet.model.compression.ratios import stored_bytes
from dpnet.model.quantizer.quantized import Quantized

SEED = int(os.environ.get("SEED", "20"))
Table = list[list[tuple[float, int]]]


def enumerate_best(items: Table, budget: int) -> float:
    """The least error of all choices within the budget."""
    return min(
        sum(error for error, _ in choice)
        for choice in itertools.product(*items)
        if sum(size for _, size in choice) <= budget
    )


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(
                st.tuples(st.sampled_from([0.0, 0.5, 1, 3, 3.5, 10, 1e9]), st.integers(0, 12)),
                min_size=width,
                max_size=width,
            ),
            min_size=1,
            max_size=5,
        )
    ),
    st.integers(0, 30),
)
@settings(max_examples=150, deadline=None)
def test_equals_enumeration(items: Table, extra: int) -> None:
    error, size = np.array(items)[..., 0], np.array(items)[..., 1].astype(int)
    least = int(size.min(1).sum())
    found = allocate(error, size, least + extra)
    expected = enumerate_best(items, least + extra)
    rows = np.arange(len(items))
    assert found.error == error[rows, found.choice].sum()
    assert found.size == size[rows, found.choice].sum() <= least + extra
    assert found.error == pytest.approx(expected, rel=1e-9)
    assert found.bound <= expected * (1 + 1e-12)
    assert found.gap <= 1e-5
    quick = allocate(error, size, least + extra, seconds=0)
    assert quick.size <= least + extra and quick.bound <= expected * (1 + 1e-12) <= (
        quick.error * (1 + 2e-12)
    )


def many_rows(random: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """(error, size) of rows of all lengths and scales, for K = 1, 2, 4, 8, 16."""
    k = np.array([1, 2, 4, 8, 16])
    n = random.integers(9, 4000, (rows, 1))
    error = n * random.lognormal(size=(rows, 1)) / k**1.9 * random.uniform(0.5, 1.5, (rows, 5))
    return error, -(-n * np.array([0, 1, 2, 3, 4]) // 8) + 4 * k + 1


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_ten_thousand_rows_to_a_billionth(share: float) -> None:
    error, size = many_rows(np.random.default_rng(SEED), 10_000)
    budget = int((1 - share) * size.min(1).sum() + share * size.max(1).sum())
    quick = allocate(error, size, budget, seconds=0)
    assert quick.size <= budget and quick.gap < 1e-5
    found = allocate(error, size, budget)
    assert found.size <= budget and found.gap < 1e-9
    assert quick.bound <= found.bound <= found.error <= quick.error


def test_the_bound_is_that_of_the_linear_program() -> None:
    error, size = many_rows(np.random.default_rng(SEED), 150)
    budget = int(size[:, 2].sum())  # K = 4 everywhere
    one_each = np.kron(np.eye(150), np.ones(5))
    relaxed = linprog(error.ravel(), size.reshape(1, -1), [budget], one_each, np.ones(150)).fun
    quick, found = (allocate(error, size, budget, seconds=s) for s in (0, 5))
    assert quick.bound == pytest.approx(relaxed, rel=1e-9)
    assert relaxed * (1 - 1e-9) <= found.bound <= found.error
    assert found.error < 0.9 * error[:, 2].sum()


def test_enough_for_everything_and_just_enough() -> None:
    error, size = np.array([[4.0, 1.0], [9.0, 2.0]]), np.array([[1, 5], [2, 8]])
    best = allocate(error, size, 13)
    assert best.choice.tolist() == [1, 1] and best.error == best.bound == 3.0 and best.gap == 0
    least = allocate(error, size, 3)
    assert least.choice.tolist() == [0, 0] and least.size == 3
    free = allocate([[2.0, 2.0, 1.0]], [[7, 3, 9]], 8)
    assert free.choice.tolist() == [1]  # of equal errors the smaller
    assert allocate([[0.0, 0.0]], [[5, 5]], 5).error == 0


def test_what_is_infinite_is_never_chosen() -> None:
    found = allocate([[np.inf, 3.0], [2.0, np.inf]], [[0, 10], [4, 0]], 14)
    assert found.choice.tolist() == [1, 0] and found.error == 5.0
    with pytest.raises(BudgetError, match=r"^budget must be at least 14 bytes, not 13$") as caught:
        allocate([[np.inf, 3.0], [2.0, np.inf]], [[0, 10], [4, 0]], 13)
    assert caught.value.least == 14


def curves(random: np.random.Generator, rows: int, n: int) -> Curves:
    """Falling errors for k = 1 … 16."""
    scale = random.lognormal(size=(rows, 1))
    return Curves(n, n * scale / np.arange(1.0, 17.0) ** 1.9)


def test_a_plan_by_layer_takes_what_stored_bytes_counts() -> None:
    random = np.random.default_rng(SEED)
    shapes = {"0.weight": (30, 77), "1.weight": (12, 30), "2.weight": (5, 12)}
    net = nn.Sequential(*(nn.Linear(n, rows) for rows, n in shapes.values()))
    layers = {name: curves(random, *shape) for name, shape in shapes.items()}
    for budget in (1_000, 1_500, 2_000, 3_500):
        plan = allocate_codebooks(layers, budget, per="layer", scale_bytes_per_row=2)
        quantized = {}
        for name, (rows, n) in shapes.items():
            assert len(set(plan.k[name])) == 1 and plan.k[name].shape == (rows,)
            k = int(plan.k[name][0])
            quantized[name] = Quantized(
                np.zeros((rows, k)),
                np.zeros((rows, n), np.uint8),
                np.zeros(rows),
                np.full(rows, k),
            )
        stored = stored_bytes(net, quantized, scale_bytes_per_row=2)
        assert plan.size == stored.total - stored.other <= budget
        best = min(
            sum(layers[name].error[:, k - 1].sum() for name, k in zip(shapes, ks, strict=True))
            for ks in itertools.product((2, 4, 8, 16), repeat=3)
            if sum(
                matrix_bytes(*shapes[name], k, scale_bytes_per_row=2)
                for name, k in zip(shapes, ks, strict=True)
            )
            <= budget
        )
        assert plan.error == pytest.approx(best, rel=1e-9) and plan.gap < 1e-6


def test_rows_that_matter_get_more_centroids() -> None:
    random = np.random.default_rng(SEED)
    error = 100 / np.arange(1.0, 17.0) ** 1.9 * np.ones((40, 1))
    importance = np.where(np.arange(40) < 20, 100.0, 1.0)
    layers = {"a": Curves(50, error, importance), "b": curves(random, 10, 200)}
    plan = allocate_codebooks(layers, 2_500, entry_bytes=2)
    assert plan.k["a"][:20].min() > plan.k["a"][20:].max()
    size = sum(
        math.ceil(layers[name].n * math.log2(k) / 8) + 2 * k + 1
        for name, ks in plan.k.items()
        for k in ks.tolist()
    )
    assert plan.size == size <= 2_500
    error_of_plan = sum(
        (layers[name].weighted[np.arange(len(ks)), ks - 1]).sum() for name, ks in plan.k.items()
    )
    assert plan.error == pytest.approx(error_of_plan, rel=1e-12)
    assert plan.bound <= plan.error and plan.gap < 1e-6
    by_layer = allocate_codebooks(layers, 2_500, entry_bytes=2, per="layer")
    assert by_layer.error > plan.error


ONE = Curves(9, np.ones((2, 16)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: allocate([1.0], [1], 1),
            ValueError,
            "error and size must be filled (items, choices) arrays, not (1,) and (1,)",
        ),
        (
            lambda: allocate([[1.0]], [[1.0]], 1),
            ValueError,
            "size must hold integers from 0 to 2**48, not float64",
        ),
        (
            lambda: allocate([[np.nan]], [[1]], 1),
            ValueError,
            "error must not be negative or NaN, with a finite choice for every item",
        ),
        (
            lambda: allocate([[np.inf]], [[1]], 1),
            ValueError,
            "error must not be negative or NaN, with a finite choice for every item",
        ),
        (
            lambda: allocate([[1.0]], [[1]], 1.5),
            TypeError,
            "budget must be a number of bytes, not 1.5",
        ),
        (
            lambda: allocate_codebooks({"a": ONE}, 10),
            BudgetError,
            "budget must be at least 22 bytes, not 10",
        ),
        (lambda: allocate_codebooks({}, 10), ValueError, "layers must not be empty"),
        (
            lambda: allocate_codebooks({"a": ONE}, 99, k=(4, 17)),
            ValueError,
            "k must hold integers from 1 to 16, as the curves do, not (4, 17)",
        ),
        (
            lambda: allocate_codebooks({"a": ONE}, 99, per="net"),
            ValueError,
            "per must be 'row' or 'layer', not 'net'",
        ),
        (lambda: Curves(0, np.ones((1, 2))), ValueError, "n must be a positive integer, not 0"),
        (
            lambda: Curves(5, np.ones(2)),
            ValueError,
            "error must be a filled (rows, K) float array, not (2,)",
        ),
        (
            lambda: Curves(5, np.ones((2, 2)), -1.0),
            ValueError,
            "importance must be a number or one for each of 2 rows, not negative",
        ),
    ],
)
def test_bad_input_is_refused(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
