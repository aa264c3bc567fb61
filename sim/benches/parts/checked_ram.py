"""Checked stores against a list of words and a count of flipped bits, cycle by cycle.

Values: `stores`, the parameters of the store of each name in the bundle; `cycles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import bursts, never, sometimes, start
from dpnet.sim.kit.upsets import flip, memory

KINDS = kinds("none", "idle", "bursts")
CHECK = 4

HELD: dict[str, list[int]] = {}
"""The words of each store from one test to the next, as a reset leaves them."""


class StoreBench:
    """A store, its words, and how often each granule of a word was upset since it was written."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        self.memory = memory(dut, f"part_{name}", "ram")
        sizes = parameters()["stores"][name]
        self.width, self.depth = sizes["width"], sizes["depth"]
        self.granule = sizes["granularity"] or self.width
        self.granules = self.width // self.granule
        self.free = self.depth - len(sizes["tail"])
        self.words = HELD.setdefault(name, [0] * self.free + sizes["tail"])
        self.upsets = [[0] * self.granules for _ in self.words]
        self.board = Scoreboard(name, show=str)
        self.shown: deque[tuple[int, int, int]] = deque()
        self.corrupt = deque([0] * CHECK)

    async def cycle(
        self,
        read: int,
        use: bool = False,
        write: int = 0,
        enable: int = 0,
        data: int = 0,
        upset: tuple[int, int] | None = None,
        hide: int = 0,
    ) -> None:
        """A read, and a write of `data` to all granules that `enable` names; `upset`: a (word, bit
        of the memory) that flips before the edge."""
        dut = self.dut
        dut.r_address.value, dut.r_use.value, dut.r_hide.value = read, int(use), hide
        dut.w_address.value, dut.w_enable.value, dut.w_data.value = write, enable, data
        await FallingEdge(dut.clk)
        if len(self.shown) == 3:
            note = f"{self.name}: r_data, late, r_word, corrupt"
            self.board.expect(
                (self.shown[2][0], self.shown[1][1], self.shown[0][2], self.corrupt[0]), note
            )
            ports = dut.r_data, dut.late, dut.r_word, dut.corrupt
            self.board.receive(tuple(int(port.value) for port in ports))
            self.shown.popleft()
        if upset is not None:
            flip(self.memory, *upset)
            self._upset(*upset)
        # A read while the word is written is of the old one.
        wrong = use and sum(self.upsets[read]) % 2
        late = picked = 0
        for n in range(self.granules):
            if not hide >> n & 1:
                part = self.words[read] >> n * self.granule & (1 << self.granule) - 1
                late, picked = late | part << n * self.granule, picked ^ part
        self.shown.append((self.words[read], late, picked))
        self.corrupt.popleft()
        self.corrupt.append(int(wrong))
        for n in range(self.granules):
            if enable >> n & 1:
                mask = (1 << self.granule) - 1 << n * self.granule
                self.words[write] = self.words[write] & ~mask | data << n * self.granule
                self.upsets[write][n] = 0
        await RisingEdge(dut.clk)

    def _upset(self, address: int, bit: int) -> None:
        n, place = divmod(bit, self.granule + 1)
        self.upsets[address][n] += 1
        if place < self.granule:  # else the parity bit itself
            self.words[address] ^= 1 << n * self.granule + place

    async def fill(self) -> None:
        """Most words; those never written are 0, and sound."""
        for address in range(self.free):
            for n in range(self.granules):
                data = self.source.getrandbits(self.granule)
                if self.source.random() < 0.8:
                    await self.cycle(address, write=address, enable=1 << n, data=data)

    async def finish(self) -> None:
        for address in [*range(self.depth), *[0] * (CHECK + 1)]:
            await self.cycle(address, use=True)
        self.board.finish()

    async def mend(self) -> None:
        """Flip back what is odd, so that the next test finds every word right."""
        for address, counts in enumerate(self.upsets):
            for n, count in enumerate(counts):
                if count % 2:
                    await self.cycle(0, upset=(address, n * (self.granule + 1)))


async def begin(dut: Any, name: str, label: str) -> StoreBench:
    bench = StoreBench(dut, name, label)
    for port in ("w_address", "w_data", "w_enable", "r_address", "r_use", "r_hide"):
        getattr(bench.dut, port).value = 0
    await start(bench.dut)
    return bench


NAMES = ("bytes", "wide", "many", "shallow", "tail", "single")


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, kind=KINDS)
async def sees_every_odd_upset(dut: Any, name: str, kind: str) -> None:
    """Reads, writes and upsets of any word in any cycle; `corrupt` exactly when it must."""
    bench = await begin(dut, name, kind)
    source = bench.source
    pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 9)}[kind]
    await bench.fill()
    bits, seen, even = bench.width + bench.granules, 0, 0
    for _ in range(parameters()["cycles"]):
        while pause():
            await bench.cycle(source.randrange(bench.depth))
        read, write = source.randrange(bench.depth), source.randrange(bench.free)
        enable = source.randrange(1 << bench.granules) if source.random() < 0.4 else 0
        upset = None
        if source.random() < 0.3:
            upset = source.choice([read, source.randrange(bench.depth)]), source.randrange(bits)
        data = source.getrandbits(bench.granule)
        use = source.random() < 0.7
        # What hides is a read that does not count.
        hide = 0 if use else source.getrandbits(bench.granules)
        await bench.cycle(read, use, write, enable, data, upset, hide)
        counts = bench.upsets[read]
        seen += use and sum(counts) % 2
        even += use and any(counts) and sum(counts) % 2 == 0
    assert seen > 20 and even > 5, f"only {seen} odd and {even} even upsets were read"
    await bench.finish()
    await bench.mend()


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def every_bit_counts(dut: Any, name: str) -> None:
    """Each bit of a few words alone: one strobe for one read, none for a read without `r_use`."""
    bench = await begin(dut, name, "bits")
    await bench.fill()
    for address in {0, bench.free - 1, bench.depth - 1}:
        for bit in range(bench.width + bench.granules):
            await bench.cycle(address, use=True)
            await bench.cycle(address, use=False, upset=(address, bit))
            await bench.cycle(address, use=True)
            await bench.cycle(address, use=True, upset=(address, bit))
    strobes = bench.board.compared
    await bench.finish()
    assert strobes > 4 * bench.width


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def a_sound_store_is_never_corrupt(dut: Any, name: str) -> None:
    """Random words, written in parts and in full, all used: tail words too, which none wrote."""
    bench = await begin(dut, name, "sound")
    await bench.fill()
    for _ in range(parameters()["cycles"]):
        write, data = bench.source.randrange(bench.free), bench.source.getrandbits(bench.granule)
        enable = bench.source.randrange(1 << bench.granules)
        await bench.cycle(bench.source.randrange(bench.depth), True, write, enable, data)
    assert not any(bench.corrupt), "the bench upset a word"
    await bench.finish()
