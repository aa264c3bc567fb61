"""What restricts the centroids, judged in rational numbers, and what every result promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.families import FAMILIES, weights_for
from dpnet.model.quantizer.quantized import Quantized
from dpnet.model.quantizer.task import Lattice

Floats = NDArray[np.float64]

OPTIONS: dict[str, dict[str, Any]] = {
    "medians": {"norm": 1},
    "zero": {"zero": True},
    "medians with zero": {"norm": 1, "zero": True},
    "symmetric": {"symmetric": True},
    "lattice": {"lattice": Lattice(5)},
    "lattice with zero": {"lattice": Lattice(4), "zero": True},
    "lattice of a step": {"lattice": Lattice(6, 0.125)},
}
SCALES = (1.0, 1.0, 1e-165, 1e165)
NEAREST = 1e-12  # of a distance, by which another centroid may be nearer


@dataclass(frozen=True)
class Judge:
    """The least cost of a short row (values and weights above 0) in rational numbers."""

    norm: int
    lattice: tuple[Fraction, int, int] | None  # step, lowest and highest entry

    def center(self, values: Sequence[Fraction], weights: Sequence[Fraction]) -> Fraction:
        """The best centroid of a cluster."""
        if self.norm == 1:
            half, below = sum(weights) / 2, Fraction(0)
            for value, weight in sorted(zip(values, weights, strict=True)):
                below += weight
                if below >= half:
                    return value
        total = sum((v * w for v, w in zip(values, weights, strict=True)), Fraction(0))
        mean = total / sum(weights)
        if self.lattice is None:
            return mean
        step, lowest, highest = self.lattice
        return min(max(round(mean / step), lowest), highest) * step

    def cost(
        self, values: Sequence[Fraction], weights: Sequence[Fraction], center: Fraction
    ) -> Fraction:
        """Of a cluster about a centroid."""
        pairs = zip(values, weights, strict=True)
        return sum((w * abs(v - center) ** self.norm for v, w in pairs), Fraction(0))

    def least(
        self, values: Sequence[Fraction], weights: Sequence[Fraction], k: int, zero: bool
    ) -> Fraction:
        """With k clusters, one of them about 0 if `zero`; values ascending."""
        free = k - zero
        # By how many free clusters, and whether the one about 0 is behind.
        known = {(0, 0, False): Fraction(0)}
        for end in range(1, len(values) + 1):
            for start in range(end):
                part, heavy = values[start:end], weights[start:end]
                about = self.cost(part, heavy, self.center(part, heavy))
                at_zero = self.cost(part, heavy, Fraction(0)) if zero else None
                for clusters in range(min(free, start) + 1):
                    for used in (False, True):
                        before = known.get((start, clusters, used))
                        if before is None:
                            continue
                        if clusters < free:
                            _lower(known, (end, clusters + 1, used), before + about)
                        if at_zero is not None and not used:
                            _lower(known, (end, clusters, True), before + at_zero)
        return min(cost for (end, _, _), cost in known.items() if end == len(values))


def _lower(
    known: dict[tuple[int, int, bool], Fraction], state: tuple[int, int, bool], cost: Fraction
) -> None:
    if state not in known or cost < known[state]:
        known[state] = cost


def excess_of_row(row: Floats, weights: Floats | None, k: int, options: dict[str, Any]) -> float:
    """By how much the cost of a row with these options is above the least one, relative to it."""
    found = quantize(row, k, weights=weights, **options)
    heavy = np.ones(row.shape) if weights is None else weights
    lattice = options.get("lattice")
    symmetric, zero = options.get("symmetric", False), options.get("zero", False)
    grid = None
    if lattice is not None:
        counts = None if weights is None else heavy[None]
        step = Fraction(float(lattice.steps(row[None], counts)[0]))
        grid = (step, int(lattice.limits[0]), int(lattice.limits[1]))
    judge = Judge(options.get("norm", 2), grid)
    given, chosen = (
        (np.abs(row), np.abs(found.dequantized)) if symmetric else (row, found.dequantized)
    )
    order = [int(j) for j in np.argsort(given, kind="stable") if heavy[j] > 0]
    values, masses = [Fraction(float(v)) for v in given], [Fraction(float(w)) for w in heavy]
    if symmetric:
        zero, k = k % 2 == 1, (k + 1) // 2
    best = judge.least([values[j] for j in order], [masses[j] for j in order], k, zero)
    mine = Fraction(0)
    for centroid in set(chosen[order].tolist()):
        inside = [j for j in order if chosen[j] == centroid]
        part, light = [values[j] for j in inside], [masses[j] for j in inside]
        center = judge.center(part, light)
        if zero and centroid == 0:
            center = Fraction(0)
        elif grid is not None:
            center = round(Fraction(centroid) / grid[0]) * grid[0]
        mine += judge.cost(part, light, center)
    if best == 0:
        return 0.0 if mine == 0 else np.inf
    return float(mine / best - 1)


def broken_promises(row: Floats, k: int, found: Quantized, options: dict[str, Any]) -> list[str]:
    """What `Quantized` promises of one row and does not keep; in words."""
    book, used = found.codebook, int(found.k_eff)
    zero = options.get("zero", False) or (options.get("symmetric", False) and k % 2 == 1)
    distances = np.abs(row[:, None] - book)
    taken = np.abs(row - book[found.indices])
    sizes = np.maximum(np.abs(row), np.abs(book).max())
    promises = {
        "ascending centroids": bool((np.diff(book) >= 0).all()),
        "k_eff different ones": len(set(book.tolist())) == used <= k,
        "the last one repeated": bool((book[used - 1 :] == book[used - 1]).all()),
        "indices of these": int(found.indices.max()) < used,
        "the nearest for each": bool((taken <= distances.min(axis=1) + NEAREST * sizes).all()),
        "a zero": not zero or 0.0 in book,
    }
    if options.get("symmetric", False):
        promises["its own negative"] = bool((book[:used] == -book[:used][::-1]).all())
    return [promise for promise, kept in promises.items() if not kept]


def one_of(found: Quantized, row: int) -> Quantized:
    """One row of a matrix's solution."""
    return Quantized(found.codebook[row], found.indices[row], found.cost[row], found.k_eff[row])


def judge_options(
    rows: int, seed: int, tell: Callable[[int], None] = lambda done: None
) -> dict[str, dict[str, float]]:
    """Short rows of every family with each of OPTIONS: how many, the largest relative excess, and
    of how many a promise is broken."""
    random = np.random.default_rng([seed, 1])
    found = {name: {"rows": 0.0, "excess": 0.0, "broken": 0.0} for name in OPTIONS}
    families = list(FAMILIES.values())
    for done in range(rows):
        for name, options in OPTIONS.items():
            family = families[int(random.integers(len(families)))]
            n, k = int(random.integers(1, 10)), int(random.integers(1, 6))
            values = family(random, (1, n)) * float(random.choice(SCALES))
            values = np.clip(values, -1e300, 1e300)
            weights = weights_for(random, values)
            row, heavy = values[0], None if weights is None else weights[0]
            entry = found[name]
            entry["rows"] += 1
            entry["excess"] = max(entry["excess"], excess_of_row(row, heavy, k, options))
            solved = quantize(row, k, weights=heavy, **options)
            entry["broken"] += bool(broken_promises(row, k, solved, options))
        tell(done + 1)
    return found
