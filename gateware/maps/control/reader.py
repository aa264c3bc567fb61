"""A pass's descriptor, read ahead."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.maps.control.layouts import ADDS_BITS, PassLayout, address_bits
from dpnet.model.engine.maps.placement import PASS_PITCH
from dpnet.model.engine.maps.records import PASS
from dpnet.model.engine.parameters import ceil_div, ceil_log2

ROW_WORDS = 2
"""Words of the store that are read in a cycle."""

ROWS = ceil_div(PASS.words, ROW_WORDS)
PITCH_BITS = ceil_log2(PASS_PITCH // ROW_WORDS)


class PassReader(wiring.Component):
    """Reads a descriptor after `start`; `ready` `latency` cycles after it, and until `taken` or
    `clear`.

    Two products are taken of its fields, once a pass: those of `PassLayout`.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `start`, `In(1)`: reads the descriptor `number`; not while one is being read.
    * `number`, `In(ceil_log2(passes) or 1)`: with `start`.
    * `address`, `Out(PITCH_BITS + (ceil_log2(passes) or 1))`: row of the store, of two words.
    * `use`, `Out(1)`: `address` counts.
    * `data`, `In(64)`: the row, a cycle later.
    * `ready`, `Out(1)`: `pass_` is there.
    * `pass_`, `Out(PassLayout(params))`: it, only while `ready`.
    * `taken`, `In(1)`: it is not needed any more.
    * `clear`, `In(1)`: forgets all.
    """

    latency = ROWS + 3

    def __init__(self, *, params):
        self.params = params
        number = ceil_log2(params.passes) or 1
        super().__init__(
            {
                "start": In(1),
                "number": In(number),
                "address": Out(PITCH_BITS + number),
                "use": Out(1),
                "data": In(32 * ROW_WORDS),
                "ready": Out(1),
                "pass_": Out(PassLayout(params)),
                "taken": In(1),
                "clear": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        number, row = Signal.like(self.number), Signal(range(ROWS + 1), init=ROWS)
        shown, complete = Signal(), Signal()
        read = Signal(32 * ROW_WORDS * ROWS, reset_less=True)
        m.d.comb += [
            self.use.eq(row != ROWS),
            self.address.eq(Cat(row[:PITCH_BITS], number)),
        ]
        m.d.sync += [
            shown.eq(self.use & ~self.clear),
            complete.eq(shown & ~self.use & ~self.clear),
            row.eq(Mux(self.start, 0, Mux(self.clear, ROWS, row + self.use))),
        ]
        with m.If(self.start):
            m.d.sync += number.eq(self.number)
        with m.If(shown):
            m.d.sync += read.eq(Cat(read[32 * ROW_WORDS :], self.data))
        with m.If(complete):
            m.d.sync += self.ready.eq(1)
        with m.If(self.taken | self.clear):
            m.d.sync += self.ready.eq(0)
        m.d.comb += self.pass_.fields.eq(read)
        self._derive(m)
        return m

    def _derive(self, m):
        """A cycle after the fields."""
        fields, adds = self.pass_.fields, Signal(ADDS_BITS)
        m.d.comb += adds.eq(fields.taps * fields.channels)
        rounded = Signal(ADDS_BITS + 1)
        m.d.comb += rounded.eq(adds + Mux(fields.index_mode[1], 0, Mux(fields.index_mode[0], 1, 3)))
        m.d.sync += self.pass_.index_words.eq(
            Mux(
                fields.index_mode[1], rounded, Mux(fields.index_mode[0], rounded >> 1, rounded >> 2)
            )
        )
        bits, first = address_bits(self.params), fields.skip_first
        before = Signal(bits)
        m.d.comb += before.eq(-first.as_signed())
        m.d.sync += self.pass_.skip_start.eq(Mux(first[-1], before * fields.skip_words, 0))
