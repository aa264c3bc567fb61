"""From Verilog to a bitstream by Vivado.

It has not been run with these files: what is written and called is tested with a program that only
pretends (tests/test_boards_toolchains.py).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dpnet.boards.series7.design import BIT, DEFINE, TOP, VERILOG, XDC, Design, Routed, write_files
from dpnet.boards.series7.xdc import vivado_xdc
from dpnet.boards.tool import Tool, ToolError, find_program

TCL = "build.tcl"
CURE = "install it from AMD and put its bin folder on the PATH, or set VIVADO=/path/to/vivado"

ROWS = {
    "lut": "Slice LUTs",
    "lutram": "LUT as Memory",
    "ff": "Slice Registers",
    "dsp": "DSPs",
    "bram36": "Block RAM Tile",
}
"""Our kinds of sites, and their rows in Vivado's report."""


def tcl(design: Design) -> str:
    """`vivado -mode batch -source build.tcl`, beside the Verilog and the XDC file."""
    return f"""\
read_verilog {VERILOG}
read_xdc {XDC}
synth_design -top {TOP} -part {design.part} -verilog_define {DEFINE}
opt_design
place_design
phys_opt_design
route_design
report_utilization -file utilization.rpt
report_timing_summary -file timing.rpt
set setup [get_property SLACK [get_timing_paths -setup -max_paths 1]]
set hold [get_property SLACK [get_timing_paths -hold -max_paths 1]]
puts "slack: setup $setup ns, hold $hold ns"
if {{$setup < 0 || $hold < 0}} {{
    puts "ERROR: timing is not met: setup slack $setup ns, hold slack $hold ns"
    exit 1
}}
write_bitstream -force {BIT}
"""


def write(design: Design, folder: Path, seed: int = 1) -> tuple[Path, ...]:
    """Everything that Vivado needs, in `folder`.  It knows no seed."""
    return write_files(folder, {VERILOG: design.verilog, XDC: vivado_xdc(design), TCL: tcl(design)})


def find(part: str | None = None) -> Tool:
    """Vivado: the one that `VIVADO` names, or the PATH's, whatever the part; raises `ToolError`."""
    return find_program("Vivado", os.environ.get("VIVADO") or "vivado", CURE)


def run(design: Design, folder: Path, seed: int = 1) -> Routed:
    """Run what `write` wrote in `folder`, where the bitstream and reports are then.

    Raises `ToolError` if there is no Vivado, if it fails, or if timing is not met.
    """
    arguments = ["-mode", "batch", "-notrace", "-nojournal", "-nolog", "-source", TCL]
    text = find().run(arguments, folder)
    (folder / "vivado.log").write_text(text)
    slack = re.search(r"^slack: setup (\S+) ns, hold (\S+) ns$", text, re.MULTILINE)
    if slack is None or not (folder / BIT).exists():
        raise ToolError(f"Vivado ended without a timing figure or without {BIT}")
    reports = [name for name in ("utilization.rpt", "timing.rpt") if (folder / name).exists()]
    used = folder / "utilization.rpt"
    return Routed(
        mhz=round(1000 / (1000 / design.mhz - float(slack[1])), 2),
        used=parse_utilization(used.read_text()) if used.exists() else {},
        files=("vivado.log", *reports),
    )


def parse_utilization(text: str) -> dict[str, int]:
    """Sites by kind from Vivado's report_utilization; kinds that are not in it are left out."""
    used = {}
    for kind, title in ROWS.items():
        found = re.search(rf"^\|\s*{title}\*?\s*\|\s*([\d.]+)\s*\|", text, re.MULTILINE)
        if found:
            # Half block RAMs count as halves.
            used[kind] = -int(-float(found[1]) // 1)
    return used
