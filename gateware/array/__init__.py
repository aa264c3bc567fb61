"""The array: stages × columns × segments lanes behind one beat port."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array.adder_tree import AdderTree
from dpnet.gateware.array.column import Column
from dpnet.gateware.array.stage import BeatLayout, Stage
from dpnet.gateware.emit import place
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.gateware.parts.lockstep import Lockstep, carried
from dpnet.gateware.parts.ram import Ram
from dpnet.gateware.parts.select import select
from dpnet.model.engine.parameters import SEGMENT_LATENCY, ceil_log2
from dpnet.model.engine.widths import accumulator_widths

PRODUCTS = 16
"""Products whose results may be on their way at once; a result carries its product's number."""


class Strobe(wiring.Signature):
    """A payload with `valid` and no `ready`: the receiver takes it in any cycle, by
    construction.
    """

    def __init__(self, payload):
        super().__init__({"payload": Out(payload), "valid": Out(1)})


class ResultLayout(data.StructLayout):
    """One row's result as a bank sends it on, and its checks (see `Column`).

    The result is `high` · 2^17 + `low`, or `high` where a bucket needs no second multiplier.

    Fields:

    * `low`, `signed(accumulator_widths(engine)[0])`: Σ entry · the low limbs of the gains.
    * `high`, `signed(accumulator_widths(engine)[1])`: Σ entry · the high limbs.
    * `mismatch`, `1`: the row's gains do not add up to the sum of the inputs.
    * `residue`, `2`: the result modulo 3, found apart from the multipliers; with `residues` only.
    """

    def __init__(self, engine):
        low, high = accumulator_widths(engine)
        super().__init__(
            {
                "low": signed(low),
                "high": signed(high),
                "mismatch": 1,
                **({"residue": 2} if engine.residues else {}),
            }
        )


class PlaceLayout(data.StructLayout):
    """Which row all banks are sending.

    Fields:

    * `slot`, `ceil_log2(slots) or 1`: the group of `columns` rows, in the codebook store.
    * `column`, `ceil_log2(bank_columns) or 1`: the column within each bank.
    * `product`, `ceil_log2(PRODUCTS)`: the product that the row belongs to, modulo `PRODUCTS`.
    """

    def __init__(self, engine):
        super().__init__(
            {
                "slot": ceil_log2(engine.slots) or 1,
                "column": ceil_log2(engine.bank_columns) or 1,
                "product": ceil_log2(PRODUCTS),
            }
        )


CONTROL = data.StructLayout({"drain": 1, "first": 1, "last": 1, "start": 1})


