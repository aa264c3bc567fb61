"""From Verilog to a bitstream by openXC7: Yosys, nextpnr-xilinx and the tools around prjxray.

They have not been run with these files: what is written and called is tested with programs that
only pretend (tests/test_boards_toolchains.py).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from dpnet.boards.series7.design import (
    BIT,
    DEFINE,
    TOP,
    VERILOG,
    XDC,
    Design,
    Routed,
    family,
    write_files,
)
from dpnet.boards.series7.xdc import openxc7_xdc
from dpnet.boards.tool import Tool, ToolError, find_program
from dpnet.boards.yosys import find_yosys

SHELL, SYNTHESIS = "build.sh", "synthesize.ys"
PROGRAMS = ("nextpnr-xilinx", "fasm2frames", "xc7frames2bit")
CURE = "install it (https://github.com/openXC7/toolchain-installer) and put it on the PATH"


def synthesis_script() -> str:
    """Yosys' part of openXC7."""
    return f"""\
read_verilog -D {DEFINE} {VERILOG}
synth_xilinx -flatten -abc9 -family xc7 -top {TOP}
write_json {TOP}.json
"""


def steps(design: Design, *, chipdb: str, database: str, seed: int) -> list[tuple[str, list[str]]]:
    """(program, arguments) of openXC7 after Yosys, in order."""
    chip, frames = f"{chipdb}/{_die(design.part)}.bin", f"{TOP}.frames"
    place = ["--chipdb", chip, "--xdc", XDC, "--json", f"{TOP}.json", "--fasm", f"{TOP}.fasm"]
    place += ["--freq", f"{design.mhz:g}", "--seed", str(seed)]
    root = f"{database}/{design.family}"
    bits = ["--part_file", f"{root}/{design.part}/part.yaml", "--part_name", design.part]
    bits += ["--frm_file", frames, "--output_file", BIT]
    arguments = (
        place,
        ["--part", design.part, "--db-root", root, f"{TOP}.fasm", frames],
        bits,
    )
    return list(zip(PROGRAMS, arguments, strict=True))


def shell(design: Design, *, seed: int) -> str:
    """The same as a shell script, for a machine that has the tools."""
    lines = [
        "#!/bin/sh",
        "# openXC7, beside the Verilog and the XDC file.  PRJXRAY_DB_DIR: the prjxray database,",
        f"# CHIPDB: the folder of nextpnr-xilinx's {_die(design.part)}.bin.",
        "set -eu",
        ': "${PRJXRAY_DB_DIR:?}" "${CHIPDB:?}"',
        f"yosys -q {SYNTHESIS}",
    ]
    for program, arguments in steps(
        design, chipdb="$CHIPDB", database="$PRJXRAY_DB_DIR", seed=seed
    ):
        lines.append(" ".join([program, *(f'"{argument}"' for argument in arguments)]))
    return "\n".join([*lines, ""])


def write(design: Design, folder: Path, seed: int) -> tuple[Path, ...]:
    """Everything that openXC7 needs, in `folder`."""
    return write_files(
        folder,
        {
            VERILOG: design.verilog,
            XDC: openxc7_xdc(design),
            SYNTHESIS: synthesis_script(),
            SHELL: shell(design, seed=seed),
        },
    )


def find(part: str) -> tuple[list[Tool], Path, Path]:
    """(Yosys and openXC7's programs in order, the folder of chip databases `CHIPDB`, the prjxray
    database `PRJXRAY_DB_DIR`); raises `ToolError`."""
    tools = [find_program(name, name, CURE) for name in PROGRAMS]
    die = _die(part)
    database = _folder(
        "PRJXRAY_DB_DIR",
        "the prjxray database that came with it",
        Path(family(part)) / part / "part.yaml",
    )
    chipdb = _folder(
        "CHIPDB",
        f"the folder of {die}.bin: bbaexport.py --device {part} --bba {die}.bba, "
        f"then bbasm -l {die}.bba {die}.bin",
        Path(f"{die}.bin"),
    )
    return [find_yosys(), *tools], chipdb, database


def run(design: Design, folder: Path, seed: int) -> Routed:
    """Run openXC7 on what `write` wrote in `folder`, where the bitstream is then.

    Raises `ToolError` if a tool is missing or fails, or if timing is not met.
    """
    (yosys, *tools), chipdb, database = find(design.part)
    log = [yosys.run(["-q", SYNTHESIS], folder)]
    todo = steps(design, chipdb=str(chipdb), database=str(database), seed=seed)
    mhz = 0.0
    for tool, (program, arguments) in zip(tools, todo, strict=True):
        log.append(tool.run(arguments, folder))
        if program == "nextpnr-xilinx":
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


def _die(part: str) -> str:
    return part.partition("-")[0]


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
