"""Columns against Python integers: rows times entries, modulo 3 too, the Σ-check with upsets.

Values: `columns`, the engine of the column of each name in the bundle; `rows` per test.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import PERIOD_NS, signed, start, unsigned

KINDS = ("none", "idle")

Held = tuple[int, int, int]
"""The row's product, `mismatch` and `residue`, as a column holds them until the next row."""


@dataclass
class Row:
    """One row: its stage, what its buckets gained, their entries, Σ of its inputs."""

    stage: int
    gains: list[int]
    entries: list[int]
    inputs: int
    upset: bool = False


class ColumnBench:
    """A column, what its buckets held, and by cycle what goes in and what must come out."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        sizes = parameters()["columns"][name]
        self.engine = engine = EngineParameters(**sizes["engine"])
        self.low_bits, self.high_bits = sizes["low_bits"], sizes["high_bits"]
        self.buckets = [
            [self.source.getrandbits(engine.sum_bits) for _ in range(engine.buckets)]
            for _ in range(engine.stages)
        ]
        self.board = Scoreboard(name, show=str)
        self.drained = Scoreboard(f"{name}.drained")
        self.inputs: dict[int, dict[str, int]] = {}
        self.stores: dict[int, tuple[int, str]] = {}
        self.ends: dict[int, tuple[Held, bool, str]] = {}

    def silence(self) -> None:
        for port in ("before", "entry", "first", "last", "owed"):
            getattr(self.dut, port).value = 0
        for g in range(self.engine.stages):
            getattr(self.dut, f"bucket__{g}").value = 0

    def row(self) -> Row:
        """A row of inputs that the engine allows, each put into one bucket; entries that fit, most
        of them extreme."""
        source, engine = self.source, self.engine
        k = source.randint(1, engine.buckets)
        gains = [0] * k
        low = -(1 << engine.activation_bits - 1)
        extreme = source.choice([None, None, low, -low - 1])
        only = source.choice([None, source.randrange(k)])
        for _ in range(engine.max_columns if extreme else source.randint(1, engine.max_columns)):
            x = extreme or source.randint(low, -low - 1)
            gains[source.randrange(k) if only is None else only] += x
        most = (1 << engine.entry_bits - 1) - 1
        kinds = [-most - 1, most, 0, None]
        entries = [source.choice(kinds) for _ in gains]
        drawn = [source.randint(-most - 1, most) if e is None else e for e in entries]
        return Row(source.randrange(engine.stages), gains, drawn, sum(gains))

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
        bits, count = self.engine.sum_bits, len(row.gains)
        note = f"stage {row.stage}, K {count}, gains {row.gains}, entries {row.entries}"
        held = self.buckets[row.stage]
        for k, gain in enumerate(row.gains):
            at, before = begin + k, held[k]
            held[k] = (before + gain) % (1 << bits)
            self._at(at, **{f"bucket__{row.stage}": held[k]})
            self._at(at + 1, before=before)
            self.stores[at + 1] = held[k], note
            self._at(
                at + 3,
                entry=unsigned(row.entries[k], self.engine.entry_bits),
                first=int(k == 0),
                last=int(k == count - 1),
            )
        self._at(begin + 3, owed=unsigned(-row.inputs, bits))
        total = sum(entry * gain for entry, gain in zip(row.entries, row.gains, strict=True))
        # The 18 bits of one multiplier are too few for some entries: a cycle to add two products.
        split = self.engine.multiplier == "18x18" and self.engine.entry_bits > 18
        ends = begin + count - 1 + (7 if split else 6)
        # The residue is of what the buckets gained, be that right or wrong.
        self.ends[ends] = (total, int(row.upset), total % 3), row.upset, note
        return begin + count

    def _at(self, cycle: int, **values: int) -> None:
        self.inputs.setdefault(cycle, {}).update(values)

    async def play(self, end: int) -> None:
        """Drive the schedules, rubbish where they say nothing, and compare in every cycle."""
        dut, engine, source = self.dut, self.engine, self.source
        rubbish = {"before": engine.sum_bits, "owed": engine.sum_bits, "entry": engine.entry_bits}
        held: tuple[Held, bool, str] | None = None
        for cycle in range(end):
            given = self.inputs.get(cycle, {})
            for g in range(engine.stages):
                getattr(dut, f"bucket__{g}").value = given.get(f"bucket__{g}", 0)
            for name, bits in rubbish.items():
                getattr(dut, name).value = given.get(name, source.getrandbits(bits))
            for name in ("first", "last"):
                getattr(dut, name).value = given.get(name, 0)
            await FallingEdge(dut.clk)
            held = self.ends.get(cycle, held)
            if held is not None:
                self._compare(*held)
            if cycle in self.stores:
                self.drained.expect(*self.stores.pop(cycle))
                self.drained.receive(int(dut.drained.value))
            await RisingEdge(dut.clk)

    def _compare(self, wanted: Held, upset: bool, note: str) -> None:
        dut = self.dut
        low = signed(int(dut.low.value), self.low_bits) if self.low_bits else 0
        seen = (signed(int(dut.high.value), self.high_bits) << (17 if self.low_bits else 0)) + low
        self.board.expect(wanted, note)
        # What an upset row adds up to is beyond what the widths are for.
        residue = int(dut.residue.value) if self.engine.residues else wanted[2]
        self.board.receive((wanted[0] if upset else seen, int(dut.mismatch.value), residue))

    def finish(self) -> int:
        """How many rows were held, each for as many cycles as it should."""
        assert not self.stores, f"{self.name}: {len(self.stores)} buckets were not drained"
        self.drained.finish()
        return self.board.finish()


async def begin(dut: Any, label: str) -> list[ColumnBench]:
    benches = [ColumnBench(dut, name, label) for name in parameters()["columns"]]
    for bench in benches:
        bench.silence()
    await start(dut)
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
        assert bench.finish() >= parameters()["rows"]


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
        bench.finish()
