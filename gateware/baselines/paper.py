"""The fp32 baselines as a core: a matrix-vector product with one multiply-add unit."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from dpnet.gateware.arithmetic.multiply_add import MultiplyAdd
from dpnet.gateware.baselines.interleaved import InterleavedMultiplyAdd
from dpnet.gateware.emit import place
from dpnet.gateware.parts.bus import CoreSignature
from dpnet.gateware.parts.bus_decoder import BusDecoder
from dpnet.gateware.parts.ram import Ram
from dpnet.gateware.parts.records import DESCRIPTOR
from dpnet.model.engine.baseline import BaselineParameters, InterleavedParameters
from dpnet.model.engine.layout import LAYER_WORDS, Region
from dpnet.model.engine.parameters import ceil_log2


class BaselineCore(wiring.Component):
    """y = W x in fp32, row by row, as the link uses it: 6 cycles per weight (`MultiplyAdd`), or one
    with `InterleavedParameters` (`InterleavedMultiplyAdd`).

    Regions: INDEX holds the weights, row after row from `index_row` of the descriptor on; VECTOR
    the columns (`beats` of the descriptor) in order; RESULT the `rows` sums in order.  A run takes
    `params.cycles` cycles for one layer.  A NaN or infinity in a pair strobes
    `nonfinite`, an infinite sum `overflow`.

    The weights of the paper's matrices (32.8 Mb and 21.2 Mb) do not fit the XC7Z045's block RAM:
    the store stands for an external memory that answers in one cycle.

    Parameters: `params`, a `BaselineParameters`.

    Members:

    * `link`, `Out(CoreSignature().flip())`: bus, start and end of runs, errors.
    """

    def __init__(self, *, params):
        if not isinstance(params, BaselineParameters):
            raise TypeError(f"params must be BaselineParameters, not {params!r}")
        self.params = params
        super().__init__({"link": Out(CoreSignature().flip())})

    def elaborate(self, platform):
        m = Module()
        params, link = self.params, self.link
        is_interleaved = isinstance(params, InterleavedParameters)
        unit = place(m, InterleavedMultiplyAdd() if is_interleaved else MultiplyAdd(), "unit")
        weights = place(m, Ram(width=32, depth=params.weights), "weights")
        vector = place(m, Ram(width=32, depth=params.columns), "vector")
        results = place(m, Ram(width=32, depth=params.rows), "results")
        layers = place(
            m, Ram(width=32 * LAYER_WORDS, depth=params.layers, granularity=32), "layers"
        )
        layer, number, end = Signal(DESCRIPTOR), Signal(8), Signal(8)
        address, following = Signal(range(params.weights + 1)), Signal(range(params.weights + 1))
        row, column, stored = Signal(16), Signal(16), Signal(16)
        column_following = Signal(16)
        running, taken, aborted = Signal(), Signal(), Signal()
        # A run that is told to end has its row summed up as it is: nothing is left in the unit.
        final = (column == layer.beats - 1) | aborted
        m.d.comb += [
            unit.i.p.w.eq(weights.r_data),
            unit.i.p.x.eq(vector.r_data),
            unit.i.p.last.eq(final),
            unit.o.ready.eq(1),
            results.w_address.eq(stored),
            results.w_data.eq(unit.o.p.word),
            results.w_enable.eq(unit.o.valid),
            running.eq(1),
            taken.eq(unit.i.valid & unit.i.ready),
            # The stores read ahead of the cycle in which a pair is taken: one pair a cycle.
            following.eq(address + taken),
            column_following.eq(Mux(taken, Mux(final, 0, column + 1), column)),
            # Errors come a cycle late; a host that sees the end of the run must see them too.
            link.busy.eq(running | link.errors.any()),
        ]
        with m.If(unit.o.valid):
            m.d.sync += stored.eq(stored + 1)
        with m.If(link.abort):
            m.d.sync += aborted.eq(1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += running.eq(0)
                m.d.sync += aborted.eq(0)
                with m.If(link.start):
                    m.d.sync += [number.eq(link.first), end.eq(link.last)]
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += layer.eq(layers.r_data)
                m.next = "PREPARE"
            with m.State("PREPARE"):
                m.d.sync += [address.eq(layer.index_row), row.eq(0), column.eq(0), stored.eq(0)]
                m.next = "READ"
            with m.State("READ"):
                m.next = "OFFER"
            with m.State("OFFER"):
                m.d.comb += unit.i.valid.eq(1)
                m.d.sync += [address.eq(following), column.eq(column_following)]
                with m.If(taken & final):
                    m.d.sync += row.eq(row + 1)
                    with m.If((row == layer.rows - 1) | aborted):
                        m.next = "WAIT"
            with m.State("WAIT"), m.If(unit.o.valid & (stored == row - 1)):
                m.d.sync += number.eq(number + 1)
                m.next = "FETCH"
                with m.If((number == end) | aborted):
                    m.next = "IDLE"
        with m.If(link.start & ~running):
            m.d.sync += link.cycles.eq(1)
        with m.Elif(running):
            m.d.sync += link.cycles.eq(link.cycles + 1)
        self._errors(m, unit, taken)
        self._stores(
            m,
            BusDecoder(m, link.bus),
            weights,
            vector,
            results,
            layers,
            (following, column_following, number),
        )
        return m

    def _errors(self, m, unit, taken):
        bad = unit.i.p.w[23:31].all() | unit.i.p.x[23:31].all()
        infinite = unit.o.valid & unit.o.p.word[23:31].all()
        m.d.sync += self.link.errors.eq(Cat(taken & bad, 0, 0, infinite))

    def _stores(self, m, bus, weights, vector, results, layers, running):
        busy = self.link.busy
        address, column, number = running
        for region, ram, depth, own in (
            (Region.INDEX, weights, self.params.weights, address),
            (Region.VECTOR, vector, self.params.columns, column),
        ):
            store = bus.store(region, low=0, depth=depth)
            m.d.comb += [
                ram.w_address.eq(store.row),
                ram.w_data.eq(bus.data),
                ram.w_enable.eq(store.write),
                ram.r_address.eq(Mux(busy, own, store.row)),
            ]
            bus.answer(m, store, [(0, ram.r_data)], bits=0)
        store = bus.store(Region.RESULT, low=0, depth=self.params.rows)
        m.d.comb += results.r_address.eq(store.row)
        bus.answer(m, store, [(0, results.r_data)], bits=0)
        bits = ceil_log2(LAYER_WORDS)
        store = bus.store(Region.LAYERS, low=bits, depth=self.params.layers)
        m.d.comb += [
            layers.w_address.eq(store.row),
            layers.w_data.eq(Cat(*[bus.data] * LAYER_WORDS)),
            layers.w_enable.eq(Mux(store.write, 1 << bus.field(0, bits), 0)),
            layers.r_address.eq(Mux(busy, number, store.row)),
        ]
        bus.answer(
            m, store, [(w, layers.r_data.word_select(w, 32)) for w in range(LAYER_WORDS)], bits=bits
        )
        bus.finish(m)
