"""Runs of the dense int8 engine: random products, its own counter of cycles against the formula.

    python -m dpnet.sim.measure.dense [--rows 1000] [--columns 1024] [--vectors 8] [--tile-rows 28]
                        [--segments 64] [--requantizers 2] [--seed 0]

Exit codes: 0 everything equals golden and the formula; 1 something differs; 2 wrong usage or sizes;
3 no simulator, or it failed.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.measure.dense", "all"))

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.baselines.dense import DenseCore
from dpnet.gateware.emit import emit
from dpnet.model.build_root import build_root
from dpnet.model.engine.dense import DenseParameters
from dpnet.model.engine.parameters import ceil_div
from dpnet.model.golden.dense import RowParameters
from dpnet.sim.kit.bench import BenchError, run_bench
from dpnet.sim.simulator import SimulatorError


@dataclass(frozen=True)
class DenseCase:
    """A product: `matrix` (R, C), `vectors` (V, C) of int8 values, the parameters of the rows."""

    params: DenseParameters
    matrix: NDArray[np.int64]
    vectors: NDArray[np.int64]
    rows: RowParameters

    def results(self) -> NDArray[np.int64]:
        """The golden results (V, R)."""
        return self.params.golden.compute(self.matrix, self.vectors, self.rows)

    def stores(self) -> list[tuple[int, int]]:
        """(word address, word) of everything that a run needs."""
        parts = (
            self.params.weight_store(self.matrix),
            self.params.vector_store(self.vectors),
            self.params.row_store(self.rows),
        )
        return [
            pair
            for addresses, words in parts
            for pair in zip(addresses.tolist(), words.tolist(), strict=True)
        ]


def random_case(
    rng: np.random.Generator, params: DenseParameters, rows: int, columns: int, vectors: int
) -> DenseCase:
    """Uniform int8 values, extremes among them; most rows scale their sums to about int8, every
    eighth has parameters of any size."""
    params.check(rows, columns, vectors)
    matrix, inputs = (
        np.where(
            rng.random(shape) < 0.05,
            rng.choice([-128, 127, 0], shape),
            rng.integers(-128, 128, shape),
        )
        for shape in ((rows, columns), (vectors, columns))
    )
    spread = 74.0 * 74.0 * np.sqrt(columns)
    multiplier = rng.integers(1 << 14, 1 << 16, rows)
    shift = np.round(np.log2(multiplier * spread / 40)).astype(np.int64)
    limit = 1 << (params.requantize.bias_bits - 1)
    bias = np.clip(np.round(rng.normal(0, spread, rows)).astype(np.int64), -limit, limit - 1)
    odd = rng.random(rows) < 0.125
    return DenseCase(
        params,
        matrix,
        inputs,
        RowParameters(
            bias=np.where(odd, rng.integers(-limit, limit, rows), bias),
            multiplier=np.where(odd, rng.integers(0, 1 << 16, rows), multiplier),
            shift=np.where(odd, rng.integers(0, 64, rows), shift),
            relu=(rng.random(rows) < 0.3).astype(np.int64),
        ),
    )


def run_dense(
    rows: int, columns: int, params: DenseParameters, vectors: int, seed: int
) -> dict[str, int]:
    """Run a random product on the simulated engine: once with one vector, once with `vectors` (at
    least 2) back to back.

    Returns `latency_cycles` (one vector), `run_cycles` (all), both as the engine counted them,
    `interval_cycles` (what each further vector took), `predicted_latency` and
    `predicted_interval` of the formula, `results` compared and `mismatches` against golden.
    Raises `ValueError` if the product does not fit, `BenchError` if the simulation fails.
    """
    if vectors < 2:
        raise ValueError(f"vectors must be at least 2, not {vectors!r}")
    params.check(rows, columns, vectors)
    values: dict[str, Any] = {
        "params": asdict(params),
        "rows": rows,
        "columns": columns,
        "vectors": vectors,
        "seed": seed,
    }
    job = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
    report = build_root() / "dense" / f"{job}.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    run_bench(
        emit(DenseCore(params=params)),
        "baselines.dense_run",
        values=values | {"report": str(report)},
    )
    found = json.loads(report.read_text())
    latency, total = found["cycles"]
    return {
        "latency_cycles": latency,
        "run_cycles": total,
        "interval_cycles": ceil_div(total - latency, vectors - 1),
        "predicted_latency": params.cycles(rows, columns),
        "predicted_interval": params.interval_cycles(rows, columns),
        "predicted_run": params.cycles(rows, columns, vectors),
        "results": found["results"],
        "mismatches": found["mismatches"],
    }


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    default = DenseParameters()
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.sim.measure.dense",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, value in (
        ("rows", 1000),
        ("columns", 1024),
        ("vectors", 8),
        ("tile-rows", default.tile_rows),
        ("segments", default.segments),
        ("requantizers", default.requantizers),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"({value})")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        params = DenseParameters(
            tile_rows=options.tile_rows,
            segments=options.segments,
            requantizers=options.requantizers,
        )
        found = run_dense(options.rows, options.columns, params, options.vectors, options.seed)
    except ValueError as error:
        parser.error(str(error))
    except (SimulatorError, BenchError) as error:
        print(f"dense: {error}", file=sys.stderr)
        return 3
    print(
        f"dense int8, {params.tile_rows} rows x {params.segments} segments = {params.macs} "
        f"multiply-adds per cycle, {options.rows} x {options.columns}, "
        f"{options.vectors} vectors, seed {options.seed}"
    )
    for name, value in found.items():
        print(f"  {name}: {value}")
    print(f"  seconds: {time.monotonic() - began:.0f}")
    exact = all(
        found[a] == found[b]
        for a, b in (
            ("latency_cycles", "predicted_latency"),
            ("run_cycles", "predicted_run"),
            ("interval_cycles", "predicted_interval"),
        )
    )
    return 0 if exact and not found["mismatches"] else 1
