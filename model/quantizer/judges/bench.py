"""Time and cost of the quantizer beside the libraries that people use: `make bench-quantizer`.

    python -m dpnet.model.quantizer.judges.bench [--seed 0] [--quick] [--json]

Every method solves the same rows in the same run; seconds are medians. A method that would take
minutes is timed on fewer rows ("timed_rows"), its seconds scaled to all of them. The cost of
each method is recomputed here from its clusters; "excess_cost" is relative to `quantize`.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.model.quantizer.judges.bench", "bench"))

import argparse
import importlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.build_root import build_root
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json
from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.judges.least import cost_of
from dpnet.model.quantizer.lloyd import lloyd

Floats = NDArray[np.float64]
Labels = NDArray[np.integer]

ROWS, COLUMNS, LONG = 1000, 1024, 1_024_000
LIBRARIES = ("ckwrap", "kmeans1d", "jenkspy")
MOVED = 0.01  # standard deviations that a weight moves in an epoch


def _clustered(random: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """16 values a row, each with 2 % of their spread: as DP-Net's training leaves them."""
    centers = random.normal(size=(shape[0], 16))
    chosen = np.take_along_axis(centers, random.integers(0, 16, shape), axis=1)
    return chosen + 0.02 * random.normal(size=shape)


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
    "gaussian": lambda random, shape: random.normal(size=shape),
    "laplace": lambda random, shape: random.laplace(size=shape),
    "clustered": _clustered,
    "half-pruned": lambda random, shape: random.normal(size=shape) * (random.random(shape) < 0.5),
    "fp16-ties": lambda random, shape: random.normal(size=shape).astype("f2").astype("f8"),
    "lognormal": lambda random, shape: random.lognormal(size=shape),
    "one-far": lambda random, shape: np.where(
        np.arange(shape[1]) == 0, 1e8, random.normal(size=shape)
    ),
}


def moved(random: np.random.Generator, name: str, rows: Floats) -> Floats:
    """The rows an epoch later: each weight by some MOVED deviations, pruned ones not at all."""
    later = rows + MOVED * rows.std() * random.normal(size=rows.shape) * (rows != 0)
    found: NDArray[np.float64] = later.astype("f2").astype("f8") if name == "fp16-ties" else later
    return found


@compiled
def _algorithm1(x: Floats, k: int) -> Labels:
    """The paper's Algorithm 1, O(n^2 k), compiled; labels of a sorted row."""
    n = len(x)
    total, square = np.zeros(n + 1), np.zeros(n + 1)
    for j in range(n):
        total[j + 1] = total[j] + x[j]
        square[j + 1] = square[j] + x[j] * x[j]
    cost, start = np.full((k + 1, n + 1), np.inf), np.zeros((k + 1, n + 1), np.int64)
    cost[0, 0] = 0.0
    for clusters in range(1, k + 1):
        for j in range(clusters, n + 1):
            for i in range(clusters - 1, j):
                moment = total[j] - total[i]
                value = cost[clusters - 1, i] + square[j] - square[i] - moment * moment / (j - i)
                if value < cost[clusters, j]:
                    cost[clusters, j], start[clusters, j] = value, i
    labels, j = np.zeros(n, np.int64), n
    for clusters in range(k, 0, -1):
        i = start[clusters, j]
        labels[i:j] = clusters - 1
        j = i
    return labels


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _ckwrap(rows: Floats, k: int) -> Labels:
    solve = _library("ckwrap").ckmeans  # refuses more clusters than there are values
    return np.stack([np.asarray(solve(row, min(k, len(set(row)))).labels) for row in rows])


def _kmeans1d(rows: Floats, k: int) -> Labels:
    solve = _library("kmeans1d").cluster
    return np.stack([np.asarray(solve(row, k).clusters) for row in rows])


