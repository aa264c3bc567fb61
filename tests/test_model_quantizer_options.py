"""What restricts and extends the exact quantizer, each against enumeration of its own."""

from __future__ import annotations

import itertools
import os
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpnet.model.quantizer import solution as quantizer_solution
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.algorithm1 import algorithm1
from dpnet.model.quantizer.judges.certify import (
    judge_breaking,
    judge_long,
    judge_random,
    judge_wide,
    main,
)
from dpnet.model.quantizer.kernels.undecided.rational import solve_rational
from dpnet.model.quantizer.ordered import Ordered
from dpnet.model.quantizer.quantized import EmptyError, Quantized, ShapeError
from dpnet.model.quantizer.task import Lattice, Task

SEED = int(os.environ.get("SEED", "21"))


def intervals(n: int, k: int) -> list[list[slice]]:
    """Every partition of 0..n-1 into at most k intervals."""
    found = []
    for parts in range(1, min(k, n) + 1):
        for breaks in itertools.combinations(range(1, n), parts - 1):
            edges = [0, *breaks, n]
            found.append([slice(a, b) for a, b in itertools.pairwise(edges)])
    return found


def error(values: NDArray[np.float64], weights: NDArray[np.float64], center: float) -> float:
    return float((weights * (values - center) ** 2).sum())


def mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    return float((weights * values).sum() / weights.sum()) if weights.sum() else 0.0


def best_free(values: NDArray[np.float64], weights: NDArray[np.float64], k: int) -> float:
    order = np.argsort(values)
    x, w = values[order], weights[order]
    return min(
        sum(error(x[s], w[s], mean(x[s], w[s])) for s in partition)
        for partition in intervals(len(x), k)
    )


@pytest.mark.parametrize("zeros", [False, True])
def test_weights_equal_enumeration(zeros: bool) -> None:
    random = np.random.default_rng(SEED)
    for _ in range(150):
        n, k = int(random.integers(2, 9)), int(random.integers(1, 5))
        values = random.integers(-6, 7, n).astype(float)
        weights = random.random(n) * (random.random(n) < 0.6) if zeros else random.random(n)
        weights[0] = 1.0
        q = quantize(values, k, weights=weights)
        assert q.cost == pytest.approx(best_free(values, weights, k), rel=1e-12, abs=1e-12)
        chosen = q.codebook[q.indices]
        lost = float((weights * (values - chosen) ** 2).sum())
        assert q.cost == pytest.approx(lost, rel=1e-9, abs=1e-12)
        distances = np.abs(values[:, None] - q.codebook).min(axis=1)
        np.testing.assert_allclose(np.abs(values - chosen), distances, atol=1e-12)


def test_whole_weights_are_repeated_values() -> None:
    random = np.random.default_rng(SEED)
    values, weights = random.normal(size=(20, 40)), random.integers(1, 6, (20, 40))
    q = quantize(values, 6, weights=weights)
    for row in range(20):
        repeated = quantize(np.repeat(values[row], weights[row]), 6)
        assert q.cost[row] == pytest.approx(float(repeated.cost), rel=1e-12)
        np.testing.assert_allclose(q.codebook[row], repeated.codebook, rtol=1e-12)


def test_weights_may_span_any_range() -> None:
    random = np.random.default_rng(SEED)
    values, weights = random.normal(size=(30, 12)), 10.0 ** random.uniform(-30, 3, (30, 12))
    q = quantize(values, 3, weights=weights)
    for row in range(30):
        line = [Fraction(float(v)) for v in values[row]]
        masses = [Fraction(float(w)) for w in weights[row]]
        best = min(
            sum(rational_error([line[i] for i in part], [masses[i] for i in part]) for part in p)
            for p in sorted_partitions(line, 3)
        )
        groups = [np.flatnonzero(q.indices[row] == i).tolist() for i in set(q.indices[row])]
        mine = sum(rational_error([line[i] for i in g], [masses[i] for i in g]) for g in groups)
        assert float(mine / best - 1) <= 1e-12


def rational_error(values: list[Fraction], masses: list[Fraction]) -> Fraction:
    total = sum(masses, Fraction(0))
    center = sum((v * m for v, m in zip(values, masses, strict=True)), Fraction(0)) / total
    return sum(((v - center) ** 2 * m for v, m in zip(values, masses, strict=True)), Fraction(0))


def sorted_partitions(values: list[Fraction], k: int) -> list[list[list[int]]]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    return [[order[s] for s in partition] for partition in intervals(len(values), k)]


