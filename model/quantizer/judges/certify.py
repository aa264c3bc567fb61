"""An independent judge of quantized rows: other formulas, other code, other arithmetic.

    python -m dpnet.model.quantizer.judges.certify --rows 100000

`least_costs` is the paper's program in O(n^2 k), Eqs. (5) and (6), in long double, with Welford's
update for a cluster's error: no prefix sums, no order of breaks, no price, nothing subtracted.
For vectors too long for it `monge_breaks` finds partitions by halving, O(n k log n).
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.model.quantizer.judges.certify", "bench"))

import argparse
import json
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.algorithm1 import algorithm1
from dpnet.model.quantizer.kernels.long import fewest

Long = np.longdouble
LIMIT = 1e-12  # largest excess, relative to the least cost
SUSPICIOUS = 1e-13  # a difference that rounding in long double may have made
TOGETHER = 1000  # rows at once, some 0.2 GB
LONG_SHARE = 1000  # a long vector of every family for so many rows


def least_costs(
    rows: NDArray[np.float64], k: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.longdouble]:
    """The least weighted squared error of each row with 1..k clusters, (rows, k) long double.

    rows, weights (rows, n). To about n times the rounding of a long double (2**-64 on x86), as
    every sum has terms of one sign only.
    """
    order = np.argsort(rows, axis=1, kind="stable")
    values = np.take_along_axis(rows, order, axis=1).astype(Long)
    masses = np.ones_like(values)
    if weights is not None:
        masses = np.take_along_axis(weights, order, axis=1).astype(Long)
    count, n = rows.shape
    mean, error, mass = np.zeros((3, count, n), Long)  # of the values from i to the last one
    least = np.full((k + 1, count, n + 1), np.inf, Long)
    least[0, :, 0] = 0
    for j in range(n):
        x, w = values[:, j, None], masses[:, j, None]
        seen = slice(0, j + 1)
        mass[:, seen] += w
        away = x - mean[:, seen]
        share = np.divide(w, mass[:, seen], out=np.zeros_like(away), where=mass[:, seen] > 0)
        error[:, seen] += w * away * away * (1 - share)
        mean[:, seen] += away * share
        for clusters in range(1, min(k, j + 1) + 1):
            candidates = least[clusters - 1, :, seen] + error[:, seen]
            least[clusters, :, j + 1] = candidates.min(axis=1)
    return np.minimum.accumulate(least[1:, :, n].T, axis=1)


def cost_of(
    rows: NDArray[np.float64],
    indices: NDArray[np.integer],
    weights: NDArray[np.float64] | None = None,
) -> NDArray[np.longdouble]:
    """The squared error of each row about the means of its clusters, in two passes, long double."""
    values, masses = rows.astype(Long), np.ones(rows.shape, Long)
    if weights is not None:
        masses = weights.astype(Long)
    total = np.zeros(len(rows), Long)
    for index in range(int(indices.max()) + 1):
        inside = np.where(indices == index, masses, 0)
        mass = inside.sum(axis=1, keepdims=True)
        first = np.take_along_axis(values, inside.argmax(axis=1)[:, None], axis=1)
        mean = (inside * (values - first)).sum(axis=1, keepdims=True) / np.where(mass > 0, mass, 1)
        total += (inside * (values - first - mean) ** 2).sum(axis=1)
    return total


FAMILIES: dict[str, Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]] = {
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
}


def _fp32(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.astype(np.float32).astype(np.float64)


def breaking_rows(random: np.random.Generator) -> Iterator[tuple[str, NDArray[np.float64], int]]:
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


def judge_breaking(seed: int) -> dict[str, float]:
    """Relative excess of each of `breaking_rows` over Algorithm 1 in rational numbers.

    That of a row with hundreds of clusters is judged in long double, which takes less than minutes.
    """
    found = {}
    for name, row, k in breaking_rows(np.random.default_rng(seed)):
        if k > 16:
            given = row[None, :]
            found[name] = float(_excess(given, None, k, quantize(given, k).indices)[0])
            continue
        values = [Fraction(float(v)) for v in row]
        q = quantize(np.asarray(row, np.float64), k)
        least = _grouped_least(values, k)
        cost = _rational_cost(values, q.indices)
        found[name] = float(cost / least - 1) if least else float(cost)
    return found


def _grouped_least(values: list[Fraction], k: int) -> Fraction:
    """Algorithm 1 over rational numbers; nothing where there is a cluster for every value."""
    return Fraction(0) if len(set(values)) <= k else Fraction(algorithm1(values, k)[2])


def _rational_cost(
    values: list[Fraction], indices: NDArray[np.integer], weights: list[Fraction] | None = None
) -> Fraction:
    """The squared error about the clusters' means."""
    masses, total = weights or [Fraction(1)] * len(values), Fraction(0)
    for index in set(indices.tolist()):
        inside = [(v, m) for v, m, i in zip(values, masses, indices, strict=True) if i == index]
        mass = sum((m for _, m in inside), Fraction(0))
        mean = sum((v * m for v, m in inside), Fraction(0)) / (mass or 1)
        total += sum((m * (v - mean) ** 2 for v, m in inside), Fraction(0))
    return total


