"""`make resources`: what engines take of the XC7Z045, synthesized by Yosys.

    python -m dpnet.boards.resources [NAME…] [--json] [--modules]

Writes build/resources.json.  Exit codes: 0; 2 wrong usage; 3 no Yosys, or it failed; 130
interrupted (run again: it goes on).
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.boards.resources", "boards"))

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from amaranth.lib.wiring import Component

from dpnet.boards.command import Candidate, chosen, parser, progress, result_path, run
from dpnet.boards.series7.counting import TOP, measure, module_table, table
from dpnet.boards.series7.netlist import SCRIPT
from dpnet.boards.tool import Tool
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.arithmetic.multiply_add import MultiplyAdd
from dpnet.gateware.baselines.dense import DenseCore
from dpnet.gateware.baselines.interleaved import InterleavedMultiplyAdd
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.maps.core import MapCore
from dpnet.model.build_root import build_root
from dpnet.model.engine.configurations import ARRAYS, DENSE, LEAN, PLANNED, SMALL
from dpnet.model.engine.devices import LIMITS, XC7Z045
from dpnet.model.engine.maps.sizing.configurations import MAP_ENGINES
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json

ENGINES: dict[str, tuple[int, Callable[[], Component]]] = {
    "default": (EngineParameters().lanes, lambda: ArrayCore(engine=EngineParameters())),
    **{
        name: (made.engine.lanes, partial(ArrayCore, engine=made.engine))
        for name, made in (ARRAYS | LEAN | SMALL).items()
    },
    **{name: (engine.lanes, partial(ArrayCore, engine=engine)) for name, engine in PLANNED.items()},
    **{name: (made.lanes, partial(MapCore, params=made)) for name, made in MAP_ENGINES.items()},
    "dense-int8": (DENSE.tile_rows * DENSE.segments, lambda: DenseCore(params=DENSE)),
    "paper-baseline": (1, MultiplyAdd),
    "interleaved-baseline": (1, InterleavedMultiplyAdd),
}
"""What NAME may be: (multiply-adds or lanes, engine).  The default array, those that fill the chip,
smaller ones that the estimate of `dpnet plan` is compared with, map engines, the dense
engine that fills the chip, and the units of the fp32 baselines without stores (their weights would
not fit the chip)."""


def candidates(names: Sequence[str] = ()) -> list[Candidate]:
    """The named engines (default: all)."""
    return [
        Candidate(name, ENGINES[name][0], ENGINES[name][1]()) for name in chosen(names, ENGINES)
    ]


def document(rows: Sequence[dict[str, Any]], yosys: Tool) -> dict[str, Any]:
    """What resources.json holds."""
    return {
        "command": "make resources",
        "tool": str(yosys),
        "script": SCRIPT.format(top=TOP),
        "device": {"name": XC7Z045.name, **XC7Z045.sizes},
        "limits": {kind: float(limit) for kind, limit in LIMITS.items()},
        "rows": list(rows),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    arguments_parser = parser("python -m dpnet.boards.resources", __doc__, ENGINES)
    arguments_parser.add_argument(
        "--modules", action="store_true", help="show what each module takes"
    )
    options = arguments_parser.parse_args(arguments)

    def work() -> None:
        made_of = {} if options.names else provenance("resources.json")
        measured = candidates(options.names)
        with progress("starting Yosys (20 s more in its very first run)") as ended:
            yosys = find_yosys()
            ended(str(yosys))
        report = document(measure(measured, yosys), yosys) | made_of
        write_json(build_root() / "resources.json", report)
        rows = report["rows"]
        texts = [table(rows), *(module_table(row) for row in rows if options.modules)]
        print(json.dumps(report, indent=2) if options.json else "\n\n".join(texts))
        print(f"wrote {result_path('resources.json')}", file=sys.stderr)

    return run("resources", work)
