"""Requantize: bias, ReLU, multiplier, shift and saturation, for integer layers."""

from amaranth.hdl import Cat, Const, Module, Mux, signed
from amaranth.lib import stream, wiring
from amaranth.lib.data import StructLayout
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.shift import round_up, sticky_right
from dpnet.gateware.arithmetic.stream_pipeline import StreamPipeline
from dpnet.model.golden.requantize import OUT_BITS_LIMIT

# The sum is multiplied in two parts, the lower one unsigned: a DSP48E1 takes 24 x 17 of them.
SUM_SPLIT = 24
# A value that has been rounded: one bit above the largest output, and one for the carry.
VALUE_BITS = OUT_BITS_LIMIT + 2


class RequantizeUnit(wiring.Component):
    """An accumulator to the next layer's integer, equal to `Requantize.compute` bit for bit.

    Takes one beat per cycle; latency `latency` = 10 cycles.

    Parameters: `params`, a `Requantize`.

    Members:

    * `i`, `In(stream.Signature(…))`: `acc` of `acc_bits` and `bias` of `bias_bits`, signed;
      `multiplier` of `multiplier_bits`; `shift`, 6 bits; `relu`; `out_bits`, 5 bits, from 2 to 25.
    * `o`, `Out(stream.Signature(StructLayout({"value": signed(OUT_BITS_LIMIT)})))`: the integer.
    """

    latency = 10

    def __init__(self, *, params):
        self.params = params
        i = StructLayout(
            {
                "acc": signed(params.acc_bits),
                "bias": signed(params.bias_bits),
                "multiplier": params.multiplier_bits,
                "shift": 6,
                "relu": 1,
                "out_bits": 5,
            }
        )
        o = StructLayout({"value": signed(OUT_BITS_LIMIT)})
        super().__init__({"i": In(stream.Signature(i)), "o": Out(stream.Signature(o))})

    def elaborate(self, platform):
        m = Module()
        pipe = StreamPipeline.between(m, self.i, self.o)
        p = self.i.p
        s = pipe.stage(
            total=p.acc + p.bias,
            multiplier=p.multiplier,
            shift=p.shift,
            relu=p.relu,
            out_bits=p.out_bits,
        )
        s = pipe.stage(s, total=Mux(s.relu & s.total[-1], 0, s.total))
        s = pipe.stage(
            s,
            low=s.total[:SUM_SPLIT] * s.multiplier,
            high=s.total[SUM_SPLIT:].as_signed() * s.multiplier,
        )
        low, high = s.low, s.high
        carried = Cat(low[SUM_SPLIT:], Const(0, 1)).as_signed() + high
        product = Cat(low[:SUM_SPLIT], carried)[: self.params.width]
        # Guard and sticky below.
        s = pipe.stage(s, product=Cat(Const(0, 2), product).as_signed())
        s = pipe.stage(s, product=sticky_right(s.product, s.shift[:2]))
        s = pipe.stage(s, product=sticky_right(s.product, s.shift[2:4], unit=4))
        s = pipe.stage(s, product=sticky_right(s.product, s.shift[4:], unit=16))
        s = pipe.stage(s, product=_clamped(s.product))
        s = pipe.stage(
            value=s.product[2:].as_signed() + round_up(s.product), upper=_upper(s.out_bits)
        )
        s = pipe.stage(value=_saturated(s.value, s.upper))
        assert pipe.depth == self.latency
        pipe.finish(self.o, value=s.value)
        return m


def _clamped(product):
    """`product` (with guard and sticky) in `VALUE_BITS` - 1 bits and these two: what is beyond
    saturates in any case.
    """
    width = VALUE_BITS - 1 + 2
    negative, upper = product[-1], product[width - 1 :]
    fits = upper.all() | ~upper.any()
    extreme = Cat((~negative).replicate(width - 1), negative)
    return Mux(fits, product[:width], extreme).as_signed()


def _upper(out_bits):
    """Ones from the sign bit of a signed number of `out_bits` bits upwards."""
    return Cat(out_bits <= position + 1 for position in range(VALUE_BITS))


def _saturated(value, upper):
    """`value` limited to the range of the signed numbers whose sign bits are `upper`."""
    negative = value[-1]
    beyond = (Mux(negative, ~value, value) & upper).any()
    extreme = Mux(negative, upper, ~upper)
    return Mux(beyond, extreme, value)[:OUT_BITS_LIMIT].as_signed()
