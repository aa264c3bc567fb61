"""Columns against Python integers: products with the codebook, the Σ-check with and without upsets.

Values: `columns`, the engine of the column of each name in the bundle; `rows` per test.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from model.engine import EngineParameters
from sim.bench import parameters
from sim.bundle import Part
from sim.scoreboard import Scoreboard
from sim.streams import PERIOD_NS, signed, start, unsigned
from sim.upsets import flip, memory

KINDS = ("none", "idle")
CHECK = 4
"""Cycles from an `r_use` to `corrupt`."""

Held = tuple[int, int]
"""The row's product and `mismatch`, as a column holds them until the next row."""

BUCKETS: dict[str, list[int]] = {}
"""What each bucket (stage · buckets + k) held at its last drain, from one test to the next."""


@dataclass
class Row:
    """One row: its stage, what its buckets gained, its entries' place, Σ of its inputs."""

    stage: int
    gains: list[int]
    slot: int
    inputs: int
    upset: bool = False


class ColumnBench:
    """A column, its codebook as a list, and by cycle what goes in and what must come out."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        sizes = parameters()["columns"][name]
        self.engine = engine = EngineParameters(**sizes["engine"])
        self.low_bits, self.high_bits = sizes["low_bits"], sizes["high_bits"]
        self.most = (1 << engine.entry_bits - 1) - 1
        self.depth = engine.slots * engine.buckets
        self.entries = [0] * self.depth
        self.odd: set[int] = set()
        self.memory = memory(dut, f"part_{name}", "book", "ram")
        self.buckets = BUCKETS.setdefault(name, [0] * (engine.stages * engine.buckets))
        self.board = Scoreboard(name, show=lambda pair: f"row {pair[0]}, mismatch {pair[1]}")
        self.corrupt = Scoreboard(f"{name}.corrupt")
        self.inputs: dict[int, dict[str, int]] = {}
        self.ends: dict[int, tuple[Held, bool, str]] = {}

    def silence(self) -> None:
        for port in ("w_enable", "drain", "k_address", "first", "last", "owed", "r_use"):
            getattr(self.dut, port).value = 0
        for g in range(self.engine.stages):
            getattr(self.dut, f"bucket__{g}").value = 0

    async def load(self) -> None:
        """Entries, most of them extreme, by the link's port."""
        for address in range(self.depth):
            kind = [-self.most - 1, self.most, 0, self.source.randint(-self.most - 1, self.most)]
            await self.write(address, self.source.choice(kind))

    async def write(self, address: int, entry: int) -> None:
        dut = self.dut
        dut.w_address.value, dut.w_enable.value = address, 1
        dut.w_data.value = unsigned(entry, self.engine.entry_bits)
        await RisingEdge(dut.clk)
        dut.w_enable.value = 0
        self.entries[address] = entry
        self.odd.discard(address)

    async def read_back(self) -> None:
        dut, board = self.dut, Scoreboard(f"{self.name}.r_data")
        for address, entry in enumerate(self.entries):
            dut.r_address.value = address
            await RisingEdge(dut.clk)
            await FallingEdge(dut.clk)
            board.expect(entry, f"address {address}")
            board.receive(signed(int(dut.r_data.value), self.engine.entry_bits))
        await RisingEdge(dut.clk)
        board.finish()

    def row(self) -> Row:
        """A row of inputs that the engine allows, each put into one bucket."""
        source, engine = self.source, self.engine
        k = source.randint(1, engine.buckets)
        gains = [0] * k
        low = -(1 << engine.activation_bits - 1)
        extreme = source.choice([None, None, low, -low - 1])
        only = source.choice([None, source.randrange(k)])
        for _ in range(engine.max_columns if extreme else source.randint(1, engine.max_columns)):
            x = extreme or source.randint(low, -low - 1)
            gains[source.randrange(k) if only is None else only] += x
        slot = source.randrange(engine.slots) * engine.buckets
        return Row(source.randrange(engine.stages), gains, slot, sum(gains))

    def upset(self, row: Row) -> None:
        """One bit of one bucket flips, or the inputs' sum does, so that they differ."""
        row.upset = True
        bits = self.engine.sum_bits
        if self.source.random() < 0.3:
            row.inputs = signed(unsigned(row.inputs, bits) ^ 1 << self.source.randrange(bits), bits)
            return
        k = self.source.randrange(len(row.gains))
        flipped = unsigned(row.gains[k], bits) ^ 1 << self.source.randrange(bits)
        row.gains[k] = signed(flipped, bits)

    def schedule(self, row: Row, begin: int) -> int:
        """Put the row's drain into the schedules from cycle `begin` on; the cycle after it."""
        bits = self.engine.sum_bits
        count = len(row.gains)
        # A tile has a beat at least: no bucket is drained twice without a cycle between.
        before = self.inputs.get(begin - 1, {})
        begin += before.get("drain", 0) and before["k_address"] == row.stage * self.engine.buckets
        for k, gain in enumerate(row.gains):
            place = row.stage * self.engine.buckets + k
            bucket = self.buckets[place] = (self.buckets[place] + gain) % (1 << bits)
            at = begin + k
            self._at(at, **{f"bucket__{row.stage}": bucket, "drain": 1, "k_address": place})
            self._at(at + 1, r_address=row.slot + k, r_use=1)
            self._at(at + 3, first=int(k == 0), last=int(k == count - 1))
        self._at(begin + 3, owed=unsigned(-row.inputs, bits))
        total = sum(self.entries[row.slot + k] * gain for k, gain in enumerate(row.gains))
        note = f"stage {row.stage}, K {count}, gains {row.gains}"
        # The 18 bits of one multiplier are too few for some entries: a cycle to add two products.
        split = self.engine.multiplier == "18x18" and self.engine.entry_bits > 18
        held = total, int(row.upset)
        self.ends[begin + count - 1 + (7 if split else 6)] = held, row.upset, note
        return begin + count

    def _at(self, cycle: int, **values: int) -> None:
        self.inputs.setdefault(cycle, {}).update(values)

    async def play(self, end: int) -> None:
        """Drive the schedules, rubbish where they say nothing, and compare in every cycle."""
        dut, engine, source = self.dut, self.engine, self.source
        rubbish = {"r_address": self.depth - 1, "owed": (1 << engine.sum_bits) - 1,
                   "k_address": engine.stages * engine.buckets - 1}  # fmt: skip
        held: tuple[Held, bool, str] | None = None
        for cycle in range(end):
            given = self.inputs.get(cycle, {})
            for g in range(engine.stages):
                getattr(dut, f"bucket__{g}").value = given.get(f"bucket__{g}", 0)
            for name, most in rubbish.items():
                getattr(dut, name).value = given.get(name, source.randint(0, most))
            for name in ("drain", "r_use", "first", "last"):
                getattr(dut, name).value = given.get(name, 0)
            await FallingEdge(dut.clk)
            held = self.ends.get(cycle, held)
            if held is not None:
                self._compare(*held)
            used = self.inputs.get(cycle - CHECK, {})
            strobe = used.get("r_use", 0) and used["r_address"] in self.odd
            self.corrupt.expect(int(strobe), f"cycle {cycle}")
            self.corrupt.receive(int(dut.corrupt.value))
            await RisingEdge(dut.clk)
        self.corrupt.finish()

    def _compare(self, wanted: Held, upset: bool, note: str) -> None:
        dut = self.dut
        low = signed(int(dut.low.value), self.low_bits) if self.low_bits else 0
        seen = (signed(int(dut.high.value), self.high_bits) << (17 if self.low_bits else 0)) + low
        self.board.expect(wanted, note)
        # What an upset row adds up to is beyond what the widths are for.
        self.board.receive((wanted[0] if upset else seen, int(dut.mismatch.value)))


