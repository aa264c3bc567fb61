"""The paper's baseline engine: one fp32 multiply-add after the other, waiting for each addition."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.fp32 import (
    RESULT,
    Fp32AddUnit,
    Fp32MultiplyUnit,
    add_stages,
    multiply_stages,
)
from dpnet.gateware.arithmetic.stream_pipeline import StreamPipeline
from dpnet.model.golden.fp32 import SequentialFp32

PAYLOAD = StructLayout({"w": 32, "x": 32, "last": 1})


class MultiplyAdd(wiring.Component):
    """Dot products by sequential fp32 multiply-adds, equal to `params.compute` bit for bit.

    A row is the pairs up to and including one with `last`; its sum starts from +0 and leaves on
    `o` when the last product has been added.  A pair is taken every `interval` = 6 cycles, the
    latency of the addition that it waits for, also from one row to the next.

    If neither stream pauses and the first pair is taken in cycle 0, then pair number n (from 0, all
    rows counted) is taken in cycle 6 * n, and the sum that it ends leaves in cycle
    6 * n + `latency`, `latency` = 19: a row of C weights takes 6 * C cycles in steady state, and
    R rows take `cycles(R, C)` = 6 * (R * C - 1) + 19 + 1 cycles, first and last one included.

    Members:

    * `i`, `In(stream.Signature(PAYLOAD))`: IEEE bits of a weight `w` and an input `x`; `last` of a
      row.
    * `o`, `Out(stream.Signature(RESULT))`: IEEE bits of a row's sum.
    """

    params = SequentialFp32()
    interval = Fp32AddUnit.latency
    latency = Fp32MultiplyUnit.latency + Fp32AddUnit.latency

    def __init__(self):
        super().__init__({"i": In(stream.Signature(PAYLOAD)), "o": Out(stream.Signature(RESULT))})

    @classmethod
    def cycles(cls, rows, columns):
        """Cycles from the first pair to the last sum, both included, if neither stream pauses."""
        return cls.interval * (rows * columns - 1) + cls.latency + 1

    def elaborate(self, platform):
        m = Module()
        advance = Signal()
        wait = Signal(range(self.interval))
        first = Signal(init=1)
        m.d.comb += self.i.ready.eq(advance & (wait == 0))
        with m.If(advance & (wait != 0)):
            m.d.sync += wait.eq(wait - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [wait.eq(self.interval - 1), first.eq(self.i.p.last)]

        pipe = StreamPipeline(m, valid=self.i.valid & (wait == 0), advance=advance)
        p = multiply_stages(pipe, self.i.p.w, self.i.p.x, first=first, last=self.i.p.last)
        # The adder's last stage holds the sum so far, however late the next product is.
        total = Signal(32)
        s = add_stages(pipe, Mux(p.first, 0, total), p.word, last=p.last)
        assert pipe.depth == self.latency
        m.d.comb += [
            total.eq(s.word),
            self.o.p.word.eq(s.word),
            self.o.valid.eq(pipe.valid & s.last),
            advance.eq(~self.o.valid | self.o.ready),
        ]
        return m
