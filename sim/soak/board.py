"""A small simulated board whose power, port and host fail when they are told to."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dpnet.gateware.emit import emit
from dpnet.gateware.top import Top
from dpnet.host.errors import PortError
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.board.bytes_board import ANSWER, CLOCK_HZ, SimTransport
from dpnet.sim.soak.build import build_program

ENGINE = EngineParameters(
    stages=1,
    columns=2,
    segments=1,
    index_bits=4,
    activation_bits=8,
    entry_bits=16,
    max_columns=64,
    index_depth=1 << 19,
    slots=64,
    result_slots=64,
    vector_words=256,
    layers=4,
    bank=2,
    row_beats=1,
    edges="integer",
)
"""Two lanes of integers and 512 KB for indices, which is what a load at line rate fills."""

_RESET, _NEW = 2, 4


@cache
def board_program() -> Path:
    """The program of the board of `ENGINE`."""
    # Without SYNTHESIS the stores' text would fill them with zeros.
    return build_program(
        emit(Top(params=ENGINE, status=True)),
        "board",
        more=("-DSYNTHESIS", "--x-initial", "unique"),
    )


class PowerBoard(SimTransport):
    """The simulated board of `ENGINE` with a power switch."""

    def __init__(self) -> None:
        super().__init__("sim://soak", [str(board_program())])

    def power_cut(self, *, forget: bool, seed: int = 0) -> None:
        """Off and on again: all registers are as after a reset, the stores keep their words, or,
        with `forget`, hold random ones."""
        self._pending.clear()
        self._received.clear()
        process = self._process
        assert process.stdin is not None
        flags = (_NEW | (seed & 0xFFFFFF) << 8) if forget else _RESET
        process.stdin.write(struct.pack("<IIQI", 0, 0, 0, flags))
        process.stdin.flush()
        self._output.read(ANSWER.size)


class HostGone(Exception):
    """The host's program was killed; nothing of it goes on."""


@dataclass
class Accident:
    """What happens, once: "power" (the port stays), "unplugged" (power and port go), "port" or
    "host", after so many cycles of the board, or for the last two bytes of the host."""

    kind: str
    after: int
    forget: bool = False
    seed: int = 0


class FragileLine:
    """A transport to `board` that one accident befalls; a port that went away stays away."""

    reply_s = SimTransport.reply_s

    def __init__(self, board: PowerBoard, accident: Accident | None = None) -> None:
        self.board = board
        self.gone = False
        self.happened = False
        self.arm(accident)

    def arm(self, accident: Accident | None) -> None:
        """From now on, this accident is to happen; None: none."""
        self._accident = accident
        self._cut = self.board.cycles + accident.after if accident else 0
        self._bytes = 0

    def write(self, data: bytes) -> None:
        """See `Transport`."""
        self._check()
        accident = self._accident
        if accident and accident.kind in ("port", "host"):
            left = accident.after - self._bytes
            self._bytes += len(data)
            if left < len(data):
                self.board.write(data[:left])
                self._happens(accident)
        self.board.write(data)

    def read(self, limit: int, timeout_s: float) -> bytes:
        """See `Transport`."""
        self._check()
        accident = self._accident
        if accident and accident.kind in ("power", "unplugged"):
            left = max(0, self._cut - self.board.cycles)
            data = self.board.read(limit, min(timeout_s, left / CLOCK_HZ)) if left else b""
            if self.board.cycles >= self._cut:
                self._happens(accident)
            return data
        return self.board.read(limit, timeout_s)

    def now(self) -> float:
        """See `Transport`."""
        return self.board.now()

    def sleep(self, seconds: float) -> None:
        """See `Transport`."""
        self._check()
        accident = self._accident
        if accident and accident.kind in ("power", "unplugged"):
            left = max(0, self._cut - self.board.cycles) / CLOCK_HZ
            if left <= seconds:
                if left:
                    self.board.sleep(left)
                self._happens(accident)
        self.board.sleep(seconds)

    def close(self) -> None:
        """See `Transport`."""
        self.gone = True

    def _check(self) -> None:
        if self.gone:
            raise PortError("the port was taken away")

    def _happens(self, accident: Accident) -> None:
        self._accident, self.happened = None, True
        if accident.kind in ("power", "unplugged"):
            self.board.power_cut(forget=accident.forget, seed=accident.seed)
        if accident.kind in ("unplugged", "port"):
            self.gone = True
            raise PortError("the port was taken away")
        if accident.kind == "host":
            self.gone = True
            raise HostGone