def _jenkspy(rows: Floats, k: int) -> Labels:
    solve = _library("jenkspy").jenks_breaks
    found = []
    for row in rows:
        inner = np.asarray(solve(row, n_classes=k))[1:-1]
        found.append(np.searchsorted(inner, row, side="left"))
    return np.stack(found)


def _by_algorithm1(rows: Floats, k: int) -> Labels:
    order = np.argsort(rows, axis=1)
    labels = np.empty(rows.shape, np.int64)
    for row, at in enumerate(order):
        labels[row, at] = _algorithm1(rows[row, at], k)
    return labels


METHODS: dict[str, Callable[[Floats, int], Labels]] = {
    "dpnet": lambda rows, k: quantize(rows, k).indices,
    "ckwrap": _ckwrap,
    "kmeans1d": _kmeans1d,
    "sklearn-1": lambda rows, k: lloyd(rows, k, "k-means++", k_limit=k).indices,
    "sklearn-10": lambda rows, k: lloyd(rows, k, "k-means++", n_init=10, k_limit=k).indices,
    "jenkspy": _jenkspy,
    "algorithm-1": _by_algorithm1,
}

# case: k, shape, how many rows each method is timed on (0: not at all), and how often.
CASES: dict[str, tuple[int, tuple[int, int], dict[str, tuple[int, int]]]] = {
    "rows-1000x1024": (
        16,
        (ROWS, COLUMNS),
        {
            "dpnet": (ROWS, 15),
            "dpnet-warm": (ROWS, 15),
            "sort": (ROWS, 15),
            "ckwrap": (ROWS, 3),
            "kmeans1d": (100, 3),
            "sklearn-1": (50, 3),
            "sklearn-10": (10, 3),
            "jenkspy": (10, 3),
            "algorithm-1": (100, 3),
        },
    ),
    "rows-100000x9": (
        4,
        (100_000, 9),
        {
            "dpnet": (100_000, 5),
            "dpnet-warm": (100_000, 5),
            "sort": (100_000, 5),
            "ckwrap": (10_000, 3),
            "kmeans1d": (10_000, 3),
            "sklearn-1": (200, 1),
            "algorithm-1": (10_000, 3),
        },
    ),
    "k256-1000x1024": (
        256,
        (ROWS, COLUMNS),
        {
            "dpnet": (ROWS, 5),
            "dpnet-warm": (ROWS, 5),
            "sort": (ROWS, 5),
            "ckwrap": (30, 3),
            "kmeans1d": (10, 1),
            "sklearn-1": (3, 1),
        },
    ),
    "vector-1024000": (
        16,
        (1, LONG),
        {
            "dpnet": (1, 9),
            "sort": (1, 9),
            "ckwrap": (1, 1),
            "kmeans1d": (1, 1),
            "sklearn-1": (1, 1),
        },
    ),
}


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(case: str, name: str, seed: int, scale: float = 1.0) -> list[dict[str, Any]]:
    """All methods on one distribution; `scale` below 1 for a quick look at fewer rows or values."""
    k, shape, plan = CASES[case]
    random = np.random.default_rng([seed, list(DISTRIBUTIONS).index(name)])
    shape = (max(1, int(shape[0] * scale)), shape[1] if shape[0] > 1 else int(shape[1] * scale))
    rows = DISTRIBUTIONS[name](random, shape)
    later = moved(random, name, rows)
    start = quantize(rows, k)
    found = []
    for method, (most, repeats) in plan.items():
        count = min(most, len(rows))
        if method in LIBRARIES and _library(method) is None:
            continue
        part, labels = rows[:count], None
        if method == "sort":
            times = [_seconds(lambda: np.sort(rows, axis=1)) for _ in range(repeats)]
        elif method == "dpnet-warm":
            times = [_seconds(lambda: quantize(later, k, start=start)) for _ in range(repeats)]
            labels, part = quantize(later, k, start=start).indices, later
        else:
            solve = METHODS[method]
            times, labels = [], solve(part[:1], k)
            for _ in range(repeats):
                begin = time.perf_counter()
                labels = solve(part, k)
                times.append(time.perf_counter() - begin)
        entry: dict[str, Any] = {
            "case": case,
            "distribution": name,
            "method": method,
            "k": k,
            "seconds": statistics.median(times) * len(rows) / count,
            "excess_cost": None,
        }
        if count < len(rows):
            entry["timed_rows"] = count
        if labels is not None:
            best = cost_of(part, quantize(part, k).indices).sum()
            entry["excess_cost"] = float(cost_of(part, labels).sum() / best - 1)
        found.append(entry)
    return found


