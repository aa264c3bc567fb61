"""IEEE single-precision multiply and add, every case: subnormals, infinities, NaN."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.normalize import (
    INFINITE_EXPONENT,
    normalize_latency,
    normalize_stages,
    rounded,
    saturated,
)
from dpnet.gateware.arithmetic.shift import constant_sticky_right, leading_zeros, sticky_right
from dpnet.gateware.arithmetic.stream_pipeline import StreamPipeline
from dpnet.model.golden.fp32 import CANONICAL_NAN, Fp32Add, Fp32Multiply

# A product is an integer of 48 bits times 2**(e_a + e_b - 2 * 150), e the biased exponents.
PRODUCT_BITS = 48
PRODUCT_SCALE = -300
# The significands' product as two that fit a DSP48E1 (24 x 17 and 24 x 7 bits).
FACTOR_SPLIT = 17

OPERANDS = StructLayout({"a": 32, "b": 32})
RESULT = StructLayout({"word": 32})


class Fp32MultiplyUnit(wiring.Component):
    """fp32 multiplication, equal to `params.compute` (NumPy float32) bit for bit.

    Takes one beat per cycle; latency `latency` = 13 cycles.

    Members:

    * `i`, `In(stream.Signature(OPERANDS))`: IEEE bits of `a` and `b`.
    * `o`, `Out(stream.Signature(RESULT))`: IEEE bits of the product; a NaN is 0x7FC00000.
    """

    params = Fp32Multiply()
    latency = 3 + normalize_latency(PRODUCT_BITS) + 1

    def __init__(self):
        super().__init__({"i": In(stream.Signature(OPERANDS)), "o": Out(stream.Signature(RESULT))})

    def elaborate(self, platform):
        m = Module()
        pipe = StreamPipeline.between(m, self.i, self.o)
        s = multiply_stages(pipe, self.i.p.a, self.i.p.b)
        assert pipe.depth == self.latency
        pipe.finish(self.o, word=s.word)
        return m


class Fp32AddUnit(wiring.Component):
    """fp32 addition, equal to `params.compute` (NumPy float32) bit for bit.

    Takes one beat per cycle; latency `latency` = 6 cycles.

    Members:

    * `i`, `In(stream.Signature(OPERANDS))`: IEEE bits of `a` and `b`.
    * `o`, `Out(stream.Signature(RESULT))`: IEEE bits of the sum; a NaN is 0x7FC00000.
    """

    params = Fp32Add()
    latency = 6

    def __init__(self):
        super().__init__({"i": In(stream.Signature(OPERANDS)), "o": Out(stream.Signature(RESULT))})

    def elaborate(self, platform):
        m = Module()
        pipe = StreamPipeline.between(m, self.i, self.o)
        s = add_stages(pipe, self.i.p.a, self.i.p.b)
        assert pipe.depth == self.latency
        pipe.finish(self.o, word=s.word)
        return m


def unpack(word):
    """The parts of an fp32 `word`.

    `negative`; `exponent`, biased, 1 for zero and subnormals; `significand`, 24 bits; `zero`,
    `infinite`, `nan`.
    """
    exponent, fraction = word[23:31], word[:23]
    normal, special = exponent.any(), exponent.all()
    return SimpleNamespace(
        negative=word[31],
        exponent=Cat(exponent[0] | ~normal, exponent[1:]),
        significand=Cat(fraction, normal),
        zero=~normal & ~fraction.any(),
        infinite=special & ~fraction.any(),
        nan=special & fraction.any(),
    )


def multiply_stages(pipe, a, b, **carried):
    """Add the stages of a multiplication; return the last one, with `word` and the `carried`."""
    a, b = unpack(a), unpack(b)
    s = pipe.stage(
        **carried,
        negative=a.negative ^ b.negative,
        scale=a.exponent + b.exponent + PRODUCT_SCALE,
        a=a.significand,
        b=b.significand,
        nan=a.nan | b.nan | (a.infinite & b.zero) | (a.zero & b.infinite),
        infinite=a.infinite | b.infinite,
    )
    s = pipe.stage(s, low=s.a * s.b[:FACTOR_SPLIT], high=s.a * s.b[FACTOR_SPLIT:])
    upper = (s.low[FACTOR_SPLIT:] + s.high)[: PRODUCT_BITS - FACTOR_SPLIT]
    s = pipe.stage(s, magnitude=Cat(s.low[:FACTOR_SPLIT], upper))
    s = normalize_stages(pipe, s)
    magnitude, _ = saturated(s)
    return pipe.stage(s, word=_selected(s, magnitude))


def add_stages(pipe, a, b, **carried):
    """Add the stages of an addition; return the last one, with `word` and the `carried`."""
    swap = a[:31] < b[:31]
    equal = a[:31] == b[:31]
    a, b = unpack(a), unpack(b)
    subtract = a.negative ^ b.negative
    difference, reverse = a.exponent - b.exponent, b.exponent - a.exponent
    distance = Mux(difference[-1], reverse[:8], difference[:8])
    s = pipe.stage(
        **carried,
        negative=Mux(equal & subtract, 0, Mux(swap, b.negative, a.negative)),
        subtract=subtract,
        exponent=Mux(swap, b.exponent, a.exponent),
        larger=Mux(swap, b.significand, a.significand),
        smaller=Mux(swap, a.significand, b.significand),
        distance=Mux(distance[5:].any(), 31, distance[:5]),
        nan=a.nan | b.nan | (a.infinite & b.infinite & subtract),
        infinite=a.infinite | b.infinite,
    )
    # Three bits below the larger one's last: enough for an exact rounding after a subtraction.
    s = pipe.stage(s, smaller=sticky_right(Cat(Const(0, 3), s.smaller), s.distance))
    larger = Cat(Const(0, 3), s.larger)
    s = pipe.stage(
        s,
        total=Mux(s.subtract, larger - s.smaller, larger + s.smaller)[:28],
        # A one that ends the count where the exponent would become less than 1.
        mark=(Const(1 << 27, 28) >> s.exponent)[:28],
    )
    s = pipe.stage(s, zeros=leading_zeros(s.total | s.mark))
    s = pipe.stage(s, total=(s.total << s.zeros)[:28], exponent=(s.exponent + 1 - s.zeros)[:9])
    # The exponent reaches 256 for an infinite operand only.
    s.rounded, s.huge = rounded(constant_sticky_right(s.total, 2), s.exponent), Const(0)
    magnitude, _ = saturated(s)
    return pipe.stage(s, word=_selected(s, magnitude))


def _selected(s, magnitude):
    """The result word: NaN, infinity, or the sign with the 31 bits `magnitude`."""
    finite = Mux(s.infinite, INFINITE_EXPONENT << 23, magnitude)[:31]
    return Mux(s.nan, CANONICAL_NAN, Cat(finite, s.negative))
