"""The rounding of results against fractions, one a cycle.

Values: `count` accumulators of each test.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import start

LATENCY = 10
LOW, HIGH = -256, 255
"""Values that are exact; of others the side is sure."""

Operands = tuple[int, int, int]


def told(value: int) -> int:
    """What is sure of a value."""
    return max(LOW - 1, min(HIGH + 1, value))


def rounded(acc: int, multiplier: int, shift: int) -> int:
    """To nearest even: that is what Python's `round` does with fractions."""
    return told(round(Fraction(acc * multiplier, 1 << shift)))


def accumulator(source: random.Random) -> int:
    """Of up to 40 bits, each number of bits as likely as the others, and the extremes."""
    few = 1 << source.randrange(40)
    return source.choice([-1 << 39, (1 << 39) - 1, *(source.randrange(-few, few),) * 6])


def anything(source: random.Random) -> Operands:
    """All shifts, multipliers of every length."""
    multiplier = source.getrandbits(16) >> source.randrange(16)
    return accumulator(source), multiplier, source.randrange(64)


def near_a_tie(source: random.Random) -> Operands:
    """A product of exactly an odd number of halves, or of one unit more or less."""
    shift = source.randrange(1, 30)
    power = source.randrange(min(shift, 16))
    halves = 2 * source.randrange(-300, 300) + 1
    acc = (halves << shift - 1 - power) + source.choice([0, 0, -1, 1])
    return acc, 1 << power, shift


def beside_the_limits(source: random.Random) -> Operands:
    """A value at, just inside or just beyond what is exact."""
    shift = source.randrange(16, 30)
    multiplier = source.randrange(1, 1 << 16) | 1 << 14
    wanted = source.choice([LOW, HIGH]) + source.choice([-1, 0, 0, 1])
    return (wanted << shift) // multiplier + source.choice([-1, 0, 1]), multiplier, shift


async def check(dut: Any, operands: Iterator[Operands]) -> None:
    """Give operands one a cycle; each value is due `LATENCY` cycles later."""
    await start(dut)
    board, due = Scoreboard("rounding", show=str), []
    for number, (acc, multiplier, shift) in enumerate(operands):
        dut.acc.value = acc & (1 << 40) - 1
        dut.multiplier.value = multiplier
        dut.shift.value = shift
        due.append((rounded(acc, multiplier, shift), f"{acc} * {multiplier} >> {shift}"))
        await FallingEdge(dut.clk)
        if number >= LATENCY:
            board.expect(*due[number - LATENCY])
            board.receive(told(dut.value.value.to_signed()))
        await RisingEdge(dut.clk)
    assert board.finish() == len(due) - LATENCY


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=("anything", "near_a_tie", "beside_the_limits"))
async def equals_fractions(dut: Any, kind: str) -> None:
    """Operands of every length, ties to even and what is a unit beside them, the limits."""
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    draw = {
        "anything": anything,
        "near_a_tie": near_a_tie,
        "beside_the_limits": beside_the_limits,
    }[kind]
    await check(dut, (draw(source) for _ in range(parameters()["count"])))
