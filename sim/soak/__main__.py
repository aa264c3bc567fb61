"""Frames, loads and lines by the million, with everything going wrong that can (`make soak`).

    python -m dpnet.sim.soak
    python -m dpnet.sim.soak --seed 1 --frames 1e6 --uart-frames 1e4 --loads 1000

Frames, byte by byte, through the compiled decoder of the gateware, damaged in five ways at four
rates; frames, bit by bit, through its UART, with clocks that differ; loads into a simulated board
whose power, port and host fail; loads over a slow line with an adapter's latency, with and without
damage.  build/soak.json is written anew after each step.  An interrupted run goes on where it was.
Exit codes: 0 all promises kept, 1 one was broken, 3 no simulator, 130 interrupted.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.soak.__main__", "all"))

import argparse
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dpnet.host.report import table
from dpnet.model.build_root import build_root
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json
from dpnet.sim.board.harness import HarnessError
from dpnet.sim.simulator import SimulatorError
from dpnet.sim.soak import loads, rates, receiver, uart
from dpnet.sim.soak.cells import Cell, Counts, totals

FULL = {"frames": 10**7, "uart_frames": 10**5, "loads": 10**4}
"""How much `make soak` does."""


@dataclass(frozen=True)
class Sizes:
    """How much of each part, and the seed of everything random."""

    seed: int
    frames: int
    uart_frames: int
    loads: int

    @property
    def whole(self) -> bool:
        """Whether it is as much as the report must have to be evidence."""
        return all(getattr(self, name) >= least for name, least in FULL.items())

    def parts(self) -> Mapping[str, Callable[[], list[Cell]]]:
        """What makes the cells of each part, builds included."""
        return {
            "frames": lambda: receiver.cells(self.frames, self.seed),
            "uart": lambda: uart.cells(self.uart_frames, self.seed),
            "loads": lambda: loads.cells(self.loads, self.seed),
            "rates": lambda: rates.cells(self.seed),
        }


@dataclass
class Tally:
    """What was counted until now: the counts of each cell by its name, for each part."""

    sizes: Sizes
    counts: dict[str, dict[str, Counts]] = field(
        default_factory=lambda: {"frames": {}, "uart": {}, "loads": {}, "rates": {}}
    )

    @property
    def seconds(self) -> float:
        """What all cells took, builds not counted."""
        return sum(cell["seconds"] for cells in self.counts.values() for cell in cells.values())

    def least_rate(self, error_rate: float) -> float | None:
        """The worst share of the line's rate at this rate of errors."""
        found = [
            counts["line_rate"]
            for name, counts in self.counts["rates"].items()
            if name.startswith(f"{error_rate:g} ")
        ]
        return round(min(found), 4) if found else None

    def broken(self) -> list[str]:
        """The promises that were not kept, in words."""
        said = []
        promises = {"frames": receiver.PROMISES, "uart": uart.PROMISES, "loads": loads.PROMISES}
        for part, names in promises.items():
            sums = totals(self.counts[part].values())
            said += [f"{part}: {name} {sums[name]:,}" for name in names if sums.get(name)]
        for error_rate, least in rates.LEAST.items():
            found = self.least_rate(error_rate)
            if found is not None and found < least:
                said.append(
                    f"rates: {found:.3f} of the line's rate at an error rate of {error_rate:g}, "
                    f"not {least:g}"
                )
        return said

    def report(self) -> dict[str, Any]:
        """The whole report."""
        sums = {part: totals(cells.values()) for part, cells in self.counts.items()}
        frames, bits, stormy = sums["frames"], sums["uart"], sums["loads"]
        sizes = self.sizes
        return {
            "frames": frames.get("frames", 0),
            "wrong_accepted": frames.get("wrong", 0),
            "not_recovered": frames.get("lost", 0),
            "uart_frames": bits.get("frames", 0),
            "uart_wrong": sum(bits.get(name, 0) for name in uart.PROMISES),
            "loads": stormy.get("loads", 0),
            "wrong_loads": stormy.get("wrong_loads", 0),
            "wrong_runs": stormy.get("wrong_runs", 0),
            "line_rate_clean": self.least_rate(0.0),
            "line_rate_1e-3": self.least_rate(1e-3),
            "broken": self.broken(),
            "totals": {part: sums[part] for part in ("frames", "uart", "loads")},
            "cells": {part: self.counts[part] for part in ("frames", "uart", "rates")},
            "seed": sizes.seed,
            "seconds": round(self.seconds, 1),
            "command": f"python -m dpnet.sim.soak --seed {sizes.seed} --frames {sizes.frames} "
            f"--uart-frames {sizes.uart_frames} --loads {sizes.loads}",
        }

    def show(self) -> str:
        """The report for people."""
        report = self.report()
        sums = report["totals"]
        lines = [
            [f"frames, {kind}", *_columns(self._of(kind), ("frames", "accepted", "wrong", "lost"))]
            for kind in receiver.KINDS
        ]
        lines.append(
            [
                "frames through the UART",
                *_columns(sums["uart"], ("frames", "returned", "wrong", "lost")),
            ]
        )
        lines.append(
            ["loads", *_columns(sums["loads"], ("loads", "loads_done", "wrong_loads", "stuck"))]
        )
        lines.append(
            ["runs", *_columns(sums["loads"], ("runs", "starts_accepted", "wrong_runs", "stuck"))]
        )
        figures = [("clean", report["line_rate_clean"]), ("1e-3", report["line_rate_1e-3"])]
        return table(["", "tried", "accepted", "wrong", "lost"], lines) + "".join(
            f"\nline rate {name}: {100 * rate:.1f} %" for name, rate in figures if rate is not None
        )

    def _of(self, kind: str) -> Counts:
        return totals(
            counts for name, counts in self.counts["frames"].items() if name.startswith(kind)
        )