class Array(wiring.Component):
    """G stages × M columns × S segments of lanes, their columns and the Σ-check.

    A beat is taken in every cycle with `beat.valid`; idle cycles may come anywhere.  A tile is C/S
    beats with `x`, then K cycles of drain (`drain`, index rows from `drain_row` on); the vector
    reaches stage g after g · `slot_cycles` cycles.  Tiles may follow each other every
    `EngineParameters.tile_cycles` cycles, not sooner: the stages then never drain at the same time
    and share the columns' multipliers.

    A row of stage 0 leaves `latency` cycles after the beat of a tile's last drain cycle, first
    column first, one column a cycle in every bank; the rows of each later stage leave `slot_cycles`
    after those of the stage before.  There is no back-pressure: each row has its place in the
    result buffer.

    The link reads the stores 3 cycles after it asked, and nothing while the array works.  With
    `lockstep`, beats carry their parity, which tells (by `corrupt`) what changes on their way; what
    counts slots, entries, products and columns is there twice, a cycle apart; and what only waits
    carries a parity.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `beat`, `In(Strobe(BeatLayout(engine)))`: what all stages do in a cycle.
    * `slot_base`, `In(ceil_log2(slots) or 1)`: slot of a product's first row; steady while it
      computes.
    * `result`, `Out(Strobe(PlaceLayout(engine)))`: names the row that every bank is sending.
    * `rows`, `Out(ResultLayout(engine)).array(banks)`: that row of each bank.
    * `corrupt`, `Out(1)`: strobes when an index word or an entry of odd parity was used.
    * `differs`, `Out(1)`: high while what is there twice does not agree; with `lockstep` only.
    * `w_data`, `In(32)`: the word that the link writes to either store.
    * `index_address`, `In(max(1, row_address_bits(engine) - ceil_log2(fold)))`: word of the index
      stores.
    * `index_write`, `In(segments * index_words).array(stages)`: the 32-bit words that `w_data` goes
      to.
    * `index_read`, `In(1)`: the link reads; takes the index stores' read ports from the lanes.
    * `index_pick`, `In(segments * index_words).array(stages)`: the one word to be shown.
    * `index_word`, `Out(32)`: that word, 3 cycles later.
    * `book_address`, `In(max(1, ceil_log2(slots * buckets)))`: slot · buckets + k.
    * `book_write`, `In(columns)`: the columns whose entry `w_data` becomes.
    * `book_read`, `In(1)`: the link reads; takes the codebooks' read port from the drains.
    * `book_hide`, `In(columns)`: all columns but the one to be shown.
    * `book_word`, `Out(entry_bits)`: the entry of that column, 3 cycles later.
    """

    def __init__(self, *, engine):
        self.engine = engine
        self.latency = SEGMENT_LATENCY + engine.segments - 1 + engine.column_cycles + 1
        self._stage = Stage(engine=engine)
        self._column = Column(engine=engine)
        index = self._stage.signature.members
        entries = range(engine.slots * engine.buckets)
        super().__init__(
            {
                "beat": In(Strobe(BeatLayout(engine))),
                "slot_base": In(ceil_log2(engine.slots) or 1),
                "result": Out(Strobe(PlaceLayout(engine))),
                "rows": Out(ResultLayout(engine)).array(engine.banks),
                "corrupt": Out(1),
                **({"differs": Out(1)} if engine.lockstep else {}),
                "w_data": In(32),
                "index_address": In(index["w_address"].shape),
                "index_write": In(index["w_enable"].shape).array(engine.stages),
                "index_read": In(1),
                "index_pick": In(index["r_pick"].shape).array(engine.stages),
                "index_word": Out(32),
                "book_address": In(max(1, ceil_log2(len(entries)))),
                "book_write": In(engine.columns),
                "book_read": In(1),
                "book_hide": In(engine.columns),
                "book_word": Out(engine.entry_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat, word = Signal(BeatLayout(self.engine)), 0
        lockstep = Lockstep(m) if self.engine.lockstep else None
        with m.If(self.beat.valid):
            m.d.comb += beat.eq(self.beat.payload)
        stages, control, stage_number = self._stages(m, lockstep, beat)
        owed = self._owed(m, beat)
        columns, books, last, where = self._columns(
            m, lockstep, stages, control, stage_number, owed
        )
        self._serialize(m, lockstep, columns, last, where)
        for stage in stages:
            word = word | stage.r_word
        m.d.comb += self.index_word.eq(word)
        corrupt = Cat(books.corrupt, *[s.corrupt for s in stages])
        m.d.sync += self.corrupt.eq(corrupt.any())
        if lockstep:
            m.d.comb += self.differs.eq(lockstep.differs())
        return m

    def _stages(self, m, lockstep, beat):
        """The vector enters stage 0 and reaches the next one `slot_cycles` later.  Returns the
        stages, and whose drain it is when their buckets show."""
        engine = self.engine
        beat = self._skewed(m, beat)
        stages, marks = [], []
        for g in range(engine.stages):
            if g:
                [beat] = self._delayed(m, [beat], engine.slot_cycles)
            stage = place(m, self._stage, f"stage_{g}")
            m.d.comb += [
                stage.beat.eq(beat),
                stage.w_address.eq(self.index_address),
                stage.w_data.eq(self.w_data),
                stage.w_enable.eq(self.index_write[g]),
                stage.r_address.eq(self.index_address),
                stage.r_enable.eq(self.index_read),
                stage.r_pick.eq(self.index_pick[g]),
            ]
            # Only stage 0 knows where a product starts; the others follow it.
            marks.append(Cat(beat.drain, beat.first, beat.last, beat.start & (g == 0)))
            stages.append(stage)
        return stages, *self._drains(m, lockstep, marks)

    def _drains(self, m, lockstep, marks):
        """The control of the stage that drains, and its number, when its buckets show."""
        stages, cycles = self.engine.stages, self._stage.latency - 1
        control, number = Signal(CONTROL), Signal(range(stages))
        flags = 0
        for mark in marks:  # at most one stage drains at a time
            flags = flags | Mux(mark[0], mark, 0)
        for g, mark in enumerate(marks):
            with m.If(mark[0]):
                m.d.sync += number.eq(g)
        m.d.sync += control.eq(flags)
        if not lockstep:
            return self._delayed(m, [control, number], cycles)
        odd, odd_number = Signal(), Signal()
        numbers = sum((g.bit_count() & 1) << g for g in range(stages))
        drains = Cat(mark[0] for mark in marks)
        m.d.sync += odd.eq(flags.xor())
        with m.If(drains.any()):
            m.d.sync += odd_number.eq((drains & numbers).any())
        [*_, (control, number, odd, odd_number)] = self._carried(
            m, lockstep, [control, number, odd, odd_number], cycles
        )
        lockstep.watch("drains", Cat(control, number, odd, odd_number).xor())
        return control, number

    def _skewed(self, m, beat):
        """The beat with x[s] delayed by s cycles, as the segments work one after the other."""
        skewed = Signal.like(beat)
        m.d.comb += skewed.eq(beat)
        late = list(beat.x)
        for s in range(1, len(late)):
            late[s:] = self._delayed(m, late[s:], 1)
            m.d.comb += skewed.x[s].eq(late[s])
        return skewed

    def _delayed(self, m, values, cycles):
        for _ in range(cycles):
            following = [Signal.like(value, name="delay") for value in values]
            m.d.sync += [new.eq(old) for new, old in zip(following, values, strict=True)]
            values = following
        return values

    def _carried(self, m, lockstep, values, cycles):
        """`_delayed` after 0, 1, … `cycles` cycles; with `lockstep` checked at the end."""
        if not lockstep:
            taps = [values]
            for _ in range(cycles):
                taps.append(self._delayed(m, taps[-1], 1))
            return taps
        taps, changed = carried(m, values, cycles)
        lockstep.watch("changed", changed)
        return taps

    def _owed(self, m, beat):
        """-Σ of the tile's inputs, there for phase 3 of every stage's first bucket: it comes for
        stage 0's and stays until the next tile's, when the last stage has had it."""
        engine = self.engine
        m.submodules.inputs = tree = AdderTree(inputs=engine.segments, bits=engine.activation_bits)
        m.d.sync += [tree.i[s].eq(beat.x[s]) for s in range(engine.segments)]
        [ending] = self._delayed(m, [beat.drain & beat.first], 1 + tree.latency)
        running = Signal(signed(engine.sum_bits), reset_less=True)
        owed = Signal.like(running)
        m.d.sync += running.eq(Mux(ending, 0, running) - tree.o)
        before_phase_3 = self._stage.latency + 2
        # Short tiles end sooner than their columns compare: several sums may be on their way.
        [copy, total] = self._delayed(m, [ending, running], before_phase_3 - (1 + tree.latency))
        with m.If(copy):
            m.d.sync += owed.eq(total)
        return owed

    def _columns(self, m, lockstep, stages, control, number, owed):
        """Place the columns; return them, their codebooks, and (results show, place) of the last
        phase."""
        engine = self.engine
        now_slot, now_k, now_product = self._count(m, control)
        [entry, used] = self._delayed(m, [Cat(now_k, now_slot), control.drain], 1)
        books = self._codebooks(m, entry, used)
        old = place(
            m,
            Ram(width=engine.columns * engine.sum_bits, depth=engine.stages * engine.buckets),
            "old",
        )
        bucket = Signal(old.r_address.shape())
        m.d.comb += [bucket.eq(Cat(now_k, number)), old.r_address.eq(bucket)]
        m.d.sync += [old.w_address.eq(bucket), old.w_enable.eq(control.drain)]
        marks = self._marks(m, lockstep, control)
        if lockstep:
            self._follow_counters(m, lockstep, control, number, entry, old, now_product)
        columns = []
        for n in range(engine.columns):
            column = place(m, self._column, f"column_{n}")
            m.d.comb += [
                *(column.bucket[g].eq(stage.bucket[n]) for g, stage in enumerate(stages)),
                column.before.eq(old.r_data.word_select(n, engine.sum_bits)),
                column.entry.eq(books.late.word_select(n, engine.entry_bits).as_signed()),
                *(getattr(column, name).eq(mark) for name, mark in marks.items()),
                column.owed.eq(owed),
            ]
            columns.append(column)
        m.d.comb += old.w_data.eq(Cat(column.drained for column in columns))
        show, slot, product = self._carried(
            m, lockstep, [control.last & control.drain, now_slot, now_product], engine.column_cycles
        )[-1]
        return columns, books, show, (slot, product)

    def _codebooks(self, m, entry, used):
        """The store of the codebooks: `entry` if it is `used`, or what the link asks for."""
        engine = self.engine
        books = place(
            m,
            CheckedRam(
                width=engine.columns * engine.entry_bits,
                granularity=engine.entry_bits,
                depth=engine.slots * engine.buckets,
                guarded=engine.lockstep,
            ),
            "books",
        )
        m.d.comb += [
            books.w_address.eq(self.book_address),
            books.w_data.eq(self.w_data),
            books.w_enable.eq(self.book_write),
            books.r_address.eq(Mux(self.book_read, self.book_address, entry)),
            books.r_use.eq(used & ~self.book_read),
            books.r_hide.eq(Mux(self.book_read, self.book_hide, 0)),
            self.book_word.eq(books.r_word),
        ]
        return books

    def _count(self, m, control):
        """(slot, k, product) of the bucket that shows."""
        engine = self.engine
        slot, product = Signal(ceil_log2(engine.slots) or 1), Signal(range(PRODUCTS))
        k = Signal(engine.index_bits)
        now_slot, now_k, now_product = Signal.like(slot), Signal.like(k), Signal.like(product)
        m.d.comb += [
            now_slot.eq(Mux(control.first, Mux(control.start, self.slot_base, slot + 1), slot)),
            now_k.eq(Mux(control.first, 0, k)),
            now_product.eq(product + (control.start & control.first)),
        ]
        with m.If(control.drain):
            m.d.sync += [slot.eq(now_slot), k.eq(now_k + 1), product.eq(now_product)]
        return now_slot, now_k, now_product

    def _follow_counters(self, m, lockstep, control, number, entry, old, product):
        """The counters once more, a cycle later, when what they address stands in registers."""
        late = lockstep.late
        control, number, product = late(control), late(number), late(product)
        now_slot, now_k, now_product = self._count(m, data.View(CONTROL, control))
        drain = control[0]
        lockstep.compare(
            "counters",
            Cat(now_k, now_slot, now_product, now_k, number, drain),
            Cat(entry, product, old.w_address, old.w_enable),
        )

    def _marks(self, m, lockstep, control):
        """When the columns' rows begin and end, in phase 3 and where else they need it."""
        values, later = [control.first, control.last & control.drain], self.engine.column_cycles - 5
        if not lockstep:
            return dict(zip(("first", "last"), self._delayed(m, values, 3), strict=True))
        taps = self._carried(m, lockstep, values, 3 + later + 1)
        return {
            "first": taps[3][0],
            "last": taps[3][1],
            "afresh": taps[3 + later][0],
            "held": taps[3 + later + 1][1],
        }

    def _serialize(self, m, lockstep, columns, last, where):
        """Columns hold a slot's results for `slot_cycles`; send them on, one a cycle and bank."""
        engine, result = self.engine, self.result.payload
        position, valid, slot, product = self._send(m, last, where)
        m.d.sync += [
            self.result.valid.eq(valid),
            result.slot.eq(slot),
            result.product.eq(product),
            result.column.eq(position),
        ]
        if lockstep:
            late = lockstep.late
            position_behind, *behind = self._send(m, late(last), [late(value) for value in where])
            lockstep.compare(
                "sending",
                Cat(position_behind, *behind),
                Cat(result.column, self.result.valid, result.slot, result.product),
            )
        for b in range(engine.banks):
            bank = columns[b * engine.bank_columns : (b + 1) * engine.bank_columns]
            names = ResultLayout(engine).members
            rows = [Cat(getattr(c, name) for name in names) for c in bank]
            m.d.sync += self.rows[b].eq(select(rows, position))

    def _send(self, m, last, where):
        """(column, whether there is a row, slot, product) that go on next."""
        slot, product = where
        # Back at 0 when the next slot's results show: the multiplexers see nothing but a register.
        position, sending = Signal(range(self.engine.bank_columns)), Signal()
        number, tag = Signal.like(slot), Signal.like(product)
        with m.If(last):
            m.d.sync += [number.eq(slot), tag.eq(product)]
        with m.If(last | sending):
            more = position != self.engine.bank_columns - 1
            m.d.sync += [sending.eq(more), position.eq(Mux(more, position + 1, 0))]
        return position, last | sending, Mux(last, slot, number), Mux(last, product, tag)
