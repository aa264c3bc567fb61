"""The way out of the dense engine: a tile's sums one after the other, requantized, stored."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.requantize import RequantizeUnit
from dpnet.gateware.emit import place
from dpnet.gateware.parts.ram import Ram
from dpnet.gateware.parts.records import record_layout
from dpnet.model.engine.dense import ROW_WORDS
from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.engine.records import DENSE_ROW
from dpnet.model.golden.dense import OUT_BITS


class DenseRequantizer(wiring.Component):
    """One of the engine's requantizers, with the parameters of its rows and its results.

    A sum in t is stored as a result in t + `latency`, `latency` = 10; `row_address` must name its
    row parameters in t - 1.

    Parameters: `requantize`, a `Requantize`; `row_depth`, `result_depth`, words of the stores.

    Members:

    * `acc`, `In(signed(acc_bits))`: a sum, in t.
    * `row_address`, `In(max(1, ceil_log2(row_depth)))`: its row parameters, in t - 1.
    * `result_address`, `In(max(1, ceil_log2(result_depth)))`: place of the result, in t +
      `latency`.
    * `store`, `In(1)`: it is stored, in t + `latency`.
    * `r_address`, `In(max(1, ceil_log2(result_depth)))`: result to be read.
    * `value`, `Out(signed(OUT_BITS))`: the result of the last cycle's `r_address`.
    * `w_address`, `In(max(1, ceil_log2(row_depth)))`: row parameters to be written.
    * `w_data`, `In(32)`: what is written.
    * `w_enable`, `In(ROW_WORDS)`: words of them that `w_data` goes to.
    """

    latency = RequantizeUnit.latency

    def __init__(self, *, requantize, row_depth, result_depth):
        self.requantize = requantize
        self.row_depth = row_depth
        self.result_depth = result_depth
        row_bits, result_bits = (max(1, ceil_log2(n)) for n in (row_depth, result_depth))
        super().__init__(
            {
                "acc": In(signed(requantize.acc_bits)),
                "row_address": In(row_bits),
                "result_address": In(result_bits),
                "store": In(1),
                "r_address": In(result_bits),
                "value": Out(signed(OUT_BITS)),
                "w_address": In(row_bits),
                "w_data": In(32),
                "w_enable": In(ROW_WORDS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows = place(m, Ram(width=32 * ROW_WORDS, depth=self.row_depth, granularity=32), "rows")
        results = place(m, Ram(width=OUT_BITS, depth=self.result_depth), "results")
        unit = place(m, RequantizeUnit(params=self.requantize), "unit")
        i, row = unit.i.p, data.View(record_layout(DENSE_ROW), rows.r_data)
        m.d.comb += [
            rows.r_address.eq(self.row_address),
            rows.w_address.eq(self.w_address),
            rows.w_data.eq(Cat(self.w_data, self.w_data)),
            rows.w_enable.eq(self.w_enable),
            i.acc.eq(self.acc),
            i.bias.eq(row.bias[: self.requantize.bias_bits]),
            Cat(i.multiplier, i.shift, i.relu).eq(Cat(row.multiplier, row.shift, row.relu)),
            i.out_bits.eq(OUT_BITS),
            unit.i.valid.eq(1),
            unit.o.ready.eq(1),
            results.w_address.eq(self.result_address),
            results.w_data.eq(unit.o.p.value),
            results.w_enable.eq(self.store),
            results.r_address.eq(self.r_address),
            self.value.eq(results.r_data),
        ]
        return m


class DenseResults(wiring.Component):
    """Takes all sums of a tile at `load` and stores their results in the order of the tiles.

    Row r of the tile leaves in step r // U through requantizer r mod U; the first step is in the
    cycle after `load`, so `load` may come every `params.tile_steps` cycles.

    Parameters: `params`, a `DenseParameters`.

    Members:

    * `acc`, `In(signed(acc_bits)).array(tile_rows)`: the sums of a tile, with `load`.
    * `load`, `In(1)`: takes them.
    * `start`, `In(1)`: begins with the first result and the first row.
    * `tiles`, `In(16)`: tiles after which the rows begin again.
    * `done`, `Out(1)`: strobes with the last write of a tile.
    * `r_address`, `In(max(1, ceil_log2(result_depth)))`: step of the results to be read.
    * `value`, `Out(signed(OUT_BITS)).array(requantizers)`: requantizer u's result of the last
      cycle's `r_address`.
    * `w_address`, `In(max(1, ceil_log2(row_depth)))`: step of the row parameters to be written.
    * `w_data`, `In(32)`: what is written.
    * `w_enable`, `In(ROW_WORDS * requantizers)`: word of requantizer u at bit 2 u + word.
    """

    def __init__(self, *, params):
        self.params = params
        self.row_depth = params.tiles * params.tile_steps
        self.result_depth = params.result_tiles * params.tile_steps
        super().__init__(
            {
                "acc": In(signed(params.requantize.acc_bits)).array(params.tile_rows),
                "load": In(1),
                "start": In(1),
                "tiles": In(16),
                "done": Out(1),
                "r_address": In(max(1, ceil_log2(self.result_depth))),
                "value": Out(signed(OUT_BITS)).array(params.requantizers),
                "w_address": In(max(1, ceil_log2(self.row_depth))),
                "w_data": In(32),
                "w_enable": In(ROW_WORDS * params.requantizers),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        last_step = params.tile_steps - 1
        step, sending = Signal(range(params.tile_steps + 1)), Signal()
        ended = sending & (step == last_step)
        with m.If(self.load):
            m.d.sync += [sending.eq(1), step.eq(0)]
        with m.Elif(sending):
            m.d.sync += [step.eq(step + 1), sending.eq(~ended)]
        row_address = self._rows(m, sending, ended)
        # What is sent now is stored DenseRequantizer.latency cycles later.
        store, done = Signal(DenseRequantizer.latency), Signal(DenseRequantizer.latency)
        result_address = Signal.like(self.r_address)
        m.d.sync += [store.eq(Cat(sending, store)), done.eq(Cat(ended, done))]
        m.d.comb += self.done.eq(done[-1])
        with m.If(self.start):
            m.d.sync += result_address.eq(0)
        with m.Elif(store[-1]):
            m.d.sync += result_address.eq(result_address + 1)
        for u, held in enumerate(self._chain(m)):
            unit = place(
                m,
                DenseRequantizer(
                    requantize=params.requantize,
                    row_depth=self.row_depth,
                    result_depth=self.result_depth,
                ),
                f"requantizer_{u}",
            )
            m.d.comb += [
                unit.acc.eq(held),
                unit.row_address.eq(row_address),
                unit.result_address.eq(result_address),
                unit.store.eq(store[-1]),
                unit.r_address.eq(self.r_address),
                self.value[u].eq(unit.value),
                unit.w_address.eq(self.w_address),
                unit.w_data.eq(self.w_data),
                unit.w_enable.eq(self.w_enable.word_select(u, ROW_WORDS)),
            ]
        return m

    def _chain(self, m):
        """Registers of the tile's sums, moved on by a step in every cycle; those that leave."""
        held = [
            Signal.like(acc, name=f"held_{row}", reset_less=True)
            for row, acc in enumerate(self.acc)
        ]
        units = self.params.requantizers
        for row, register in enumerate(held):
            following = held[row + units] if row + units < len(held) else register
            m.d.sync += register.eq(Mux(self.load, self.acc[row], following))
        return [held[u] if u < len(held) else 0 for u in range(units)]

    def _rows(self, m, sending, ended):
        """The address of the row parameters of the next step."""
        address, following = Signal.like(self.w_address), Signal.like(self.w_address)
        tile = Signal(16)
        m.d.comb += following.eq(address)
        with m.If(self.start):
            m.d.comb += following.eq(0)
            m.d.sync += tile.eq(0)
        with m.Elif(sending):
            m.d.comb += following.eq(address + 1)
            with m.If(ended):
                m.d.sync += tile.eq(tile + 1)
                with m.If(tile == self.tiles - 1):
                    m.d.comb += following.eq(0)
                    m.d.sync += tile.eq(0)
        m.d.sync += address.eq(following)
        return following