async def begin(dut: Any, label: str) -> list[ColumnBench]:
    benches = [ColumnBench(dut, name, label) for name in parameters()["columns"]]
    for bench in benches:
        bench.silence()
    await start(dut)
    for bench in benches:
        await bench.load()
    return benches


def pause(bench: ColumnBench, kind: str) -> int:
    return bench.source.randint(0, 9) if kind == "idle" else 0


@cocotb.test(timeout_time=4000 * 200 * PERIOD_NS, timeout_unit="ns")
@cocotb.parametrize(kind=KINDS)
async def equals_integers(dut: Any, kind: str) -> None:
    """Rows one after the other, or with gaps; a row shows from its cycle until the next one."""
    for bench in await begin(dut, kind):
        cycle = 0
        for _ in range(parameters()["rows"]):
            cycle = bench.schedule(bench.row(), cycle) + pause(bench, kind)
        await bench.play(cycle + 9)
        assert bench.board.finish() >= parameters()["rows"]
        await bench.read_back()


@cocotb.test(timeout_time=4000 * 200 * PERIOD_NS, timeout_unit="ns")
@cocotb.parametrize(kind=KINDS)
async def sees_every_upset(dut: Any, kind: str) -> None:
    """A bit of a bucket or of the sum flipped raises `mismatch`; only of its own row, until the
    next one, and although later rows of that bucket count on from the wrong value.
    """
    for bench in await begin(dut, f"upset {kind}"):
        cycle, upsets = 0, 0
        for _ in range(parameters()["rows"]):
            row = bench.row()
            if bench.source.random() < 0.5:
                bench.upset(row)
                upsets += 1
            cycle = bench.schedule(row, cycle) + pause(bench, kind)
        assert upsets > parameters()["rows"] // 4
        await bench.play(cycle + 9)
        bench.board.finish()


