"""Lanes against buckets in a Python list: a weight in every cycle, whatever the indices are.

Values: `lanes`, the parameters of each lane of the bundle; `weights` per test.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import bursts, never, signed, sometimes, start, unsigned

PATTERNS = ("equal", "alternating", "random")
KINDS = kinds("none", "idle", "bursts")
NAMES = ("wide", "narrow", "one_above", "two_above", "dsp", "narrow_dsp", "three_above_dsp")

HELD: dict[str, list[int]] = {}
"""What the buckets of each lane hold from one test to the next: nothing ever empties them."""


class LaneBench:
    """A lane, its buckets as Python integers, and a comparison of `o` in every cycle."""

    def __init__(self, dut: Any, name: str, source: random.Random) -> None:
        self.dut, self.source = Part(dut, name), source
        sizes = parameters()["lanes"][name]
        self.count, self.x_bits, self.bits = (
            sizes[size] for size in ("buckets", "activation_bits", "bits")
        )
        self.chained = sizes.get("adder", "lut") == "lut"
        self.extremes = (-(1 << self.x_bits - 1), (1 << self.x_bits - 1) - 1)
        self.buckets = HELD.setdefault(name, [0] * self.count)
        self.board = Scoreboard(f"{name}.o")

    async def begin(self) -> None:
        """Reset, which must leave the buckets alone."""
        self.dut.index.value, self.dut.x.value, self.dut.add.value = 0, 0, 1
        if self.chained:
            self.dut.chain.value = 0
        await start(self.dut)
        self.board.expect(0, "the first cycle")

    async def cycle(self, index: int, x: int = 0, drain: bool = False, chain: int = 0) -> None:
        """One clock cycle: compare the `o` that the last one left, and expect the next."""
        dut, modulus = self.dut, 1 << self.bits
        dut.index.value, dut.x.value, dut.add.value = index, unsigned(x, self.x_bits), not drain
        if self.chained:
            dut.chain.value = unsigned(chain, self.bits)
        await FallingEdge(dut.clk)
        self.receive()
        note = f"index {index}, x {x}, drain {int(drain)}, chain {chain}"
        shown = (self.buckets[index] + chain) % modulus if drain else 0
        self.board.expect(signed(shown, self.bits), note)
        self.buckets[index] = (self.buckets[index] + x) % modulus
        await RisingEdge(dut.clk)

    def receive(self) -> None:
        self.board.receive(signed(int(self.dut.o.value), self.bits))

    async def add(self, index: int, x: int) -> None:
        await self.cycle(index, x)

    async def drain(self, order: list[int]) -> None:
        """Drain the buckets in this order, one per cycle, onto a chain of any value."""
        half = 1 << self.bits - 1
        for index in order:
            chain = self.source.choice([0, -half, half - 1, self.source.randrange(-half, half)])
            await self.cycle(index, drain=True, chain=chain if self.chained else 0)

    async def finish(self) -> None:
        """Every bucket twice more, and nothing is left to compare."""
        await self.drain(2 * list(range(self.count)))
        await self.cycle(0)
        await FallingEdge(self.dut.clk)
        self.receive()
        self.board.finish()


def bench_of(dut: Any, name: str, label: str) -> LaneBench:
    return LaneBench(dut, name, random.Random(f"{cocotb.RANDOM_SEED} {name} {label}"))


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
@cocotb.parametrize(name=NAMES, pattern=PATTERNS, kind=KINDS)
async def accumulates(dut: Any, name: str, pattern: str, kind: str) -> None:
    """Rows of random length, each followed by a drain of a random choice of buckets."""
    bench = bench_of(dut, name, f"{pattern} {kind}")
    source = bench.source
    pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 7)}[kind]
    await bench.begin()
    given = 0
    index = indices(pattern, bench.count, source)
    while given < parameters()["weights"]:
        for _ in range(source.randint(1, 80)):
            while pause():  # what the index says does not matter while x is 0
                await bench.cycle(source.randrange(bench.count))
            value = source.choice([*bench.extremes, 0, 1, -1, source.randint(*bench.extremes)])
            await bench.add(next(index), value)
            given += 1
        # Now and then only some buckets are drained, as for a small K, with pauses between them.
        for bucket in source.sample(range(bench.count), source.randint(1, bench.count)):
            while pause():
                await bench.cycle(source.randrange(bench.count))
            await bench.drain([bucket])
    await bench.finish()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, sign=(0, 1))
async def counts_on_modulo_its_width(dut: Any, name: str, sign: int) -> None:
    """The largest inputs, all into one bucket, until it has gone round twice; in turn for each."""
    bench = bench_of(dut, name, "modulo")
    await bench.begin()
    rounds = 2 * (1 << bench.bits) // abs(bench.extremes[sign]) + 2
    for index in range(bench.count):
        before = bench.buckets[index]
        for _ in range(rounds):
            await bench.add(index, bench.extremes[sign])
            if bench.source.random() < 0.2:
                await bench.drain([index])
        assert abs(rounds * bench.extremes[sign]) > 2 << bench.bits
        assert bench.buckets[index] == (before + rounds * bench.extremes[sign]) % (1 << bench.bits)
    await bench.drain(list(range(bench.count))[::-1])
    await bench.finish()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def a_drain_leaves_the_bucket(dut: Any, name: str) -> None:
    """The same bucket drained again and again, and added to in the cycle before and after."""
    bench = bench_of(dut, name, "again")
    await bench.begin()
    for _ in range(300):
        index = bench.source.randrange(bench.count)
        for _ in range(bench.source.randint(1, 3)):
            await bench.add(index, bench.source.randint(*bench.extremes))
        await bench.drain([index] * bench.source.randint(1, 3))
    await bench.finish()
