"""Results of one layer into the vector store, as the input of the next."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.model.engine.parameters import ceil_log2


class Copier(wiring.Component):
    """Moves `rows` results to the vector store, one word per cycle.

    The last beat is filled up with zeros, so that padding columns add nothing.  From `start` to the
    cycle of `done` it takes a cycle for each word and 2 more.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `start`, `In(1)`: begins; `rows`, `slot` and `beat` belong to its cycle.
    * `rows`, `In(16)`: results to be moved.
    * `slot`, `In(ceil_log2(result_slots) or 1)`: slot of the first result.
    * `beat`, `In(ceil_log2(vector_rows * row_beats) or 1)`: beat that the first result goes to.
    * `done`, `Out(1)`: strobes with the last write.
    * `r_slot`, `Out(ceil_log2(result_slots) or 1)`: slot of the result that is read.
    * `r_bank`, `Out(ceil_log2(banks) or 1)`: its bank.
    * `r_column`, `Out(ceil_log2(bank_columns) or 1)`: its column in the bank.
    * `r_use`, `Out(1)`: it counts.
    * `r_word`, `In(32)`: the result that the last cycle's `r_*` named.
    * `w_beat`, `Out(ceil_log2(vector_rows * row_beats) or 1)`: beat of the vector store.
    * `w_segment`, `Out(ceil_log2(segments) or 1)`: word in the beat.
    * `w_word`, `Out(32)`: what is written.
    * `w_enable`, `Out(1)`: write.
    """

    def __init__(self, *, engine):
        self.engine = engine
        beat_bits = ceil_log2(engine.vector_rows * engine.row_beats) or 1
        slot_bits = ceil_log2(engine.result_slots) or 1
        super().__init__(
            {
                "start": In(1),
                "rows": In(16),
                "slot": In(slot_bits),
                "beat": In(beat_bits),
                "done": Out(1),
                "r_slot": Out(slot_bits),
                "r_bank": Out(ceil_log2(engine.banks) or 1),
                "r_column": Out(ceil_log2(engine.bank_columns) or 1),
                "r_use": Out(1),
                "r_word": In(32),
                "w_beat": Out(beat_bits),
                "w_segment": Out(ceil_log2(engine.segments) or 1),
                "w_word": Out(32),
                "w_enable": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        left = Signal(17)
        active = Signal()
        column = Signal(range(engine.columns))
        segment = Signal.like(self.w_segment)
        beat = Signal.like(self.w_beat)
        last_column = column == engine.columns - 1
        # Prepared before `start`, which comes late in its cycle.
        with m.If(~active):
            m.d.sync += [
                active.eq(self.start),
                left.eq(self.rows),
                column.eq(0),
                self.r_slot.eq(self.slot),
                self.r_bank.eq(0),
                self.r_column.eq(0),
                segment.eq(0),
                beat.eq(self.beat),
            ]
        with m.Else():
            m.d.sync += [
                left.eq(Mux(left == 0, 0, left - 1)),
                column.eq(Mux(last_column, 0, column + 1)),
                segment.eq(Mux(segment == engine.segments - 1, 0, segment + 1)),
            ]
            with m.If(segment == engine.segments - 1):
                m.d.sync += beat.eq(beat + 1)
                with m.If(left <= 1):
                    m.d.sync += active.eq(0)
            with m.If(last_column):
                m.d.sync += [self.r_slot.eq(self.r_slot + 1), self.r_bank.eq(0)]
                m.d.sync += self.r_column.eq(0)
            with m.Elif(self.r_column == engine.bank_columns - 1):
                m.d.sync += [self.r_bank.eq(self.r_bank + 1), self.r_column.eq(0)]
            with m.Else():
                m.d.sync += self.r_column.eq(self.r_column + 1)
        # The result buffer is a block RAM, and far away: its word gets a register of its own.
        was_active, real = Signal(), Signal()
        beats, segments = Signal.like(beat), Signal.like(segment)
        m.d.sync += [
            was_active.eq(active),
            real.eq(left != 0),
            beats.eq(beat),
            segments.eq(segment),
            self.w_enable.eq(was_active),
            self.w_beat.eq(beats),
            self.w_segment.eq(segments),
            self.w_word.eq(Mux(real, self.r_word, 0)),
        ]
        m.d.comb += [
            self.r_use.eq(active & (left != 0)),
            self.done.eq(self.w_enable & ~was_active),
        ]
        return m
