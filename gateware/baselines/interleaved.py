"""The strong fp32 baseline: a multiply-add per cycle, with interleaved partial sums."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.fp32 import (
    RESULT,
    Fp32AddUnit,
    Fp32MultiplyUnit,
    add_stages,
    multiply_stages,
)
from dpnet.gateware.arithmetic.multiply_add import PAYLOAD
from dpnet.gateware.arithmetic.stream_pipeline import StreamPipeline
from dpnet.gateware.emit import place
from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.golden.interleaved import PARTIALS, InterleavedFp32

ITEM = StructLayout({"word": 32, "last": 1})
LEVELS = ceil_log2(PARTIALS)


class PairSum(wiring.Component):
    """Adds the words of a row in pairs: rows of n words become rows of ceil(n / 2) fp32 sums.

    The last word of an odd row is added to +0, which changes no number but -0, and no sum that
    started from +0 is -0.  Takes a word per cycle; a sum leaves `latency` = 6 cycles after its
    second word was taken.

    Members:

    * `i`, `In(stream.Signature(ITEM))`: IEEE bits of a `word`, and whether the row ends here
      (`last`).
    * `o`, `Out(stream.Signature(ITEM))`: those of a sum.
    """

    latency = Fp32AddUnit.latency

    def __init__(self):
        super().__init__({"i": In(stream.Signature(ITEM)), "o": Out(stream.Signature(ITEM))})

    def elaborate(self, platform):
        m = Module()
        held, holding = Signal(32), Signal()
        word, last = self.i.p.word, self.i.p.last
        complete = holding | last
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [holding.eq(~complete), held.eq(word)]
        pipe = StreamPipeline(m, valid=self.i.valid & complete, advance=self.i.ready)
        s = add_stages(pipe, Mux(holding, held, 0), word, last=last)
        assert pipe.depth == self.latency
        pipe.finish(self.o, word=s.word, last=s.last)
        return m


class Accumulate(wiring.Component):
    """The partial sums of every row: rows of C pairs become rows of min(C, `PARTIALS`) words.

    Takes a pair per cycle.  The first partial sum of a row leaves `latency` = 20 cycles after the
    row's last pair was taken, the others in the cycles after it, while the next row is taken.  A
    row stalls only if it and the row before have partial sums left when it ends, which rows of
    equal length never do.

    Members:

    * `i`, `In(stream.Signature(PAYLOAD))`: IEEE bits of a weight `w` and an input `x`; `last` of a
      row.
    * `o`, `Out(stream.Signature(ITEM))`: IEEE bits of a partial sum; `last` of a row.
    """

    latency = Fp32MultiplyUnit.latency + Fp32AddUnit.latency + 1

    def __init__(self):
        super().__init__({"i": In(stream.Signature(PAYLOAD)), "o": Out(stream.Signature(ITEM))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.partials = partials = memory.Memory(shape=32, depth=PARTIALS, init=[])
        write, before, leaving = (
            partials.write_port(),
            partials.read_port(domain="comb"),
            partials.read_port(domain="comb"),
        )
        advance = Signal()
        slot, again = Signal(LEVELS), Signal()
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [slot.eq(slot + 1), again.eq(again | slot.all())]
            with m.If(self.i.p.last):
                m.d.sync += [slot.eq(0), again.eq(0)]

        pipe = StreamPipeline(m, valid=self.i.valid, advance=advance)
        p = multiply_stages(
            pipe, self.i.p.w, self.i.p.x, slot=slot, again=again, last=self.i.p.last
        )
        # The sum with this slot entered the adder PARTIALS > 6 beats ago: it has been written.
        m.d.comb += before.addr.eq(p.slot)
        s = add_stages(
            pipe,
            Mux(p.again, before.data, 0),
            p.word,
            slot=p.slot,
            last=p.last,
            final=Mux(p.again, PARTIALS - 1, p.slot),
        )
        assert pipe.depth + 1 == self.latency
        m.d.comb += [
            write.addr.eq(s.slot),
            write.data.eq(s.word),
            write.en.eq(pipe.valid & advance),
            self.i.ready.eq(advance),
        ]
        self._drain(m, leaving, advance=advance, ended=pipe.valid & s.last, final=s.final)
        return m

    def _drain(self, m, leaving, *, advance, ended, final):
        """Send slots 0 to `final` of the row that ended, each before the next row overwrites it:
        the sum that may do so is one cycle behind in every slot, and stalls together with `o`.
        """
        number, last, draining = Signal(LEVELS), Signal(LEVELS), Signal()
        stuck = self.o.valid & ~self.o.ready
        m.d.comb += [
            leaving.addr.eq(number),
            self.o.valid.eq(draining),
            self.o.p.word.eq(leaving.data),
            self.o.p.last.eq(number == last),
            advance.eq(~stuck & ~(ended & draining & ~self.o.p.last)),
        ]
        with m.If(draining & self.o.ready):
            m.d.sync += [number.eq(number + 1), draining.eq(~self.o.p.last)]
        with m.If(ended & advance):
            m.d.sync += [number.eq(0), last.eq(final), draining.eq(1)]


class InterleavedMultiplyAdd(wiring.Component):
    """Dot products in fp32 at a weight per cycle, equal to `params.compute` bit for bit.

    A row is the pairs up to and including one with `last`.  A pair is taken every cycle, also from
    one row to the next if the rows are equally long; the row's sum leaves
    `latency` = 37 + min(C, `PARTIALS`) cycles after its last pair: product and sum (19), the
    partial sums one after the other, three levels of additions in pairs (18).

    If neither stream pauses, R rows of C pairs take `cycles(R, C)` = R * C + min(C, 8) + 37 cycles
    from the first pair to the last sum, both included.

    Members:

    * `i`, `In(stream.Signature(PAYLOAD))`: IEEE bits of a weight `w` and an input `x`; `last` of a
      row.
    * `o`, `Out(stream.Signature(RESULT))`: IEEE bits of a row's sum.
    """

    params = InterleavedFp32()

    def __init__(self):
        super().__init__({"i": In(stream.Signature(PAYLOAD)), "o": Out(stream.Signature(RESULT))})

    @staticmethod
    def latency(columns):
        """Cycles from the last pair of a row of `columns` pairs to its sum."""
        return Accumulate.latency + min(columns, PARTIALS) - 1 + LEVELS * PairSum.latency

    @classmethod
    def cycles(cls, rows, columns):
        """Cycles from the first pair to the last sum, both included, if neither stream pauses."""
        return rows * columns + cls.latency(columns)

    def elaborate(self, platform):
        m = Module()
        accumulate = place(m, Accumulate(), "accumulate")
        wiring.connect(m, wiring.flipped(self.i), accumulate.i)
        o = accumulate.o
        for level in range(LEVELS):
            pair = place(m, PairSum(), f"level_{level}")
            wiring.connect(m, o, pair.i)
            o = pair.o
        m.d.comb += [
            self.o.p.word.eq(o.p.word),
            self.o.valid.eq(o.valid),
            o.ready.eq(self.o.ready),
        ]
        return m
