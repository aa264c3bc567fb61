"""Align: fp32 words to integers under one shared exponent."""

from amaranth.hdl import Cat, Const, Module, Mux, signed
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.fp32 import unpack
from dpnet.gateware.arithmetic.shift import constant_sticky_right, round_up, sticky_right
from dpnet.gateware.arithmetic.stream_pipeline import StreamPipeline
from dpnet.model.golden.align import BITS_LIMIT

PAYLOAD = StructLayout({"word": 32, "exponent": 8, "fp32": 1})


class AlignUnit(wiring.Component):
    """Words to integers of `bits` bits, equal to `Align.compute_at` bit for bit.

    Takes one beat per cycle; latency `latency` = 5 cycles.

    Parameters: `params`, an `Align`.

    Members:

    * `i`, `In(stream.Signature(PAYLOAD))`: `word`; with `fp32` it is an fp32 number, aligned under
      the biased `exponent`, else a signed integer that is passed on.
    * `o`, `Out(stream.Signature(StructLayout({"x": signed(bits), "invalid": 1})))`: the integer
      `x`; `invalid` for a NaN, an infinity, a number whose own exponent is larger, an integer that
      does not fit `bits` bits, which all become `x` = 0.
    """

    latency = 5

    def __init__(self, *, params):
        self.params = params
        o = StructLayout({"x": signed(params.bits), "invalid": 1})
        super().__init__({"i": In(stream.Signature(PAYLOAD)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        m = Module()
        pipe = StreamPipeline.between(m, self.i, self.o)
        bits, word, fp32 = self.params.bits, self.i.p.word, self.i.p.fp32
        number = unpack(word)
        distance = self.i.p.exponent - number.exponent
        misfit = ~(word[bits - 1 :].all() | ~word[bits - 1 :].any())
        # Guard and sticky below, and what `bits` is short of 25 shifted out at once.
        significand = Cat(Const(0, 2), number.significand)
        s = pipe.stage(
            fp32=fp32,
            integer=word[:bits],
            negative=word[31],
            invalid=Mux(fp32, number.infinite | number.nan | distance[-1], misfit),
            significand=constant_sticky_right(significand, BITS_LIMIT - bits),
            distance=Mux(distance[5:8].any(), 31, distance[:5]),
        )
        s = pipe.stage(s, significand=sticky_right(s.significand, s.distance[:3]))
        s = pipe.stage(s, significand=sticky_right(s.significand, s.distance[3:], unit=8))
        s = pipe.stage(s, magnitude=s.significand[2:] + round_up(s.significand))
        magnitude = s.magnitude[:-1] | s.magnitude[-1].replicate(bits - 1)  # saturated
        aligned = Mux(s.negative, -magnitude, magnitude)[:bits]
        x = Mux(s.invalid, 0, Mux(s.fp32, aligned, s.integer))
        s = pipe.stage(x=x[:bits].as_signed(), invalid=s.invalid)
        assert pipe.depth == self.latency
        pipe.finish(self.o, x=s.x, invalid=s.invalid)
        return m
