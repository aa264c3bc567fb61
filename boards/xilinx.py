"""From Verilog to a bitstream for a Xilinx 7-series chip: Vivado, or openXC7's tools.

Neither has been run with these files: what is written and called is tested with tools that only
pretend (tests/test_boards_xilinx.py).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpnet.boards.tool import Tool, ToolError
from dpnet.boards.yosys import find_yosys

TOP = "dpnet"
VERILOG, XDC, BIT = f"{TOP}.v", f"{TOP}.xdc", f"{TOP}.bit"
TCL, SHELL, SYNTHESIS = "build.tcl", "build.sh", "synthesize.ys"
DEFINE = "XC7"
"""The macro that chooses the chip's own primitives (`dpnet.gateware.array.lane.TopBits`)."""

VIVADO_CURE = (
    "install it from AMD and put its bin folder on the PATH, or set VIVADO=/path/to/vivado"
)
OPENXC7_PROGRAMS = ("nextpnr-xilinx", "fasm2frames", "xc7frames2bit")
OPENXC7_CURE = "install it (https://github.com/openXC7/toolchain-installer) and put it on the PATH"


@dataclass(frozen=True)
class Pin:
    """A port of the top, the ball that it is on, and the I/O standard of its bank."""

    port: str
    site: str
    standard: str
    output: bool


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock that comes in: `vivado` finds it there, `net` is the engine's clock in the top."""

    mhz: float
    vivado: str
    net: str = "clk"


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a tool gets: Verilog of the module `TOP`, its pins, the clock that comes in, and `mhz`,
    what the engine's clock is; `part` with package and speed (`xc7z045ffg900-2`)."""

    part: str
    family: str
    verilog: str
    pins: tuple[Pin, ...]
    clock: Clock
    mhz: float


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What a tool reached: its clock in MHz, the sites it reports (empty if it does not), its log
    and reports by file name."""

    mhz: float
    used: Mapping[str, int]
    files: tuple[str, ...]


def vivado_xdc(design: Design) -> str:
    """Pins and clock for Vivado; pins other than a clock's are asynchronous."""
    paths = [
        f"set_false_path {'-to' if pin.output else '-from'} [get_ports {{{pin.port}}}]"
        for pin in design.pins
        if f"{{{pin.port}}}" not in design.clock.vivado and not pin.standard.startswith("LVDS")
    ]
    period = f"{1000 / design.clock.mhz:.3f}"
    clock = f"create_clock -name board -period {period} {design.clock.vivado}"
    return "\n".join([*map(_pin, design.pins), clock, *paths, ""])


def openxc7_xdc(design: Design) -> str:
    """The same for nextpnr-xilinx, which reads no more than this of the language."""
    clock = f"create_clock -period {1000 / design.mhz:.3f} [get_nets {{{design.clock.net}}}]"
    return "\n".join([*map(_pin, design.pins), clock, ""])


def vivado_tcl(design: Design) -> str:
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


def synthesis_script() -> str:
    """Yosys' part of openXC7."""
    return f"""\
read_verilog -D {DEFINE} {VERILOG}
synth_xilinx -flatten -abc9 -family xc7 -top {TOP}
write_json {TOP}.json
"""


def openxc7_steps(
    design: Design, *, chipdb: str, database: str, seed: int
) -> list[tuple[str, list[str]]]:
    """(program, arguments) of openXC7 after Yosys, in order."""
    place = [
        "--chipdb",
        f"{chipdb}/{_die(design.part)}.bin",
        "--xdc",
        XDC,
        "--json",
        f"{TOP}.json",
        "--fasm",
        f"{TOP}.fasm",
        "--freq",
        f"{design.mhz:g}",
        "--seed",
        str(seed),
    ]
    family = f"{database}/{design.family}"
    frames = ["--part", design.part, "--db-root", family, f"{TOP}.fasm", f"{TOP}.frames"]
    bits = [
        "--part_file",
        f"{family}/{design.part}/part.yaml",
        "--part_name",
        design.part,
        "--frm_file",
        f"{TOP}.frames",
        "--output_file",
        BIT,
    ]
    return list(zip(OPENXC7_PROGRAMS, (place, frames, bits), strict=True))


def openxc7_shell(design: Design, *, seed: int) -> str:
    """The same as a shell script, for a machine that has the tools."""
    lines = [
        "#!/bin/sh",
        "# openXC7, beside the Verilog and the XDC file.  PRJXRAY_DB_DIR: the prjxray database,",
        f"# CHIPDB: the folder of nextpnr-xilinx's {_die(design.part)}.bin.",
        "set -eu",
        ': "${PRJXRAY_DB_DIR:?}" "${CHIPDB:?}"',
        f"yosys -q {SYNTHESIS}",
    ]
    steps = openxc7_steps(design, chipdb="$CHIPDB", database="$PRJXRAY_DB_DIR", seed=seed)
    for program, arguments in steps:
        lines.append(" ".join([program, *(f'"{argument}"' for argument in arguments)]))
    return "\n".join([*lines, ""])


def write_vivado(design: Design, folder: Path) -> tuple[Path, ...]:
    """Everything that Vivado needs, in `folder`."""
    return _write(
        folder, {VERILOG: design.verilog, XDC: vivado_xdc(design), TCL: vivado_tcl(design)}
    )


