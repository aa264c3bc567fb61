"""`make fmax`: the clock that engines reach on an ECP5, placed and routed by nextpnr.

    python -m dpnet.boards.fmax [NAME…] [--seed 1] [--seeds 1] [--target 100] [--json]

Writes build/fmax.json.  Exit codes: 0; 2 wrong usage; 3 a tool is missing or failed; 130
interrupted (run again: it goes on).
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.boards.fmax", "boards"))

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dpnet.boards.command import Candidate, chosen, parser, progress, result_path, run
from dpnet.boards.ecp5.nextpnr import DEVICE, SCRIPT, Timing, find_nextpnr, measure
from dpnet.boards.parts.shim import PinShim
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.model.build_root import build_root
from dpnet.model.engine.configurations import ECP5
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json

TOP = "shim"
TARGET_MHZ = 100.0


def candidates(names: Sequence[str] = ()) -> list[tuple[Candidate, str]]:
    """(compute core, its activations) of the named engines (default: all)."""
    return [
        (
            Candidate(name, ECP5[name].engine.lanes, ArrayCore(engine=ECP5[name].engine)),
            ECP5[name].activation,
        )
        for name in chosen(names, ECP5)
    ]


def measure_all(
    candidates: Sequence[tuple[Candidate, str]], *, seeds: Sequence[int], target: float
) -> list[dict[str, Any]]:
    """A row for each candidate, behind a `PinShim`; progress goes to stderr.  Raises
    `ToolError`."""
    rows = []
    for (name, lanes, component), kind in candidates:
        seed_text = ", ".join(map(str, seeds))
        with progress(f"placing and routing {name}, {lanes} lanes, seed {seed_text}") as ended:
            text = emit(PinShim(component=component), TOP)
            timings, kept = measure(text, TOP, seeds=list(seeds), target=target)
            ended("kept from an earlier run" if kept else "done")
        rows.append(_row(name, lanes, kind, timings))
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as text, each with the path that limits its best seed."""
    lines = [
        f"{'engine':<20}{'lanes':>6}{'':>2}{'input':<6}{'MHz':>7}{'median':>8}{'seeds':>7}"
        f"{'lut':>8}{'ff':>8}{'bram':>6}{'mult':>6}"
    ]
    for row in rows:
        lines.append(
            f"{row['name']:<20}{row['lanes']:>6}  {row['activation']:<6}{row['mhz']:>7.1f}"
            f"{row['median']:>8.1f}{len(row['seeds']):>7}{row['lut']:>8,}{row['ff']:>8,}"
            f"{row['bram']:>6}{row['multiplier']:>6}"
        )
        path = row["critical"]
        lines += [
            f"    {path['ns']:.1f} ns from {path['source']} to {path['target']}: register "
            f"{path['launch']:.1f}, {path['steps']} cells {path['logic']:.1f}, wires "
            f"{path['routing']:.1f}",
            "    " + ", ".join(f"seed {s['seed']}: {s['mhz']:.1f} MHz" for s in row["seeds"]),
        ]
    return "\n".join([*lines, f"{DEVICE}; MHz is the best seed's"])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments_parser = parser("python -m dpnet.boards.fmax", __doc__, ECP5)
    for name, kind, value, meaning in (
        ("--seed", int, 1, "first seed of the placement"),
        ("--seeds", int, 1, "how many seeds"),
        ("--target", float, TARGET_MHZ, "clock that is asked for, MHz"),
    ):
        arguments_parser.add_argument(name, type=kind, default=value, help=f"{meaning} ({value:g})")
    options = arguments_parser.parse_args(arguments)

    def work() -> None:
        if options.seeds < 1 or not options.target > 0:
            raise ValueError("--seeds and --target must be positive")
        made_of = {} if options.names else provenance("fmax.json")
        measured = candidates(options.names)
        with progress("starting Yosys and nextpnr (50 s more in their very first run)") as ended:
            tools = [find_yosys(), find_nextpnr()]
            ended(", ".join(map(str, tools)))
        seeds = range(options.seed, options.seed + options.seeds)
        rows = measure_all(measured, seeds=seeds, target=options.target)
        report = {
            "command": "make fmax",
            "tools": [str(tool) for tool in tools],
            "script": SCRIPT.format(top=TOP),
            "device": DEVICE,
            "rows": rows,
            **made_of,
        }
        write_json(build_root() / "fmax.json", report)
        print(json.dumps(report, indent=2) if options.json else table(rows))
        print(f"wrote {result_path('fmax.json')}", file=sys.stderr)

    return run("fmax", work)


def _row(name: str, lanes: int, kind: str, timings: Sequence[Timing]) -> dict[str, Any]:
    best = max(timings, key=lambda timing: timing.mhz)
    return {
        "name": name,
        "activation": kind,
        "lanes": lanes,
        "mhz": best.mhz,
        "seed": best.seed,
        "median": statistics.median(timing.mhz for timing in timings),
        "target": best.target,
        "met": best.met,
        "seeds": [{"seed": t.seed, "mhz": t.mhz} for t in timings],
        **best.used,
        "critical": {
            **asdict(best.critical),
            "source": best.critical.source.removeprefix("component."),
            "target": best.critical.target.removeprefix("component."),
        },
    }
