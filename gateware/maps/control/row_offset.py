"""A number that grows from row to row and goes on from row group to row group."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class RowOffset(wiring.Component):
    """`o` of row n of row group r is `first` + the `step`s of all rows before it: r · rows + n.

    Parameters: `bits`; sums are modulo 2^`bits`.

    Members:

    * `take`, `In(1)`: the next cycle is row 0 of an item.
    * `afresh`, `In(1)`: with `take`, the first item of a pass.
    * `first`, `In(bits)`: with `afresh`.
    * `ends`, `In(1)`: this is the last row of its row group, whose last item this is.
    * `step`, `In(bits)`: from this row to the next one.
    * `o`, `Out(bits)`: this row's number.
    """

    def __init__(self, *, bits):
        self.bits = bits
        super().__init__(
            {
                "take": In(1),
                "afresh": In(1),
                "first": In(bits),
                "ends": In(1),
                "step": In(bits),
                "o": Out(bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        start, kept, following = (Signal(self.bits, name=n) for n in ("start", "kept", "next"))
        m.d.comb += [
            following.eq(self.o + self.step),
            kept.eq(Mux(self.take & self.afresh, self.first, Mux(self.ends, following, start))),
        ]
        m.d.sync += [start.eq(kept), self.o.eq(Mux(self.take, kept, following))]
        return m