def test_a_codebook_with_zero_equals_enumeration() -> None:
    random = np.random.default_rng(SEED)
    for _ in range(200):
        n, k = int(random.integers(1, 8)), int(random.integers(1, 5))
        values = np.sort(np.round(random.normal(size=n), 1))
        weights = random.random(n) + 0.1
        best = min(
            sum(
                error(values[s], weights[s], 0.0 if i == zero else mean(values[s], weights[s]))
                for i, s in enumerate(partition)
            )
            for partition in intervals(n, k)
            for zero in range(-1 if len(partition) < k else 0, len(partition))
        )
        q = quantize(values, k, weights=weights, zero=True, curve=True)
        assert q.cost == pytest.approx(best, rel=1e-9, abs=1e-12)
        assert 0.0 in q.codebook[: int(q.k_eff)]
        assert q.curve is not None and q.curve[-1] == pytest.approx(best, rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(
            np.abs(values - q.dequantized),
            np.abs(values[:, None] - q.codebook).min(axis=1),
            atol=1e-12,
        )


def test_pruned_weights_stay_zero() -> None:
    random = np.random.default_rng(SEED)
    values = random.normal(size=(50, 64)) * (random.random((50, 64)) < 0.5)
    q = quantize(values, 4, zero=True)
    assert np.all(q.dequantized[values == 0] == 0)
    free = quantize(values, 4)
    assert np.all(free.dequantized[values == 0] != 0) or np.all(free.cost <= q.cost * (1 + 1e-12))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 6])
def test_symmetric_codebooks_equal_enumeration(k: int) -> None:
    random = np.random.default_rng(SEED)
    for _ in range(40):
        values = np.round(random.normal(size=int(random.integers(1, 8))), 1)
        magnitudes, ones = np.sort(np.abs(values)), np.ones(len(values))
        half = k // 2
        best = np.inf
        for partition in intervals(len(values), half + k % 2):
            costs = [error(magnitudes[s], ones[s], mean(magnitudes[s], ones[s])) for s in partition]
            if k % 2 == 0:
                best = min(best, sum(costs))
                continue
            rest = error(magnitudes[partition[0]], ones[partition[0]], 0.0) + sum(costs[1:])
            best = min(best, rest, sum(costs) if len(partition) <= half else np.inf)
        q = quantize(values, k, symmetric=True)
        assert q.cost == pytest.approx(best, rel=1e-9, abs=1e-12)
        used = q.codebook[: int(q.k_eff)]
        np.testing.assert_array_equal(used, -used[::-1])
        np.testing.assert_allclose(((values - q.dequantized) ** 2).sum(), q.cost, atol=1e-12)


@pytest.mark.parametrize("bits", [2, 3, 5])
def test_lattice_codebooks_equal_enumeration_of_entries(bits: int) -> None:
    random = np.random.default_rng(SEED)
    entries = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))
    for _ in range(40):
        n, k = int(random.integers(1, 9)), int(random.integers(1, 4))
        values, step = random.normal(size=n), float(random.choice([0.125, 0.3, 1.0]))
        best = min(
            float((np.abs(values[:, None] - step * np.array(chosen)) ** 2).min(axis=1).sum())
            for chosen in itertools.combinations(entries, min(k, len(entries)))
        )
        q = quantize(values, k, lattice=Lattice(bits, step))
        assert q.cost == pytest.approx(best, rel=1e-9, abs=1e-12)
        whole = q.codebook / step
        np.testing.assert_allclose(whole, np.rint(whole), atol=1e-9)
        assert whole.min() >= entries[0] and whole.max() <= entries[-1]
        assert len(np.unique(q.codebook[: int(q.k_eff)])) == q.k_eff


def test_lattice_is_better_than_rounding_afterwards() -> None:
    values = np.random.default_rng(SEED).normal(size=(100, 64))
    lattice = Lattice(4)
    q, free = quantize(values, 8, lattice=lattice), quantize(values, 8)
    steps = lattice.steps(values)[:, None]
    rounded = np.clip(np.rint(free.codebook / steps), -8, 7) * steps
    nearest = np.abs(values[:, :, None] - rounded[:, None, :]).min(axis=2)
    assert np.all(q.cost <= (nearest**2).sum(axis=1) * (1 + 1e-12))
    assert q.cost.sum() < 0.99 * (nearest**2).sum()