@cocotb.test(timeout_time=4000 * 200 * PERIOD_NS, timeout_unit="ns")
@cocotb.parametrize(kind=KINDS)
async def sees_upset_entries(dut: Any, kind: str) -> None:
    """An entry of odd parity strobes `corrupt` when a row uses it; others, or unused, do not."""
    for bench in await begin(dut, f"parity {kind}"):
        source, engine = bench.source, bench.engine
        for address in range(bench.depth):
            bit = source.randrange(engine.entry_bits + 1)
            if source.random() < 0.3:
                flip(bench.memory, address, bit)
                bench.odd.add(address)
                if bit < engine.entry_bits:
                    flipped = unsigned(bench.entries[address], engine.entry_bits) ^ 1 << bit
                    bench.entries[address] = signed(flipped, engine.entry_bits)
        await RisingEdge(dut.clk)
        cycle = 0
        for _ in range(parameters()["rows"] // 4):
            cycle = bench.schedule(bench.row(), cycle) + pause(bench, kind)
        await bench.play(cycle + 9)
        bench.board.finish()
        used = [at["r_address"] for at in bench.inputs.values() if at.get("r_use")]
        odd = sum(address in bench.odd for address in used)
        assert 0 < odd < len(used), f"{odd} of {len(used)} entries used were upset"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def entries_can_be_changed(dut: Any) -> None:
    """Single entries written over, in any order, with reads of others at the same time."""
    for bench in await begin(dut, "none"):
        for _ in range(200):
            other = bench.source.randrange(bench.depth)
            bench.dut.r_address.value = other
            wanted = bench.entries[other]
            address = bench.source.randrange(bench.depth)
            await bench.write(address, bench.source.randint(-bench.most - 1, bench.most))
            await FallingEdge(bench.dut.clk)
            read = signed(int(bench.dut.r_data.value), bench.engine.entry_bits)
            assert read == wanted, f"entry {other} is {read} while {address} is written"
            await RisingEdge(bench.dut.clk)
        await bench.read_back()
