"""Checks of programs: what compiles and runs the simulator, and what makes bitstreams."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dpnet.host.doctor.findings import (
    NOTE,
    OK,
    Environment,
    Finding,
    from_error,
    last_line,
    version_in,
)

SYSTEM = "install it with your system's packages"
COMPILER_INPUT = "#include <deque>\nint main() { return std::deque<int>{}.size(); }\n"
COMPILER_CURE = "install g++ and its libraries with your system's packages (Debian: g++)"
OPENXC7 = ("nextpnr-xilinx", "fasm2frames", "xc7frames2bit")
OPENXC7_FOLDERS = ("PRJXRAY_DB_DIR", "CHIPDB")

# The finders belong to packages above this one, and know all that there is to know: they are asked
# in a process of their own, which has a deadline and may lack any package.
_SIMULATOR = """
import subprocess, sys
from dpnet.sim.simulator import SimulatorError, build_environment, find_simulator
try:
    found = find_simulator()
except SimulatorError as error:
    sys.exit(str(error))
option = "-V" if found.kind == "icarus" else "--version"
done = subprocess.run(
    [str(found.path), option], env=build_environment(found), capture_output=True, text=True
)
if done.returncode:
    reason = " ".join((done.stdout + done.stderr).split()) or f"exit status {done.returncode}"
    sys.exit(f"{found} does not run: {reason}; install it again, or another one")
print(found)
"""
_VERILOG = """
from amaranth._toolchain.yosys import find_yosys
print("Yosys", ".".join(map(str, find_yosys(lambda version: version >= (0, 40)).version())))
"""
_SYNTHESIS = """
import sys
from dpnet.boards.tool import ToolError
from {module} import {name}
try:
    print({name}.find())
except ToolError as error:
    sys.exit(str(error))
"""


def simulator(environment: Environment) -> Iterator[Finding]:
    """The simulator, and what compiles a board: needed, the compiler not for Icarus."""
    found = _asked(
        environment,
        "simulator",
        _SIMULATOR,
        environment.simulator_status,
        environment.install("sim"),
    )
    icarus = found.status == OK and found.found.startswith("Icarus")
    if icarus:
        yield Finding(
            "simulator",
            NOTE,
            f"{found.found}: hundreds of times slower than Verilator",
            "install Verilator 5.036 or newer, or run make setup on x86-64 Linux",
        )
    else:
        yield found
    status = NOTE if icarus else environment.simulator_status
    yield _compiler(environment, status)
    yield _program(environment, "make", "--version", "GNU Make", status)
    yield _program(environment, "perl", "-v", "perl", status)


def verilog(environment: Environment) -> Iterator[Finding]:
    """The Yosys that writes the engine's Verilog: needed."""
    yield _asked(
        environment,
        "Verilog",
        _VERILOG,
        environment.simulator_status,
        environment.install("sim"),
    )


def synthesis(environment: Environment) -> Iterator[Finding]:
    """What makes bitstreams; each only a note."""
    cure = "run make setup-synthesis" if environment.checkout else environment.install("boards")
    yosys = _SYNTHESIS.format(module="dpnet.boards.yosys", name="YOSYS")
    yield _asked(environment, "synthesis", yosys, NOTE, cure)
    nextpnr = _SYNTHESIS.format(module="dpnet.boards.ecp5.nextpnr", name="NEXTPNR")
    yield _asked(environment, "place and route", nextpnr, NOTE, cure)
    yield _vivado(environment)
    yield _openxc7(environment)


def _asked(environment: Environment, name: str, code: str, status: str, cure: str) -> Finding:
    """What a program in Python prints; if it fails, an error with its cure."""
    ended, text = environment.run([sys.executable, "-c", code])
    if ended is None:
        return Finding(
            name,
            status,
            f"it does not answer within {environment.deadline_s:g} s",
            "a program on the PATH hangs: take it off the PATH, or install it again",
        )
    if ended:
        return from_error(name, status, last_line(text), cure)
    return Finding(name, OK, last_line(text))


