"""A netlist beside the RTL that it was made of: the same inputs, the same outputs in every cycle.

The design has all inputs in `i`, the RTL's outputs in `rtl`, the netlist's in `netlist`.  Values:
`inputs` and `outputs`, (name, width) of their parts, lowest first; `still`, names of outputs that
no input moves; `cycles` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.streams import start

KINDS = ("random", "extremes", "calm")


def value(source: random.Random, kind: str, width: int, before: int) -> int:
    """What an input of `width` bits shows next."""
    if kind == "random" or (width == 1 and kind == "extremes"):
        return source.getrandbits(width)
    sign, most = 1 << width - 1, (1 << width) - 1
    if kind == "extremes":
        return source.choice([0, 1, most, sign, sign - 1, sign | 1, source.getrandbits(width)])
    return source.choice([0, 0, 0, 0, 0, 0, before, source.getrandbits(width)])


class Compared:
    """The outputs of both, cycle by cycle, and which bits of them have moved."""

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.moved = self.before = 0

    def compare(self, note: str) -> None:
        rtl, netlist = int(self.dut.rtl.value), int(self.dut.netlist.value)
        wrong = self._names(rtl ^ netlist)
        assert not wrong, f"{note}: the netlist differs in {', '.join(wrong)}"
        self.moved |= rtl ^ self.before
        self.before = rtl

    @staticmethod
    def _names(bits: int) -> list[str]:
        """The outputs that have some of these bits."""
        found = []
        for name, width in parameters()["outputs"]:
            if bits & (1 << width) - 1:
                found.append(name)
            bits >>= width
        return found

    def still(self) -> list[str]:
        moved = self._names(self.moved)
        return [name for name, _ in parameters()["outputs"] if name not in moved]


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def does_what_the_rtl_does(dut: Any) -> None:
    """Stretches of each kind of inputs, all outputs in every cycle; each that can move does."""
    source = random.Random(f"{cocotb.RANDOM_SEED}")
    inputs = parameters()["inputs"]
    values = [0] * len(inputs)
    compared = Compared(dut)
    dut.i.value = 0
    await start(dut)
    kind = ""
    for cycle in range(parameters()["cycles"]):
        if cycle % 50 == 0:
            kind = source.choice(KINDS)
        word = place = 0
        for n, (_, width) in enumerate(inputs):
            values[n] = value(source, kind, width, values[n])
            word, place = word | values[n] << place, place + width
        dut.i.value = word
        await FallingEdge(dut.clk)
        compared.compare(f"cycle {cycle}, {kind} inputs")
        await RisingEdge(dut.clk)
    assert compared.still() == parameters()["still"]
