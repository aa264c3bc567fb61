"""One segment of a stage: an index store and the lanes that share an activation."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gateware.checked_ram import CheckedRam
from gateware.emit import place
from gateware.lane import Lane
from model.engine import SEGMENT_LATENCY, ceil_log2


def weight_words(engine):
    """Words of a segment's index store that hold weights; the drain words come after them."""
    return -(-engine.index_depth // engine.fold)


def drain_row(engine):
    """Row address of the first drain word."""
    return weight_words(engine) * engine.fold


def row_address_bits(engine):
    return ceil_log2(drain_row(engine) + engine.buckets)


class Segment(wiring.Component):
    """`columns` lanes that add the same `x`, each to the bucket that its index names.

    A beat given in cycle t (`x`, index row `address`, `drain`) reaches the lanes in t + 2, and
    `o[m]` shows a drained bucket of column m, added to `chain[m]`, in t + 3 =
    t + `SEGMENT_LATENCY`; else 0.  `next_*` is the beat's control in t + 1, for the segment behind,
    whose lanes get `o` in step: so a row's segments add up on their way, without an adder tree.

    The index word itself addresses the bucket; the rows from `drain_row` on are 0, 1, 2, … in every
    lane, so that a drain needs no multiplexer.  `use` goes with an `address` that counts: `corrupt`
    strobes 4 cycles later if the parity of a word of that row is wrong.

    `w_*` and `r_*` are the link's: `w_address` below `weight_words`; `r_enable` takes the read port
    from the lanes, and 3 cycles later `r_word` shows the word that `r_pick` names, 0 if none.
    """

    def __init__(self, *, engine, first=True):
        self.engine = engine
        self.first = first
        words = weight_words(engine)
        self._width = 32 * engine.index_words
        self._depth = words + -(-engine.buckets // engine.fold)
        address = max(1, ceil_log2(self._depth))
        row, lane = row_address_bits(engine), signed(engine.sum_bits)
        super().__init__({
            "x": In(signed(engine.activation_bits)),
            "address": In(row),
            "drain": In(1),
            "use": In(1),
            **({} if first else {"chain": In(lane).array(engine.columns)}),
            "o": Out(lane).array(engine.columns),
            "next_address": Out(row),
            "next_drain": Out(1),
            "next_use": Out(1),
            "corrupt": Out(1),
            "w_address": In(address),
            "w_data": In(32),
            "w_enable": In(engine.index_words),
            "r_address": In(address),
            "r_enable": In(1),
            "r_pick": In(engine.index_words),
            "r_word": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        fold_bits = ceil_log2(engine.fold)
        store = place(m, CheckedRam(
            width=self._width, depth=self._depth, granularity=32, storage=engine.storage,
            tail=self._drain_words(),
        ), "store")  # fmt: skip
        m.d.comb += [
            store.w_address.eq(self.w_address),
            store.w_data.eq(self.w_data),
            store.w_enable.eq(self.w_enable),
            store.r_address.eq(Mux(self.r_enable, self.r_address, self.address >> fold_bits)),
            store.r_use.eq(self.use & ~self.r_enable),
            store.r_hide.eq(Mux(self.r_enable, ~self.r_pick, 0)),
            self.r_word.eq(store.r_word),
            self.corrupt.eq(store.corrupt),
        ]
        m.d.sync += [
            self.next_address.eq(self.address), self.next_drain.eq(self.drain),
            self.next_use.eq(self.use),
        ]  # fmt: skip
        x, add, part = self.x, ~self.drain, self.address[:fold_bits]
        for n in range(SEGMENT_LATENCY - 1):
            late = [Signal.like(value, name=f"late_{n}") for value in (x, add, part)]
            m.d.sync += [new.eq(old) for new, old in zip(late, (x, add, part), strict=True)]
            x, add, part = late
        row = store.late.word_select(part, 32 // engine.fold) if fold_bits else store.late
        self._lanes(m, x, add, row)
        return m

    def _lanes(self, m, x, add, row):
        engine = self.engine
        for n in range(engine.columns):
            dsp = self.first and n < engine.dsp_columns
            lane = place(m, Lane(
                buckets=engine.buckets, activation_bits=engine.activation_bits,
                bits=engine.sum_bits, adder="dsp" if dsp else "lut",
            ), f"lane_{n}")  # fmt: skip
            m.d.comb += [
                lane.index.eq(row[n * engine.index_bits : (n + 1) * engine.index_bits]),
                lane.x.eq(x),
                lane.add.eq(add),
                self.o[n].eq(lane.o),
            ]
            if not dsp:
                m.d.comb += lane.chain.eq(0 if self.first else self.chain[n])

    def _drain_words(self):
        engine = self.engine
        pitch = 32 // engine.fold if engine.fold > 1 else 0
        words = []
        for k in range(engine.buckets):
            row = sum(k << (n * engine.index_bits) for n in range(engine.columns))
            if k % engine.fold == 0:
                words.append(0)
            words[-1] |= row << (k % engine.fold) * pitch
        return [Const(word, self._width).value for word in words]