_MEMORY = """
import resource, sys, numpy as np
from dpnet.model.quantizer.compiled import compiled
from dpnet.model.quantizer.exact import quantize
n = int(sys.argv[1])
quantize(np.random.default_rng(0).normal(size=200_000), 16)  # solved by windows too
x = np.random.default_rng(0).normal(size=n)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
quantize(x, 16)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / n)
"""

_START = "import numpy, dpnet.model.quantizer.exact as e; e.quantize(numpy.arange(99.0), 4)"


def _process(*arguments: str) -> str:
    command = [sys.executable, "-c", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def footprint() -> dict[str, float]:
    """Bytes a value for a long vector; seconds of a second process, and of the import alone."""
    _process(_START)
    _process(_MEMORY, "200000")  # compiling takes memory too, once
    bare = statistics.median(_seconds(lambda: _process("import numpy")) for _ in range(5))
    whole = statistics.median(_seconds(lambda: _process(_START)) for _ in range(5))
    imports = statistics.median(
        _seconds(lambda: _process("import dpnet.model.quantizer.exact")) for _ in range(5)
    )
    return {
        "bytes_per_value": float(_process(_MEMORY, "8192000")),
        "process_seconds": whole,
        "import_seconds": imports,
        "numpy_seconds": bare,
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """A line per case and distribution, a column per method: milliseconds."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    lines = [f"{'':28}" + "".join(f"{method:>13}" for method in methods)]
    for case, name in dict.fromkeys((row["case"], row["distribution"]) for row in rows):
        cells = []
        for method in methods:
            entry = [
                r
                for r in rows
                if (r["case"], r["distribution"], r["method"]) == (case, name, method)
            ]
            cells.append(f"{1e3 * entry[0]['seconds']:13,.1f}" if entry else f"{'–':>13}")
        lines.append(f"{case:15} {name:12}" + "".join(cells))
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command; the result is kept after every case and distribution."""
    parser = argparse.ArgumentParser(prog="python -m dpnet.model.quantizer.judges.bench")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a fiftieth of the rows: seconds")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    given = parser.parse_args(arguments)
    out = build_root() / "bench" / "quantizer.json"
    missing = [name for name in LIBRARIES if _library(name) is None]
    if missing:
        print(f"without {', '.join(missing)}: pip install 'dpnet[bench]'", file=sys.stderr)
    result: dict[str, Any] = {
        "command": "make bench-quantizer",
        "seed": given.seed,
        "cores": os.cpu_count(),
        "rows": [],
    }
    made_of = {} if given.quick or missing else provenance("quantizer.json")
    try:
        # First: a process that starts another hands its own peak of memory on to it.
        result["footprint"] = footprint()
        for case in CASES:
            for name in DISTRIBUTIONS:
                print(f"{case} {name}", file=sys.stderr, flush=True)
                result["rows"] += measure(case, name, given.seed, 0.02 if given.quick else 1.0)
                write_json(out, result, indent=1)
        result |= made_of
        write_json(out, result, indent=1)
    except KeyboardInterrupt:
        print(f"interrupted; what was measured is in {out}", file=sys.stderr)
        return 130
    print(json.dumps(result, indent=1) if given.json else _table(result["rows"]))
    if not given.json:
        print(", ".join(f"{key} {value:.3g}" for key, value in result["footprint"].items()))
        print(f"milliseconds; {out}")
    return 0
