"""One table at equal chip: the arrays that fill an XC7Z045 beside the engines that they must beat.

    make baselines         (python -m dpnet.sim.measure.baselines [--seed 0] [--json])

Every cycle is counted by RTL in this run, on random matrices and vectors of the paper's Table VI,
every result compared with golden.  What the engines take of the chip is read from
build/resources.json (`make resources`), the arrays' cycles from build/arrays.json (`make arrays`).
Writes build/baselines.json.  Exit codes: 0; 1 a result or a count differs; 2 wrong usage; 3 no
simulator, or it failed, or one of the two files is missing; 130 interrupted.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.measure.baselines", "all"))

import argparse
import json
from typing import Any

import numpy as np

from dpnet.host.errors import LinkError
from dpnet.host.report import table
from dpnet.host.session import BaselineSession, connect
from dpnet.model.build_root import build_root
from dpnet.model.engine.configurations import ARRAYS, DENSE, K
from dpnet.model.engine.dense import DenseParameters
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json
from dpnet.sim.board.harness import HarnessError
from dpnet.sim.kit.bench import BenchError
from dpnet.sim.measure.dense import run_dense
from dpnet.sim.simulator import SimulatorError

SHAPES = ((1000, 1024), (384, 1728))

LIMITS = {
    "paper-baseline": "the fp32 adder's latency: 6 cycles a weight",
    "interleaved-baseline": "one fp32 multiplier and adder: 1 weight a cycle",
    "dense-int8": "900 DSP48E1, two products each",
    "array": "LUTs: a bucket adder and a bucket memory a lane",
}


def fp32_row(url: str, name: str, rows: int, columns: int, seed: int) -> dict[str, Any]:
    """An fp32 baseline on its simulated board, through the shipped driver."""
    rng = np.random.default_rng([seed, rows, columns])
    weights = rng.normal(0, 0.03, (rows, columns)).astype(np.float32)
    x = rng.normal(0, 1, columns).astype(np.float32)
    driver = connect(url)
    try:
        session = BaselineSession(driver, weights)
        session.load()
        y, cycles = session.run(x)
    finally:
        driver.link.transport.close()
    golden = session.params.compute(weights, x)
    wrong = int((y.view(np.uint32) != golden.view(np.uint32)).sum())
    return {
        "engine": name,
        "activation": "fp32",
        "rows": rows,
        "columns": columns,
        "lanes": 1,
        "latency_cycles": cycles,
        "interval_cycles": cycles,
        "mismatches": wrong,
        "as_predicted": cycles == session.params.cycles(rows, columns),
        "weight_bits": 32 * rows * columns,
    }


def dense_row(params: DenseParameters, rows: int, columns: int, seed: int) -> dict[str, Any]:
    """The dense int8 engine, 8 vectors back to back."""
    found = run_dense(rows, columns, params, 8, seed)
    counted = found["latency_cycles"], found["interval_cycles"]
    return {
        "engine": "dense-int8",
        "activation": "int8",
        "rows": rows,
        "columns": columns,
        "lanes": params.tile_rows * params.segments,
        "latency_cycles": counted[0],
        "interval_cycles": counted[1],
        "mismatches": found["mismatches"],
        "as_predicted": counted == (found["predicted_latency"], found["predicted_interval"]),
        "weight_bits": 8 * rows * columns,
    }


def array_row(found: dict[str, Any]) -> dict[str, Any]:
    """A row of arrays.json; stored are the indices, and 16 entries and their parity a row."""
    engine = ARRAYS[found["name"]].engine
    stored = found["rows"] * (found["columns"] * engine.index_bits + K * engine.entry_bits)
    kept = ("activation", "rows", "columns", "lanes", "latency_cycles", "interval_cycles")
    return {
        "engine": "array",
        **{name: found[name] for name in kept},
        "mismatches": found["mismatches"] + found["errors"],
        "as_predicted": found["predicted"],
        "weight_bits": stored,
        "resources": found["name"],
    }


def with_resources(row: dict[str, Any], taken: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The row with what its engine takes, and its weights per cycle and 1,000 LUTs."""
    name = row.pop("resources", row["engine"])
    if name not in taken:
        raise FileNotFoundError(f"resources.json has no row {name}: run `make resources` first")
    found = taken[name]
    kinds = {kind: found[kind] for kind in ("lut", "lutram", "dsp", "bram36")}
    rate = row["rows"] * row["columns"] / row["interval_cycles"]
    return {
        **row,
        **kinds,
        "weights_per_cycle": round(rate, 1),
        "per_1000_lut": round(rate / kinds["lut"] * 1000, 2),
        "limit": LIMITS[row["engine"]],
    }


