"""One stage: an index store and the lanes that start together."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gateware.emit import place
from gateware.lane import Lane
from gateware.ram import Ram
from model.engine import ceil_log2


class BeatLayout(data.StructLayout):
    """What every lane of a stage needs in a cycle.

    `x`: one activation per segment, 0 in idle and draining cycles; `address`: index row;
    `drain`, with `first` and `last` in the first and last cycle of a drain; `start`: the first
    cycle of the first drain of a product.
    """

    def __init__(self, engine):
        super().__init__({
            "x": data.ArrayLayout(signed(engine.activation_bits), engine.segments),
            "address": row_address_bits(engine),
            "drain": 1,
            "first": 1,
            "last": 1,
            "start": 1,
        })


def weight_words(engine):
    """Words of a stage's index store that hold weights; the drain words come after them."""
    return -(-engine.index_depth // engine.fold)


def drain_row(engine):
    """Row address of the first drain word."""
    return weight_words(engine) * engine.fold


def row_address_bits(engine):
    return ceil_log2(drain_row(engine) + engine.buckets)


class Stage(wiring.Component):
    """Index store and `columns` × `segments` lanes, which all read the same index row.

    A beat given in cycle t reaches the lanes in t + 1, and `bucket[m * segments + s]` shows a
    drained bucket in t + 2.  The index word itself addresses the bucket; the rows from `drain_row`
    on are 0, 1, 2, … in every lane, so that a drain needs no multiplexer.

    `w_*` and `r_*` are the link's: words of the store as they lie in memory, `r_data` in the cycle
    after `r_enable` (which takes the read port from the lanes).
    """

    def __init__(self, *, engine):
        self.engine = engine
        words = weight_words(engine)
        self._width = 32 * engine.index_words
        self._depth = words + -(-engine.buckets // engine.fold)
        self._address_bits = max(1, ceil_log2(self._depth))
        super().__init__({
            "beat": In(BeatLayout(engine)),
            "bucket": Out(signed(engine.bucket_bits)).array(engine.columns * engine.segments),
            "w_address": In(self._address_bits),
            "w_data": In(32),
            "w_enable": In(engine.index_words),
            "r_address": In(self._address_bits),
            "r_enable": In(1),
            "r_data": Out(self._width),
        })

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        store = place(m, Ram(
            width=self._width, depth=self._depth, granularity=32, storage=engine.storage,
            tail=self._drain_words(),
        ), "store")  # fmt: skip
        fold_bits = ceil_log2(engine.fold)
        m.d.comb += [
            store.w_address.eq(self.w_address),
            store.w_data.eq(Cat(*[self.w_data] * engine.index_words)),
            # The drain words are out of reach: a write there vanishes.
            store.w_enable.eq(Mux(self.w_address < weight_words(engine), self.w_enable, 0)),
            store.r_address.eq(
                Mux(self.r_enable, self.r_address, self.beat.address >> fold_bits)
            ),
            self.r_data.eq(store.r_data),
        ]
        x = Signal.like(self.beat.x)
        drain = Signal()
        part = Signal(max(1, fold_bits))
        m.d.sync += [x.eq(self.beat.x), drain.eq(self.beat.drain), part.eq(self.beat.address)]
        row = store.r_data.word_select(part, self._row_pitch) if fold_bits else store.r_data
        for n in range(engine.columns * engine.segments):
            lane = place(m, Lane(
                buckets=engine.buckets, activation_bits=engine.activation_bits,
                bucket_bits=engine.bucket_bits,
            ), f"lane_{n}")  # fmt: skip
            m.d.comb += [
                lane.index.eq(row[n * engine.index_bits : (n + 1) * engine.index_bits]),
                lane.x.eq(x[n % engine.segments]),
                lane.drain.eq(drain),
                self.bucket[n].eq(lane.o),
            ]
        return m

    @property
    def _row_pitch(self):
        return 32 // self.engine.fold

    def _drain_words(self):
        engine = self.engine
        pitch = self._row_pitch if engine.fold > 1 else 0
        words = []
        for k in range(engine.buckets):
            lanes = engine.columns * engine.segments
            row = sum(k << (n * engine.index_bits) for n in range(lanes))
            if k % engine.fold == 0:
                words.append(0)
            words[-1] |= row << (k % engine.fold) * pitch
        return [Const(word, self._width).value for word in words]
