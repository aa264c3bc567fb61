"""The simulated board: an engine's Verilog behind a transport, and behind a socket.

`sim://array`, `sim://lane`, `sim://maps`, `sim://baseline` and `sim://interleaved` are boards in
this process's care; sizes may follow (`sim://array?stages=4&columns=8&segments=2`).  Time is the
simulation's: it stands still while the host thinks, so that the cycles of a run do not depend on
the machine.
"""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import IO
from urllib.parse import parse_qsl, urlsplit

from dpnet.host.errors import PortError
from dpnet.host.session import Parameters
from dpnet.model.engine.baseline import BaselineParameters, InterleavedParameters
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.board.harness import HarnessError, build
from dpnet.sim.board.limits import check_size
from dpnet.sim.board.top_text import top_text
from dpnet.sim.simulator import Simulator, SimulatorError, find_simulator

CLOCK_HZ = 100_000_000
"""A second of the simulation, unless its URL says another clock."""
ANSWER = struct.Struct("<QII")
"""Cycles that ran, bytes that came, what is under way (see harness.cpp): it precedes the bytes."""

BOARDS: Mapping[str, Parameters] = {
    "array": EngineParameters(),
    "lane": EngineParameters(
        stages=1, columns=1, segments=1, index_depth=1 << 20, slots=1024, result_slots=1024
    ),
    "maps": MapEngineParameters(),
    "baseline": BaselineParameters(),
    "interleaved": InterleavedParameters(),
}
"""What `sim://NAME` builds; the stores hold both matrices of the paper's Table VI."""


def parse_url(url: str) -> tuple[Parameters, dict[str, str]]:
    """The parameters that a `sim://` URL names, and what else its query says.

    Raises `PortError` for an unknown board, size or option.
    """
    parts = urlsplit(url)
    name = parts.netloc or "array"
    if parts.scheme != "sim" or name not in BOARDS or parts.path not in ("", "/"):
        raise PortError(f"{url}: no such simulated board; use sim:// with {', '.join(BOARDS)}")
    base = BOARDS[name]
    known = {field.name: getattr(base, field.name) for field in fields(base)}
    options: dict[str, str] = {}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key in OPTIONS:
            options[key] = text
        elif key not in known:
            raise PortError(
                f"{url}: unknown size {key!r}; there are {', '.join([*known, *OPTIONS])}"
            )
        else:
            known[key] = _value(url, key, text, known[key])
    try:
        params = type(base)(**known)
        check_size(params)
        return params, options
    except ValueError as error:
        raise PortError(f"{url}: {error}") from error


OPTIONS = ("waves", "clock_hz")


def clock_of(url: str, options: Mapping[str, str]) -> int:
    """The clock that a URL asks for, in Hz; `PortError` if it is none."""
    text = options.get("clock_hz", str(CLOCK_HZ))
    if not text.isdecimal() or not 0 < int(text) < 1 << 32:
        raise PortError(f"{url}: clock_hz must be a whole number of Hz, not {text!r}")
    return int(text)


def _value(url: str, key: str, text: str, default: object) -> object:
    if isinstance(default, bool):
        if text not in ("0", "1"):
            raise PortError(f"{url}: {key} must be 0 or 1, not {text!r}")
        return text == "1"
    if isinstance(default, str):
        return text
    if not text.isdecimal():
        raise PortError(f"{url}: {key} must be a whole number, not {text!r}")
    return int(text)


def build_board(
    params: Parameters,
    simulator: Simulator | None = None,
    *,
    waves: bool = False,
    clock_hz: int = CLOCK_HZ,
) -> list[str]:
    """The command that runs the simulated board of `params`; built unless it already was."""
    text = top_text(params=params, clock_hz=clock_hz, status=True)
    return build(text, simulator or find_simulator(), waves=waves)


