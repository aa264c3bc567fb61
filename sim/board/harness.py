"""Build the simulated board's program, once for each content."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from dpnet.sim.simulator import Simulator, build_environment, compile_options, simulator_folder

SOURCES = Path(__file__).parent
PROGRAM = "board"
_LOG = logging.getLogger(__name__)


class HarnessError(RuntimeError):
    """The simulator could not build a board; the message names the log."""


def build(verilog: str, simulator: Simulator, *, waves: bool = False) -> list[str]:
    """The command that runs `verilog` (module `top`, byte streams `i` and `o`) as a board.

    The folder's name is a hash of everything that goes in: Verilog, harness, simulator, options.
    """
    harness = SOURCES / ("harness.cpp" if simulator.kind == "verilator" else "harness.sv")
    content = f"{simulator.kind} {simulator.version} {waves}\n{harness.read_text()}\n{verilog}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    folder = simulator_folder("boards") / digest
    with FileLock(f"{folder}.lock"):
        if not (folder / PROGRAM).exists():
            _build_into(folder, verilog, harness, simulator, waves)
    if simulator.kind == "icarus":
        vvp = str(simulator.path.parent / "vvp")
        return [vvp, "-n", str(folder / PROGRAM)]
    return [str(folder / PROGRAM)]


def _build_into(
    folder: Path, verilog: str, harness: Path, simulator: Simulator, waves: bool
) -> None:
    """Build in a scratch folder and rename, so that an interrupted build leaves nothing half
    done.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    source = scratch / "top.sv"
    source.write_text(verilog)
    # The checkout may be in a folder whose path make does not take.
    harness = Path(shutil.copy(harness, scratch))
    commands = {
        "verilator": [
            str(simulator.path),
            "--cc",
            "--exe",
            "--build",
            "-j",
            str(os.cpu_count() or 1),
            "--prefix",
            "Vtop",
            "--top-module",
            "top",
            "-Mdir",
            str(scratch / "obj"),
            "-o",
            str(scratch / PROGRAM),
            "-O3",
            "--x-assign",
            "fast",
            "--x-initial",
            "fast",
            "-Wno-fatal",
            "-Wno-lint",
            "-Wno-style",
            "--timescale",
            "1ns/1ps",
            *(["--trace-vcd"] if waves else []),
            str(harness),
            str(source),
        ],
        "icarus": [
            str(simulator.path),
            "-g2012",
            "-o",
            str(scratch / PROGRAM),
            "-s",
            "harness",
            str(harness),
            str(source),
        ],
    }
    compile_and_keep(scratch, folder, commands[simulator.kind], PROGRAM, simulator)


def compile_and_keep(
    scratch: Path, folder: Path, command: list[str], program: str, simulator: Simulator
) -> None:
    """Run the simulator's `command` in `scratch`, which must make `program` there, and rename
    `scratch` to `folder`; `HarnessError` (with the log beside `folder`) if it does not."""
    if simulator.kind == "verilator":
        command = [*command, *compile_options()]
    log = scratch / "build.log"
    _LOG.info("building the simulator, once (%s)", folder)
    try:
        with log.open("w") as output:
            done = subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                env=build_environment(simulator),
                cwd=scratch,
            )
        if done.returncode or not (scratch / program).exists():
            kept = folder.with_suffix(".failed.log")
            shutil.copy(log, kept)
            raise HarnessError(f"{simulator} could not build the {program}; its log is {kept}")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(scratch / "obj", ignore_errors=True)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
