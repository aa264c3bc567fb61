"""Units against buckets, sums and maxima in Python, every output in every cycle.

Values: `units`, the names in the bundle with the `sum_bits` of each; `cycles` per test.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.maps.parameters import LANES
from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import Layout, bursts, never, pack, signed, sometimes, start

KINDS = kinds("none", "idle", "bursts")
CONTROL: Layout = [
    *(("add", 1), ("word", 4), ("largest", 1)),
    *(("first", 1), ("show", 1), ("ending", 1)),
]
EXTREMES = (-128, 127, 0, -1, 1)


@dataclass
class Step:
    """What a unit is given for one command; `x` and `lanes` come a cycle before the others."""

    x: int = 0
    lanes: bool = False
    index: int = 0
    add: int = 1
    word: int = 0
    largest: int = 0
    first: int = 0
    show: int = 0
    ending: int = 0

    @property
    def control(self) -> int:
        return pack(CONTROL, **{name: getattr(self, name) for name, _ in CONTROL})


@dataclass
class Held:
    """What a unit holds: a reset leaves all of it."""

    bits: int
    buckets: list[list[int]] = field(default_factory=lambda: [[0] * LANES for _ in range(LANES)])
    largest: list[int] = field(default_factory=lambda: [0] * LANES)
    total: int = 0

    def follow(self, step: Step) -> tuple[int, ...]:
        """Does what a step says; buckets, owed, skip value and maximum that show."""
        x, added = step.x, step.x if step.lanes else 0
        indices = [step.index >> 4 * n & 15 for n in range(LANES)]
        shown = [0] * LANES
        for n, index in enumerate(indices):
            if step.add:
                self.buckets[n][index] = (self.buckets[n][index] + added) % (1 << self.bits)
            else:
                shown[n] = signed(self.buckets[n][index], self.bits)
        self.total -= added
        owed = signed(self.total % (1 << self.bits), self.bits) if step.ending else 0
        self.total = 0 if step.ending else self.total
        maximum = self.largest[step.word] if step.show else 0
        if step.largest and (step.first or x > self.largest[step.word]):
            self.largest[step.word] = x
        return *shown, owed, 0 if step.add else x, maximum


HELD: dict[str, Held] = {}


class UnitBench:
    """A unit, what it holds, and the steps on their way."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.dut, self.bits = Part(dut, name), parameters()["units"][name]
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        self.held = HELD.setdefault(name, Held(self.bits))
        self.board = Scoreboard(name, show=str)
        self.before = Step()
        self.due: tuple[int, ...] | None = None

    async def cycle(self, step: Step) -> None:
        dut = self.dut
        dut.x.value, dut.to_lanes.value = step.x & 0xFF, int(step.lanes)
        dut.index.value, dut.control.value = self.before.index, self.before.control
        await FallingEdge(dut.clk)
        if self.due is not None:
            self.board.expect(self.due, "buckets, owed, skip, maximum")
            wide = [*(f"bucket__{n}" for n in range(LANES)), "owed"]
            found = [signed(int(getattr(dut, name).value), self.bits) for name in wide]
            found += [signed(int(getattr(dut, name).value), 8) for name in ("skip", "maximum")]
            self.board.receive(tuple(found))
        self.due = self.held.follow(self.before)
        self.before = step
        await RisingEdge(dut.clk)

    def byte(self) -> int:
        return self.source.choice([*EXTREMES, self.source.randint(-128, 127)])

    def rest(self) -> Step:
        """Adds nothing, anywhere."""
        return Step(index=self.source.getrandbits(64), word=self.source.randrange(LANES))

    def addition(self, maximum: bool, first: bool) -> Step:
        step = self.rest()
        step.x, step.lanes, step.largest, step.first = self.byte(), not maximum, maximum, first
        return step

    def drain(self, k: int, show: bool) -> Step:
        step = Step(x=self.byte(), index=k * 0x1111_1111_1111_1111, add=0, word=k)
        step.ending, step.show = int(k == 0), int(show)
        return step


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def units_follow_their_commands(dut: Any, kind: str) -> None:
    """Tiles of sums and of maxima, drains with idle cycles before them."""
    for name in parameters()["units"]:
        bench = UnitBench(dut, name, kind)
        source = bench.source
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 7)}[kind]
        await start(bench.dut)
        while bench.board.compared < parameters()["cycles"]:
            maximum = source.random() < 0.4
            for n in range(source.randint(1, 60)):
                while pause():
                    await bench.cycle(bench.rest())
                await bench.cycle(bench.addition(maximum, n == 0 or source.random() < 0.2))
            for k in range(LANES):
                await bench.cycle(bench.drain(k, maximum))
        bench.board.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def maxima_of_equal_channels(dut: Any) -> None:
    """The same word in cycle after cycle: each value meets the one just written."""
    for name in parameters()["units"]:
        bench = UnitBench(dut, name, "words")
        await start(bench.dut)
        for word in range(LANES):
            values = [bench.byte() for _ in range(20)]
            for n, x in enumerate(values):
                await bench.cycle(Step(x=x, largest=1, first=int(n == 0), word=word))
            await bench.cycle(Step(add=0, show=1, word=word))
            assert bench.held.largest[word] <= max(values)
        await bench.cycle(Step())
        assert bench.due is not None and bench.due[-1] == max(values)
        await bench.cycle(Step())
        bench.board.finish()