def _columns(counts: Counts, names: tuple[str, ...]) -> list[str]:
    return [f"{counts.get(name, 0):,}" for name in names]


def run_all(tally: Tally) -> None:
    """Every cell of every part, or what was kept of it; `tally` counts."""
    path, made_of = build_root() / "soak.json", provenance("soak.json")
    for part, make in tally.sizes.parts().items():
        print(f"{part}: building (the first time up to a minute)", file=sys.stderr, flush=True)
        cells = make()
        for n, cell in enumerate(cells):
            counts = cell.run()
            tally.counts[part][cell.name] = counts
            write_json(path, tally.report(), indent=1)
            shown = ", ".join(
                f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.3f}"
                for name, value in list(counts.items())[:6]
            )
            print(
                f"{part} {n + 1}/{len(cells)} {cell.name}: {shown}; {tally.seconds:.0f} s, "
                f"{len(tally.broken())} broken",
                file=sys.stderr,
                flush=True,
            )
    if tally.sizes.whole:
        write_json(path, tally.report() | made_of, indent=1)
    shutil.rmtree(build_root() / "soak" / "kept", ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.sim.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument(
        "--frames", type=float, default=FULL["frames"], help="byte by byte, at least (1e7)"
    )
    parser.add_argument(
        "--uart-frames", type=float, default=FULL["uart_frames"], help="bit by bit (1e5)"
    )
    parser.add_argument("--loads", type=float, default=FULL["loads"], help="with accidents (1e4)")
    parser.add_argument("--json", action="store_true", help="print the report, no table")
    options = parser.parse_args(arguments)
    sizes = Sizes(options.seed, int(options.frames), int(options.uart_frames), int(options.loads))
    if min(sizes.frames, sizes.uart_frames, sizes.loads) < 1 or sizes.seed < 0:
        parser.error("--frames, --uart-frames and --loads must be at least 1, --seed at least 0")
    tally = Tally(sizes)
    print(f"seed {sizes.seed}", file=sys.stderr)
    interrupted = False
    try:
        run_all(tally)
    except (SimulatorError, HarnessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        interrupted = True
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
    print(json.dumps(tally.report()) if options.json else tally.show())
    for promise in tally.broken():
        print(f"broken: {promise}", file=sys.stderr)
    return 130 if interrupted else int(bool(tally.broken()))