def _program(environment: Environment, name: str, option: str, wanted: str, status: str) -> Finding:
    """A program that must be on the PATH and print `wanted`."""
    found = environment.find(name)
    if found is None:
        return _absent(environment, name, status)
    ended, text = environment.run([str(found), option])
    if ended is None:
        return _hangs(environment, name, found, status)
    if ended or wanted not in text:
        return Finding(
            name,
            status,
            f"{found} is no {wanted}, or broken: {last_line(text)}",
            f"{SYSTEM}, and put it first on the PATH",
        )
    version = version_in(text)
    return Finding(name, OK, f"{'.'.join(map(str, version or ()))} ({found})")


def _compiler(environment: Environment, status: str) -> Finding:
    """Whether g++ compiles and links."""
    found = environment.find("g++")
    if found is None:
        return _absent(environment, "g++", status)
    with tempfile.TemporaryDirectory(prefix="dpnet-") as folder:
        program = Path(folder) / "a.out"
        command = [str(found), "-std=c++17", "-o", str(program), "-x", "c++", "-"]
        ended, text = environment.run(command, COMPILER_INPUT)
        if ended is None:
            return _hangs(environment, "g++", found, status)
        if ended or not program.exists():
            reason = last_line(text) if text.strip() else f"exit status {ended}, no program"
            return Finding("g++", status, f"{found} does not compile: {reason}", COMPILER_CURE)
    _, text = environment.run([str(found), "--version"])
    version = version_in(text)
    return Finding("g++", OK, f"{'.'.join(map(str, version or ()))} ({found})")


def _vivado(environment: Environment) -> Finding:
    name = environment.variables.get("VIVADO") or "vivado"
    found = environment.find(name)
    only = "only bitstreams for Xilinx chips need it, or openXC7"
    if found is None:
        return Finding(
            "Vivado",
            NOTE,
            f"there is no program {name!r}; {only}",
            "install it and put it on the PATH, or set VIVADO (the XC7Z045 is not in the free "
            "edition)",
        )
    ended, text = environment.run([str(found), "-version"])
    if ended is None:
        return _hangs(environment, "Vivado", found, NOTE)
    version = version_in(text)
    if ended or "vivado" not in text.lower() or version is None:
        return Finding(
            "Vivado",
            NOTE,
            f"{found} does not run: {last_line(text)}; {only}",
            "source its settings64.sh, or install it again",
        )
    return Finding("Vivado", OK, f"{'.'.join(map(str, version))} ({found})")


def _openxc7(environment: Environment) -> Finding:
    absent = [name for name in OPENXC7 if environment.find(name) is None]
    if absent:
        return Finding(
            "openXC7",
            NOTE,
            f"{', '.join(absent)} not on the PATH; only bitstreams for Xilinx chips need it, or "
            "Vivado",
            "install it (github.com/openXC7) and put its programs on the PATH",
        )
    given = environment.variables
    folders = [name for name in OPENXC7_FOLDERS if not Path(given.get(name) or "-").is_dir()]
    if folders:
        return Finding(
            "openXC7",
            NOTE,
            f"{' and '.join(folders)} must name folders of its databases",
            "set them as make bitstream says, which looks into them too",
        )
    return Finding("openXC7", OK, f"{environment.find(OPENXC7[0])}")


def _absent(environment: Environment, name: str, status: str) -> Finding:
    blocked = environment.unusable(name)
    if blocked is not None:
        return Finding(name, status, f"{blocked} is not executable", f"chmod +x {blocked}")
    return Finding(name, status, "not on the PATH", SYSTEM)


def _hangs(environment: Environment, name: str, found: Path, status: str) -> Finding:
    return Finding(
        name,
        status,
        f"{found} does not answer within {environment.deadline_s:g} s",
        "take it off the PATH, or install it again",
    )
