"""From a row's sum to the byte of a map: bias, skip value, the one rounding, clamp; and checks."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array.residue import digits, fold, fold_to
from dpnet.gateware.maps.delay import delayed
from dpnet.gateware.maps.rounding import ACC_BITS, Rounding
from dpnet.gateware.maps.row_store import ROW
from dpnet.model.engine.widths import accumulator_widths


class Finish(wiring.Component):
    """Turns each sum into a byte: (sum + maximum + bias + factor · skip) · multiplier / 2^shift, to
    nearest even, clamped to `low` … `high`.

    With V the cycle of a row's sum: `row`, `skip` and `maximum` belong to V - 2; `sum`, `mismatch`,
    `residue` and `valid` to V; `o` to V + `latency` = 12; `range` and `sigma` strobe in V + 2.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `row`, `In(ROW)`: the row's parameters.
    * `skip`, `In(signed(8))`: its skip value.
    * `maximum`, `In(signed(8))`: what is added to the sum, which is 0 where it is not.
    * `sum`, `In(signed(accumulator_widths(params.cluster)[1]))`: Σ entry · bucket.
    * `mismatch`, `In(1)`: its buckets do not add up to what was read.
    * `residue`, `In(2)`: the sum modulo 3, found apart.
    * `valid`, `In(1)`: there is a row.
    * `low`, `In(signed(9))`: least result; steady while a pass's results leave.
    * `high`, `In(signed(9))`: largest result; likewise.
    * `o`, `Out(8)`: the result's lowest 8 bits.
    * `range`, `Out(1)`: strobes for an accumulator beyond 40 bits.
    * `sigma`, `Out(1)`: strobes for a `mismatch`, or a sum that is not what its residue says.
    """

    latency = 2 + Rounding.latency

    def __init__(self, *, params):
        self.params = params
        super().__init__(
            {
                "row": In(ROW),
                "skip": In(signed(8)),
                "maximum": In(signed(8)),
                "sum": In(signed(accumulator_widths(params.cluster)[1])),
                "mismatch": In(1),
                "residue": In(2),
                "valid": In(1),
                "low": In(signed(9)),
                "high": In(signed(9)),
                "o": Out(8),
                "range": Out(1),
                "sigma": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        valid = Signal()
        m.d.sync += valid.eq(self.valid)
        self._check(m, valid)
        m.submodules.rounding = rounding = Rounding()
        accumulator = self._accumulator(m)
        upper = accumulator[ACC_BITS - 1 :]
        scale = delayed(m, Cat(self.row.multiplier, self.row.shift), 3, "scale_line")
        m.d.comb += [
            rounding.acc.eq(accumulator),
            Cat(rounding.multiplier, rounding.shift).eq(scale),
        ]
        m.d.sync += self.range.eq(valid & ~(upper.all() | ~upper.any()))
        value = rounding.value
        limited = Mux(value < self.low, self.low, Mux(value > self.high, self.high, value))
        m.d.sync += self.o.eq(limited)
        return m

    def _accumulator(self, m):
        """The sum with all that is added to it, a cycle after the sum; all of that is added up
        before the sum is there."""
        row = self.row
        product = Signal(signed(len(row.factor) + len(self.skip)), reset_less=True)
        based = Signal(signed(len(row.bias) + 1), reset_less=True)
        more = Signal(signed(len(row.bias) + 2), reset_less=True)
        accumulator = Signal(signed(max(len(more), len(self.sum)) + 1), reset_less=True)
        m.d.sync += [
            product.eq(row.factor.as_signed() * self.skip),
            based.eq(row.bias.as_signed() + self.maximum),
            more.eq(based + product),
            accumulator.eq(self.sum + more),
        ]
        return accumulator

    def _check(self, m, valid):
        """`sigma`, 2 cycles after the sum."""
        mismatch, residue = Signal(), Signal(2)
        few = Cat(fold_to(m, digits(self.sum), 3, "digit"))
        found = Signal.like(few, name="digits")
        m.d.sync += [found.eq(few), residue.eq(self.residue), mismatch.eq(self.mismatch)]
        parts = [found[n : n + 2] for n in range(0, len(found), 2)]
        [folded] = fold(m, parts, "residue")
        m.d.sync += self.sigma.eq(valid & (mismatch | (folded != residue)))
