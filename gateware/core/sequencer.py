"""The sequencer: layers one after the other, vectors back to back, every cycle counted."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array import PRODUCTS
from dpnet.gateware.core.feeder import CommandLayout
from dpnet.gateware.core.layer_times import LayerTimes
from dpnet.gateware.core.position import Ahead, Position, Strobes
from dpnet.gateware.core.scan_rows import ScanRows
from dpnet.gateware.core.tile_counters import OpenTiles, Pace, Releases
from dpnet.gateware.parts.records import DESCRIPTOR
from dpnet.model.engine.layout import LAYER_WORDS
from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.engine.widths import drain_row


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
        engine, command, layer = self.engine, self.command, self.layer
        at = Position.registers(
            engine,
            beat=self.beat.shape(),
            index_row=command.address.shape(),
            slot=self.slot_offset.shape(),
        )
        does = Strobes(**{name: Signal(name=name) for name in Strobes.__dataclass_fields__})
        dirty = Signal(init=1)
        aborted = Signal()
        running = Signal()
        clear = Signal()
        m.submodules.times = times = LayerTimes(engine=engine)
        m.d.comb += [
            times.layer.eq(layer),
            clear.eq(self.start & ~self.busy),
            self.busy.eq(1),
            running.eq(1),
            self.layer_address.eq(at.number),
            command.address.eq(at.index_row),
        ]
        finished = self._count_tiles(m, does, clear)
        ahead = self._look_ahead(m, at, does, times, clear)
        with m.If(self.sigma):
            m.d.sync += dirty.eq(1)
        with m.If(self.abort & running):
            m.d.sync += aborted.eq(1)
        m.d.sync += at.owed.eq(does.launch | at.owed & ~(command.drain & command.first))
        with m.FSM(init="IDLE"):
            with m.State("IDLE"):
                m.d.comb += [self.busy.eq(dirty), running.eq(0)]
                m.d.sync += aborted.eq(0)
                self._idle(m, at, dirty, clear)
            with m.State("FLUSH"):
                m.d.comb += [running.eq(0), does.forget.eq(1)]
                self._flush(m, at, dirty)
            with m.State("DECODE"):
                self._decode(m)
                self._end_if(m, at, aborted)
            with m.State("PREPARE"):
                self._prepare(m, at, does, ahead)
                self._end_if(m, at, aborted)
            with m.State("READY"):
                self._ready(m, at, does, ahead)
                self._end_if(m, at, aborted)
            with m.State("BEATS"):
                self._feed(m, at, times)
                self._end_if(m, at, aborted)
            with m.State("DRAIN"):
                self._drain(m, at, does, ahead, times)
                self._end_if(m, at, aborted)
            with m.State("WAIT"):
                self._wait(m, at, finished & ~aborted)
                self._end_if(m, at, aborted)
            with m.State("COPY"):
                m.d.comb += self.layer_address.eq(at.following)
                with m.If(self.copied):
                    self._next_layer(m, at)
                    self._end_if(m, at, aborted)
            with m.State("ABORT"):
                m.d.comb += [running.eq(0), does.forget.eq(1)]
                self._abort(m, at, dirty)
        if engine.packs:
            m.d.comb += command.mode.eq(Mux(command.beat, layer.index_mode, 3))
        with m.If(clear):
            m.d.sync += self.cycles.eq(1)
        with m.Elif(running):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        return m

    def _count_tiles(self, m, does, clear):
        """Whether the last row's result of every tile that was begun is there.  Nothing begins
        while the end is waited for: a cycle's delay does not count."""
        m.submodules.open_tiles = tiles = OpenTiles(engine=self.engine)
        m.d.comb += [
            tiles.begin.eq(does.begin),
            tiles.done.eq(self.result_done),
            tiles.streams.eq(self.layer.streams),
            tiles.clear.eq(clear),
            tiles.forget.eq(does.forget),
            self.tiles_done.eq(tiles.streamed),
        ]
        return tiles.finished

    def _look_ahead(self, m, at, does, times, clear):
        """What follows from the descriptor and the counters, a cycle after them or two: it is
        needed at the end of a tile, which takes two cycles at least."""
        engine, layer = self.engine, self.layer
        m.submodules.pace = pace = Pace()
        m.submodules.releases = releases = Releases()
        m.d.comb += [
            pace.launch.eq(does.launch),
            self.launched.eq(pace.launched),
            self.product.eq(pace.product),
            releases.streams.eq(layer.streams),
            releases.tiles.eq(layer.stream),
            releases.load.eq(does.scan),
            releases.clear.eq(clear),
            releases.released.eq(self.released),
            releases.begin.eq(does.begin),
            releases.stall.eq(does.stall),
            self.stalled.eq(releases.stalled),
        ]
        ahead = Ahead(
            last_tile=Signal(name="last_tile"),
            last_round=Signal(name="last_round"),
            next_base=Signal.like(at.base, name="next_base"),
            next_offset=Signal.like(at.offset, name="next_offset"),
            wait=pace.wait,
            scanned=self._scan(m, at, does, times) if engine.fp32 else Const(1, 1),
            free=releases.free,
            fp32=layer.fp32_in if engine.fp32 else Const(0, 1),
        )
        m.d.sync += [
            ahead.last_tile.eq(at.left_tiles == 1),
            ahead.last_round.eq(Mux(layer.streams, releases.left == 0, at.vectors == 0)),
            ahead.next_base.eq(at.base + (times.pitch << ceil_log2(engine.row_beats))),
            ahead.next_offset.eq(at.offset + times.step),
        ]
        # As `_aim`: nobody looks before `launched`, and in the cycle after it.
        with m.If(self.launched):
            m.d.sync += [at.base.eq(self.beat), at.offset.eq(self.slot_offset)]
        with m.Else():
            m.d.sync += self.slot_offset.eq(Mux(at.fresh, at.offset, ahead.next_offset))
        return ahead

    def _scan(self, m, at, does, times):
        """Whether the vector of the next product is scanned."""
        layer = self.layer
        m.submodules.scan_rows = scan = ScanRows(engine=self.engine)
        m.d.comb += [
            scan.beats.eq(layer.beats),
            scan.in_row.eq(layer.in_row),
            scan.pitch.eq(times.pitch),
            scan.fp32.eq(layer.fp32_in),
            scan.first.eq(does.scan & layer.fp32_in),
            scan.launch.eq(does.launch),
            scan.launched.eq(self.launched),
            scan.forget.eq(does.forget),
            scan.again.eq(layer.streams | (at.vectors > 1)),
            self.scan_clear.eq(scan.clear),
            self.scan_row.eq(scan.row),
            self.scan_take.eq(scan.take),
        ]
        return scan.scanned

    def _idle(self, m, at, dirty, clear):
        m.d.sync += at.count.eq(0)
        m.d.comb += self.layer_address.eq(self.first)
        with m.If(dirty):
            m.next = "FLUSH"
        with m.Elif(clear):
            m.d.comb += self.layer_use.eq(1)
            m.d.sync += [
                at.number.eq(self.first),
                at.following.eq(self.first + 1),
                at.final.eq(self.last),
                at.abandoned.eq(0),
                at.further_vectors.eq(Mux(self.first == self.last, self.last_vector, 0)),
            ]
            m.next = "DECODE"

    def _flush(self, m, at, dirty):
        """The array counts the products that it drains: one that was ended before counts here."""
        engine, command = self.engine, self.command
        m.d.comb += [
            command.drain.eq(at.count < engine.buckets),
            command.first.eq(at.count == 0),
            command.start.eq((at.count == 0) & at.owed),
            command.address.eq(drain_row(engine) + at.count),
        ]
        m.d.sync += at.count.eq(at.count + 1)
        with m.If(at.count == engine.flush_cycles):
            m.d.sync += dirty.eq(0)
            m.next = "IDLE"

    def _decode(self, m):
        m.d.sync += self.layer.eq(self.layer_data)
        with m.If(self.settled):
            m.next = "PREPARE"
        if self.engine.lockstep:  # read again and again until then, and checked every time
            with m.Else():
                m.d.comb += self.layer_use.eq(1)

    def _prepare(self, m, at, does, ahead):
        """Integers start at once; fp32 vectors wait for their scan, streamed tiles for a release,
        which shows a cycle later."""
        layer = self.layer
        base = layer.in_row << ceil_log2(self.engine.row_beats)
        offset = layer.result_slot - layer.slot
        m.d.sync += [
            at.base.eq(base),
            self.beat.eq(base),
            at.index_row.eq(layer.index_row),
            at.left_beats.eq(layer.beats),
            at.packed.eq(0),
            at.last_beat.eq(layer.beats == 1),
            at.left_tiles.eq(layer.tiles),
            at.left_gap.eq(0),
            at.count.eq(0),
            at.fresh.eq(1),
            at.due.eq(1),
            at.first_tile.eq(1),
            at.vectors.eq(at.further_vectors + 1),
            self.slot_offset.eq(offset),
            at.offset.eq(offset),
        ]
        m.d.comb += does.scan.eq(1)
        m.next = "READY"
        with m.If(~ahead.fp32 & ~layer.streams):
            m.d.comb += [does.launch.eq(1), does.begin.eq(1)]
            m.d.sync += [at.fresh.eq(0), at.due.eq(0), at.vectors.eq(at.further_vectors)]
            m.next = "BEATS"
        with m.Elif(~ahead.fp32):
            m.d.comb += does.stall.eq(1)

    def _ready(self, m, at, does, ahead):
        """The gap, then the next tile."""
        over = at.left_gap[1:] == 0
        m.d.sync += at.left_gap.eq(Mux(over, 0, at.left_gap - 1))
        self._aim(m, at, ahead, at.due)
        with m.If(over):
            self._next_tile(m, at, does, ahead, at.due)

    def _feed(self, m, at, times):
        """A beat a cycle; packed indices keep a row of the index store for several."""
        layer, command, last = self.layer, self.command, at.last_beat
        m.d.comb += command.beat.eq(1)
        advance = Const(1, 1)
        if self.engine.packs:
            position, mode, advance = at.packed, layer.index_mode, Signal()
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
            at.index_row.eq(at.index_row + advance),
            self.beat.eq(self.beat + 1),
            at.left_beats.eq(at.left_beats - 1),
            at.last_beat.eq(at.left_beats == 2),
            at.drained.eq(times.one_bucket),
        ]
        with m.If(last):
            m.d.sync += [
                at.left_beats.eq(layer.beats),
                at.last_beat.eq(times.one_beat),
                at.count.eq(0),
            ]
            m.next = "DRAIN"

    def _drain(self, m, at, does, ahead, times):
        """A bucket a cycle; with the last one the tile is done."""
        command, count = self.command, at.count
        m.d.comb += [
            command.drain.eq(1),
            command.address.eq(drain_row(self.engine) + count),
            Cat(command.first, command.last).eq(Cat(count == 0, at.drained)),
            command.start.eq((count == 0) & at.first_tile),
        ]
        m.d.sync += [count.eq(count + 1), at.drained.eq(count == times.before_last)]
        self._aim(m, at, ahead, ahead.last_tile)
        with m.If(at.drained):
            m.d.sync += at.count.eq(0)
            self._tile_done(m, at, does, ahead, times)

    def _tile_done(self, m, at, does, ahead, times):
        left = Mux(ahead.last_tile, self.layer.tiles, at.left_tiles - 1)
        m.d.sync += [
            at.left_tiles.eq(left),
            at.first_tile.eq(ahead.last_tile),
            at.due.eq(ahead.last_tile),
            at.left_gap.eq(times.gap),
        ]
        # A streamed layer may end within a round.
        with m.If(ahead.last_round & (ahead.last_tile | self.layer.streams)):
            m.next = "WAIT"
        with m.Elif(~times.without_gap):
            m.next = "READY"
        with m.Else():
            self._next_tile(m, at, does, ahead, ahead.last_tile)

    def _aim(self, m, at, ahead, due):
        """Where the next tile begins: at its product's first one (`due`) the vector and the indices
        from their start.  Nobody looks before it begins, so this need not wait for that."""
        m.d.sync += self.beat.eq(Mux(due & ~at.fresh, ahead.next_base, at.base))
        with m.If(due):
            m.d.sync += at.index_row.eq(self.layer.index_row)

    def _next_tile(self, m, at, does, ahead, due):
        """The next tile as soon as it may start; the first one of a product (`due`) after the scan
        of its vector."""
        m.next = "READY"
        with m.If(due & (ahead.fp32 & ~ahead.scanned | ahead.wait)):
            pass
        with m.Elif(~ahead.free):
            m.d.comb += does.stall.eq(1)
        with m.Elif(due & ahead.fp32 & self.nonfinite):
            m.d.comb += self.refused.eq(1)
            m.d.sync += at.abandoned.eq(1)
            m.next = "WAIT"
            with m.If(at.fresh):
                m.next = "IDLE"
        with m.Else():
            m.d.comb += does.begin.eq(1)
            m.next = "BEATS"
            with m.If(due):
                m.d.comb += does.launch.eq(1)
                m.d.sync += [
                    at.fresh.eq(0),
                    at.due.eq(0),
                    at.vectors.eq(at.vectors - 1),
                ]

    def _wait(self, m, at, finished):
        """For the last result, which then is copied where the layer says so."""
        m.d.comb += self.layer_address.eq(at.following)
        with m.If(finished):
            m.d.comb += self.copy.eq(self.layer.forward & ~at.abandoned)
            with m.If(at.abandoned):
                m.next = "IDLE"
            with m.Elif(self.layer.forward):
                m.next = "COPY"
            with m.Else():
                self._next_layer(m, at)

    def _abort(self, m, at, dirty):
        """Nothing is commanded until all that is on its way has left the array."""
        m.d.sync += [at.count.eq(at.count + 1), dirty.eq(1)]
        with m.If(at.count == self.engine.flush_cycles):
            m.d.sync += at.count.eq(0)
            m.next = "FLUSH"

    def _end_if(self, m, at, aborted):
        """Whatever else this state leads to."""
        with m.If(aborted):
            m.d.sync += at.count.eq(0)
            m.next = "ABORT"

    def _next_layer(self, m, at):
        m.d.sync += [at.number.eq(at.following), at.following.eq(at.following + 1)]
        with m.If(at.number == at.final):
            m.next = "IDLE"
        with m.Else():
            m.d.comb += self.layer_use.eq(1)
            m.next = "DECODE"
