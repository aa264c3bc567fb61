"""The array: stages × columns × segments lanes behind one beat port."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gateware.adder_tree import AdderTree
from gateware.column import Column
from gateware.emit import place
from gateware.stage import BeatLayout, Stage
from model.engine import ceil_log2


class Strobe(wiring.Signature):
    """A payload with `valid` and no `ready`: the receiver takes it in any cycle, by
    construction.
    """

    def __init__(self, payload):
        super().__init__({"payload": Out(payload), "valid": Out(1)})


class ResultLayout(data.StructLayout):
    """One row's result as a bank sends it on: the exact accumulator, and which row it is."""

    def __init__(self, engine):
        super().__init__({
            "accumulator": signed(engine.accumulator_bits),
            "slot": ceil_log2(engine.slots) or 1,
            "column": ceil_log2(engine.bank_columns) or 1,
            "mismatch": 1,
        })


class Array(wiring.Component):
    """G stages × M columns × S segments of lanes, their columns and the Σ-check.

    `beat` is taken in every cycle with `valid`; idle cycles may come anywhere.  A tile is C/S beats
    with `x`, then K cycles of drain (`drain`, index rows from `drain_row` on); the vector reaches
    stage g after g · `slot_cycles` cycles.  Tiles may follow each other every
    `EngineParameters.tile_cycles` cycles, not sooner: the stages then never drain at the same time
    and share the columns' multipliers.

    `result[b]` sends the rows of bank b, one per cycle, first column first: `latency` cycles from
    the beat of a tile's last drain cycle to the first row of stage 0, `slot_cycles` more for each
    later stage.  There is no back-pressure: each row has its place in the result buffer.  Slots
    count the groups of M rows of a product from `slot_base`, which must be steady while it
    computes.

    `book_*` are the link's port to the codebooks: `book_address` = slot * buckets + k of column
    `book_column`; `index_*` to the index stores.  Reads answer in the next cycle (`*_data[n]`
    for each column or stage) and must not happen while the array works.
    """

    def __init__(self, *, engine):
        self.engine = engine
        self._levels = ceil_log2(engine.segments)
        self.latency = 8 + self._levels
        stage = Stage(engine=engine)
        stage._MustUse__silence = True
        column = self._column()
        column._MustUse__silence = True
        index = stage.signature.members
        book = column.signature.members
        super().__init__({
            "beat": In(Strobe(BeatLayout(engine))),
            "slot_base": In(ceil_log2(engine.slots) or 1),
            "result": Out(Strobe(ResultLayout(engine))).array(engine.banks),
            "w_data": In(32),
            "index_address": In(index["w_address"].shape),
            "index_write": In(engine.index_words).array(engine.stages),
            "index_read": In(1),
            "index_data": Out(index["r_data"].shape).array(engine.stages),
            "book_address": In(book["w_address"].shape),
            "book_write": In(engine.columns),
            "book_read": In(1),
            "book_data": Out(engine.entry_bits).array(engine.columns),
        })  # fmt: skip

    def _column(self):
        engine = self.engine
        return Column(
            stages=engine.stages, segments=engine.segments, bucket_bits=engine.bucket_bits,
            sum_bits=engine.sum_bits, entry_bits=engine.entry_bits,
            accumulator_bits=engine.accumulator_bits, depth=engine.slots * engine.buckets,
        )  # fmt: skip

    def elaborate(self, platform):
        m = Module()
        beat = Signal(BeatLayout(self.engine))
        with m.If(self.beat.valid):
            m.d.comb += beat.eq(self.beat.payload)
        beats, stages = self._stages(m, beat)
        # Only stage 0 knows where a product starts; the others follow it.
        marks = [Cat(b.drain, b.first, b.last, b.start & (g == 0)) for g, b in enumerate(beats)]
        at_lanes = self._delayed(m, marks, 1)
        control = Signal(data.StructLayout({"drain": 1, "first": 1, "last": 1, "start": 1}))
        flags = 0
        for stage_flags in at_lanes:  # at most one stage drains at a time
            flags = flags | Mux(stage_flags[0], stage_flags, 0)
        # Registered, so that it is in step with the buckets' phase 0.
        m.d.sync += control.eq(flags)
        columns, last, slot = self._columns(m, stages, control, self._expected(m, beat))
        self._serialize(m, columns, last, slot)
        return m

    def _stages(self, m, beat):
        """The vector enters stage 0 and reaches the next one `slot_cycles` later."""
        beats, stages = [], []
        for g in range(self.engine.stages):
            if g:
                [beat] = self._delayed(m, [beat], self.engine.slot_cycles)
            stage = place(m, Stage(engine=self.engine), f"stage_{g}")
            m.d.comb += [
                stage.beat.eq(beat),
                stage.w_address.eq(self.index_address),
                stage.w_data.eq(self.w_data),
                stage.w_enable.eq(self.index_write[g]),
                stage.r_address.eq(self.index_address),
                stage.r_enable.eq(self.index_read),
                self.index_data[g].eq(stage.r_data),
            ]
            beats.append(beat)
            stages.append(stage)
        return beats, stages

    def _delayed(self, m, values, cycles):
        for _ in range(cycles):
            following = [Signal.like(value, name="delay") for value in values]
            m.d.sync += [new.eq(old) for new, old in zip(following, values, strict=True)]
            values = following
        return values

    def _expected(self, m, beat):
        """Σ of the tile's inputs, steady from phase L + 2 of the first drained bucket on."""
        engine = self.engine
        m.submodules.inputs = tree = AdderTree(inputs=engine.segments, bits=engine.activation_bits)
        m.d.sync += [tree.i[s].eq(beat.x[s]) for s in range(engine.segments)]
        [ending] = self._delayed(m, [beat.drain & beat.first], 1 + self._levels)
        running = Signal(signed(engine.sum_bits))
        held = Signal.like(running)
        expected = Signal.like(running)
        m.d.sync += running.eq(Mux(ending, 0, running) + tree.o)
        with m.If(ending):
            m.d.sync += held.eq(running)
        # Two more cycles, so that the last stage still compares with the sum of its own tile.
        [copy] = self._delayed(m, [ending], 2)
        with m.If(copy):
            m.d.sync += expected.eq(held)
        return expected

    def _columns(self, m, stages, control, expected):
        """Place the columns; return them with (results show, slot number) of phase L + 5."""
        engine = self.engine
        [control] = self._delayed(m, [control], self._levels + 1)
        slot = Signal(ceil_log2(engine.slots) or 1)
        k = Signal(engine.index_bits)
        now_slot, now_k = Signal.like(slot), Signal.like(k)
        with m.If(control.first):
            m.d.comb += now_slot.eq(Mux(control.start, self.slot_base, slot + 1))
        with m.Else():
            m.d.comb += [now_slot.eq(slot), now_k.eq(k)]
        with m.If(control.drain):
            m.d.sync += [slot.eq(now_slot), k.eq(now_k + 1)]
        columns = []
        for n in range(engine.columns):
            column = place(m, self._column(), f"column_{n}")
            for g, stage in enumerate(stages):
                for s in range(engine.segments):
                    m.d.comb += column.bucket[g * engine.segments + s].eq(
                        stage.bucket[n * engine.segments + s]
                    )
            m.d.comb += [
                column.first.eq(control.first),
                column.expected.eq(expected),
                column.w_address.eq(self.book_address),
                column.w_data.eq(self.w_data),
                column.w_enable.eq(self.book_write[n]),
                column.r_address.eq(Mux(self.book_read, self.book_address, Cat(now_k, now_slot))),
                self.book_data[n].eq(column.r_data),
            ]
            columns.append(column)
        last, number = self._delayed(m, [control.drain & control.last, now_slot], 4)
        return columns, last, number

    def _serialize(self, m, columns, last, slot):
        """Take a slot's results from all columns at once and send them one per cycle."""
        engine = self.engine
        for b in range(engine.banks):
            bank = columns[b * engine.bank_columns : (b + 1) * engine.bank_columns]
            width = engine.accumulator_bits + 1
            held = Signal(width * len(bank), name=f"held_{b}")
            left = Signal(range(len(bank) + 1), name=f"left_{b}")
            result = self.result[b].payload
            number = Signal.like(result.slot, name=f"slot_{b}")
            position = Signal.like(result.column, name=f"position_{b}")
            with m.If(last):
                m.d.sync += [
                    held.eq(Cat(*[Cat(c.o, c.mismatch) for c in bank])),
                    left.eq(len(bank)),
                    number.eq(slot),
                    position.eq(0),
                ]
            with m.Elif(left != 0):
                m.d.sync += [
                    held.eq(held >> width),
                    left.eq(left - 1),
                    position.eq(position + 1),
                ]
            m.d.comb += [
                self.result[b].valid.eq(left != 0),
                result.accumulator.eq(held),
                result.slot.eq(number),
                result.column.eq(position),
                result.mismatch.eq(held[engine.accumulator_bits]),
            ]
