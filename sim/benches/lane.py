"""Lanes against buckets in a Python list: a weight in every cycle, whatever the indices are.

Values: `lanes`, the parameters of each lane of the bundle; `weights` per test.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from sim.bench import parameters
from sim.bundle import Part
from sim.scoreboard import Scoreboard
from sim.streams import bursts, never, signed, sometimes, start, unsigned

PATTERNS = ("equal", "alternating", "random")
KINDS = ("none", "idle", "bursts")


class LaneBench:
    """A lane, its buckets as Python integers, and a comparison of `o` in every cycle."""

    def __init__(self, dut: Any, name: str) -> None:
        self.dut = Part(dut, name)
        sizes = parameters()["lanes"][name]
        self.count, self.bits = sizes["buckets"], sizes["activation_bits"]
        self.bucket_bits = sizes["bucket_bits"]
        self.extremes = (-(1 << self.bits - 1), (1 << self.bits - 1) - 1)
        self.room = 1 << self.bucket_bits - self.bits
        self.buckets = [0] * self.count
        self.board = Scoreboard(f"{name}.o")

    async def begin(self) -> None:
        """Reset, and drain what the memory may hold."""
        self.dut.index.value, self.dut.x.value, self.dut.drain.value = 0, 0, 1
        await start(self.dut)
        for index in range(self.count):
            self.dut.index.value = index
            await RisingEdge(self.dut.clk)
        self.dut.drain.value = 0
        await RisingEdge(self.dut.clk)
        self.board.expect(0, "the first cycle")

    async def cycle(self, index: int, x: int, drain: bool = False) -> None:
        """One clock cycle: compare the `o` that the last one left, and expect the next."""
        dut = self.dut
        dut.index.value, dut.x.value, dut.drain.value = index, unsigned(x, self.bits), int(drain)
        await FallingEdge(dut.clk)
        self.board.receive(signed(int(dut.o.value), self.bucket_bits))
        note = f"index {index}, x {x}, drain {int(drain)}"
        self.board.expect(self.buckets[index] if drain else 0, note)
        self.buckets[index] = x if drain else self.buckets[index] + x
        await RisingEdge(dut.clk)

    async def drain(self, order: list[int]) -> None:
        """Drain the buckets in this order, one per cycle."""
        for index in order:
            await self.cycle(index, 0, drain=True)

    async def finish(self) -> None:
        """Every bucket once more: all are empty, and nothing is left to compare."""
        await self.drain(list(range(self.count)))
        await self.drain(list(range(self.count)))
        await self.cycle(0, 0)
        await FallingEdge(self.dut.clk)
        self.board.receive(signed(int(self.dut.o.value), self.bucket_bits))
        self.board.finish()


def indices(pattern: str, count: int, source: random.Random) -> Iterator[int]:
    """Endless indices of one of the `PATTERNS`."""
    first, second = source.sample(range(count), 2)
    while True:
        if pattern == "random":
            first = source.randrange(count)
        elif pattern == "alternating":
            first, second = second, first
        yield first


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=("wide", "narrow"), pattern=PATTERNS, kind=KINDS)
async def accumulates(dut: Any, name: str, pattern: str, kind: str) -> None:
    """Rows of random length, each followed by a drain of a random choice of buckets."""
    bench = LaneBench(dut, name)
    source = random.Random(f"{cocotb.RANDOM_SEED} {name} {pattern} {kind}")
    pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 7)}[kind]
    await bench.begin()
    given = since_drain = 0
    index = indices(pattern, bench.count, source)
    while given < parameters()["weights"]:
        for _ in range(source.randint(1, bench.room - since_drain)):
            while pause():  # what the index says does not matter while x is 0
                await bench.cycle(source.randrange(bench.count), 0)
            value = source.choice([*bench.extremes, 0, 1, -1, source.randint(*bench.extremes)])
            await bench.cycle(next(index), value)
            given, since_drain = given + 1, since_drain + 1
        # Now and then only some buckets are drained, as for a small K; the others keep their sums.
        everything = source.random() < 0.7 or since_drain == bench.room
        order = source.sample(range(bench.count), bench.count if everything else 1)
        since_drain = 0 if everything else since_drain
        await bench.drain(order)
    await bench.finish()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=("wide", "narrow"), sign=(0, 1))
async def holds_the_largest_sums(dut: Any, name: str, sign: int) -> None:
    """As many of the largest inputs as the width is for, all into one bucket, in turn for each."""
    bench = LaneBench(dut, name)
    await bench.begin()
    for index in range(bench.count):
        for _ in range(bench.room):
            await bench.cycle(index, bench.extremes[sign])
        assert bench.buckets[index] == bench.room * bench.extremes[sign]
    await bench.drain(list(range(bench.count))[::-1])
    await bench.finish()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=("wide", "narrow"))
async def a_drain_leaves_x(dut: Any, name: str) -> None:
    """A drained bucket becomes `x`, also where the same one is drained in every cycle."""
    bench = LaneBench(dut, name)
    source = random.Random(f"{cocotb.RANDOM_SEED} {name}")
    await bench.begin()
    for _ in range(300):
        index = source.randrange(bench.count)
        for _ in range(source.randint(1, 3)):
            await bench.cycle(index, source.randint(*bench.extremes), drain=source.random() < 0.8)
        await bench.cycle(index, 0, drain=True)
    await bench.finish()