@pytest.mark.parametrize("options", [{}, {"norm": 1}, {"zero": True}, {"lattice": Lattice(6)}])
def test_curve_is_the_cost_of_every_k(options: dict[str, object]) -> None:
    values = np.random.default_rng(SEED).laplace(size=(8, 50))
    curve = quantize(values, 9, curve=True, **options).curve
    assert curve is not None and curve.shape == (8, 9)
    for k in range(1, 10):
        alone = quantize(values, k, **options)
        np.testing.assert_allclose(curve[:, k - 1], alone.cost, rtol=1e-9)


@pytest.mark.parametrize(
    ("shape", "axis", "batch"),
    [
        ((7,), -1, ()),
        ((3, 7), 1, (3,)),
        ((3, 7), 0, (7,)),
        ((4, 2, 3, 3), (1, 2, 3), (4,)),
        ((4, 2, 3, 3), (0, 2), (2, 3)),
        ((2, 3, 5), -1, (2, 3)),
        ((4, 6), (0, 1), ()),
    ],
)
def test_any_axes_share_a_codebook(
    shape: tuple[int, ...], axis: int | tuple[int, ...], batch: tuple[int, ...]
) -> None:
    values = np.random.default_rng(SEED).normal(size=shape)
    q = quantize(values, 3, axis=axis)
    assert q.codebook.shape == (*batch, 3) and q.cost.shape == q.k_eff.shape == batch
    assert q.indices.shape == q.dequantized.shape == shape
    lost = (values - q.dequantized) ** 2
    np.testing.assert_allclose(lost.sum(axis=axis), q.cost, rtol=1e-9)
    axes = axis if isinstance(axis, tuple) else (axis,)
    moved = np.moveaxis(values, axes, range(-len(axes), 0)).reshape((*batch, -1))
    np.testing.assert_allclose(quantize(moved, 3).cost, q.cost)


def test_groups_of_rows_share_a_codebook() -> None:
    values = np.random.default_rng(SEED).normal(size=(6, 5))
    q = quantize(values.reshape(3, 2, 5), 4, axis=(1, 2))
    np.testing.assert_allclose(q.cost, quantize(values.reshape(3, 10), 4).cost)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_tensors_in_and_out(dtype: torch.dtype) -> None:
    values = torch.randn(4, 30, generator=torch.Generator().manual_seed(SEED)).to(dtype)
    q = quantize(values.requires_grad_(), 5, weights=torch.ones(30))
    plain = quantize(values.detach().double().numpy(), 5)
    assert isinstance(q.codebook, torch.Tensor) and q.indices.dtype == torch.uint8
    np.testing.assert_array_equal(q.to_numpy().indices, plain.indices)
    np.testing.assert_array_equal(q.dequantized.numpy(), plain.dequantized)
    again = quantize(values, 5, start=q)
    assert torch.equal(again.indices, q.indices)


def test_300_centroids_of_a_tensor() -> None:
    q = quantize(torch.arange(400.0), 300)
    assert q.indices.dtype == torch.int32 and int(q.indices.max()) == 299


def test_a_start_changes_nothing_but_time() -> None:
    random = np.random.default_rng(SEED)
    values = random.normal(size=(40, 200))
    start = quantize(values, 16)
    moved = values + 0.01 * random.normal(size=values.shape)
    cold, warm = quantize(moved, 16), quantize(moved, 16, start=start)
    for name in ("codebook", "indices", "cost", "k_eff"):
        np.testing.assert_array_equal(getattr(cold, name), getattr(warm, name))
    other = quantize(random.laplace(size=(40, 200)), 16, start=start)
    assert np.all(other.k_eff == 16)
    with pytest.raises(ShapeError, match=r"^start must have 3 codebooks, not 40$"):
        quantize(values[:3], 16, start=start)


@pytest.mark.parametrize("kind", ["normal", "lognormal", "clustered", "pruned", "weighted"])
def test_long_vectors_equal_rows(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(SEED)
    n, k = 40_000, 7
    values, weights = random.normal(size=n), None
    if kind == "lognormal":
        values = random.lognormal(sigma=2.0, size=n)
    if kind == "clustered":
        values = random.integers(0, k, n) + 0.02 * values
    if kind == "pruned":
        values = random.normal(size=2 * n) * (random.random(2 * n) < 0.5)
    if kind == "weighted":
        weights = random.random(n) + 0.01
    off = np.zeros(1)
    ordered = Ordered(values[None], None if weights is None else weights[None])
    assert quantizer_solution.Solution(ordered, Task(k))._long(off)
    long = quantize(values, k, weights=weights)
    monkeypatch.setattr(quantizer_solution, "MOST_LONG", 1)
    by_price = quantize(values, k, weights=weights)
    np.testing.assert_array_equal(long.indices, by_price.indices)
    np.testing.assert_array_equal(long.codebook, by_price.codebook)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-8, 8), min_size=2, max_size=9), st.integers(1, 4), st.sampled_from([1, 2])
)
def test_rational_program_equals_enumeration(values: list[int], k: int, norm: int) -> None:
    points = sorted({float(v) for v in values})
    k, n = min(k, len(points)), len(points)
    first = [0, *range(1, k), n]
    last = [0, *(n - k + c for c in range(1, k)), n]
    bounds = solve_rational(points, [1.0] * n, k, norm, (0.0, 0.0), first, last)

    def cost(part: NDArray[np.float64]) -> float:
        center = float(np.median(part)) if norm == 1 else float(part.mean())
        return float((np.abs(part - center) ** norm).sum())

    line = np.array(points)
    mine = sum(cost(line[a:b]) for a, b in itertools.pairwise(bounds))
    best = min(sum(cost(line[s]) for s in p) for p in intervals(n, k) if len(p) == k)
    assert mine == pytest.approx(best, abs=1e-9)


