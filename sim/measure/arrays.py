"""Arrays that fill the chip, simulated at full size: every result against golden, every cycle.

    make arrays            (python -m dpnet.sim.measure.arrays [NAME …] [--vectors 8] [--seed 0]
    [--json])

Writes build/arrays.json and, with the chip's roofline, build/roofline.png.  Latency is from the
start, with the vector in the engine, to the last result in the result buffer; the interval is from
one product to the next, vectors back to back.
Exit codes: 0 all equal golden and the formulas; 1 something differs; 2 wrong usage; 3 no simulator,
or it failed; 130 interrupted.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.measure.arrays", "all"))

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.host.report import table
from dpnet.model.build_root import build_root
from dpnet.model.engine.configurations import ARRAYS, LEAN, SMALL, Configuration, K
from dpnet.model.engine.layout import Descriptor, Region, result_bytes, results, slot_words
from dpnet.model.engine.parameters import ceil_div
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json
from dpnet.sim.board.bare_core import BareCore, build_core
from dpnet.sim.board.harness import HarnessError
from dpnet.sim.kit.random_networks import Network
from dpnet.sim.measure.roofline import draw
from dpnet.sim.simulator import SimulatorError


@dataclass
class Single(Network):
    """One random layer at the start of an engine's stores, K = 16."""

    rows: int = 1
    columns: int = 1

    def __post_init__(self) -> None:
        engine = self.engine
        descriptor = Descriptor(
            beats=engine.beats(self.columns),
            tiles=engine.tiles(self.rows),
            rows=self.rows,
            k=K,
            index_row=0,
            slot=0,
            result_slot=0,
            in_row=0,
            out_bits=8,
            fp32_in=engine.fp32,
            vector_rows=ceil_div(engine.beats(self.columns), engine.row_beats),
            fp32_out=engine.fp32,
            relu=not engine.fp32,
        )
        self.layers.append(self._numbers(descriptor, self.columns))

    def load(self, core: BareCore, vectors: Sequence[NDArray[np.uint32]]) -> None:
        """Everything that runs of these vectors need."""
        for address, words in self.image():
            core.write(address, words)
        for n, vector in enumerate(vectors):
            core.write(*self.input(self.layers[0], vector, n))

    def mismatches(self, core: BareCore, vectors: Sequence[NDArray[np.uint32]]) -> int:
        """Results that differ from golden."""
        engine, layer = self.engine, self.layers[0]
        slots = engine.tiles(self.rows) * engine.stages
        count = result_bytes(engine, self.rows) // 4
        wrong = 0
        for n, vector in enumerate(vectors):
            address = Region.RESULT.base + 4 * n * slots * slot_words(engine)
            found = results(engine, core.read(address, count), self.rows)
            wrong += int((found != layer.results(vector)).sum())
        return wrong


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
    """A table for people; times at 100 MHz."""
    return table(
        ["array", "matrix", "lanes", "one product", "to the next", "at 100 MHz", "differ", "built"],
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
            for row in rows
        ],
    )


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
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--vectors", type=int, default=8, help="back to back (8)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument("--json", action="store_true", help="print the report, no table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="(build/arrays.json)")
    options = parser.parse_args(arguments)
    names = options.names or list(ARRAYS)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"no array is called {unknown[0]!r}; there are {', '.join(known)}")
    if not 2 <= options.vectors <= 8:
        parser.error(f"--vectors must be from 2 to 8, not {options.vectors}")
    rows: list[dict[str, Any]] = []
    report = options.out or build_root() / "arrays.json"
    command = f"make arrays (vectors {options.vectors}, seed {options.seed})"
    whole = {tuple(ARRAYS): "arrays.json", tuple(LEAN): "arrays-lean.json"}.get(tuple(names))
    made_of = provenance(whole) if whole else {}
    try:
        for name in names:
            print(f"{name}: building and running (first time: minutes)", file=sys.stderr)
            rows.append(run_array(name, known[name], options.vectors, options.seed))
            write_report(rows, report, command, made_of if len(rows) == len(names) else {})
        draw(report.with_name("roofline.png"), rows, known)
    except (SimulatorError, HarnessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\ninterrupted; arrays that were built stay built", file=sys.stderr)
        return 130
    print(json.dumps({"command": command, "rows": rows}) if options.json else show(rows))
    bad = [r["name"] for r in rows if r["mismatches"] or r["errors"] or not r["predicted"]]
    if bad:
        print(
            f"error: results or cycles of {', '.join(bad)} are not as they must be; see {report}",
            file=sys.stderr,
        )
    return bool(bad)
