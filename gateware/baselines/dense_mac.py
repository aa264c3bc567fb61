"""Two int8 multiplications in one DSP slice: two weights, one activation."""

from amaranth.hdl import Cat, Const, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

# A product of two int8 is in -16256..16384, so 16 bits hold the lower one and the upper weight may
# start there; at 17, as is usual, -128 and a negative lower weight would need 26 bits of the 25.
FIELD = 16


class DenseMac(wiring.Component):
    """Two exact products per cycle in one DSP slice, `latency` = 3 cycles later.

    One DSP48E1 and no LUT but an inverter: its pre-adder makes w[1] * 2^16 + w[0], its post-adder
    adds 2^15, which makes the lower product positive, so that it never borrows from the upper one.

    Members:

    * `w`, `In(signed(8)).array(2)`: two weights.
    * `x`, `In(signed(8))`: an activation.
    * `o`, `Out(signed(FIELD)).array(2)`: `w[n]` * `x`.
    """

    latency = 3

    def __init__(self):
        super().__init__(
            {
                "w": In(signed(8)).array(2),
                "x": In(signed(8)),
                "o": Out(signed(FIELD)).array(2),
            }
        )

    def elaborate(self, platform):
        m = Module()
        weights, x = Signal(signed(25)), Signal(signed(8))
        product = Signal(signed(33))
        total = Signal.like(product)
        m.d.sync += [
            weights.eq(Cat(Const(0, FIELD), self.w[1]).as_signed() + self.w[0]),
            x.eq(self.x),
            product.eq(weights * x),
            total.eq(product + (1 << (FIELD - 1))),
        ]
        # Less 2^15 again: the field's highest bit inverted.
        m.d.comb += [
            self.o[0].eq(Cat(total[: FIELD - 1], ~total[FIELD - 1])),
            self.o[1].eq(total[FIELD : 2 * FIELD]),
        ]
        return m