def test_beside_an_outlier_float64_does_not_decide() -> None:
    # Sums of squares of 1e14 to 1e17 hide the differences between partitions of the others.
    random = np.random.default_rng(SEED)
    for scale in (1e7, 3e7, 1e8, 3e8):
        for _ in range(10):
            row = np.append(random.normal(size=30), scale)
            line = [Fraction(float(v)) for v in row]
            groups = [np.flatnonzero(quantize(row, 5).indices == i) for i in range(5)]
            ones = [Fraction(1)] * len(line)
            mine = sum(rational_error([line[i] for i in g], [ones[i] for i in g]) for g in groups)
            assert float(mine / algorithm1(line, 5)[2] - 1) <= 1e-12


@pytest.mark.long
def test_the_judge_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    found = judge_random(2600, SEED, together=200)
    assert max(entry["excess"] for entry in found.values()) <= 1e-12
    assert max(entry["reported"] for entry in found.values()) <= 1e-9
    assert sum(entry["broken"] for entry in found.values()) == 0
    assert max(judge_breaking(SEED).values()) <= 1e-12
    assert judge_wide(SEED, 150, 1) <= 1e-12
    assert judge_long(SEED, 2)[1] <= 1e-12
    assert main(["--rows", "9", "--seed", str(SEED)]) == 0
    assert f"seed {SEED}" in capsys.readouterr().out


def test_the_judge_notices_a_partition_that_is_not_best(monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(values: NDArray[np.float64], k: int, **options: object) -> Quantized:
        return quantize(values, max(1, k - 1), **options)

    monkeypatch.setattr("dpnet.model.quantizer.judges.certify.quantize", worse)
    found = judge_random(13, SEED)
    assert max(entry["excess"] for entry in found.values()) > 1e-3
    assert judge_long(SEED, 1)[1] > 1e-3
    monkeypatch.setattr("dpnet.model.quantizer.judges.certify.judge_breaking", lambda seed: {})
    monkeypatch.setattr("dpnet.model.quantizer.judges.certify.judge_wide", lambda seed: 0.0)
    assert main(["--rows", "9", "--seed", str(SEED), "--json"]) == 1


@pytest.mark.parametrize(
    ("options", "raised", "message"),
    [
        ({"weights": [1.0, -1.0]}, ShapeError, "weights must be 0 or more, not -1.0"),
        ({"weights": [0.0, 0.0]}, EmptyError, "weights must not all be 0, as those of row 0"),
        (
            {"weights": [1.0] * 3},
            ShapeError,
            "weights must be of the values' shape (1, 2), not (3,)",
        ),
        (
            {"symmetric": True, "zero": True},
            ValueError,
            "k must be odd for a symmetric codebook with 0, not 2",
        ),
        (
            {"symmetric": True, "curve": True},
            ValueError,
            "curve must be False with symmetric: half of the k have no codebook",
        ),
        ({"lattice": 8}, TypeError, "lattice must be a Lattice, not 8"),
        ({"lattice": Lattice(8), "norm": 1}, ValueError, "norm must be 2 with a lattice, not 1"),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, object], raised: type[Exception], message: str
) -> None:
    with pytest.raises(raised, match=f"^{re.escape(message)}$"):
        quantize([[1.0, 2.0]], 2, **options)


@pytest.mark.parametrize("bits", [1, 33, True, 2.0])
def test_bad_lattices_are_refused(bits: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^bits must be "):
        Lattice(bits)
    with pytest.raises(ValueError, match=r"^step must be positive and finite, not 0$"):
        Lattice(4, 0)
