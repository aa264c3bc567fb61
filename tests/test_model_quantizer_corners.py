"""Values and weights at the ends of what there is: each row's right answer is known by hand."""

from __future__ import annotations

import os
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from dpnet.model.coding.entropy import quantize_entropy
from dpnet.model.quantizer.estimator import OptimalKMeans1D
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.algorithm1 import algorithm1
from dpnet.model.quantizer.judges.least import rational_cost
from dpnet.model.quantizer.judges.options import (
    OPTIONS,
    broken_promises,
    excess_of_row,
    judge_options,
)
from dpnet.model.quantizer.lloyd import lloyd
from dpnet.model.quantizer.quantized import ShapeError
from dpnet.model.quantizer.task import Lattice

SEED = int(os.environ.get("SEED", "23"))


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("far", [-1e30, -1e300, 1e30, 1e300, -3.0])
def test_a_value_of_no_weight_moves_no_centroid(far: float, norm: int) -> None:
    values, weights = [far, 1.0, 2.0], [0.0, 1.0, 1.0]
    q = quantize(values, 2, norm, weights=weights)
    assert q.codebook.tolist() == [1.0, 2.0] and q.cost == 0
    assert q.indices.tolist() == [0 if far < 1 else 1, 0, 1]


def test_a_codebook_ascends_whatever_has_no_weight() -> None:
    q = quantize([-1e30, -1.0, -0.5], 2, weights=[0.0, 1.0, 1.0])
    assert q.codebook.tolist() == [-1.0, -0.5] and q.indices.tolist() == [0, 0, 1]
    inner = quantize([-1e30, 5.0, -1e20, 5.5, 6.0], 2, weights=[1.0, 1.0, 0.0, 0.0, 1.0])
    assert inner.codebook.tolist() == [-1e30, 5.5]
    assert inner.indices.tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_what_lies_far_out_hides_no_cost(weight: float) -> None:
    row, weights = [-1e300, 0.1, 0.2, 0.3, -0.5], [weight, 1.0, 1.0, 1.0, 1.0]
    q = quantize(row, 1 + int(weight), weights=weights)
    # About the mean 0.025 of the others.
    assert q.cost == pytest.approx(0.075**2 + 0.175**2 + 0.275**2 + 0.525**2, rel=1e-14)


def test_weights_of_zero_leave_a_lattice_alone() -> None:
    row, weights = [1e30, 0.1, 0.2, -0.9], [0.0, 1.0, 1.0, 1.0]
    lattice = Lattice(4)
    q = quantize(row, 3, weights=weights, lattice=lattice)
    np.testing.assert_array_equal(q.codebook, quantize(row[1:], 3, lattice=lattice).codebook)


@pytest.mark.parametrize("norm", [1, 2])
def test_a_zero_that_only_weightless_values_go_to(norm: int) -> None:
    q = quantize([0.0, -2.0, -3.0], 3, norm, weights=[0.0, 1.0, 1.0], zero=True)
    assert q.codebook.tolist() == [-3.0, -2.0, 0.0] and q.cost == 0 and q.k_eff == 3
    assert q.indices.tolist() == [2, 1, 0]
    between = quantize([-1.0, 0.0, 0.1, 2.0], 3, norm, weights=[1.0, 0.0, 0.0, 1.0], zero=True)
    assert between.codebook.tolist() == [-1.0, 0.0, 2.0]
    assert between.indices.tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("size", [1e162, 1e170, 1e300, 1e-155, 1e-162, 1e-200, 1e-290])
@pytest.mark.parametrize(
    "options",
    [{}, {"norm": 1}, {"zero": True}, {"symmetric": True}, {"lattice": Lattice(6)}],
    ids=str,
)
def test_any_size_gives_the_codebook_of_another(size: float, options: dict[str, Any]) -> None:
    """A power of two changes nothing but the codebook's exponents."""
    scale = 2.0 ** np.round(np.log2(size))
    row = np.random.default_rng(SEED).normal(size=24)
    row[::5] = row[1]  # ties
    for k in (3, 4):
        plain, scaled = quantize(row, k, **options), quantize(row * scale, k, **options)
        np.testing.assert_array_equal(scaled.indices, plain.indices)
        np.testing.assert_array_equal(scaled.codebook, plain.codebook * scale)
        assert scaled.k_eff == plain.k_eff
        power = options.get("norm", 2)
        expected = float(plain.cost) * scale * (scale if power == 2 else 1.0)
        assert float(scaled.cost) == pytest.approx(expected, rel=1e-12, abs=1e-321)


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("options", [{"zero": True}, {"symmetric": True}])
def test_small_values_are_not_all_zero(k: int, options: dict[str, bool]) -> None:
    row = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
    q = quantize(1e-160 * row, k, **options)
    expected = quantize(row, k, **options)
    assert q.k_eff == expected.k_eff == k
    np.testing.assert_array_equal(q.indices, expected.indices)


