"""The scan of fp32 vectors: a row of exponents a cycle, beside the product before."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.model.engine.parameters import ceil_log2


class ScanRows(wiring.Component):
    """Asks for the rows of largest exponents that belong to a vector of `beats` beats.

    The first vector's are asked for after `first`; those of each later one, `pitch` rows further,
    after `launched`, and so beside the product that was launched.  `launch` comes a cycle before
    `launched`.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `beats`, `In(16)`: beats of a vector.
    * `in_row`, `In(16)`: row of the first vector.
    * `pitch`, `In(16)`: rows from one vector to the next.
    * `fp32`, `In(1)`: vectors are fp32, else none but the first is scanned.
    * `first`, `In(1)`: begins with the first vector.
    * `launch`, `In(1)`: a product will be launched in the next cycle.
    * `launched`, `In(1)`: a product is launched.
    * `again`, `In(1)`: another vector comes after it; a cycle before it counts.
    * `forget`, `In(1)`: no row is asked for any more.
    * `clear`, `Out(1)`: strobes when a scan begins.
    * `row`, `Out(ceil_log2(vector_rows) or 1)`: row that is asked for.
    * `take`, `Out(row_beats)`: its exponents that count, a cycle later.
    * `scanned`, `Out(1)`: the scanner has all of the vector; falls in the cycle after `first` or
      `launch`.
    """

    def __init__(self, *, engine):
        self.engine = engine
        row = ceil_log2(engine.vector_rows) or 1
        super().__init__(
            {
                "beats": In(16),
                "in_row": In(16),
                "pitch": In(16),
                "fp32": In(1),
                "first": In(1),
                "launch": In(1),
                "launched": In(1),
                "again": In(1),
                "forget": In(1),
                "clear": Out(1),
                "row": Out(row),
                "take": Out(engine.row_beats),
                "scanned": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine, rows = self.engine, self.engine.row_beats
        left = Signal(16)
        settle = Signal(range(engine.scan_latency + 1))
        base = Signal.like(self.row)
        following = Signal.like(self.row)
        more = Signal()
        whole = left[ceil_log2(rows) :].any()
        taken = (1 << left[: ceil_log2(rows)]) - 1 if rows > 1 else Const(0, 1)
        m.d.sync += [
            self.take.eq(Mux(whole, Const(-1, rows), taken)),
            self.scanned.eq((left == 0) & (settle[1:] == 0)),
            following.eq(base + self.pitch),
            more.eq(self.again),
        ]
        with m.If(left != 0):
            m.d.sync += [
                left.eq(Mux(whole, left - rows, 0)),
                self.row.eq(self.row + 1),
                settle.eq(engine.scan_latency),
            ]
        with m.Elif(settle != 0):
            m.d.sync += settle.eq(settle - 1)
        with m.If(self.first):
            m.d.sync += [
                left.eq(self.beats),
                self.row.eq(self.in_row),
                base.eq(self.in_row),
                self.scanned.eq(0),
            ]
        with m.Elif(self.launched & self.fp32 & more):
            m.d.sync += [
                left.eq(self.beats),
                self.row.eq(following),
                base.eq(following),
                self.scanned.eq(0),
            ]
        with m.Elif(self.launch & more):
            m.d.sync += self.scanned.eq(0)
        with m.If(self.forget):
            m.d.sync += left.eq(0)
        m.d.comb += self.clear.eq(self.first | self.launched)
        return m
