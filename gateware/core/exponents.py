"""The largest exponent of every beat of the vector store, kept while words are written."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.emit import place
from dpnet.gateware.parts.ram import Ram
from dpnet.model.engine.parameters import ceil_log2

GRANULE = 9
"""An exponent of 8 bits and its parity: a byte lane of a block RAM."""


class BeatExponents(wiring.Component):
    """Follows every write to the vector store, and shows the beats' largest exponents by rows.

    A beat's words are read again after each of them was written, whatever the order, and the
    largest exponent goes to the beat's place in its row.  `settled` falls with a write and rises
    again `EngineParameters.settle_cycles` + 1 cycles after the last one.  An exponent that changed
    before it was compared spoils the parity of its beat.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `w_beat`, `In(ceil_log2(vector_rows * row_beats) or 1)`: beat of the vector store that is
      written.
    * `w_segment`, `In(ceil_log2(segments) or 1)`: word in that beat.
    * `w_exponent`, `In(8)`: biased exponent of what is written.
    * `w_enable`, `In(1)`: a word is written.
    * `settled`, `Out(1)`: a row asked for two cycles later has all exponents that were written so
      far.
    * `r_row`, `In(ceil_log2(vector_rows) or 1)`: row to be shown.
    * `row`, `Out(8 * row_beats)`: the exponents of the last cycle's `r_row`.
    * `take`, `In(row_beats)`: those of `row` that count, in step with it.
    * `corrupt`, `Out(1)`: strobes 3 cycles after `take` for one of odd parity.
    """

    def __init__(self, *, engine):
        self.engine = engine
        self._beats = engine.vector_rows * engine.row_beats
        super().__init__(
            {
                "w_beat": In(ceil_log2(self._beats) or 1),
                "w_segment": In(ceil_log2(engine.segments) or 1),
                "w_exponent": In(8),
                "w_enable": In(1),
                "settled": Out(1),
                "r_row": In(ceil_log2(engine.vector_rows) or 1),
                "row": Out(8 * engine.row_beats),
                "take": In(engine.row_beats),
                "corrupt": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        depth = ceil_log2(engine.segments)
        words = place(
            m, Ram(width=GRANULE * engine.segments, depth=self._beats, granularity=GRANULE), "words"
        )
        rows = place(
            m,
            Ram(width=GRANULE * engine.row_beats, depth=engine.vector_rows, granularity=GRANULE),
            "rows",
        )
        beats, valid = [self.w_beat], [self.w_enable]
        for n in range(depth + 4):
            beats.append(Signal.like(self.w_beat, name=f"beat_{n + 1}"))
            valid.append(Signal(name=f"valid_{n + 1}"))
            m.d.sync += [beats[-1].eq(beats[-2]), valid[-1].eq(valid[-2])]
        exponent, segment = Signal(8), Signal.like(self.w_segment)
        m.d.sync += [exponent.eq(self.w_exponent), segment.eq(self.w_segment)]
        m.d.comb += [
            words.w_address.eq(beats[1]),
            words.w_data.eq(Cat(exponent, exponent.xor()).replicate(engine.segments)),
            words.w_enable.eq(Mux(valid[1], 1 << segment, 0)),
            words.r_address.eq(beats[2]),
            self.settled.eq(~Cat(valid[: depth + 3]).any()),
        ]
        # Block RAMs are slow: nothing but a register comes behind one.
        late = Signal.like(words.r_data, name="late", reset_less=True)
        m.d.sync += late.eq(words.r_data)
        largest, odd = self._largest(m, late, depth)
        place_bits = ceil_log2(engine.row_beats)
        m.d.comb += [
            rows.w_address.eq(beats[-1] >> place_bits),
            rows.w_data.eq(Cat(largest, largest.xor() ^ odd).replicate(engine.row_beats)),
            rows.w_enable.eq(Mux(valid[-1], 1 << beats[-1][:place_bits], 0)),
            rows.r_address.eq(self.r_row),
        ]
        self._check(m, [rows.r_data.word_select(n, GRANULE) for n in range(engine.row_beats)])
        return m

    def _largest(self, m, words, depth):
        """(largest exponent, whether a word's parity is wrong), `depth` cycles after `words`."""
        level = [words.word_select(s, GRANULE) for s in range(self.engine.segments)]
        odd = Cat(level).xor()
        level = [word[:8] for word in level]
        for n in range(depth):
            following = []
            for s in range(0, len(level), 2):
                larger = Signal(8, name=f"larger_{n}_{s}")
                pair = level[s : s + 2]
                m.d.sync += larger.eq(Mux(pair[0] > pair[-1], pair[0], pair[-1]))
                following.append(larger)
            late = Signal(name=f"odd_{n}")
            m.d.sync += late.eq(odd)
            level, odd = following, late
        return level[0], odd

    def _check(self, m, granules):
        m.d.comb += self.row.eq(Cat(granule[:8] for granule in granules))
        late, odd = Cat(granules), Signal(len(granules))
        kept, take = Signal.like(late, name="row_late", reset_less=True), Signal.like(self.take)
        parities = [kept.word_select(n, GRANULE).xor() & take[n] for n in range(len(granules))]
        m.d.sync += [
            kept.eq(late),
            take.eq(self.take),
            odd.eq(Cat(parities)),
            self.corrupt.eq(odd.any()),
        ]
