"""Feeder against `Align` and its commands; scanner against the largest exponent, kept by hand.

Values: `feeders` (engine parameters) and `scanners` (exponents) by name; `cycles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.array.stage import BeatLayout
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.golden.align import Align
from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import bursts, never, pack, signed, sometimes, start, unpack

KINDS = kinds("none", "idle", "bursts")


def word(source: random.Random, bits: int, fp32: bool, exponent: int) -> int:
    """A word of the vector store: most fit, some do not, some are extreme."""
    if not fp32:
        low = -(1 << bits - 1)
        value = source.choice([low, -low - 1, 0, -1, low - 1, -low, source.randint(low, -low - 1)])
        return value & 0xFFFFFFFF if source.random() < 0.95 else source.getrandbits(32)
    near = min(255, max(0, exponent - source.choice([0, 0, 1, 2, 23, 24, 25, 40, 254, -1])))
    mantissa = source.choice([0, 0x7FFFFF, 1, 0x400000, source.getrandbits(23)])
    return source.getrandbits(1) << 31 | near << 23 | mantissa


def aligned(bits: int, fp32: bool, exponent: int, value: int) -> tuple[int, int]:
    """(x, invalid) of one word."""
    if not fp32:
        integer = signed(value, 32)
        fits = -(1 << bits - 1) <= integer < 1 << bits - 1
        return (integer, 0) if fits else (0, 1)
    if max(1, value >> 23 & 255) > exponent or value >> 23 & 255 == 255:
        return 0, 1
    number = np.array([value], np.uint32).view(np.float32)
    return int(Align(bits=bits).compute_at(number, exponent)[0]), 0


class FeederBench:
    """A feeder, and a comparison of beat and `invalid` in every cycle."""

    def __init__(self, dut: Any, name: str, source: random.Random) -> None:
        self.dut, self.source = Part(dut, name), source
        self.engine = engine = EngineParameters(**parameters()["feeders"][name])
        integer = engine.edges == "integer"
        self.latency = 3 if integer else 8
        # What the ports used will show, 2 and 3 cycles after a command: x is taken from the first
        # of them, and the last tells whether it is one, both of a word of their own.
        self.ports: dict[str, deque[list[int]]] = {
            port: deque([[]] * cycles)
            for port, cycles in (("row", 2), ("late", 3))
            if integer or port == "late"
        }
        self.board = Scoreboard(name, show=str)
        # All that a command says about its beat but the words, which the feeder hands on as it is.
        self.marks = {
            field: fields.width for field, fields in BeatLayout(engine) if field not in ("x", "use")
        }
        # Integers are judged a cycle after their beat.
        self.judged: deque[int] = deque([0] * integer)
        self.exponents: deque[int] = deque([1] * 3)
        self.promised: deque[list[bool]] = deque()
        self.valid = 0

    async def setting(self, fp32: bool) -> None:
        """Change what must be steady, with the pipeline empty."""
        self.fp32 = fp32 and self.engine.edges != "integer"
        self.dut.command.value = 0
        for _ in range(self.latency + 1):
            await RisingEdge(self.dut.clk)
        self.dut.fp32.value = int(fp32)
        for n in range(self.latency):
            self.board.expect((None, 0), f"idle cycle {n} after a setting")

    def _show(self) -> None:
        """This cycle's rows, where the engine takes them, and rubbish where it does not."""
        for port in ("row", "late"):
            rows = self.ports.get(port)
            row = sum(value << 32 * n for n, value in enumerate(rows.popleft())) if rows else None
            rubbish = self.source.getrandbits(32 * self.engine.segments)
            getattr(self.dut, port).value = rubbish if row is None else row
        self.dut.exponent.value = self.exponents.popleft() if self.exponents else 1

    def row(self, exponent: int) -> list[int]:
        bits = self.engine.activation_bits
        words = [word(self.source, bits, self.fp32, exponent) for _ in range(self.engine.segments)]
        if self.source.random() < 0.6:  # else beats of many segments would hardly ever be valid
            words = [0 if aligned(bits, self.fp32, exponent, w)[1] else w for w in words]
        return words

    async def cycle(self, what: str) -> None:
        """One cycle with a beat, a drain or nothing commanded; row and exponent come later."""
        source = self.source
        marks = {mark: source.getrandbits(bits) for mark, bits in self.marks.items()}
        marks["drain"] = int(what == "drain")
        self.dut.command.value = pack(
            [("beat", 1), *self.marks.items()], beat=int(what == "beat"), **marks
        )
        self._show()
        await FallingEdge(self.dut.clk)
        self._receive()
        # What the store shows behind drains and idle cycles is not this vector's.
        exponent = source.choice([1, 254, 130, 24, source.randint(1, 254)])
        rows = [self.row(exponent) for _ in self.ports]
        for queue, row in zip(self.ports.values(), rows, strict=True):
            queue.append(row)
        self.exponents.append(exponent)
        self._expect(what, rows, exponent, marks)
        await RisingEdge(self.dut.clk)

    def _expect(
        self, what: str, rows: list[list[int]], exponent: int, marks: dict[str, int]
    ) -> None:
        pairs = judged = [(0, 0)] * self.engine.segments
        if what == "beat":
            pairs, judged = (
                [aligned(self.engine.activation_bits, self.fp32, exponent, word) for word in row]
                for row in (rows[0], rows[-1])
            )
        self.judged.append(int(any(bad for _, bad in judged)))
        invalid = self.judged.popleft()
        if what == "idle":
            self.board.expect((None, invalid))
            return
        # What a word that cannot be aligned becomes is nobody's promise: the run has failed.
        xs = [None if bad else x for x, bad in pairs]
        self.promised.append([not bad for _, bad in pairs])
        shown = ", ".join(str([hex(value) for value in row]) for row in rows)
        note = f"{what} of {shown}, exponent {exponent}"
        self.valid += what == "beat" and None not in xs
        self.board.expect(((xs, marks | {"use": 1}), invalid), note)

    def _receive(self) -> None:
        invalid = int(self.dut.invalid.value)
        if not int(self.dut.beat__valid.value):
            self.board.receive((None, invalid))
            return
        count = self.engine.segments
        names = [field for field, _ in BeatLayout(self.engine) if field != "x"]
        layout = [
            *((f"x{s}", -self.engine.activation_bits) for s in range(count)),
            *((name, self.marks.get(name, 1)) for name in names),
        ]
        payload = unpack(layout, int(self.dut.beat__payload.value))
        shown = [
            x if valid else None
            for x, valid in zip(payload[:count], self.promised.popleft(), strict=True)
        ]
        marks = dict(zip(names, payload[count:], strict=True))
        self.board.receive(((shown, marks), invalid))

    async def finish(self) -> None:
        self.dut.command.value = 0
        for invalid in self.judged:
            self.board.expect((None, invalid), "after the last beat")
        for _ in range(self.latency + len(self.judged)):
            self._show()
            await FallingEdge(self.dut.clk)
            self._receive()
            await RisingEdge(self.dut.clk)
        self.board.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def beats_follow_commands(dut: Any, kind: str) -> None:
    """Beats, drains and idle cycles in any order; fp32 under any exponent, and integers."""
    names = list(parameters()["feeders"])
    for name in names:
        Part(dut, name).command.value = 0
    await start(dut)
    for name in names:
        source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 9)}[kind]
        for fp32 in (False, True, False, True):
            bench = FeederBench(dut, name, source)
            await bench.setting(fp32)
            given = beats = 0
            while given < parameters()["cycles"]:
                what = "idle" if pause() else source.choice(["beat", "beat", "beat", "drain"])
                given += what != "idle"
                beats += what == "beat"
                await bench.cycle(what)
            await bench.finish()
            assert given // 5 < bench.valid < beats, f"{name}: {bench.valid} valid beats"


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def scanner_finds_the_largest_exponent(dut: Any, kind: str) -> None:
    """Every cycle: the largest of the exponents taken up to `latency` cycles before it."""
    sizes = parameters()["scanners"]
    for name in sizes:
        Part(dut, name).take.value = 0
        Part(dut, name).clear.value = 0
    await start(dut)
    for name, count in sizes.items():
        source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind}")
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 9)}[kind]
        part, board = Part(dut, name), Scoreboard(name, show=str)
        latency = 2 + (count - 1).bit_length()
        for _ in range(parameters()["scans"]):
            part.clear.value = 1
            await RisingEdge(part.clk)
            part.clear.value = 0
            # Some vectors are of subnormals, a few have an infinity or a NaN.
            most = source.choice([0, 1, 2, 20, 200, 254, 255])
            await scan(part, count, [1] * latency, most, source, pause, board)
        board.finish()


async def scan(
    part: Part,
    count: int,
    seen: list[int],
    most: int,
    source: random.Random,
    pause: Any,
    board: Scoreboard,
) -> None:
    """One vector of random rows; `seen` is what the next cycles show."""
    largest = 1
    for number in range(source.randint(1, 12) + len(seen)):
        exponents = [source.randint(0, most) for _ in range(count)]
        take = 0 if pause() or number >= 12 else source.getrandbits(count)
        part.row.value = sum(exponent << 8 * n for n, exponent in enumerate(exponents))
        part.take.value = take
        await FallingEdge(part.clk)
        shown = seen.pop(0)
        board.expect((shown, int(shown == 255)), f"cycle {number}, {count} exponents")
        board.receive((int(part.exponent.value), int(part.nonfinite.value)))
        taken = [exponent for n, exponent in enumerate(exponents) if take >> n & 1]
        largest = max([largest, *taken])
        seen.append(largest)
        await RisingEdge(part.clk)
    part.take.value = 0
    for shown in seen:
        await FallingEdge(part.clk)
        board.expect((shown, int(shown == 255)), "after the vector")
        board.receive((int(part.exponent.value), int(part.nonfinite.value)))
        await RisingEdge(part.clk)
