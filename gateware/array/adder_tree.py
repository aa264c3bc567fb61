"""Sum of many signed numbers, one adder per pipeline stage."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.model.engine.parameters import ceil_log2


class AdderTree(wiring.Component):
    """`o` = Σ `i`, `latency` = ceil(log2(inputs)) cycles later, one sum per cycle.

    Members:

    * `i`, `In(signed(bits)).array(inputs)`: the numbers to be added.
    * `o`, `Out(signed(bits + latency))`: their sum.
    """

    def __init__(self, *, inputs, bits):
        self.inputs = inputs
        self.bits = bits
        self.latency = ceil_log2(inputs)
        super().__init__(
            {
                "i": In(signed(bits)).array(inputs),
                "o": Out(signed(bits + self.latency)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        level = list(self.i)
        for depth in range(self.latency):
            following = []
            for n in range(0, len(level), 2):
                total = Signal(signed(self.bits + depth + 1), name=f"sum_{depth}_{n // 2}")
                m.d.sync += total.eq(sum(level[n + 1 : n + 2], level[n]))
                following.append(total)
            level = following
        m.d.comb += self.o.eq(level[0])
        return m