def test_an_even_symmetric_codebook_has_its_zero_once() -> None:
    q = quantize([0.0, 0.0, -2.0, 2.0, 0.0], 4, symmetric=True)
    assert q.k_eff == 3 and q.codebook.tolist() == [-2.0, 0.0, 2.0, 2.0]
    assert q.indices.tolist() == [1, 1, 0, 2, 1] and q.cost == 0
    nothing = quantize([0.0, -0.0], 2, symmetric=True)
    assert nothing.k_eff == 1 and nothing.codebook.tolist() == [0.0, 0.0]
    two = quantize([-1.0, 3.0], 2, symmetric=True)
    assert two.k_eff == 2 and two.codebook.tolist() == [-2.0, 2.0] and two.cost == 2


def test_a_negative_zero_is_a_zero() -> None:
    for norm in (1, 2):
        q = quantize([-0.0, -0.0, 1.0], 2, norm)
        assert not np.signbit(q.codebook).any()


def test_masked_arrays_are_refused_unless_nothing_is_masked() -> None:
    masked = np.ma.array([[1.0, 2.0, 1e30]], mask=[[False, False, True]])
    message = (
        "must have no masked entries: fill them, and give them weight 0 (weights=~values.mask)"
    )
    for solve, what in ((quantize, "values"), (lloyd, "rows")):
        with pytest.raises(ShapeError, match=f"^{what} {re.escape(message)}$"):
            solve(masked, 2)
    with pytest.raises(ShapeError, match=f"^values {re.escape(message)}$"):
        quantize_entropy(masked, 2, 0.1)
    with pytest.raises(ShapeError, match=f"^weights {re.escape(message)}$"):
        quantize(np.ones((1, 3)), 2, weights=masked)
    with pytest.raises(ShapeError, match=f"^values {re.escape(message)}$"):
        quantize(list(masked), 2)
    with pytest.raises(ValueError, match=r"^X must have no masked entries"):
        OptimalKMeans1D(1).fit(masked.T)
    whole = quantize(np.ma.array([[1.0, 2.0, 4.0]]), 2)
    assert whole.codebook.tolist() == [[1.5, 4.0]]
    # The cure of the message.
    cured = quantize(masked.filled(0.0), 2, weights=~masked.mask)
    assert cured.codebook.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.tensor([1 + 2j, 2]), "must be real numbers, not torch.complex64"),
        (
            torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "must be real numbers, not torch.qint8",
        ),
        (
            torch.ones(3).to_sparse(),
            "must be a dense tensor that holds its values, not torch.sparse_coo",
        ),
        (
            torch.empty(3, device="meta"),
            "must be a dense tensor that holds its values, not meta",
        ),
    ],
)
def test_tensors_of_no_plain_numbers_are_refused(tensor: torch.Tensor, message: str) -> None:
    for what, arguments in (("values", (tensor,)), ("weights", (torch.ones(3), tensor))):
        with pytest.raises(ShapeError, match=f"^{what} {re.escape(message)}$"):
            quantize(arguments[0], 1, weights=arguments[1] if len(arguments) > 1 else None)
        with pytest.raises(ShapeError, match=f"^{what} {re.escape(message)}$"):
            quantize_entropy(
                arguments[0], 1, 0.1, weights=arguments[1] if len(arguments) > 1 else None
            )


def test_entropy_takes_bfloat16() -> None:
    values = torch.tensor([1.0, 1.5, 4.0, 4.5], dtype=torch.bfloat16)
    found = quantize_entropy(values, 2, 0.0)
    assert found.codebook.tolist() == [1.25, 4.25]


@pytest.mark.parametrize("step", [5e-324, 1e-301])
def test_a_step_has_an_inverse(step: float) -> None:
    with pytest.raises(ValueError, match=rf"^step must be at least 1e-300, not {step!r}$"):
        Lattice(8, step)


def test_values_beyond_all_entries_go_to_the_last_one() -> None:
    q = quantize([1e300, 0.0, 2e-11, -1e300], 3, lattice=Lattice(4, 1e-10))
    np.testing.assert_allclose(q.codebook, [-8e-10, 0.0, 7e-10])
    assert q.indices.tolist() == [2, 1, 1, 0] and q.cost == np.inf


def test_options_are_judged_in_rational_numbers() -> None:
    found = judge_options(60, SEED)
    assert set(found) == set(OPTIONS)
    assert max(entry["excess"] for entry in found.values()) <= 1e-12
    assert sum(entry["broken"] for entry in found.values()) == 0