def _rational_least(values: list[Fraction], weights: list[Fraction], k: int) -> Fraction:
    """The least cost of at most k clusters over rational numbers, in O(n^2 k)."""
    pairs = sorted(zip(values, weights, strict=True))
    least: list[list[Fraction]] = [[Fraction(0)] * (k + 1)]
    for end in range(1, len(pairs) + 1):
        mass, mean, error = Fraction(0), Fraction(0), Fraction(0)
        best: list[Fraction | None] = [None] * (k + 1)
        for start in range(end - 1, -1, -1):
            value, weight = pairs[start]
            if weight:
                mass += weight
                away = value - mean
                mean += away * weight / mass
                error += weight * away * (value - mean)
            for clusters in range(1, k + 1):
                if start and clusters == 1:
                    continue
                candidate = least[start][clusters - 1] + error
                known = best[clusters]
                best[clusters] = candidate if known is None else min(known, candidate)
        least.append([Fraction(0), *(cost for cost in best[1:] if cost is not None)])
    return least[-1][k]


def _excess(
    values: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    k: int,
    indices: NDArray[np.integer],
) -> NDArray[np.float64]:
    """Each row's cost over the least one, minus 1 (the cost itself where nothing must be lost).

    Where the two differ by more than long doubles explain, rational numbers decide.
    """
    least = least_costs(values, k, weights)[:, -1]
    cost = cost_of(values, indices, weights)
    excess = np.where(least > 0, cost / np.where(least > 0, least, 1) - 1, cost).astype(float)
    for row in np.flatnonzero(np.abs(excess) > SUSPICIOUS):
        line = [Fraction(float(v)) for v in values[row]]
        masses = [Fraction(1)] * len(line)
        if weights is not None:
            masses = [Fraction(float(w)) for w in weights[row]]
        best = _rational_least(line, masses, k)
        mine = _rational_cost(line, indices[row], masses)
        excess[row] = float(mine / best - 1) if best else float(mine)
    return excess


def judge_random(
    rows: int, seed: int, tell: Callable[[int], None] = lambda done: None, together: int = TOGETHER
) -> dict[str, dict[str, float]]:
    """Rows of every family, n 1..64 and k 1..16: how many, and the largest relative excess.

    Half of them with random weights. `reported` is how far the cost that `quantize` gives is from
    that of its partition.
    """
    random = np.random.default_rng(seed)
    found = {name: {"rows": 0.0, "excess": 0.0, "reported": 0.0} for name in FAMILIES}
    done = 0
    while done < rows:
        for name, family in FAMILIES.items():
            count, n = min(together, max(rows - done, 1)), int(random.integers(1, 65))
            k = int(random.integers(1, 17))
            values = family(random, (count, n))
            weights = random.random(values.shape) ** 4 if random.random() < 0.5 else None
            q = quantize(values, k, weights=weights)
            excess = _excess(values, weights, k, q.indices)
            cost = cost_of(values, q.indices, weights)
            off = np.abs(q.cost - cost) / np.where(cost > 0, cost, 1)
            entry = found[name]
            entry["rows"] += count
            entry["excess"] = max(entry["excess"], float(excess.max()))
            entry["reported"] = max(entry["reported"], float(off.max()))
            done += count
            tell(done)
    return found


def judge_wide(seed: int, n: int = 1000, count: int = 3) -> float:
    """The largest relative excess of wide rows of every family at k = 16, in long double."""
    random, worst = np.random.default_rng(seed), 0.0
    for family in FAMILIES.values():
        values = family(random, (count, n))
        least = least_costs(values, 16)[:, -1]
        excess = cost_of(values, quantize(values, 16).indices) / np.where(least > 0, least, 1) - 1
        worst = max(worst, float(excess[least > 0].max(initial=0)))
    return worst


