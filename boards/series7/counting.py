"""What engines take of a 7-series chip, as rows and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dpnet.boards.command import Candidate, progress
from dpnet.boards.series7.netlist import (
    Netlist,
    Resources,
    binding,
    fits,
    share,
    synthesize_netlist,
)
from dpnet.boards.tool import Tool
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.emit import emit
from dpnet.model.engine.devices import KINDS, LIMITS, XC7Z045, Device

TOP = "engine"


def measure(
    candidates: Sequence[Candidate], yosys: Tool | None = None, *, device: Device = XC7Z045
) -> list[dict[str, Any]]:
    """A row for each candidate on `device`, with its modules; progress goes to stderr.  Raises
    `ToolError`."""
    yosys = yosys or find_yosys()
    rows = []
    for name, lanes, component in candidates:
        with progress(f"synthesizing {name}, {lanes} lanes") as ended:
            netlist = synthesize_netlist(emit(component, TOP), TOP, yosys)
            ended("kept from an earlier run" if netlist.kept else "done")
        rows.append(_row(name, lanes, netlist, device))
    return rows


def table(rows: Sequence[dict[str, Any]], device: Device = XC7Z045) -> str:
    """Rows as text: what is taken, and its part of the chip; what binds runs out first."""
    lines = [f"{'engine':<20}{'lanes':>6}" + "".join(f"{kind:>16}" for kind in KINDS) + "  binds"]
    for row in rows:
        cells = [f"{row[kind]:,} {row['share'][kind]:4.0%}" for kind in KINDS]
        lines.append(
            f"{row['name']:<20}{row['lanes']:>6}"
            + "".join(f"{cell:>16}" for cell in cells)
            + f"  {row['binds']}"
            + ("" if row["fits"] else ": does not fit")
        )
    limits = ", ".join(f"{kind} {float(limit):.0%}" for kind, limit in LIMITS.items())
    return "\n".join([*lines, f"of the {device.name}; a design may take at most {limits}"])


def module_table(row: dict[str, Any]) -> str:
    """Where the LUTs of one row go: every module, without its submodules."""
    lines = [f"{row['name']:<34}{'count':>6}{'each: lut':>11}{'ff':>7}{'dsp':>5}{'all: lut':>10}"]
    for use in row["modules"]:
        total = use["count"] * use["lut"]
        lines.append(
            f"  {use['module']:<32}{use['count']:>6}{use['lut']:>11,}{use['ff']:>7,}"
            f"{use['dsp']:>5}{total:>10,} {total / max(1, row['lut']):4.0%}"
        )
    return "\n".join(lines)


def _row(name: str, lanes: int, netlist: Netlist, device: Device) -> dict[str, Any]:
    total = netlist.total
    modules = [
        {"module": use.module, "count": use.count, **_sizes(use.own)} for use in netlist.uses
    ]
    return {
        "name": name,
        "lanes": lanes,
        **_sizes(total),
        "share": share(total, device),
        "binds": binding(total, device),
        "fits": fits(total, device),
        "modules": modules,
    }


def _sizes(resources: Resources) -> dict[str, int]:
    return {kind: getattr(resources, kind) for kind in KINDS}
