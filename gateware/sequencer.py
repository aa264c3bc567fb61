"""The sequencer: layers one after the other, each tile by tile, every cycle counted."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gateware.feeder import CommandLayout, Feeder
from gateware.stage import drain_row
from model.engine import ceil_log2
from model.layout import LAYER_WORDS

DESCRIPTOR = data.StructLayout({
    "beats": 16, "tiles": 16,
    "rows": 16, "last_k": 8, "fp32_in": 1, "fp32_out": 1, "relu": 1, "forward": 1, "unused": 4,
    "index_row": 32,
    "slot": 16, "result_slot": 16,
    "in_row": 16, "out_row": 16,
    "out_bits": 32,
    "rest": 32 * (LAYER_WORDS - 6),
})  # fmt: skip
"""The words of `model.layout.Descriptor`, as one vector."""


class Sequencer(wiring.Component):
    """Runs layers `first` to `last` after `start`; see `EngineParameters.layer_cycles` for how
    long.

    For each layer: read the descriptor, scan an fp32 vector for its largest exponent, feed tiles of
    beats, drains and (only where rows are short) idle cycles, wait for the last result, copy the
    results to the next layer's input if `forward`.  A NaN or infinity found by the scan ends
    the run before anything is computed.  After a reset the buckets are drained once (`busy`).

    `cycles` counts from `start` to the last result or copy, both included.
    """

    def __init__(self, *, engine):
        self.engine = engine
        row_bits = ceil_log2(engine.vector_rows) or 1
        super().__init__({
            "start": In(1),
            "first": In(8),
            "last": In(8),
            "busy": Out(1),
            "cycles": Out(48),
            "layer_address": Out(ceil_log2(engine.layers) or 1),
            "layer_data": In(32 * LAYER_WORDS),
            "layer": Out(DESCRIPTOR),
            "command": Out(CommandLayout(engine)),
            "row": Out(row_bits),
            "scan_clear": Out(1),
            "scan_take": Out(engine.row_beats),
            "nonfinite": In(1),
            "refused": Out(1),
            "result_done": In(1),
            "result_slot": In(ceil_log2(engine.slots) or 1),
            "copy": Out(1),
            "copied": In(1),
        })

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        number, final = Signal(8), Signal(8)
        beat, tile, gap = Signal(16), Signal(16), Signal(16)
        count = Signal(16)
        index_row = Signal.like(self.command.address)
        part_bits = ceil_log2(engine.row_beats)
        layer, command = self.layer, self.command
        m.d.comb += [
            self.busy.eq(1),
            self.layer_address.eq(number),
            command.part.eq(beat[:part_bits]),
            command.address.eq(index_row),
            self.row.eq(layer.in_row + (beat >> part_bits)),
        ]
        with m.FSM(init="FLUSH"):
            with m.State("FLUSH"):
                # One drain of every stage: a reset may have left sums in the buckets.
                m.d.comb += [
                    command.drain.eq(count < engine.buckets),
                    command.address.eq(drain_row(engine) + count),
                ]
                m.d.sync += count.eq(count + 1)
                with m.If(count == engine.stages * engine.slot_cycles + 2 * Feeder.latency):
                    m.next = "IDLE"
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                with m.If(self.start):
                    m.d.sync += [number.eq(self.first), final.eq(self.last)]
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.next = "DECODE"
            with m.State("DECODE"):
                m.d.sync += layer.eq(self.layer_data)
                m.next = "PREPARE"
            with m.State("PREPARE"):
                m.d.comb += self.scan_clear.eq(1)
                k = layer.last_k + 1
                least = (engine.stages - 1) * engine.slot_cycles
                hidden = least + Mux(k > engine.bank_columns, k, engine.bank_columns)
                taken = layer.beats + k
                m.d.sync += [
                    gap.eq(Mux(taken < hidden, hidden - taken, 0)),
                    beat.eq(0), tile.eq(0), count.eq(0), index_row.eq(layer.index_row),
                ]  # fmt: skip
                m.next = "SCAN"
                with m.If(~layer.fp32_in):
                    m.next = "BEATS"
            with m.State("SCAN"):
                self._scan(m, beat, count)
            with m.State("BEATS"):
                m.d.comb += command.beat.eq(1)
                m.d.sync += [index_row.eq(index_row + 1), beat.eq(beat + 1)]
                with m.If(beat == layer.beats - 1):
                    m.d.sync += [beat.eq(0), count.eq(0)]
                    m.next = "DRAIN"
            with m.State("DRAIN"):
                drained = count == layer.last_k
                m.d.comb += [
                    command.drain.eq(1),
                    command.address.eq(drain_row(engine) + count),
                    Cat(command.first, command.last).eq(Cat(count == 0, drained)),
                    command.start.eq((count == 0) & (tile == 0)),
                ]
                m.d.sync += count.eq(count + 1)
                with m.If(drained):
                    m.d.sync += [tile.eq(tile + 1), count.eq(0)]
                    with m.If(tile == layer.tiles - 1):
                        m.next = "WAIT"
                    with m.Elif(gap != 0):
                        m.next = "GAP"
                    with m.Else():
                        m.next = "BEATS"
            with m.State("GAP"):
                m.d.sync += count.eq(count + 1)
                with m.If(count == gap - 1):
                    m.next = "BEATS"
            with m.State("WAIT"):
                end = layer.slot + layer.tiles * engine.stages - 1
                with m.If(self.result_done & (self.result_slot == end[: len(self.result_slot)])):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == engine.bank_columns - 1):
                        m.d.comb += self.copy.eq(layer.forward)
                        with m.If(layer.forward):
                            m.next = "COPY"
                        with m.Else():
                            self._next(m, number, final)
            with m.State("COPY"), m.If(self.copied):
                self._next(m, number, final)
        with m.If(self.start & ~self.busy):
            m.d.sync += self.cycles.eq(1)
        with m.Elif(self.busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        return m

    def _scan(self, m, beat, count):
        """Read the vector row by row; words behind its end do not count."""
        engine, layer = self.engine, self.layer
        left = layer.beats - beat
        reading = beat < layer.beats
        take = Signal(engine.row_beats)
        m.d.comb += take.eq(
            Mux(reading, Mux(left >= engine.row_beats, Const(-1, engine.row_beats),
                             (1 << left[: ceil_log2(engine.row_beats)]) - 1), 0)
        )  # fmt: skip
        m.d.sync += self.scan_take.eq(take)
        with m.If(reading):
            m.d.sync += beat.eq(beat + engine.row_beats)
        with m.Else():
            m.d.sync += count.eq(count + 1)
            with m.If(count == engine.scan_latency):
                m.d.sync += [beat.eq(0), count.eq(0)]
                m.next = "BEATS"
                with m.If(self.nonfinite):
                    m.d.comb += self.refused.eq(1)
                    m.next = "IDLE"

    def _next(self, m, number, final):
        m.d.sync += number.eq(number + 1)
        with m.If(number == final):
            m.next = "IDLE"
        with m.Else():
            m.next = "FETCH"
