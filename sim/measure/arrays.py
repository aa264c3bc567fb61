"""Engines that fill a chip, simulated at full size: every result against golden, every cycle.

    make arrays            (python -m dpnet.sim.measure.arrays [NAME …] [--vectors 8] [--seed 0]
    [--json])

Arrays compute random products, map engines whole networks with their published weights, which lie
with their inputs where DPNET_DATA and DPNET_WEIGHTS say; without these they are left out.
Writes build/arrays.json and, with the chip's roofline, build/roofline.png.  Latency is from the
start, with the vector or the pictures in the engine, to the last result in the result buffer; the
interval is from one product to the next, vectors back to back, or the part of each picture in
flight.
Exit codes: 0 all equal golden and the formulas; 1 something differs; 2 wrong usage, or data are
missing (all else was measured); 3 no simulator, or it failed; 130 interrupted.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.measure.arrays", "all"))

import argparse
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.host.report import table
from dpnet.model.build_root import build_root
from dpnet.model.data.places import DataError
from dpnet.model.engine.configurations import ARRAYS, LEAN, SMALL, Configuration
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json
from dpnet.sim.board.bare_core import BareCore, build_core
from dpnet.sim.board.harness import HarnessError
from dpnet.sim.measure.maps import ON_CHIPS, run_network
from dpnet.sim.measure.roofline import draw
from dpnet.sim.measure.single import Single
from dpnet.sim.simulator import SimulatorError


def run_array(name: str, made: Configuration, vectors: int, seed: int) -> dict[str, Any]:
    """Build the array if need be, load a random product, run it for one vector and for `vectors`
    back to back, and compare every result and both counts of cycles."""
    rng = np.random.default_rng([seed, made.rows, made.columns])
    product = Single(made.engine, rng, rows=made.rows, columns=made.columns)
    inputs = [product.vector(product.layers[0]) for _ in range(vectors)]
    program, built = build_core(emit(ArrayCore(engine=made.engine)))
    began = time.monotonic()
    with BareCore(program) as core:
        product.load(core, inputs)
        one = core.run(0, 0)
        all_of_them = core.run(0, 0, vectors)
        wrong = product.mismatches(core, inputs)
    interval, rest = divmod(all_of_them.cycles - one.cycles, max(1, vectors - 1))
    predicted = made.latency_cycles + (vectors - 1) * made.interval_cycles
    return {
        "name": name,
        "network": None,
        "pictures_in_flight": None,
        "rows": made.rows,
        "columns": made.columns,
        "activation": made.activation,
        "lanes": made.engine.lanes,
        "latency_cycles": one.cycles,
        "interval_cycles": interval,
        "vectors": vectors,
        "mismatches": wrong,
        "errors": one.errors | all_of_them.errors,
        "predicted": not rest
        and (one.cycles, all_of_them.cycles) == (made.latency_cycles, predicted),
        "seed": seed,
        "build_seconds": round(built, 1),
        "run_seconds": round(time.monotonic() - began, 1),
    }


def show(rows: list[dict[str, Any]]) -> str:
    """Tables for people, of arrays and of networks; times at 100 MHz."""
    arrays = [row for row in rows if row["network"] is None]
    networks = [row for row in rows if row["network"] is not None]
    tables = [
        table(
            ["array", "matrix", "lanes", "one product", "to the next", "time", "differ", "built"],
            [
                [
                    row["name"],
                    f"{row['rows']} × {row['columns']}",
                    f"{row['lanes']:,}",
                    f"{row['latency_cycles']} cycles",
                    f"{row['interval_cycles']} cycles",
                    f"{row['interval_cycles'] / 100:.2f} µs",
                    f"{row['mismatches']} of {row['vectors'] * row['rows']:,}",
                    f"{row['build_seconds']:.0f} s",
                ]
                for row in arrays
            ],
        ),
        table(
            ["network", "engine", "lanes", "in flight", "a run", "a picture", "time", "differ"],
            [
                [
                    row["name"],
                    row["engine"],
                    f"{row['lanes']:,}",
                    str(row["pictures_in_flight"]),
                    f"{row['latency_cycles']:,} cycles",
                    f"{row['interval_cycles']:,.0f} cycles",
                    f"{row['interval_cycles'] / 100:.1f} µs",
                    f"{row['mismatches']} of {row['values']:,}",
                ]
                for row in networks
            ],
        ),
    ]
    there = [text for text, some in zip(tables, (arrays, networks), strict=True) if some]
    return "\n\n".join([*there, "times at 100 MHz"])


def write_report(
    rows: list[dict[str, Any]], path: Path, command: str, made_of: Mapping[str, str]
) -> None:
    """The file for machines; written anew after each array, so that an interruption loses none.
    It is evidence, with its sources (`made_of`), when all arrays are there."""
    write_json(path, {"command": command, "rows": rows, **made_of}, indent=1)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    known: Mapping[str, Configuration] = ARRAYS | LEAN | SMALL
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.sim.measure.arrays",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join([*known, *ON_CHIPS])}"
    )
    parser.add_argument("--vectors", type=int, default=8, help="back to back (8)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument("--json", action="store_true", help="print the report, no table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="(build/arrays.json)")
    options = parser.parse_args(arguments)
    usual = [*ARRAYS, *ON_CHIPS]
    names = options.names or usual
    if unknown := [name for name in names if name not in known and name not in ON_CHIPS]:
        parser.error(
            f"no array is called {unknown[0]!r}; there are {', '.join([*known, *ON_CHIPS])}"
        )
    if not 2 <= options.vectors <= 8:
        parser.error(f"--vectors must be from 2 to 8, not {options.vectors}")
    rows: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    report = options.out or build_root() / "arrays.json"
    command = f"make arrays (vectors {options.vectors}, seed {options.seed})"
    whole = {tuple(usual): "arrays.json", tuple(LEAN): "arrays-lean.json"}.get(tuple(names))
    made_of = provenance(whole) if whole else {}
    try:
        for name in names:
            print(f"{name}: building and running (first time: minutes)", file=sys.stderr)
            try:
                if name in known:
                    rows.append(run_array(name, known[name], options.vectors, options.seed))
                else:
                    rows.append(run_network(name, ON_CHIPS[name]))
            except DataError as error:
                left_out[name] = str(error)
                print(f"{name}: left out: {error}", file=sys.stderr)
                continue
            write_report(rows, report, command, made_of if len(rows) == len(names) else {})
        if arrays := [row for row in rows if row["network"] is None]:
            draw(report.with_name("roofline.png"), arrays, known)
    except (SimulatorError, HarnessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\ninterrupted; engines that were built stay built", file=sys.stderr)
        return 130
    return _end(rows, left_out, command, report, options.json)


def _end(
    rows: list[dict[str, Any]],
    left_out: Mapping[str, str],
    command: str,
    report: Path,
    as_json: bool,
) -> int:
    """Show everything; the exit code."""
    print(json.dumps({"command": command, "rows": rows}) if as_json else show(rows))
    bad = [r["name"] for r in rows if r["mismatches"] or r["errors"] or not r["predicted"]]
    if bad:
        print(
            f"error: results or cycles of {', '.join(bad)} are not as they must be; see {report}",
            file=sys.stderr,
        )
        return 1
    if left_out:
        print(f"error: left out, see above: {', '.join(left_out)}", file=sys.stderr)
        return 2
    return 0
