"""The link's side of a compute core (`dpnet.gateware.parts.bus.CoreSignature`) in a bench."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.parts.bus import BUS_LATENCY
from dpnet.sim.kit.ports import reader
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import Pause, never

LONGEST_RUN = 100_000
SETTLE = 10
"""Cycles after a write: the bus's, and `EngineParameters.settle_cycles` for up to 64 segments."""


class CoreDriver:
    """Drives the ports `link__*` of `dut`; start `watch()` as a task and end with `finish()`.

    Checked in every cycle: answers come exactly `BUS_LATENCY` cycles after reads and never else,
    errors strobe only while `busy`.  `errors` is every strobe since it was last set to 0;
    `pause` makes idle cycles between requests.
    """

    def __init__(self, dut: Any, name: str = "core", pause: Pause = never) -> None:
        self.dut = dut
        self.pause = pause
        self.errors = 0
        self.board = Scoreboard(f"{name} bus", show=hex)
        self._busy = reader(self._port("busy"))
        for port in (
            "bus__read",
            "bus__write",
            "start",
            "abort",
            "first",
            "last",
            "last_vector",
            "released",
        ):
            self._port(port).value = 0

    def _port(self, name: str) -> Any:
        return getattr(self.dut, f"link__{name}")

    async def watch(self) -> None:
        """For ever: what comes back, and the errors."""
        asked = deque([0] * BUS_LATENCY, maxlen=BUS_LATENCY)
        names = ("bus__r_valid", "bus__r_data", "bus__read", "errors")
        valid, data, read, errors = (reader(self._port(name)) for name in names)
        falling = FallingEdge(self.dut.clk)
        while True:
            await falling
            if valid() != asked[0]:
                raise AssertionError(f"{self.board.name}: r_valid {1 - asked[0]}, not as asked")
            if asked[0]:
                self.board.receive(data())
            asked.append(read())
            strobes = errors()
            if strobes and not self.busy:
                raise AssertionError(f"{self.board.name}: errors {strobes} while not busy")
            self.errors |= strobes

    @property
    def busy(self) -> bool:
        return bool(self._busy())

    async def idle(self) -> None:
        """Wait until nothing runs (after a reset the core empties its buckets)."""
        for _ in range(LONGEST_RUN):
            await FallingEdge(self.dut.clk)
            ready = not self.busy
            await RisingEdge(self.dut.clk)
            if ready:
                return
        raise AssertionError(f"{self.board.name}: busy for ever")

    async def write(self, address: int, words: Iterable[int]) -> None:
        """Words from a byte address on, one per cycle."""
        await self.write_at(enumerate(words, address // 4))

    async def write_at(self, pairs: Iterable[tuple[int, int]]) -> None:
        """(word address, word) pairs, one per cycle."""
        names = ("bus__write", "bus__address", "bus__w_data")
        write, at, data = (self._port(name) for name in names)
        rising = RisingEdge(self.dut.clk)
        for address, word in pairs:
            while self.pause():
                write.value = 0
                await rising
            write.value = 1
            at.value = address
            data.value = int(word)
            await rising
        write.value = 0

    async def expect(self, address: int, words: Sequence[int], note: str = "") -> None:
        """Read words from a byte address on, which must be these."""
        pairs = list(enumerate(map(int, words), address // 4))
        await self.expect_at(pairs, note)

    async def expect_at(self, pairs: Iterable[tuple[int, int]], note: str = "") -> None:
        """Read at word addresses, one per cycle, and compare."""
        read, at = self._port("bus__read"), self._port("bus__address")
        rising = RisingEdge(self.dut.clk)
        for address, word in pairs:
            while self.pause():
                read.value = 0
                await rising
            read.value = 1
            at.value = address
            self.board.expect(word, f"{note} word {address:#x}")
            await rising
        read.value = 0
        for _ in range(BUS_LATENCY + 1):
            await RisingEdge(self.dut.clk)

    async def settle(self) -> None:
        """Wait until what was written shows everywhere."""
        for _ in range(SETTLE):
            await RisingEdge(self.dut.clk)

    async def start(self, first: int, last: int, vectors: int = 1) -> None:
        """Start layers `first` to `last`, in a cycle in which the core is not busy, after the
        exponents of what was written last have settled (a run waits for them, and counts)."""
        self.errors = 0
        await self.settle()
        values = {"start": 1, "first": first, "last": last, "last_vector": vectors - 1}
        for port, value in values.items():
            self._port(port).value = value
        await RisingEdge(self.dut.clk)
        for port in values:
            self._port(port).value = 0
        await FallingEdge(self.dut.clk)
        assert self.busy, f"{self.board.name}: not busy in the cycle after a start"
        await RisingEdge(self.dut.clk)

    async def run(self, first: int, last: int, vectors: int = 1) -> int:
        """Start, wait for the end, and return the cycles that the core counted."""
        await self.start(first, last, vectors)
        await self.idle()
        return int(self._port("cycles").value)

    def finish(self) -> int:
        """Fails if an answer is missing or surplus; how many there were."""
        return self.board.finish()


def attach(dut: Any, name: str = "core", pause: Pause = never) -> CoreDriver:
    """A driver whose watch is on."""
    driver = CoreDriver(dut, name, pause)
    cocotb.start_soon(driver.watch())
    return driver
