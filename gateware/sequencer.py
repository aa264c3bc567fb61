"""The sequencer: layers one after the other, vectors back to back, every cycle counted."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gateware.array import PRODUCTS
from gateware.feeder import CommandLayout
from gateware.segment import drain_row
from model.engine import LEAST_INTERVAL, ceil_log2
from model.layout import LAYER_WORDS

DESCRIPTOR = data.StructLayout({
    "beats": 16, "tiles": 16,
    "rows": 16, "last_k": 8, "fp32_in": 1, "fp32_out": 1, "relu": 1, "forward": 1, "unused": 4,
    "index_row": 32,
    "slot": 16, "result_slot": 16,
    "in_row": 16, "out_row": 16,
    "out_bits": 8, "unused_5": 8, "vector_rows": 16,
    "rest": 32 * (LAYER_WORDS - 6),
})  # fmt: skip
"""The words of `model.layout.Descriptor`, as one vector."""


class Sequencer(wiring.Component):
    """Runs layers `first` to `last` after `start`; see `EngineParameters.layer_cycles` for how
    long.

    For each layer: read the descriptor, scan an fp32 vector for its largest exponent, feed tiles of
    beats, drains and (only where rows are short) idle cycles, wait for the last result, copy the
    results to the next layer's input if `forward`.  A run of one layer takes `last_vector` + 1
    vectors, one after the other without a pause: the scan of a vector runs beside the product
    before it.  A NaN or infinity found by the scan ends the run: that vector's product and all that
    come after it are not computed.

    `launch` strobes in the cycle before the first beat's command of a product: the scan's exponent
    and `slot_offset` are then the product's, whose number is `product`.  After a reset, and after a
    run with a `sigma` error, every bucket is drained once (`busy`), so that the columns know what
    the buckets hold.

    `cycles` counts from `start` to the last result or copy, both included.
    """

    def __init__(self, *, engine):
        self.engine = engine
        row_bits = ceil_log2(engine.vector_rows) or 1
        super().__init__({
            "start": In(1),
            "first": In(8),
            "last": In(8),
            "last_vector": In(8),
            "busy": Out(1),
            "cycles": Out(48),
            "layer_address": Out(ceil_log2(engine.layers) or 1),
            "layer_use": Out(1),
            "layer_data": In(32 * LAYER_WORDS),
            "layer": Out(DESCRIPTOR),
            "command": Out(CommandLayout(engine)),
            "row": Out(row_bits),
            "row_use": Out(1),
            "scan_clear": Out(1),
            "scan_take": Out(engine.row_beats),
            "nonfinite": In(1),
            "refused": Out(1),
            "launch": Out(1),
            "product": Out(range(PRODUCTS)),
            "slot_offset": Out(ceil_log2(engine.result_slots) or 1),
            "sigma": In(1),
            "result_done": In(1),
            "result_slot": In(ceil_log2(engine.slots) or 1),
            "copy": Out(1),
            "copied": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        number, final = Signal(8), Signal(8)
        self._beat, self._tile, self._gap = Signal(16), Signal(16), Signal(16)
        self._count, self._vector, self._last_vector = Signal(16), Signal(8), Signal(8)
        self._index_row = Signal.like(self.command.address)
        self._part_bits = ceil_log2(engine.row_beats)
        self._in_row = Signal.like(self.row)
        self._abandoned, dirty, running = Signal(), Signal(init=1), Signal()
        count, layer, command = self._count, self.layer, self.command
        m.d.comb += [
            self.busy.eq(1),
            running.eq(1),
            self.layer_address.eq(number),
            command.part.eq(self._beat[: self._part_bits]),
            command.address.eq(self._index_row),
            self.row.eq(self._in_row + (self._beat >> self._part_bits)),
        ]
        self._scan_beside(m)
        finished = self._finished(m)
        with m.If(self.sigma):
            m.d.sync += dirty.eq(1)
        with m.FSM(init="IDLE"):
            with m.State("IDLE"):
                m.d.sync += count.eq(0)
                m.d.comb += [self.busy.eq(dirty), running.eq(0)]
                with m.If(dirty):
                    m.next = "FLUSH"
                with m.Elif(self.start):
                    m.d.sync += [
                        number.eq(self.first), final.eq(self.last), self._abandoned.eq(0),
                        self._last_vector.eq(Mux(self.first == self.last, self.last_vector, 0)),
                    ]  # fmt: skip
                    m.next = "FETCH"
            with m.State("FLUSH"):
                m.d.comb += [
                    running.eq(0),
                    command.drain.eq(count < engine.buckets),
                    command.first.eq(count == 0),
                    command.address.eq(drain_row(engine) + count),
                ]
                m.d.sync += count.eq(count + 1)
                with m.If(count == engine.flush_cycles):
                    m.d.sync += dirty.eq(0)
                    m.next = "IDLE"
            with m.State("FETCH"):
                m.d.comb += self.layer_use.eq(1)
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += layer.eq(self.layer_data)
                m.next = "PREPARE"
            with m.State("PREPARE"):
                self._prepare(m)
            with m.State("SCAN"):
                self._scan(m)
            with m.State("BEATS"):
                m.d.comb += [command.beat.eq(1), self.row_use.eq(command.part == 0)]
                m.d.sync += [
                    self._index_row.eq(self._index_row + 1), self._beat.eq(self._beat + 1)
                ]
                with m.If(self._beat == layer.beats - 1):
                    m.d.sync += [self._beat.eq(0), count.eq(0)]
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                drained = count == layer.last_k
                m.d.comb += [
                    command.drain.eq(1),
                    command.address.eq(drain_row(engine) + count),
                    Cat(command.first, command.last).eq(Cat(count == 0, drained)),
                    command.start.eq((count == 0) & (self._tile == 0)),
                ]
                m.d.sync += count.eq(count + 1)
                with m.If(drained):
                    m.d.sync += count.eq(0)
                    self._tile_done(m)
            with m.State("GAP"):
                m.d.sync += count.eq(Mux(count == self._gap, count, count + 1))
                with m.If(count + 1 >= self._gap):
                    self._next_tile(m)
            with m.State("WAIT"), m.If(finished):
                m.d.comb += self.copy.eq(layer.forward & ~self._abandoned)
                with m.If(self._abandoned):
                    m.next = "IDLE"
                with m.Elif(layer.forward):
                    m.next = "COPY"
                with m.Else():
                    self._next_layer(m, number, final)
            with m.State("COPY"), m.If(self.copied):
                self._next_layer(m, number, final)
        with m.If(self.start & ~self.busy):
            m.d.sync += self.cycles.eq(1)
        with m.Elif(running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        return m

    def _prepare(self, m):
        engine, layer = self.engine, self.layer
        k = layer.last_k + 1
        least = (engine.stages - 1) * engine.slot_cycles
        hidden = least + Mux(k > engine.bank_columns, k, engine.bank_columns)
        taken = layer.beats + k
        m.d.comb += self.scan_clear.eq(1)
        m.d.sync += [
            self._gap.eq(Mux(taken < hidden, hidden - taken, 0)),
            self._beat.eq(0), self._tile.eq(0), self._count.eq(0), self._vector.eq(0),
            self._index_row.eq(layer.index_row), self._in_row.eq(layer.in_row),
            self.slot_offset.eq(layer.result_slot - layer.slot),
        ]  # fmt: skip
        m.next = "SCAN"
        with m.If(~layer.fp32_in):
            m.d.comb += self.launch.eq(1)
            m.next = "BEATS"

    def _scan(self, m):
        """Read the first vector row by row; words behind its end do not count."""
        engine, beat, count = self.engine, self._beat, self._count
        with m.If(beat < self.layer.beats):
            self._take(m, self.layer.beats - beat)
            m.d.sync += beat.eq(beat + engine.row_beats)
        with m.Else():
            m.d.sync += count.eq(count + 1)
            with m.If(count == engine.scan_latency):
                m.d.sync += [beat.eq(0), count.eq(0)]
                m.next = "BEATS"
                with m.If(self.nonfinite):
                    m.d.comb += self.refused.eq(1)
                    m.next = "IDLE"
                with m.Else():
                    m.d.comb += self.launch.eq(1)

    def _take(self, m, left):
        """Scan the row being read: `left` beats of the vector are in it or behind it."""
        beats = self.engine.row_beats
        m.d.comb += self.row_use.eq(1)
        m.d.sync += self.scan_take.eq(
            Mux(left >= beats, Const(-1, beats), (1 << left[: ceil_log2(beats)]) - 1)
        )

    def _scan_beside(self, m):
        """While a row's second beat is fed, the store reads that row of the next vector."""
        layer = self.layer
        due, row, left = Signal(), Signal.like(self.row), Signal(16)
        self._settle, self._pace = Signal(5), Signal(range(LEAST_INTERVAL))
        m.d.sync += [
            due.eq(
                self.command.beat & (self.command.part == 0) & layer.fp32_in
                & (self._tile == 0) & (self._vector != self._last_vector)
            ),
            row.eq(self.row + layer.vector_rows),
            left.eq(layer.beats - self._beat),
            self.scan_take.eq(0),
            self._settle.eq(Mux(self._settle == 0, 0, self._settle - 1)),
            self._pace.eq(Mux(self._pace == 0, 0, self._pace - 1)),
        ]  # fmt: skip
        with m.If(due):
            m.d.comb += self.row.eq(row)
            self._take(m, left)
            m.d.sync += self._settle.eq(self.engine.scan_latency)
        with m.If(self.launch):
            m.d.comb += self.scan_clear.eq(1)
            m.d.sync += [
                self.product.eq(self.product + 1), self._pace.eq(LEAST_INTERVAL - 1),
            ]  # fmt: skip

    def _tile_done(self, m):
        layer = self.layer
        m.d.sync += self._tile.eq(self._tile + 1)
        with m.If((self._tile == layer.tiles - 1) & (self._vector == self._last_vector)):
            m.next = "WAIT"
        with m.Elif(self._gap != 0):
            m.next = "GAP"
        with m.Else():
            self._next_tile(m, self._tile == layer.tiles - 1)

    def _next_tile(self, m, last=None):
        """The next tile, or the next vector as soon as its scan is done."""
        layer = self.layer
        last = self._tile == layer.tiles if last is None else last
        with m.If(~last):
            m.next = "BEATS"
        with m.Elif((self._settle != 0) | (self._pace != 0)):
            m.next = "GAP"
        with m.Elif(layer.fp32_in & self.nonfinite):
            m.d.comb += self.refused.eq(1)
            m.d.sync += self._abandoned.eq(1)
            m.next = "WAIT"
        with m.Else():
            m.d.comb += self.launch.eq(1)
            m.d.sync += [
                self._tile.eq(0), self._vector.eq(self._vector + 1), self._count.eq(0),
                self._index_row.eq(layer.index_row),
                self._in_row.eq(self._in_row + layer.vector_rows),
                self.slot_offset.eq(self.slot_offset + layer.tiles * self.engine.stages),
            ]  # fmt: skip
            m.next = "BEATS"

    def _finished(self, m):
        """Whether the last row's result of every product that was launched is there."""
        engine, layer = self.engine, self.layer
        end = (layer.slot + layer.tiles * engine.stages - 1)[: len(self.result_slot)]
        row, open_products = Signal(range(engine.bank_columns)), Signal(range(PRODUCTS + 1))
        result = self.result_done & (self.result_slot == end)
        whole = result & (row == engine.bank_columns - 1)
        with m.If(result):
            m.d.sync += row.eq(Mux(whole, 0, row + 1))
        m.d.sync += open_products.eq(open_products + self.launch - whole)
        return (open_products == 1) & whole | (open_products == 0)

    def _next_layer(self, m, number, final):
        m.d.sync += number.eq(number + 1)
        with m.If(number == final):
            m.next = "IDLE"
        with m.Else():
            m.next = "FETCH"
