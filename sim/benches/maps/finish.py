"""The way from a sum to a byte against integers, every output in its cycle.

Values: `units`, for each name in the bundle the bits of its `sum`; `cycles` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.maps.records import MAP_ROW
from dpnet.model.golden.rounding import shift_right_even
from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import bursts, never, sometimes, start

KINDS = kinds("none", "idle", "bursts")
BEFORE, LATENCY, CHECKS = 2, 12, 2
"""From a row's parameters to its sum; from there to its byte, and to its errors."""
ACC = 1 << 39


class FinishBench:
    """A unit, and by cycle what is given and what is due."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.dut, self.bits = Part(dut, name), parameters()["units"][name]
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        self.board = Scoreboard(name, show=str)
        self.limits = -128, 127
        self.given: dict[int, dict[str, int]] = {}
        self.due: dict[int, int] = {}
        self.errors: dict[int, tuple[bool, bool]] = {}
        self.now = 0

    def number(self, bits: int) -> int:
        """A signed integer of up to so many bits, its extremes and small ones among them."""
        source, most = self.source, 1 << bits - 1
        few = 1 << source.randrange(bits)
        return source.choice([-most, most - 1, 0, source.randrange(-few, few)])

    def row(self, shift: int | None = None, **values: int) -> None:
        """A row whose sum is there `BEFORE` cycles from now."""
        source = self.source
        drawn = {
            "bias": self.number(40),
            "multiplier": source.randrange(1 << 16),
            "shift": source.randrange(64) if shift is None else shift,
            "factor": self.number(18),
            "skip": self.number(8),
            "maximum": self.number(8),
            "sum": self.number(self.bits),
            "mismatch": int(source.random() < 0.05),
            "wrong": source.choice([1, 2]) if source.random() < 0.05 else 0,
            **values,
        }
        when = self.now + BEFORE
        words = 0
        for name, (offset, bits) in MAP_ROW.places.items():
            words |= (drawn[name] & (1 << bits) - 1) << offset
        early = {"row": words, "skip": drawn["skip"] & 0xFF, "maximum": drawn["maximum"] & 0xFF}
        self.given.setdefault(self.now, {}).update(early)
        self.given.setdefault(when, {}).update(
            valid=1,
            sum=drawn["sum"] & (1 << self.bits) - 1,
            residue=(drawn["sum"] + drawn["wrong"]) % 3,
            mismatch=drawn["mismatch"],
        )
        total = drawn["sum"] + drawn["bias"] + drawn["maximum"] + drawn["factor"] * drawn["skip"]
        beyond = not -ACC <= total < ACC
        self.errors[when + CHECKS] = beyond, bool(drawn["mismatch"] or drawn["wrong"])
        if not beyond:
            product = np.array([total * drawn["multiplier"]], np.int64)
            value = int(shift_right_even(product, np.array([drawn["shift"]]))[0])
            low, high = self.limits
            self.due[when + LATENCY] = max(low, min(high, value)) & 0xFF

    async def cycle(self) -> None:
        dut, source = self.dut, self.source
        given = self.given.pop(self.now, {})
        rubbish = {"sum": self.bits, "skip": 8, "maximum": 8, "residue": 2, "mismatch": 1}
        values = {name: source.getrandbits(bits) for name, bits in rubbish.items()}
        for port, value in (values | {"valid": 0} | given).items():
            getattr(dut, port).value = value
        await FallingEdge(dut.clk)
        found = bool(int(dut.range.value)), bool(int(dut.sigma.value))
        assert found == self.errors.pop(self.now, (False, False)), f"range, sigma: {found}"
        if self.now in self.due:
            self.board.expect(self.due.pop(self.now), f"cycle {self.now}")
            self.board.receive(int(dut.o.value))
        self.now += 1
        await RisingEdge(dut.clk)

    async def set_limits(self, low: int, high: int) -> None:
        """As a pass begins to drain: when all results have left."""
        while self.due or self.errors or self.given:
            await self.cycle()
        self.limits = low, high
        self.dut.low.value, self.dut.high.value = low & 511, high & 511


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def equals_integers(dut: Any, kind: str) -> None:
    """Extremes and small numbers, all shifts, limits of both signs; accumulators beyond 40 bits,
    mismatches and wrong residues strobe, each in its cycle and nowhere else."""
    for name in parameters()["units"]:
        bench = FinishBench(dut, name, kind)
        source = bench.source
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 7)}[kind]
        bench.dut.valid.value = 0
        await start(bench.dut)
        limits = [(-128, 127), (0, 255), (0, 0), (-128, -128), (255, 255), (-5, 200), (-128, 255)]
        for low, high in limits:
            await bench.set_limits(low, high)
            for _ in range(parameters()["cycles"] // len(limits)):
                if not pause():
                    bench.row()
                await bench.cycle()
        await bench.set_limits(0, 0)
        assert bench.board.finish() > parameters()["cycles"] // 6


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def rounds_to_nearest_even(dut: Any) -> None:
    """Halves between every two integers of the range, and what is next to them."""
    for name in parameters()["units"]:
        bench = FinishBench(dut, name, "halves")
        bench.dut.valid.value = 0
        await start(bench.dut)
        await bench.set_limits(-128, 255)
        still = {"bias": 0, "factor": 0, "maximum": 0, "mismatch": 0, "wrong": 0, "multiplier": 1}
        for half in range(-262, 520, 3):
            for near in (-1, 0, 1):
                bench.row(shift=3, sum=4 * half + near, **still)
                await bench.cycle()
        await bench.set_limits(0, 0)
        bench.board.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def leaves_forty_bits_by_one(dut: Any) -> None:
    """Accumulators at the ends of 40 bits and one beyond, by each of the things added."""
    for name in parameters()["units"]:
        bench = FinishBench(dut, name, "ends")
        bench.dut.valid.value = 0
        await start(bench.dut)
        await bench.set_limits(-128, 255)
        still = {"mismatch": 0, "wrong": 0}
        for total in (-ACC, ACC - 1):
            for more in (-1, 0, 1):
                for part in ({"skip": 0}, {"skip": -128}, {"skip": 127}):
                    for maximum in (-128, 0, 127):
                        factor = bench.number(18)
                        free = total + more - maximum - factor * part["skip"]
                        bias = max(-ACC, min(ACC - 1, free))
                        bench.row(
                            bias=bias,
                            sum=free - bias,
                            factor=factor,
                            maximum=maximum,
                            **part,
                            **still,
                        )
                        await bench.cycle()
        await bench.set_limits(0, 0)
        bench.board.finish()
