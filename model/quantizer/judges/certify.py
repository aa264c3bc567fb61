"""An independent judge of quantized rows: other formulas, other code, other arithmetic.

    python -m dpnet.model.quantizer.judges.certify --rows 100000

Rows of every family, with and without weights, in O(n^2 k) and long double (`least`), and by
halving where they are long (`monge`); what restricts the centroids in rational numbers (`options`).
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
from numpy.typing import NDArray

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.families import (
    FAMILIES,
    LONG_FAMILIES,
    breaking_rows,
    weights_for,
)
from dpnet.model.quantizer.judges.least import (
    cost_of,
    excess_of,
    grouped_least,
    least_costs,
    rational_cost,
)
from dpnet.model.quantizer.judges.monge import monge_breaks
from dpnet.model.quantizer.judges.options import broken_promises, judge_options, one_of
from dpnet.model.quantizer.kernels.grids.long import fewest

LIMIT = 1e-12  # largest excess, relative to the least cost
REPORTED = 1e-9  # largest relative difference of a cost to that of the partition
TOGETHER = 1000  # rows at once, some 0.2 GB
LONG_SHARE = 1000  # a long vector of every family for so many rows
OPTION_SHARE = 100  # a short row with each option for so many rows


def judge_breaking(seed: int) -> dict[str, float]:
    """Relative excess of each of `breaking_rows` over Algorithm 1 in rational numbers.

    That of a row with hundreds of clusters is judged in long double, which takes less than minutes.
    """
    found = {}
    for name, row, k in breaking_rows(np.random.default_rng(seed)):
        if k > 16:
            given = row[None, :]
            found[name] = float(excess_of(given, None, k, quantize(given, k).indices)[0])
            continue
        values = [Fraction(float(v)) for v in row]
        q = quantize(np.asarray(row, np.float64), k)
        least = grouped_least(values, k)
        cost = rational_cost(values, q.indices)
        found[name] = float(cost / least - 1) if least else np.inf if cost else 0.0
    return found


def judge_random(
    rows: int, seed: int, tell: Callable[[int], None] = lambda done: None, together: int = TOGETHER
) -> dict[str, dict[str, float]]:
    """Rows of every family, n 1..64 and k 1..16: how many, and the largest relative excess.

    Half of them with weights. `reported` is how far the cost that `quantize` gives is from that of
    its partition; `broken` of how many rows a promise of `Quantized` is not kept.
    """
    random = np.random.default_rng(seed)
    names = ("rows", "excess", "reported", "broken")
    found = {family: dict.fromkeys(names, 0.0) for family in FAMILIES}
    done = 0
    while done < rows:
        for name, family in FAMILIES.items():
            count, n = min(together, max(rows - done, 1)), int(random.integers(1, 65))
            k = int(random.integers(1, 17))
            values = family(random, (count, n))
            weights = weights_for(random, values)
            q = quantize(values, k, weights=weights)
            excess = excess_of(values, weights, k, q.indices)
            cost = cost_of(values, q.indices, weights)
            entry = found[name]
            entry["rows"] += count
            entry["excess"] = max(entry["excess"], float(excess.max()))
            entry["reported"] = max(entry["reported"], _misreported(q.cost, cost))
            entry["broken"] += sum(
                bool(broken_promises(row, k, one_of(q, place), {}))
                for place, row in enumerate(values)
            )
            done += count
            tell(done)
    return found


def _misreported(given: NDArray[np.float64], cost: NDArray[np.longdouble]) -> float:
    """The largest relative difference; what float64 cannot hold is to be infinite, or to vanish."""
    with np.errstate(over="ignore", under="ignore"):
        known = cost.astype(np.float64)
    normal = (known >= np.finfo(np.float64).tiny) & np.isfinite(known)
    if (given[~normal] > known[~normal] + 1e-307).any() or (given[np.isinf(known)] < np.inf).any():
        return np.inf
    off = np.abs(given[normal] - known[normal]) / known[normal]
    return float(off.max(initial=0.0))


def judge_wide(seed: int, n: int = 1000, count: int = 3) -> float:
    """The largest relative excess of wide rows of every family at k = 16, in long double."""
    random, worst = np.random.default_rng(seed), 0.0
    for family in FAMILIES.values():
        values = family(random, (count, n))
        least = least_costs(values, 16)[:, -1]
        excess = cost_of(values, quantize(values, 16).indices) / np.where(least > 0, least, 1) - 1
        worst = max(worst, float(excess[least > 0].max(initial=0)))
    return worst


def judge_long(seed: int, count: int) -> tuple[int, float]:
    """Vectors so long that they are solved by windows, `count` of every family: how many, and the
    largest relative excess over the partitions of `monge_breaks`, costs in long double."""
    random, worst, done = np.random.default_rng(seed), 0.0, 0
    for family in LONG_FAMILIES.values():
        for _ in range(count):
            k = int(random.integers(2, 6))
            n = int(fewest(k) * random.uniform(1.0, 2.0))
            values = np.sort(family(random, (1, n)), axis=1)
            least = min(cost_of(values, labels)[0] for labels in _partitions(values[0], k))
            cost = cost_of(values, quantize(values, k).indices)[0]
            worst = max(worst, float(cost / least - 1 if least > 0 else cost))
            done += 1
    return done, worst


def _partitions(ordered: NDArray[np.float64], k: int) -> Iterator[NDArray[np.int64]]:
    """Labels (1, n) of a best partition to the rounding of float64; and of one with the first or
    the last value alone, which then costs the others no digits."""
    n = len(ordered)
    for first, last in ((0, n), (1, n), (0, n - 1)):
        clusters = k - (last - first < n)
        labels = np.repeat(
            np.arange(clusters), np.diff(monge_breaks(ordered[first:last], clusters))
        )
        yield np.pad(labels + first, (first, n - last), constant_values=(0, k - 1))[None]


def main(arguments: list[str] | None = None) -> int:
    """The command; 1 if any row is more than `LIMIT` above its least cost, or breaks a promise."""
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
        breaking[f"{3 * len(FAMILIES)} rows of 1,000, K = 16"] = judge_wide(given.seed)
        vectors, excess = judge_long(given.seed, max(given.rows // LONG_SHARE, 1))
        breaking[f"{vectors:,} vectors over 8,192"] = excess
        random |= judge_options(max(given.rows // OPTION_SHARE, 1), given.seed)
    except KeyboardInterrupt:
        print("interrupted: nothing is said about the rows", file=sys.stderr)
        return 130
    worst = max([*breaking.values(), *(entry["excess"] for entry in random.values())])
    if given.json:
        print(json.dumps({"seed": given.seed, "random": random, "breaking": breaking}, indent=1))
    else:
        print(f"{chr(13) * show}relative excess over the least cost, seed {given.seed}")
        for name, entry in random.items():
            broken = f", {int(entry['broken']):,} broken" if entry["broken"] else ""
            print(f"  {name:28} {entry['excess']:9.1e}   {int(entry['rows']):,} rows{broken}")
        for name, excess in breaking.items():
            print(f"  {name:28} {excess:9.1e}")
    kept = not sum(entry["broken"] for entry in random.values())
    told = max(entry.get("reported", 0.0) for entry in random.values())
    return 0 if worst <= LIMIT and told <= REPORTED and kept else 1
