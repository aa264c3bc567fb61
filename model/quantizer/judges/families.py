"""Rows that a quantizer may get wrong: random families, and rows that other libraries fail on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = tuple[int, int]
Family = Callable[[np.random.Generator, Shape], Floats]


def _far(random: np.random.Generator, shape: Shape, lowest: int, highest: int) -> Floats:
    """Bell-shaped, with one value of each row 10^lowest to 10^highest away, either way."""
    values = random.normal(size=shape)
    places = random.integers(0, shape[1], shape[0])
    sizes = 10.0 ** random.uniform(lowest, highest, shape[0])
    values[np.arange(shape[0]), places] = sizes * random.choice([-1.0, 1.0], shape[0])
    return values


FAMILIES: dict[str, Family] = {
    "gaussian": lambda random, shape: random.normal(size=shape),
    "laplace": lambda random, shape: random.laplace(size=shape),
    "lognormal": lambda random, shape: random.lognormal(sigma=2.0, size=shape),
    "clustered": lambda random, shape: (
        random.integers(-4, 5, shape) + 1e-3 * random.normal(size=shape)
    ),
    "half-pruned": lambda random, shape: random.normal(size=shape) * (random.random(shape) < 0.5),
    "fp16-ties": lambda random, shape: (
        random.normal(size=shape).astype(np.float16).astype(np.float64)
    ),
    "integers": lambda random, shape: random.integers(-20, 21, shape).astype(np.float64),
    "offset": lambda random, shape: random.normal(size=shape) + 1e5,
    "outliers": lambda random, shape: random.standard_cauchy(shape) ** 3,
    "one far": lambda random, shape: _far(random, shape, 2, 30),
    "two bulks": lambda random, shape: (
        random.normal(size=shape) + 1e9 * random.integers(0, 2, shape)
    ),
    "tiny": lambda random, shape: 1e-170 * random.normal(size=shape),
    "huge": lambda random, shape: 1e170 * random.normal(size=shape),
}

LONG_FAMILIES = FAMILIES | {
    "few far ones": lambda random, shape: (
        random.normal(size=shape)
        * np.where(random.random(shape) < 4 / shape[1], 10.0 ** random.integers(2, 9, shape), 1.0)
    ),
}


def weights_for(random: np.random.Generator, values: Floats) -> Floats | None:
    """None, random weights, or those with zeros; then some values of no weight are moved far out,
    in place: to a codebook they must make no difference."""
    kind = random.integers(4)
    if kind < 2:
        return None
    weights: Floats = random.random(values.shape) ** 4
    if kind == 3 and values.shape[1] > 1:
        weights *= random.random(values.shape) < 0.7
        weights[:, 0] = np.maximum(weights[:, 0], 0.01)
        far = (weights == 0) & (random.random(values.shape) < 0.3)
        values[far] = random.choice([-1.0, 1.0], far.sum()) * 10.0 ** random.uniform(
            -3, 300, far.sum()
        )
    return weights


def _fp32(values: Floats) -> Floats:
    return values.astype(np.float32).astype(np.float64)


def breaking_rows(random: np.random.Generator) -> Iterator[tuple[str, Floats, int]]:
    """Rows that other libraries get wrong, and k: (name, row, k)."""
    steps = np.repeat(np.arange(4.0), 6) + 0.01 * random.normal(size=24)
    yield "clusters shifted by 1e8", steps + 1e8, 4
    yield "N(0, 1) + 1e5 in fp32", _fp32(random.normal(size=40) + 1e5), 5
    yield "an outlier of 1e6", np.append(random.normal(size=40), 1e6), 6
    yield "an outlier of 1e30", np.append(random.normal(size=30), 1e30), 5
    yield "1e-170 N(0, 1)", 1e-170 * random.normal(size=40), 6
    yield "1e30 N(0, 1) in fp32", _fp32(1e30 * random.normal(size=40)), 6
    yield "a constant row", np.full(20, 0.1), 4
    yield "fewer distinct values than k", np.repeat([1.0, 2.0, 4.0], 5), 8
    yield "K = 256", random.normal(size=300), 256
    yield "clusters 1e-12 wide", random.integers(0, 3, 20) + 1e-12 * random.normal(size=20), 5
    yield "a regular grid", np.arange(30.0), 7
    yield "denormals", np.float64(5e-324) * random.integers(-50, 51, 30), 5
    yield "an outlier of 1e300", np.append(random.normal(size=30), 1e300), 5
    yield "a grid, an outlier of 1e15", np.append(np.arange(20.0), 1e15), 6
    yield "outliers by decades", np.append(random.normal(size=20), 10.0 ** np.arange(2, 18)), 9
    yield "groups 1e15 apart", np.append(steps, [1e15, 1e15 + 1, 1e15 + 3, 2e15]), 7