def write_openxc7(design: Design, folder: Path, *, seed: int) -> tuple[Path, ...]:
    """Everything that openXC7 needs, in `folder`."""
    return _write(
        folder,
        {
            VERILOG: design.verilog,
            XDC: openxc7_xdc(design),
            SYNTHESIS: synthesis_script(),
            SHELL: openxc7_shell(design, seed=seed),
        },
    )


def find_vivado() -> Tool:
    """Vivado: the one that `VIVADO` names, or the PATH's; raises `ToolError`."""
    return _program("Vivado", os.environ.get("VIVADO") or "vivado", VIVADO_CURE)


def find_openxc7(part: str, family: str) -> tuple[list[Tool], Path, Path]:
    """(Yosys and openXC7's programs in order, the folder of chip databases `CHIPDB`, the prjxray
    database `PRJXRAY_DB_DIR`); raises `ToolError`."""
    tools = [_program(name, name, OPENXC7_CURE) for name in OPENXC7_PROGRAMS]
    die = _die(part)
    database = _folder(
        "PRJXRAY_DB_DIR",
        "the prjxray database that came with it",
        Path(family) / part / "part.yaml",
    )
    chipdb = _folder(
        "CHIPDB",
        f"the folder of {die}.bin: bbaexport.py --device {part} --bba {die}.bba, "
        f"then bbasm -l {die}.bba {die}.bin",
        Path(f"{die}.bin"),
    )
    return [find_yosys(), *tools], chipdb, database


def run_vivado(design: Design, folder: Path) -> Routed:
    """Run what `write_vivado` wrote in `folder`, where the bitstream and reports are then.

    Raises `ToolError` if there is no Vivado, if it fails, or if timing is not met.
    """
    arguments = ["-mode", "batch", "-notrace", "-nojournal", "-nolog", "-source", TCL]
    text = find_vivado().run(arguments, folder)
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


def run_openxc7(design: Design, folder: Path, *, seed: int) -> Routed:
    """Run openXC7 on what `write_openxc7` wrote in `folder`, where the bitstream is then.

    Raises `ToolError` if a tool is missing or fails, or if timing is not met.
    """
    (yosys, *tools), chipdb, database = find_openxc7(design.part, design.family)
    log = [yosys.run(["-q", SYNTHESIS], folder)]
    steps = openxc7_steps(design, chipdb=str(chipdb), database=str(database), seed=seed)
    for tool, (_, arguments) in zip(tools, steps, strict=True):
        log.append(tool.run(arguments, folder))
        if tool.name == "nextpnr-xilinx":
            mhz = parse_nextpnr(log[-1], design)
    if not (folder / BIT).exists():
        raise ToolError(f"xc7frames2bit ended without {BIT}")
    (folder / "openxc7.log").write_text("\n".join(log))
    return Routed(mhz=mhz, used={}, files=("openxc7.log",))


def parse_nextpnr(text: str, design: Design) -> float:
    """The clock that nextpnr-xilinx reports last; raises `ToolError` if it is below `design.mhz`,
    or if there is none."""
    pattern = r"Max frequency for clock\s+'([^']*)': ([\d.]+) MHz"
    reached = {name: float(mhz) for name, mhz in re.findall(pattern, text)}
    if not reached:
        raise ToolError("nextpnr-xilinx ended without a timing figure")
    name, mhz = min(reached.items(), key=lambda item: item[1])
    if mhz < design.mhz:
        raise ToolError(f"timing is not met: clock {name} reaches {mhz} MHz, not {design.mhz:g}")
    return mhz


def parse_utilization(text: str) -> dict[str, int]:
    """Sites by kind from Vivado's report_utilization; kinds that are not in it are left out."""
    rows = {
        "lut": "Slice LUTs",
        "lutram": "LUT as Memory",
        "ff": "Slice Registers",
        "dsp": "DSPs",
        "bram36": "Block RAM Tile",
    }
    used = {}
    for kind, title in rows.items():
        found = re.search(rf"^\|\s*{title}\*?\s*\|\s*([\d.]+)\s*\|", text, re.MULTILINE)
        if found:
            # Half block RAMs count as halves.
            used[kind] = -int(-float(found[1]) // 1)
    return used


def _pin(pin: Pin) -> str:
    return (
        f"set_property -dict {{PACKAGE_PIN {pin.site} IOSTANDARD {pin.standard}}} "
        f"[get_ports {{{pin.port}}}]"
    )


def _die(part: str) -> str:
    return part.partition("-")[0]


def _write(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in texts)


def _program(name: str, command: str, cure: str) -> Tool:
    found = shutil.which(command)
    if found is None:
        raise ToolError(f"no {name}: there is no program {command!r}; {cure}")
    return Tool(name, (found,), "", f"from {found}")


def _folder(variable: str, meaning: str, holds: Path) -> Path:
    named = os.environ.get(variable)
    if not named:
        raise ToolError(f"openXC7 is not complete: set {variable} to {meaning}")
    folder = Path(named).absolute()
    if not (folder / holds).exists():
        raise ToolError(
            f"openXC7 is not complete: {variable} is {named!r}, and there is no {holds} in it; "
            f"it must be {meaning}"
        )
    return folder