def test_the_judge_of_options_notices_what_is_not_best(monkeypatch: pytest.MonkeyPatch) -> None:
    row = np.array([-5.0, -4.0, 0.5, 2.0, 7.0])
    worse = quantize(row, 2)
    monkeypatch.setattr("dpnet.model.quantizer.judges.options.quantize", lambda *a, **o: worse)
    assert excess_of_row(row, None, 3, {}) > 0.1
    assert broken_promises(row, 3, worse, {"zero": True}) == ["a zero"]
    assert broken_promises(row, 3, worse, {"symmetric": True}) == ["a zero", "its own negative"]
    turned = quantize(-row, 2)
    assert "the nearest for each" in broken_promises(row, 2, turned, {})


def _rational_excess(row: np.ndarray, k: int) -> float:
    line = [Fraction(float(v)) for v in row]
    mine, best = rational_cost(line, quantize(row, k).indices), algorithm1(line, k)[2]
    return float(mine / best - 1)


@pytest.mark.parametrize("far", [1e8, -1e8, 1e15, 1e30, 1e100, 1e300])
def test_beside_an_outlier_decisions_stay_exact(far: float) -> None:
    random = np.random.default_rng(SEED)
    for _ in range(3):
        row = np.append(random.normal(size=26), [far, 1.5 * far])[random.permutation(28)]
        assert _rational_excess(row, 6) <= 1e-12


def test_groups_far_apart_are_decided_each_by_itself() -> None:
    random = np.random.default_rng(SEED)
    for _ in range(3):
        parts = [random.normal(size=9), 1e12 + random.normal(size=9), 3e15 + np.arange(4.0)]
        assert _rational_excess(np.concatenate(parts), 7) <= 1e-12


def test_an_outlier_needs_no_rational_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds for a row; without an outlier they are not needed either."""

    def never(*arguments: object) -> None:
        raise AssertionError("decided in rational numbers")

    monkeypatch.setattr("dpnet.model.quantizer.solution.solve_rational", never)
    random = np.random.default_rng(SEED)
    for far in (1e8, 1e15, -1e30):
        row = random.normal(size=400)
        row[7] = far
        for k, options in ((16, {}), (5, {"norm": 1}), (8, {"symmetric": True})):
            quantize(row, k, **options)
    # 8 bits for 1e8: all others are 0.
    row[7] = 1e8
    assert quantize(row, 16, lattice=Lattice(8)).k_eff == 2
    # Beyond the limits it costs much, whatever the others do.
    limited = quantize(row, 16, lattice=Lattice(8, 0.1))
    others = quantize(np.append(np.delete(row, 7), 1e3), 16, lattice=Lattice(8, 0.1))
    np.testing.assert_array_equal(limited.codebook, others.codebook)


def test_an_outlier_needs_106_bits_for_the_few_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of 400 with a far value are decided in float64, brought near; 50 of 50."""

    def never(*arguments: object) -> None:
        raise AssertionError("decided with 106 bits")

    monkeypatch.setattr("dpnet.model.quantizer.solution.solve_careful", never)
    random = np.random.default_rng(SEED)
    rows = random.normal(size=(50, 400))
    rows[:, 0] = 10.0 ** random.uniform(6, 18, 50)
    quantize(rows, 16)


@pytest.mark.parametrize("size", [3_000, pytest.param(20_000, marks=pytest.mark.long)])
def test_long_vectors_take_an_outlier(size: int) -> None:
    random = np.random.default_rng(SEED)
    values = random.normal(size=size)
    far = np.append(values, [1e15, -1e12])
    q, expected = quantize(far, 6), quantize(values, 4)
    np.testing.assert_array_equal(q.codebook[1:-1], expected.codebook)
    np.testing.assert_array_equal(q.indices[:-2], expected.indices + 1)
    assert q.cost == pytest.approx(float(expected.cost), rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 20_000), (12, 700), (50, 9)])
@pytest.mark.parametrize("digits", [False, True])
def test_every_way_of_sorting_gives_the_same_order(
    dtype: type, shape: tuple[int, int], digits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpnet.model.quantizer.ordered._by_digits", lambda size, long: digits)
    values = np.random.default_rng(SEED).normal(size=shape)
    values[:, ::7], values[:, 1::9] = 0.0, -0.0
    narrow = values.astype(dtype)
    found, wide = quantize(narrow, 4), quantize(narrow.astype(np.float64), 4)
    for name in ("codebook", "indices", "cost", "k_eff"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wide, name))
    with pytest.raises(ValueError, match=r"^values must be finite, not nan at row 0, column 3$"):
        narrow[0, 3] = np.nan
        quantize(narrow, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_are_sorted_as_they_come(dtype: torch.dtype) -> None:
    values = torch.randn(3, 500, generator=torch.Generator().manual_seed(SEED)).to(dtype)
    found, wide = quantize(values, 5), quantize(values.double().numpy(), 5)
    for name in ("codebook", "indices", "cost", "k_eff"):
        np.testing.assert_array_equal(getattr(found, name).numpy(), getattr(wide, name))