def open_board(url: str) -> SimTransport:
    """The transport of a `sim://` URL (entry point of `dpnet.transports`)."""
    params, options = parse_url(url)
    waves = Path(options["waves"]) if "waves" in options else None
    clock_hz = clock_of(url, options)
    try:
        command = build_board(params, waves=waves is not None, clock_hz=clock_hz)
    except (SimulatorError, HarnessError) as error:
        raise PortError(f"{url}: {error}") from error
    return SimTransport(url, command, waves=waves, clock_hz=clock_hz)


class SimTransport:
    """A transport (`dpnet.host.link.transport.Transport`) to a simulated board that runs as a
    process.

    `cycles` is the simulated time so far, at `clock_hz`; `answers`, whether at its end there was a
    request without its answer; `runs`, whether a run was on.  While `tracing` the cycles go into
    the waveform, where the board was built for one.
    """

    reply_s = 2e-4
    """20,000 cycles at 100 MHz, four times what a window of frames takes."""

    def __init__(
        self,
        url: str,
        command: list[str],
        *,
        waves: Path | None = None,
        clock_hz: int = CLOCK_HZ,
    ) -> None:
        self.url, self.clock_hz = url, clock_hz
        self.reply_s = type(self).reply_s * CLOCK_HZ / clock_hz
        self.cycles = 0
        self.answers = self.runs = False
        self.tracing = False
        self._pending = bytearray()
        self._received = bytearray()
        try:
            self._process, self._output = _start(command, waves)
        except OSError as error:
            raise PortError(f"{url}: the simulator does not start: {error}") from error

    def write(self, data: bytes) -> None:
        """Bytes for the board; they arrive when time passes, one per cycle."""
        self._pending += data

    def read(self, limit: int, timeout_s: float) -> bytes:
        """Bytes from the board, as soon as there are any; b"" after `timeout_s` simulated
        seconds.
        """
        if not self._received:
            self._advance(max(1, round(timeout_s * self.clock_hz)), wanted=1)
        data = bytes(self._received[:limit])
        del self._received[:limit]
        return data

    def now(self) -> float:
        """Simulated seconds since the reset."""
        return self.cycles / self.clock_hz

    def sleep(self, seconds: float) -> None:
        """Let the board run for so many simulated seconds."""
        self._advance(max(1, round(seconds * self.clock_hz)), wanted=0)

    def close(self) -> None:
        """End the simulation."""
        process = self._process
        if process.stdin and not process.stdin.closed:
            try:
                process.stdin.close()
            except OSError:
                process.kill()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._output.close()

    def _advance(self, cycles: int, wanted: int) -> None:
        data, self._pending = bytes(self._pending), bytearray()
        process = self._process
        assert process.stdin is not None
        try:
            process.stdin.write(
                struct.pack("<IIQI", len(data), wanted, cycles, int(self.tracing)) + data
            )
            process.stdin.flush()
            header = self._output.read(ANSWER.size)
            if len(header) < ANSWER.size:
                raise OSError("it ended")
            ran, size, state = ANSWER.unpack(header)
            self._received += self._output.read(size)
        except (OSError, ValueError) as error:
            raise PortError(
                f"{self.url}: the simulator stopped answering ({error}); run again, and if "
                "it happens again delete the build folder"
            ) from error
        self.cycles += ran
        self.answers, self.runs = bool(state & 1), bool(state & 2)


def _start(command: list[str], waves: Path | None) -> tuple[subprocess.Popen[bytes], IO[bytes]]:
    """Start the board's program: the process, and where its answers come from."""
    if len(command) == 1:
        process = subprocess.Popen(
            [*command, *([str(waves)] if waves else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        return process, process.stdout
    # vvp writes notes of its own to standard output, so its answers need a pipe of their own.
    ours, theirs = os.pipe()
    plusargs = ["+in=/dev/stdin", f"+out=/dev/fd/{theirs}", *([f"+waves={waves}"] if waves else [])]
    process = subprocess.Popen(
        [*command, *plusargs],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(theirs,),
        start_new_session=True,
    )
    os.close(theirs)
    return process, os.fdopen(ours, "rb")
