"""The copier against a loop over rows: what it reads, what it writes where, how long it takes.

Values: `engines`, the parameters of the copier of each name in the bundle; `copies` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import start

KINDS = ("none", "idle")


class Results:
    """The result buffer: a random word everywhere, read in the next cycle, for ever."""

    def __init__(self, dut: Part, source: random.Random) -> None:
        self.dut = dut
        self._source = source
        self._words: dict[tuple[int, int, int], int] = {}

    def word(self, slot: int, bank: int, column: int) -> int:
        return self._words.setdefault((slot, bank, column), self._source.getrandbits(32) | 1)

    async def run(self) -> None:
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            place = int(dut.r_slot.value), int(dut.r_bank.value), int(dut.r_column.value)
            await RisingEdge(dut.clk)
            dut.r_word.value = self.word(*place)


async def copy(
    dut: Part, engine: EngineParameters, results: Results, rows: int, slot: int, beat: int
) -> int:
    """One copy; the cycles from `start` to `done`."""
    what = f"{rows} rows from slot {slot} to beat {beat}"
    board, reads = Scoreboard(what, show=str), Scoreboard(f"reads of {what}", show=str)
    filled = -(-rows // engine.segments) * engine.segments
    for row in range(filled):
        column = row % engine.columns
        place = slot + row // engine.columns, column // engine.bank, column % engine.bank
        word = 0
        if row < rows:  # what fills up the last beat is read from anywhere, and must not count
            reads.expect(place, f"row {row}")
            word = results.word(*place)
        board.expect((beat + row // engine.segments, row % engine.segments, word), f"row {row}")
    dut.rows.value, dut.slot.value, dut.beat.value, dut.start.value = rows, slot, beat, 1
    cycles, done = 0, False
    while not done:
        await FallingEdge(dut.clk)
        done = bool(int(dut.done.value))
        if int(dut.w_enable.value):
            written = int(dut.w_beat.value), int(dut.w_segment.value), int(dut.w_word.value)
            board.receive(written)
        if int(dut.r_use.value):
            place = int(dut.r_slot.value), int(dut.r_bank.value), int(dut.r_column.value)
            reads.receive(place)
        await RisingEdge(dut.clk)
        # Only in the cycle of `start` do the settings count.
        dut.start.value, dut.rows.value, dut.slot.value, dut.beat.value = 0, 1, 0, 0
        cycles += not done
        assert cycles <= filled + 10, "the copier does not end"
    board.finish()
    reads.finish()
    return cycles


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def copies_every_row(dut: Any, kind: str) -> None:
    """Random copies, the next one at once or after a pause in which nothing is written."""
    parts = {name: Part(dut, name) for name in parameters()["engines"]}
    for part in parts.values():
        part.start.value = 0
    await start(dut)
    for name, part in parts.items():
        engine = EngineParameters(**parameters()["engines"][name])
        source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        results = Results(part, source)
        memory = cocotb.start_soon(results.run())
        beats = engine.vector_rows * engine.row_beats
        for number in range(parameters()["copies"]):
            slots = source.randint(1, engine.result_slots)
            rows = slots * engine.columns - source.randrange(engine.columns)
            rows = min(rows, beats * engine.segments)
            # First and last row of the store, and a whole store, are among the copies.
            needed = -(-rows // engine.segments)
            last = engine.result_slots - slots
            slot = source.choice([0, last, source.randint(0, last)])
            beat = source.choice([0, beats - needed, source.randint(0, beats - needed)])
            cycles = await copy(part, engine, results, rows, slot, beat)
            filled = -(-rows // engine.segments) * engine.segments
            assert cycles == filled + 2, f"{name}, copy {number} of {rows} rows"
            for _ in range(source.randint(1, 6) if kind == "idle" else 0):
                await FallingEdge(part.clk)
                busy = int(part.w_enable.value), int(part.done.value), int(part.r_use.value)
                assert busy == (0, 0, 0), f"{name}: {busy} without a copy"
                await RisingEdge(part.clk)
        memory.cancel()