@njit(cache=True)
def monge_breaks(ordered: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """Breaks (k + 1,) of a best partition of sorted values, to the rounding of float64 sums.

    The best break before an end never decreases with the end: that of the middle one halves the
    work for those on either side.
    """
    n = len(ordered)
    total, square = np.zeros(n + 1), np.zeros(n + 1)
    for j in range(n):
        away = ordered[j] - ordered[n // 2]
        total[j + 1], square[j + 1] = total[j] + away, square[j] + away * away
    cost, origin = np.full((k + 1, n + 1), np.inf), np.zeros((k + 1, n + 1), np.int64)
    cost[0, 0] = 0.0
    todo = np.empty((64, 4), np.int64)
    for clusters in range(1, k + 1):
        todo[0], depth = np.array([clusters, n, clusters - 1, n - 1]), 1
        while depth:
            depth -= 1
            first, last, low, high = todo[depth]
            if first > last:
                continue
            end = (first + last) // 2
            for begin in range(low, min(high, end - 1) + 1):
                moment = total[end] - total[begin]
                error = square[end] - square[begin] - moment * moment / (end - begin)
                if cost[clusters - 1, begin] + error < cost[clusters, end]:
                    cost[clusters, end] = cost[clusters - 1, begin] + error
                    origin[clusters, end] = begin
            best = origin[clusters, end]
            todo[depth] = np.array([first, end - 1, low, best])
            todo[depth + 1] = np.array([end + 1, last, best, high])
            depth += 2
    breaks = np.full(k + 1, n)
    for clusters in range(k, 0, -1):
        breaks[clusters - 1] = origin[clusters, breaks[clusters]]
    return breaks


LONG_FAMILIES = FAMILIES | {
    "few far ones": lambda random, shape: (
        random.normal(size=shape)
        * np.where(random.random(shape) < 4 / shape[1], 10.0 ** random.integers(2, 9, shape), 1.0)
    ),
}


def judge_long(seed: int, count: int) -> tuple[int, float]:
    """Vectors so long that they are solved by windows, `count` of every family: how many, and the
    largest relative excess over the partitions of `monge_breaks`, costs in long double."""
    random, worst, done = np.random.default_rng(seed), 0.0, 0
    for family in LONG_FAMILIES.values():
        for _ in range(count):
            k = int(random.integers(2, 6))
            n = int(fewest(k) * random.uniform(1.0, 2.0))
            values = np.sort(family(random, (1, n)), axis=1)
            labels = np.repeat(np.arange(k), np.diff(monge_breaks(values[0], k)))
            least = cost_of(values, labels[None])[0]
            cost = cost_of(values, quantize(values, k).indices)[0]
            worst = max(worst, float(cost / least - 1 if least > 0 else cost))
            done += 1
    return done, worst


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 if any row is more than `LIMIT` above its least cost."""
    parser = argparse.ArgumentParser(prog="python -m dpnet.model.quantizer.judges.certify")
    parser.add_argument("--rows", type=int, default=100_000, help="random rows (default 100000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the result as JSON")
    given = parser.parse_args(arguments)
    show = sys.stderr.isatty()

    def tell(done: int) -> None:
        if show:
            print(f"\r{done:,} of {given.rows:,} rows", end="", file=sys.stderr, flush=True)

    if given.rows < 1:
        parser.error(f"--rows must be at least 1, not {given.rows}")
    try:
        random, breaking = judge_random(given.rows, given.seed, tell), judge_breaking(given.seed)
        breaking["27 rows of 1,000, K = 16"] = judge_wide(given.seed)
        vectors, excess = judge_long(given.seed, max(given.rows // LONG_SHARE, 1))
        breaking[f"{vectors:,} vectors over 8,192"] = excess
    except KeyboardInterrupt:
        print("interrupted: nothing is said about the rows", file=sys.stderr)
        return 130
    worst = max([*breaking.values(), *(entry["excess"] for entry in random.values())])
    if given.json:
        print(json.dumps({"seed": given.seed, "random": random, "breaking": breaking}, indent=1))
    else:
        print(f"{chr(13) * show}relative excess over the least cost, seed {given.seed}")
        for name, entry in random.items():
            print(f"  {name:28} {entry['excess']:9.1e}   {int(entry['rows']):,} rows")
        for name, excess in breaking.items():
            print(f"  {name:28} {excess:9.1e}")
    return 0 if worst <= LIMIT else 1