def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of a report under build/; `FileNotFoundError` with the command that makes it."""
    path = build_root() / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make {name}` first")
    found: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return found


def measure(seed: int) -> list[dict[str, Any]]:
    """All rows, matrix by matrix."""
    arrays = read_rows("arrays")
    taken = {row["name"]: row for row in read_rows("resources")}
    rows = []
    for shape in SHAPES:
        print(f"{shape[0]} × {shape[1]}", file=sys.stderr)
        found = [
            fp32_row("sim://baseline", "paper-baseline", *shape, seed),
            fp32_row("sim://interleaved", "interleaved-baseline", *shape, seed),
            dense_row(DENSE, *shape, seed),
            *(array_row(row) for row in arrays if (row.get("rows"), row.get("columns")) == shape),
        ]
        rows += [with_resources(row, taken) for row in found]
    return rows


def show(rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    head = [
        "matrix",
        "engine",
        "in",
        "one product",
        "to the next",
        "LUT",
        "LUT-RAM",
        "DSP",
        "BRAM",
        "Mbit of weights",
        "weights/cycle",
        "per 1,000 LUT",
        "limit",
    ]
    return table(
        head,
        [
            [
                f"{row['rows']} × {row['columns']}",
                row["engine"],
                row["activation"],
                f"{row['latency_cycles']:,}",
                f"{row['interval_cycles']:,}",
                f"{row['lut']:,}",
                f"{row['lutram']:,}",
                row["dsp"],
                row["bram36"],
                f"{row['weight_bits'] / 1e6:.2f}",
                f"{row['weights_per_cycle']:,.1f}",
                f"{row['per_1000_lut']:.2f}",
                row["limit"],
            ]
            for row in rows
        ],
    )


def ratios(rows: list[dict[str, Any]]) -> list[str]:
    """The int8 array against the dense int8 engine, a line for each matrix."""
    lines = []
    for shape in SHAPES:
        here = [row for row in rows if (row["rows"], row["columns"]) == shape]
        dense = next(row for row in here if row["engine"] == "dense-int8")
        for row in here:
            if row["engine"] == "array" and row["activation"] == "int8":
                lines.append(
                    f"{shape[0]} × {shape[1]}, int8: "
                    f"{dense['interval_cycles'] / row['interval_cycles']:.2f} × fewer cycles a "
                    f"product ({dense['latency_cycles'] / row['latency_cycles']:.2f} × for a single"
                    f" one), {row['weight_bits'] / dense['weight_bits']:.2f} of the weight bits, "
                    f"{row['dsp'] / dense['dsp']:.2f} of the DSP slices of the dense engine"
                )
    return lines


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.sim.measure.baselines",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument("--json", action="store_true", help="print the report, no table")
    options = parser.parse_args(arguments)
    made_of = provenance("baselines.json")
    try:
        rows = measure(options.seed)
    except (SimulatorError, HarnessError, BenchError, LinkError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    report = {"command": f"make baselines (seed {options.seed})", "rows": rows, **made_of}
    path = build_root() / "baselines.json"
    write_json(path, report, indent=1)
    print(json.dumps(report) if options.json else "\n".join([show(rows), "", *ratios(rows)]))
    wrong = [row["engine"] for row in rows if row["mismatches"] or not row["as_predicted"]]
    if wrong:
        print(
            f"error: results or cycles of {', '.join(wrong)} are not as they must be; see {path}",
            file=sys.stderr,
        )
    return bool(wrong)
