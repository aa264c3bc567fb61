"""Columns against Python integers: products with the codebook, the Σ-check with and without upsets.

Values: `columns`, the parameters of the column of each name in the bundle; `rows` per test.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from sim.bench import parameters
from sim.bundle import Part
from sim.scoreboard import Scoreboard
from sim.streams import PERIOD_NS, signed, start, unsigned

KINDS = ("none", "idle")


@dataclass
class Row:
    """One row: its buckets (segments of a stage, K each), its entries' place, Σ of its inputs."""

    stage: int
    buckets: list[list[int]]
    slot: int
    inputs: int
    upset: bool = False
    sums: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = [sum(column) for column in zip(*self.buckets, strict=True)]


class ColumnBench:
    """A column, its codebook as a list, and by cycle what goes in and what must come out."""

    def __init__(self, dut: Any, name: str, source: random.Random) -> None:
        self.name, self.source = name, source
        self.dut = Part(dut, name)
        self.sizes = sizes = parameters()["columns"][name]
        self.levels = {1: 0, 2: 1, 3: 2, 4: 2, 5: 3}[sizes["segments"]]
        self.most = (1 << sizes["entry_bits"] - 1) - 1
        self.entries = [0] * sizes["depth"]
        self.board = Scoreboard(name, show=lambda pair: f"o {pair[0]}, mismatch {pair[1]}")
        self.inputs: dict[int, dict[str, int]] = {}
        self.outputs: dict[int, tuple[int, int, str]] = {}

    async def load(self) -> None:
        """Entries, most of them extreme, by the link's port."""
        dut = self.dut
        for address in range(self.sizes["depth"]):
            kind = [-self.most - 1, self.most, 0, self.source.randint(-self.most - 1, self.most)]
            await self.write(address, self.source.choice(kind))
        dut.w_enable.value = 0

    async def write(self, address: int, entry: int) -> None:
        dut = self.dut
        dut.w_address.value, dut.w_enable.value = address, 1
        dut.w_data.value = unsigned(entry, self.sizes["entry_bits"])
        await RisingEdge(dut.clk)
        dut.w_enable.value = 0
        self.entries[address] = entry

    async def read_back(self) -> None:
        dut, board = self.dut, Scoreboard(f"{self.name}.r_data")
        for address, entry in enumerate(self.entries):
            dut.r_address.value = address
            await RisingEdge(dut.clk)
            await FallingEdge(dut.clk)
            board.expect(entry, f"address {address}")
            board.receive(signed(int(dut.r_data.value), self.sizes["entry_bits"]))
        await RisingEdge(dut.clk)
        board.finish()

    def row(self, number: int) -> Row:
        """A row of inputs that the engine allows, each put into one bucket of its segment."""
        source, sizes = self.source, self.sizes
        k = source.randint(1, sizes["buckets"])
        stage = source.randrange(sizes["stages"])
        buckets = [[0] * k for _ in range(sizes["segments"])]
        low = -(1 << sizes["activation_bits"] - 1)
        extreme = source.choice([None, None, low, -low - 1])
        only = source.choice([None, source.randrange(k)])
        total = 0
        most = sizes["max_columns"]
        for n in range(most if extreme else source.randint(1, most)):
            x = extreme or source.randint(low, -low - 1)
            index = source.randrange(k) if only is None else only
            buckets[n % sizes["segments"]][index] += x
            total += x
        slot = source.randrange(sizes["depth"] // sizes["buckets"])
        return Row(stage, buckets, slot * sizes["buckets"], total)

    def upset(self, row: Row) -> None:
        """One bit of one bucket flips, after Σ of the inputs was formed."""
        bits = self.sizes["bucket_bits"]
        segment = self.source.choice(row.buckets)
        index = self.source.randrange(len(segment))
        flipped = unsigned(segment[index], bits) ^ 1 << self.source.randrange(bits)
        segment[index] = signed(flipped, bits)
        row.upset = True

    def schedule(self, row: Row, begin: int) -> int:
        """Put the row's drain into the schedules from cycle `begin` on; the cycle after it."""
        segments, phase = self.sizes["segments"], self.levels + 1
        total = accumulated = 0
        for k, bucket in enumerate(row.sums):
            at = self.inputs.setdefault(begin + k, {})
            for s in range(segments):
                at[f"bucket__{row.stage * segments + s}"] = row.buckets[s][k]
            at = self.inputs.setdefault(begin + k + phase, {})
            at |= {"r_address": row.slot + k, "first": int(k == 0)}
            self.inputs.setdefault(begin + k + phase + 1, {})["expected"] = row.inputs
            accumulated += self.entries[row.slot + k] * bucket
            total += bucket
            wrong = row.upset if k == len(row.sums) - 1 else total != row.inputs
            if not row.upset:
                note = f"bucket {k} of {len(row.sums)}"
                self.outputs[begin + k + phase + 4] = (accumulated, int(wrong), note)
            elif k == len(row.sums) - 1:
                self.outputs[begin + k + phase + 4] = (0, 1, "an upset bucket")
        return begin + len(row.sums)

    async def play(self, end: int) -> None:
        """Drive the schedules, rubbish where they say nothing, and compare."""
        dut, sizes = self.dut, self.sizes
        shapes = {"r_address": sizes["depth"] - 1, "first": 1, "expected": 99}
        for cycle in range(end):
            given = self.inputs.get(cycle, {})
            for n in range(sizes["stages"] * sizes["segments"]):
                port = getattr(dut, f"bucket__{n}")
                port.value = unsigned(given.get(f"bucket__{n}", 0), sizes["bucket_bits"])
            for name, most in shapes.items():
                value = given.get(name, self.source.randint(0, most))
                bits = sizes["sum_bits"] if name == "expected" else 32
                getattr(dut, name).value = unsigned(value, bits)
            await FallingEdge(dut.clk)
            if cycle in self.outputs:
                o, mismatch, note = self.outputs[cycle]
                seen = signed(int(dut.o.value), sizes["accumulator_bits"])
                # What an upset row adds up to is beyond what the widths are for.
                self.board.expect((o, mismatch), note)
                upset = note.startswith("an upset")
                self.board.receive((0 if upset else seen, int(dut.mismatch.value)))
            await RisingEdge(dut.clk)


async def begin(dut: Any, kind: str) -> list[ColumnBench]:
    benches = [
        ColumnBench(dut, name, random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}"))
        for name in parameters()["columns"]
    ]
    for bench in benches:
        bench.dut.w_enable.value = 0
        for n in range(bench.sizes["stages"] * bench.sizes["segments"]):
            getattr(bench.dut, f"bucket__{n}").value = 0
    await start(dut)
    return benches


@cocotb.test(timeout_time=4000 * 200 * PERIOD_NS, timeout_unit="ns")
@cocotb.parametrize(kind=KINDS)
async def equals_integers(dut: Any, kind: str) -> None:
    """Rows one after the other, or with gaps; every partial sum, and Σ right to the last bucket."""
    for bench in await begin(dut, kind):
        await bench.load()
        cycle = 0
        for number in range(parameters()["rows"]):
            cycle = bench.schedule(bench.row(number), cycle)
            cycle += bench.source.randint(0, 5) if kind == "idle" else 0
        await bench.play(cycle + bench.levels + 8)
        assert bench.board.finish() >= parameters()["rows"]
        await bench.read_back()


@cocotb.test(timeout_time=4000 * 200 * PERIOD_NS, timeout_unit="ns")
@cocotb.parametrize(kind=KINDS)
async def sees_every_upset(dut: Any, kind: str) -> None:
    """A bucket with one bit flipped raises `mismatch`; the rows before and after it do not."""
    for bench in await begin(dut, kind):
        await bench.load()
        cycle, upsets = 0, 0
        for number in range(parameters()["rows"]):
            row = bench.row(number)
            if bench.source.random() < 0.5:
                bench.upset(row)
                upsets += 1
            cycle = bench.schedule(row, cycle)
            cycle += bench.source.randint(0, 5) if kind == "idle" else 0
        assert upsets > parameters()["rows"] // 4
        await bench.play(cycle + bench.levels + 8)
        bench.board.finish()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def entries_can_be_changed(dut: Any) -> None:
    """Single entries written over, in any order, with reads of others at the same time."""
    for bench in await begin(dut, "none"):
        await bench.load()
        for _ in range(200):
            other = bench.source.randrange(bench.sizes["depth"])
            bench.dut.r_address.value = other
            wanted = bench.entries[other]
            address = bench.source.randrange(bench.sizes["depth"])
            await bench.write(address, bench.source.randint(-bench.most - 1, bench.most))
            await FallingEdge(bench.dut.clk)
            read = signed(int(bench.dut.r_data.value), bench.sizes["entry_bits"])
            assert read == wanted, f"entry {other} is {read} while {address} is written"
            await RisingEdge(bench.dut.clk)
        await bench.read_back()
