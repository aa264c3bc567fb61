"""The sequencer: layers one after the other, vectors back to back, every cycle counted."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array import PRODUCTS
from dpnet.gateware.array.segment import drain_row
from dpnet.gateware.core.feeder import CommandLayout
from dpnet.model.engine.layout import LAYER_WORDS
from dpnet.model.engine.parameters import LEAST_INTERVAL, ceil_log2

DESCRIPTOR = data.StructLayout(
    {
        "beats": 16,
        "tiles": 16,
        "rows": 16,
        "last_k": 8,
        "fp32_in": 1,
        "fp32_out": 1,
        "relu": 1,
        "forward": 1,
        "streams": 1,
        "unused": 3,
        "index_row": 32,
        "slot": 16,
        "result_slot": 16,
        "in_row": 16,
        "out_row": 16,
        "out_bits": 8,
        "index_mode": 2,
        "unused_5": 6,
        "vector_rows": 16,
        "stream": 16,
        "unused_6": 16,
        "rest": 32 * (LAYER_WORDS - 7),
    }
)
"""The words of `dpnet.model.engine.layout.Descriptor`, as one vector."""


class Sequencer(wiring.Component):
    """Runs layers `first` to `last` after `start`; see `EngineParameters.layer_cycles` for how
    long.

    For each layer: read the descriptor (once `settled` says that the exponents of its vector are
    there), scan an fp32 vector for its largest exponent, feed tiles of beats, drains and (only
    where rows are short) idle cycles, wait for the last result, copy the results to the next
    layer's input if `forward`.  A run of one layer takes `last_vector` + 1 vectors, one after the
    other without a pause: the scan of a vector runs beside the product before it.  A NaN or
    infinity found by the scan ends the run: that vector's product and all that come after it are
    not computed.

    A layer with `stream` takes its `tiles` again and again, the same vector each time, until
    `stream` tiles are computed: to the array each round is a product.  A tile starts when
    `released` exceeds the tiles started in this run; `stalled` counts the cycles in which nothing
    else was missing, `tiles_done` the streamed tiles whose results are all written.

    `launched` strobes with the first beat's command of a product: the scan's exponent (for this one
    cycle) and `slot_offset` (for two) are then the product's, whose number is `product`.  After a
    reset, and after a run with a `sigma` error, every bucket is drained once (`busy`), so that the
    columns know what the buckets hold.

    `beat` is the place in the vector store that a beat's command reads; `scan_row` the row of
    largest exponents being read, of which `scan_take` names those that count, a cycle later.

    `cycles` counts from `start` to the last result or copy, both included.

    `abort` for one cycle ends a run: a copy goes on to its end; then nothing is commanded until all
    that is on its way has left the array, and every bucket is drained as after a reset.

    What ends a tile, a round or a wait is compared a cycle ahead, so that the state depends on
    registers of one bit.
    """

    def __init__(self, *, engine):
        self.engine = engine
        super().__init__(
            {
                "start": In(1),
                "first": In(8),
                "last": In(8),
                "last_vector": In(8),
                "abort": In(1),
                "busy": Out(1),
                "cycles": Out(48),
                "released": In(16),
                "tiles_done": Out(16),
                "stalled": Out(32),
                "layer_address": Out(ceil_log2(engine.layers) or 1),
                "layer_use": Out(1),
                "layer_data": In(32 * LAYER_WORDS),
                "layer": Out(DESCRIPTOR),
                "command": Out(CommandLayout(engine)),
                "beat": Out(ceil_log2(engine.vector_rows * engine.row_beats) or 1),
                "settled": In(1),
                "scan_clear": Out(1),
                "scan_row": Out(ceil_log2(engine.vector_rows) or 1),
                "scan_take": Out(engine.row_beats),
                "nonfinite": In(1),
                "refused": Out(1),
                "launched": Out(1),
                "product": Out(range(PRODUCTS)),
                "slot_offset": Out(ceil_log2(engine.result_slots) or 1),
                "sigma": In(1),
                "result_done": In(1),
                "copy": Out(1),
                "copied": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        self._number, self._following, final = Signal(8), Signal(8), Signal(8)
        self._left_beats, self._left_tiles, self._left_gap = Signal(16), Signal(16), Signal(16)
        self._count, self._vectors = Signal(range(engine.flush_cycles + 1)), Signal(9)
        self._last_beat, self._drained, self._due = Signal(), Signal(), Signal()
        self._base, self._index_row = Signal.like(self.beat), Signal.like(self.command.address)
        self._abandoned, self._fresh, dirty, running = Signal(), Signal(), Signal(init=1), Signal()
        self._last_vector = last_vector = Signal(8)
        count, layer, command = self._count, self.layer, self.command
        self._fp32 = layer.fp32_in if engine.fp32 else Const(0, 1)
        m.d.comb += [
            self.busy.eq(1),
            running.eq(1),
            self.layer_address.eq(self._number),
            command.address.eq(self._index_row),
        ]
        self._forgets = Signal()
        self._prepare_beside(m)
        self._scan(m)
        finished = self._finished(m)
        with m.If(self.sigma):
            m.d.sync += dirty.eq(1)
        self._aborted = Signal()
        with m.If(self.abort & running):
            m.d.sync += self._aborted.eq(1)
        with m.FSM(init="IDLE"):
            with m.State("IDLE"):
                m.d.sync += [count.eq(0), self._aborted.eq(0)]
                m.d.comb += [self.busy.eq(dirty), running.eq(0), self.layer_address.eq(self.first)]
                with m.If(dirty):
                    m.next = "FLUSH"
                with m.Elif(self.start):
                    m.d.comb += self.layer_use.eq(1)
                    m.d.sync += [
                        self._number.eq(self.first),
                        self._following.eq(self.first + 1),
                        final.eq(self.last),
                        self._abandoned.eq(0),
                        self._started.eq(0),
                        self.tiles_done.eq(0),
                        self.stalled.eq(0),
                        last_vector.eq(Mux(self.first == self.last, self.last_vector, 0)),
                    ]
                    m.next = "DECODE"
            with m.State("FLUSH"):
                m.d.comb += [
                    running.eq(0),
                    self._forgets.eq(1),
                    command.drain.eq(count < engine.buckets),
                    command.first.eq(count == 0),
                    command.address.eq(drain_row(engine) + count),
                ]
                m.d.sync += count.eq(count + 1)
                with m.If(count == engine.flush_cycles):
                    m.d.sync += dirty.eq(0)
                    m.next = "IDLE"
            with m.State("DECODE"):
                m.d.sync += layer.eq(self.layer_data)
                with m.If(self.settled):
                    m.next = "PREPARE"
                if engine.lockstep:  # read again and again until then, and checked every time
                    with m.Else():
                        m.d.comb += self.layer_use.eq(1)
                self._end_if_aborted(m)
            with m.State("PREPARE"):
                m.d.sync += self._vectors.eq(last_vector + 1)
                self._prepare(m)
                self._end_if_aborted(m)
            with m.State("READY"):
                over = self._left_gap[1:] == 0
                m.d.sync += self._left_gap.eq(Mux(over, 0, self._left_gap - 1))
                self._aim(m, self._due)
                with m.If(over):
                    self._next_tile(m, self._due)
                self._end_if_aborted(m)
            with m.State("BEATS"):
                self._feed(m)
                self._end_if_aborted(m)
            with m.State("DRAIN"):
                m.d.comb += [
                    command.drain.eq(1),
                    command.address.eq(drain_row(engine) + count),
                    Cat(command.first, command.last).eq(Cat(count == 0, self._drained)),
                    command.start.eq((count == 0) & self._first_tile),
                ]
                m.d.sync += [count.eq(count + 1), self._drained.eq(count == self._before_last)]
                self._aim(m, self._last_tile)
                with m.If(self._drained):
                    m.d.sync += count.eq(0)
                    self._tile_done(m)
                self._end_if_aborted(m)
            with m.State("WAIT"):
                m.d.comb += self.layer_address.eq(self._following)
                self._end_if_aborted(m)
                with m.If(finished & ~self._aborted):
                    m.d.comb += self.copy.eq(layer.forward & ~self._abandoned)
                    with m.If(self._abandoned):
                        m.next = "IDLE"
                    with m.Elif(layer.forward):
                        m.next = "COPY"
                    with m.Else():
                        self._next_layer(m, final)
            with m.State("COPY"):
                m.d.comb += self.layer_address.eq(self._following)
                with m.If(self.copied):
                    self._next_layer(m, final)
                    self._end_if_aborted(m)
            with m.State("ABORT"):
                m.d.comb += [running.eq(0), self._forgets.eq(1)]
                m.d.sync += [count.eq(count + 1), dirty.eq(1)]
                with m.If(count == engine.flush_cycles):
                    m.d.sync += count.eq(0)
                    m.next = "FLUSH"
        if engine.packs:
            m.d.comb += command.mode.eq(Mux(command.beat, layer.index_mode, 3))
        with m.If(self.start & ~self.busy):
            m.d.sync += self.cycles.eq(1)
        with m.Elif(running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        return m

    def _end_if_aborted(self, m):
        """Whatever else this state leads to."""
        with m.If(self._aborted):
            m.d.sync += self._count.eq(0)
            m.next = "ABORT"

    def _prepare_beside(self, m):
        """What follows from the descriptor and the counters, a cycle after them or two: it is
        needed at the end of a tile, which takes two cycles at least."""
        engine, layer = self.engine, self.layer
        k = layer.last_k + 1
        least = (engine.stages - 1) * engine.slot_cycles
        hidden, taken, gap, stalling = Signal(16), Signal(17), Signal(16), Signal()
        self._step = Signal.like(self.slot_offset)
        self._started, self._released, self._no_gap = Signal(16), Signal(), Signal()
        self._gap, self._stream_left, self._before_last = gap, Signal(16), Signal(8)
        self._one_beat, self._one_bucket, self._streams = Signal(), Signal(), layer.streams
        self._stalls = Signal()
        self._last_tile, self._last_round, self._first_tile = Signal(), Signal(), Signal()
        self._next_base = Signal.like(self._base)
        self._offset, self._next_offset = (Signal.like(self.slot_offset) for _ in range(2))
        self._pitch = Signal(16)
        m.d.sync += [
            hidden.eq(least + Mux(k > engine.bank_columns, k, engine.bank_columns)),
            taken.eq(layer.beats + k),
            gap.eq(Mux(taken < hidden, hidden - taken, 0)),
            self._no_gap.eq(taken >= hidden),
            self._step.eq(layer.tiles * engine.stages),
            self._released.eq(~layer.streams | (self.released != self._started)),
            stalling.eq(self._stalls),
            self.stalled.eq(self.stalled + stalling),
            self._one_beat.eq(layer.beats == 1),
            self._one_bucket.eq(layer.last_k == 0),
            self._before_last.eq(layer.last_k - 1),
            self._last_tile.eq(self._left_tiles == 1),
            self._last_round.eq(Mux(self._streams, self._stream_left == 0, self._vectors == 0)),
            self._pitch.eq(Mux(self._streams, 0, layer.vector_rows)),
            self._next_base.eq(self._base + (self._pitch << ceil_log2(engine.row_beats))),
            self._next_offset.eq(self._offset + self._step),
        ]
        # As `_aim`: nobody looks before `launched`, and in the cycle after it.
        with m.If(self.launched):
            m.d.sync += [self._base.eq(self.beat), self._offset.eq(self.slot_offset)]
        with m.Else():
            m.d.sync += self.slot_offset.eq(Mux(self._fresh, self._offset, self._next_offset))

    def _prepare(self, m):
        """Integers start at once; fp32 vectors wait for their scan, streamed tiles for a release,
        which shows a cycle later."""
        engine, layer = self.engine, self.layer
        base = layer.in_row << ceil_log2(engine.row_beats)
        offset = layer.result_slot - layer.slot
        m.d.sync += [
            self._base.eq(base),
            self.beat.eq(base),
            self._index_row.eq(layer.index_row),
            self._left_beats.eq(layer.beats),
            self._last_beat.eq(layer.beats == 1),
            self._left_tiles.eq(layer.tiles),
            self._left_gap.eq(0),
            self._count.eq(0),
            self._fresh.eq(1),
            self._due.eq(1),
            self._first_tile.eq(1),
            self._stream_left.eq(layer.stream),
            self.slot_offset.eq(offset),
            self._offset.eq(offset),
        ]
        m.d.comb += self._scan_first.eq(self._fp32)
        m.next = "READY"
        with m.If(~self._fp32 & ~layer.streams):
            m.d.comb += self._launches.eq(1)
            m.d.sync += [self._fresh.eq(0), self._due.eq(0), self._vectors.eq(self._last_vector)]
            m.d.comb += self._tile_begins.eq(1)
            m.next = "BEATS"
        with m.Elif(~self._fp32):
            m.d.comb += self._stalls.eq(1)

    def _feed(self, m):
        """A beat a cycle; packed indices keep a row of the index store for several."""
        layer, command, last = self.layer, self.command, self._last_beat
        m.d.comb += command.beat.eq(1)
        advance = Const(1, 1)
        if self.engine.packs:
            position, mode, advance = Signal(2), layer.index_mode, Signal()
            m.d.comb += [
                advance.eq(
                    last
                    | (mode == 3)
                    | (mode == 2) & (position != 2)
                    | (mode == 1) & position[0]
                    | (position == 3)
                ),
                command.position.eq(Mux(mode == 1, position[0], position)),
            ]
            m.d.sync += position.eq(Mux(last, 0, position + 1))
        m.d.sync += [
            self._index_row.eq(self._index_row + advance),
            self.beat.eq(self.beat + 1),
            self._left_beats.eq(self._left_beats - 1),
            self._last_beat.eq(self._left_beats == 2),
            self._drained.eq(self._one_bucket),
        ]
        with m.If(last):
            m.d.sync += [
                self._left_beats.eq(layer.beats),
                self._last_beat.eq(self._one_beat),
                self._count.eq(0),
            ]
            m.next = "DRAIN"

    def _tile_done(self, m):
        left = Mux(self._last_tile, self.layer.tiles, self._left_tiles - 1)
        m.d.sync += [
            self._left_tiles.eq(left),
            self._first_tile.eq(self._last_tile),
            self._due.eq(self._last_tile),
            self._left_gap.eq(self._gap),
        ]
        # A streamed layer may end within a round.
        with m.If(self._last_round & (self._last_tile | self._streams)):
            m.next = "WAIT"
        with m.Elif(~self._no_gap):
            m.next = "READY"
        with m.Else():
            self._next_tile(m, self._last_tile)

    def _aim(self, m, due):
        """Where the next tile begins: at its product's first one (`due`) the vector and the indices
        from their start.  Nobody looks before it begins, so this need not wait for that."""
        m.d.sync += self.beat.eq(Mux(due & ~self._fresh, self._next_base, self._base))
        with m.If(due):
            m.d.sync += self._index_row.eq(self.layer.index_row)

    def _next_tile(self, m, due):
        """The next tile as soon as it may start; the first one of a product (`due`) after the scan
        of its vector."""
        m.next = "READY"
        with m.If(due & (self._fp32 & ~self._scanned | self._paced)):
            pass
        with m.Elif(~self._released):
            m.d.comb += self._stalls.eq(1)
        with m.Elif(due & self._fp32 & self.nonfinite):
            m.d.comb += self.refused.eq(1)
            m.d.sync += self._abandoned.eq(1)
            m.next = "WAIT"
            with m.If(self._fresh):
                m.next = "IDLE"
        with m.Else():
            with m.If(due):
                self._launch(m)
            self._begin(m)

    def _launch(self, m):
        m.d.comb += self._launches.eq(1)
        m.d.sync += [
            self._fresh.eq(0),
            self._due.eq(0),
            self._vectors.eq(self._vectors - 1),
        ]

    def _begin(self, m):
        m.d.comb += self._tile_begins.eq(1)
        with m.If(self._streams):
            m.d.sync += [
                self._started.eq(self._started + 1),
                self._stream_left.eq(self._stream_left - 1),
            ]
        m.next = "BEATS"

    def _scan(self, m):
        """A row of exponents a cycle: the first vector's when its layer is prepared, the next one's
        when a product is launched."""
        engine, layer, rows = self.engine, self.layer, self.engine.row_beats
        self._scan_first, self._scanned, self._tile_begins = Signal(), Signal(), Signal()
        self._launches = Signal()
        self._paced, pace = Signal(), Signal(range(LEAST_INTERVAL))
        m.d.sync += [
            pace.eq(Mux(pace == 0, 0, pace - 1)),
            self._paced.eq(pace[1:] != 0),
            self.launched.eq(self._launches),
        ]
        with m.If(self._launches):
            m.d.sync += [
                self.product.eq(self.product + 1),
                pace.eq(LEAST_INTERVAL - 1),
                self._paced.eq(1),
            ]
        if not engine.fp32:
            m.d.comb += self._scanned.eq(1)
            return
        left, settle = Signal(16), Signal(range(engine.scan_latency + 1))
        base, following, more = Signal.like(self.scan_row), Signal.like(self.scan_row), Signal()
        whole = left[ceil_log2(rows) :].any()
        taken = (1 << left[: ceil_log2(rows)]) - 1 if rows > 1 else Const(0, 1)
        m.d.sync += [
            self.scan_take.eq(Mux(whole, Const(-1, rows), taken)),
            self._scanned.eq((left == 0) & (settle[1:] == 0)),
            following.eq(base + self._pitch),
            more.eq(self._streams | (self._vectors > 1)),
        ]
        with m.If(left != 0):
            m.d.sync += [
                left.eq(Mux(whole, left - rows, 0)),
                self.scan_row.eq(self.scan_row + 1),
                settle.eq(engine.scan_latency),
            ]
        with m.Elif(settle != 0):
            m.d.sync += settle.eq(settle - 1)
        with m.If(self._scan_first):
            m.d.sync += [
                left.eq(layer.beats),
                self.scan_row.eq(layer.in_row),
                base.eq(layer.in_row),
                self._scanned.eq(0),
            ]
        with m.Elif(self.launched & self._fp32 & more):
            m.d.sync += [
                left.eq(layer.beats),
                self.scan_row.eq(following),
                base.eq(following),
                self._scanned.eq(0),
            ]
        with m.Elif(self._launches & more):
            m.d.sync += self._scanned.eq(0)
        with m.If(self._forgets):
            m.d.sync += left.eq(0)
        m.d.comb += self.scan_clear.eq(self._scan_first | self.launched)

    def _finished(self, m):
        """Whether the last row's result of every tile that was begun is there."""
        last = self.engine.stages * self.engine.bank_columns - 1
        results, whole = Signal(range(last + 1)), Signal()
        open_tiles, one, none = Signal(8), Signal(), Signal()
        m.d.comb += whole.eq(self.result_done & (results == last))
        with m.If(self.result_done):
            m.d.sync += results.eq(Mux(whole, 0, results + 1))
        # Nothing begins while the end is waited for: a cycle's delay does not count.
        m.d.sync += [
            open_tiles.eq(open_tiles + self._tile_begins - whole),
            one.eq(open_tiles == 1),
            none.eq(open_tiles == 0),
        ]
        with m.If(self._forgets):
            m.d.sync += [results.eq(0), open_tiles.eq(0)]
        with m.If(whole & self._streams):
            m.d.sync += self.tiles_done.eq(self.tiles_done + 1)
        return one & whole | none

    def _next_layer(self, m, final):
        m.d.sync += [self._number.eq(self._following), self._following.eq(self._following + 1)]
        with m.If(self._number == final):
            m.next = "IDLE"
        with m.Else():
            m.d.comb += self.layer_use.eq(1)
            m.next = "DECODE"
