"""Stages against buckets in Python: index words as they lie in the store, folded or wide; drains.

Values: `engines`, the parameters of the stage of each name in the bundle; `cycles` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from gateware.stage import drain_row, row_address_bits
from model.engine import EngineParameters
from sim.bench import parameters
from sim.bundle import Part
from sim.scoreboard import Scoreboard
from sim.streams import bursts, never, pack, signed, sometimes, start

KINDS = ("none", "idle", "bursts")


def engines() -> dict[str, EngineParameters]:
    return {name: EngineParameters(**sizes) for name, sizes in parameters()["engines"].items()}


class StageBench:
    """A stage, its store as a list of words, its buckets as integers."""

    def __init__(self, dut: Any, name: str) -> None:
        self.name = name
        self.dut = Part(dut, name)
        self.engine = engine = engines()[name]
        self.lanes = engine.columns * engine.segments
        # How rows are folded is the stage's contract with the link: as many as fit 32 bits.
        row_bits = self.lanes * engine.index_bits
        self.fold = 1
        while row_bits * self.fold * 2 <= 32:
            self.fold *= 2
        self.words = [0] * -(-engine.index_depth // self.fold)
        self.rows = len(self.words) * self.fold
        self.buckets = [[0] * engine.buckets for _ in range(self.lanes)]
        self.board = Scoreboard(f"{name}.bucket")

    async def write(self, address: int, enable: int, data: int) -> None:
        """Bus words of one store word, those whose bit of `enable` is set, all with `data`."""
        dut = self.dut
        dut.w_address.value, dut.w_enable.value, dut.w_data.value = address, enable, data
        await RisingEdge(dut.clk)
        dut.w_enable.value = 0
        for n in range(self.engine.index_words):
            if enable >> n & 1 and address < len(self.words):
                kept = self.words[address] & ~(0xFFFFFFFF << 32 * n)
                self.words[address] = kept | data << 32 * n

    async def fill(self, source: random.Random) -> None:
        for address in range(len(self.words)):
            for n in range(self.engine.index_words):
                await self.write(address, 1 << n, source.getrandbits(32))

    async def read_all(self) -> None:
        """Read every word of weights back, a word a cycle."""
        dut, board = self.dut, Scoreboard("r_data", show=hex)
        dut.r_enable.value = 1
        for address, word in enumerate(self.words):
            dut.r_address.value = address
            await RisingEdge(dut.clk)
            await FallingEdge(dut.clk)
            board.expect(word, f"word {address}")
            board.receive(int(dut.r_data.value))
        await RisingEdge(dut.clk)
        dut.r_enable.value = 0
        board.finish()

    def index(self, row: int, lane: int) -> int:
        """Index of a lane in an index row, or in a drain row."""
        if row >= self.rows:
            return row - self.rows
        bits = self.engine.index_bits
        word = self.words[row // self.fold] >> row % self.fold * (32 // self.fold)
        return word >> lane * bits & (1 << bits) - 1

    async def beat(self, x: list[int], row: int, drain: bool) -> None:
        """One cycle; compares the buckets that it shows."""
        engine, dut = self.engine, self.dut
        layout = [
            *((f"x{s}", -engine.activation_bits) for s in range(engine.segments)),
            ("address", row_address_bits(engine)), ("drain", 1), ("marks", 3),
        ]  # fmt: skip
        values = {f"x{s}": value for s, value in enumerate(x)}
        dut.beat.value = pack(layout, **values, address=row, drain=int(drain), marks=0)
        await FallingEdge(dut.clk)
        self._receive()
        shown = []
        for lane in range(self.lanes):
            index = self.index(row, lane)
            shown.append(self.buckets[lane][index] if drain else 0)
            kept = 0 if drain else self.buckets[lane][index]
            self.buckets[lane][index] = kept + x[lane % engine.segments]
        self.board.expect(shown, f"row {row}, drain {int(drain)}")
        await RisingEdge(dut.clk)

    def _receive(self) -> None:
        bits = self.engine.bucket_bits
        ports = [getattr(self.dut, f"bucket__{lane}") for lane in range(self.lanes)]
        self.board.receive([signed(int(port.value), bits) for port in ports])

    async def drain(self, order: list[int]) -> None:
        for k in order:
            await self.beat([0] * self.engine.segments, self.rows + k, True)

    async def empty(self) -> None:
        """Drain what the memories may hold; what shows two cycles later is rubbish."""
        self.dut.beat.value = 0
        await self.drain(list(range(self.engine.buckets)))
        self.buckets = [[0] * self.engine.buckets for _ in range(self.lanes)]
        for _ in range(3):
            await RisingEdge(self.dut.clk)
            self.dut.beat.value = 0
        self.board = Scoreboard(self.board.name)
        self.board.expect([0] * self.lanes, "first idle cycle")
        self.board.expect([0] * self.lanes, "second idle cycle")

    async def finish(self) -> int:
        """Drain everything and compare to the end."""
        await self.drain(list(range(self.engine.buckets)))
        idle = [0] * self.engine.segments
        for _ in range(2):
            await self.beat(idle, 0, False)
        for _ in range(2):
            await FallingEdge(self.dut.clk)
            self._receive()
            await RisingEdge(self.dut.clk)
        return self.board.finish()


async def begin(dut: Any) -> list[StageBench]:
    """Reset, with a bench for each stage."""
    benches = [StageBench(dut, name) for name in engines()]
    for bench in benches:
        bench.dut.beat.value, bench.dut.w_enable.value, bench.dut.r_enable.value = 0, 0, 0
    await start(dut)
    return benches


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def buckets_follow_the_store(dut: Any, kind: str) -> None:
    """Rows of beats, with idle cycles, each ended by a drain of all buckets in any order."""
    for bench in await begin(dut):
        engine = bench.engine
        source = random.Random(f"{cocotb.RANDOM_SEED} {bench.name} {kind}")
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 7)}[kind]
        await bench.fill(source)
        # The bench would not notice otherwise that the first drain row is elsewhere.
        assert drain_row(engine) == bench.rows
        await bench.empty()
        least, most = -(1 << engine.activation_bits - 1), (1 << engine.activation_bits - 1) - 1
        idle, given = [0] * engine.segments, 0
        while given < parameters()["cycles"]:
            for _ in range(source.randint(1, engine.max_columns // engine.segments)):
                while pause():
                    await bench.beat(idle, source.randrange(bench.rows), False)
                x = [
                    source.choice([least, most, source.randint(least, most)])
                    for _ in range(engine.segments)
                ]
                await bench.beat(x, source.randrange(bench.rows), False)
                given += 1
            await bench.drain(source.sample(range(engine.buckets), engine.buckets))
        await bench.finish()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def store_keeps_what_the_link_writes(dut: Any) -> None:
    """Every bus word alone and together with others, read back; a read during a write is old."""
    for bench in await begin(dut):
        source = random.Random(f"{cocotb.RANDOM_SEED} {bench.name}")
        await bench.fill(source)
        await bench.read_all()
        for _ in range(200):
            enable = source.randrange(1 << bench.engine.index_words)
            address = source.randrange(len(bench.words))
            part, old = bench.dut, bench.words[address]
            part.r_enable.value, part.r_address.value = 1, address
            await bench.write(address, enable, source.getrandbits(32))
            await FallingEdge(part.clk)
            assert int(part.r_data.value) == old, f"{bench.name}: a read during a write is not old"
            await RisingEdge(part.clk)
        part.r_enable.value = 0
        await bench.read_all()


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def drain_rows_cannot_be_written(dut: Any) -> None:
    """Writes behind the weights vanish: every lane still drains bucket 0, 1, 2, …"""
    for bench in await begin(dut):
        engine = bench.engine
        source = random.Random(f"{cocotb.RANDOM_SEED} {bench.name}")
        await bench.fill(source)
        for address in range(len(bench.words), 1 << len(bench.dut.w_address)):
            await bench.write(address, (1 << engine.index_words) - 1, source.getrandbits(32))
        await bench.read_all()
        await bench.empty()
        for _ in range(20):
            x = [source.randint(-99, 99) for _ in range(engine.segments)]
            await bench.beat(x, source.randrange(bench.rows), False)
        await bench.finish()
