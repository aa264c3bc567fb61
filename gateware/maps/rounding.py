"""The one rounding of a result: an accumulator times a multiplier, shifted right."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.shift import round_up, sticky_right

ACC_BITS = 40
MULTIPLIER_BITS = 16
SHIFT_BITS = 6

VALUE_BITS = 12
"""Of a value that has been rounded: what is beyond 9 bits is beyond every limit."""

SPLIT = 24
"""The accumulator is multiplied in two parts, the lower one unsigned: a DSP48E1 takes 24 × 17."""

COARSE = 16
"""The shift is taken by this many bits first; the accumulator is then narrow for the rest."""


class Rounding(wiring.Component):
    """acc · multiplier / 2^shift, to nearest even; of a value that 9 bits do not hold only that,
    and on which side, is sure.  One a cycle.

    Members:

    * `acc`, `In(signed(40))`: the accumulator.
    * `multiplier`, `In(16)`: the row's.
    * `shift`, `In(6)`: the row's.
    * `value`, `Out(signed(VALUE_BITS))`: the value, `latency` = 10 cycles later.
    """

    latency = 10

    def __init__(self):
        super().__init__(
            {
                "acc": In(signed(ACC_BITS)),
                "multiplier": In(MULTIPLIER_BITS),
                "shift": In(SHIFT_BITS),
                "value": Out(signed(VALUE_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shift = self._later(m, self.shift, 4, "shift")
        fine = self._later(m, shift[:4], 2, "fine")
        product = self._product(m)
        # Guard and sticky below.
        product = Cat(Const(0, 2), product).as_signed()
        product = self._later(m, sticky_right(product, shift[4:], unit=COARSE), 1, "coarse")
        product = self._later(m, _clamped(product, VALUE_BITS - 1 + COARSE - 1), 1, "narrow")
        product = self._later(m, sticky_right(product, fine[2:], unit=4), 1, "medium")
        last = self._later(m, fine[:2], 1, "last")
        product = self._later(m, sticky_right(product, last), 1, "shifted")
        product = self._later(m, _clamped(product, VALUE_BITS - 1), 1, "limited")
        rounded = product[2:].as_signed() + round_up(product)
        m.d.comb += self.value.eq(self._later(m, rounded, 1, "rounded"))
        return m

    def _product(self, m):
        """In the fourth cycle after the accumulator's."""
        acc = self._later(m, self.acc, 2, "acc").as_signed()
        multiplier = self._later(m, self.multiplier, 2, "multiplier")
        low = self._later(m, acc[:SPLIT] * multiplier, 1, "low")
        high = self._later(m, acc[SPLIT:].as_signed() * multiplier, 1, "high").as_signed()
        carried = Cat(low[SPLIT:], Const(0, 1)).as_signed() + high
        product = Cat(low[:SPLIT], carried)[: ACC_BITS + MULTIPLIER_BITS]
        return self._later(m, product, 1, "product")

    def _later(self, m, value, cycles, name):
        """`value`, some cycles later, in registers that a DSP slice may take for its own."""
        for n in range(cycles):
            late = Signal(value.shape(), name=f"{name}_{n}", reset_less=True)
            m.d.sync += late.eq(value)
            value = late
        return value


def _clamped(product, bits):
    """`product` (with guard and sticky) in `bits` bits and these two: what is beyond them is made
    the number of that side that is farthest from 0."""
    negative, upper = product[-1], product[bits + 1 :]
    fits = upper.all() | ~upper.any()
    extreme = Cat((~negative).replicate(bits + 1), negative)
    return Mux(fits, product[: bits + 2], extreme).as_signed()
