"""AXI3 from the manager's side: bursts, their beats by the specification's formulas, and a manager
that drives five channels independently of each other and watches the rules on those it receives.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.queue import Queue
from cocotb.triggers import Event, FallingEdge, RisingEdge

from dpnet.sim.kit.streams import Pause, never

FIXED, INCR, WRAP = range(3)
OKAY, SLVERR = 0, 2
CHANNELS = ("aw", "w", "b", "ar", "r")
Beat = tuple[int, int]
"""A response and a word."""


@dataclass(frozen=True)
class Burst:
    """`beats` beats of 2^`size` bytes; `kind` may be 3, which is reserved."""

    address: int
    beats: int = 1
    size: int = 2
    kind: int = INCR
    id: int = 0

    def addresses(self) -> list[int]:
        """Address of each beat, for a size that the bus has: section 4.5 of the specification,
        beat by beat from the start address."""
        width = 1 << self.size
        aligned = self.address // width * width
        if self.kind == FIXED:
            return [self.address] * self.beats
        later = [aligned + number * width for number in range(1, self.beats)]
        if self.kind == WRAP:
            container = width * self.beats
            boundary = self.address // container * container
            later = [a - container if a >= boundary + container else a for a in later]
        return [self.address, *later]

    def lanes(self) -> list[range]:
        """Byte lanes of each beat: from its address to the end of its aligned 2^`size` bytes."""
        width = 1 << self.size
        ends = [(address // width + 1) * width for address in self.addresses()]
        return [
            range(address % 4, address % 4 + end - address)
            for address, end in zip(self.addresses(), ends, strict=True)
        ]

    def legal(self) -> bool:
        """Whether AXI3 has it on a bus of four bytes."""
        wrap = self.beats in (2, 4, 8, 16) and self.address % (1 << self.size) == 0
        return self.size <= 2 and (self.kind in (FIXED, INCR) or (self.kind == WRAP and wrap))


@dataclass
class _Open:
    """A burst whose response is to come."""

    burst: Burst
    done: Event = field(default_factory=Event)
    sent: int = 0
    response: int = 0
    words: list[Beat] = field(default_factory=list)


class Axi3Manager:
    """Bursts over the ports `PREFIX_awid` … of `dut`; reset it after this is made.

    `pauses`: for each channel, when its own end of the handshake holds back.  Bursts that are not
    awaited one by one are on their way at once.  A subordinate that takes back or changes what it
    offers, answers an ID that is not open, answers a write before its last beat, or whose RLAST is
    wrong fails the test.
    """

    def __init__(
        self, dut: Any, pauses: Mapping[str, Pause] | None = None, prefix: str = "s_axi"
    ) -> None:
        self._dut, self._prefix = dut, prefix
        self._pauses = dict.fromkeys(CHANNELS, never) | dict(pauses or {})
        self._queues: dict[str, Queue[dict[str, int]]] = {c: Queue() for c in ("aw", "w", "ar")}
        self._writes: dict[int, deque[_Open]] = defaultdict(deque)
        self._reads: dict[int, deque[_Open]] = defaultdict(deque)
        self._beats: deque[_Open] = deque()
        for channel in ("aw", "w", "ar"):
            self._signal(channel, "valid").value = 0
            cocotb.start_soon(self._send(channel))
        for channel, names, taken in (
            ("b", ("id", "resp"), self._take_b),
            ("r", ("id", "data", "resp", "last"), self._take_r),
        ):
            self._signal(channel, "ready").value = 0
            cocotb.start_soon(self._receive(channel, names, taken))

    async def write(
        self,
        burst: Burst,
        words: Sequence[int],
        strobes: Sequence[int] | None = None,
        changes: Iterable[Mapping[str, int]] = (),
    ) -> int:
        """The response to `burst` with these words; strobes default to all of each beat's lanes.
        `changes`: for each beat what its signals are instead, to break the rules."""
        assert len(words) == burst.beats
        if strobes is None:
            strobes = [sum(1 << lane for lane in lanes) & 15 for lanes in burst.lanes()]
        opened = _Open(burst)
        self._writes[burst.id].append(opened)
        self._queues["aw"].put_nowait(_address(burst))
        later = iter(changes)
        for number, (word, strobe) in enumerate(zip(words, strobes, strict=True), 1):
            last = int(number == burst.beats)
            beat = {"id": burst.id, "data": word, "strb": strobe, "last": last}
            self._beats.append(opened)
            self._queues["w"].put_nowait(beat | dict(next(later, {})))
        await opened.done.wait()
        return opened.response

    async def read(self, burst: Burst) -> list[Beat]:
        """Response and word of each beat."""
        opened = _Open(burst)
        self._reads[burst.id].append(opened)
        self._queues["ar"].put_nowait(_address(burst))
        await opened.done.wait()
        return opened.words

    def idle(self) -> bool:
        """Whether nothing is open."""
        return not any(self._writes.values()) and not any(self._reads.values())

    def _signal(self, channel: str, name: str) -> Any:
        return getattr(self._dut, f"{self._prefix}_{channel}{name}")

    async def _send(self, channel: str) -> None:
        valid, ready = self._signal(channel, "valid"), self._signal(channel, "ready")
        pause, queue, clk = self._pauses[channel], self._queues[channel], self._dut.clk
        while True:
            if queue.empty():
                values = await queue.get()
                await RisingEdge(clk)
            else:
                values = queue.get_nowait()
            while pause():
                await RisingEdge(clk)
            for name, value in values.items():
                self._signal(channel, name).value = value
            valid.value = 1
            taken = 0
            while not taken:
                await FallingEdge(clk)
                taken = int(ready.value)
                await RisingEdge(clk)
            valid.value = 0
            if channel == "w":
                self._beats.popleft().sent += 1

    async def _receive(self, channel: str, names: Sequence[str], taken: Any) -> None:
        valid, ready = self._signal(channel, "valid"), self._signal(channel, "ready")
        pause, clk = self._pauses[channel], self._dut.clk
        offered: dict[str, int] | None = None
        while True:
            ready.value = accepts = int(not pause())
            await FallingEdge(clk)
            now = None
            if int(valid.value):
                now = {name: int(self._signal(channel, name).value) for name in names}
            assert offered is None or now == offered, f"{channel} offered {offered}, then {now}"
            offered = None if accepts else now
            await RisingEdge(clk)
            if now is not None and accepts:
                taken(**now)

    def _take_b(self, id: int, resp: int) -> None:
        assert self._writes[id], f"a response to a write of ID {id}, which is not open"
        opened = self._writes[id].popleft()
        sent = f"{opened.sent} of {opened.burst.beats} beats"
        assert opened.sent == opened.burst.beats, f"a response to a write after {sent}"
        opened.response = resp
        opened.done.set()

    def _take_r(self, id: int, data: int, resp: int, last: int) -> None:
        assert self._reads[id], f"a word of a read of ID {id}, which is not open"
        opened = self._reads[id][0]
        opened.words.append((resp, data))
        assert bool(last) == (len(opened.words) == opened.burst.beats), (
            f"RLAST is {last} at beat {len(opened.words)} of {opened.burst}"
        )
        if last:
            self._reads[id].popleft()
            opened.done.set()


def _address(burst: Burst) -> dict[str, int]:
    return {
        "id": burst.id,
        "addr": burst.address,
        "len": burst.beats - 1,
        "size": burst.size,
        "burst": burst.kind,
    }
