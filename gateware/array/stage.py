"""One stage: the segments that start together, one behind the other."""

from amaranth.hdl import Cat, Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array.segment import Segment
from dpnet.gateware.emit import place
from dpnet.model.engine.parameters import SEGMENT_LATENCY
from dpnet.model.engine.widths import row_address_bits


class BeatLayout(data.StructLayout):
    """What every lane of a stage needs in a cycle.

    Fields:

    * `x`, `data.ArrayLayout(signed(activation_bits), segments)`: an activation per segment; 0 in
      idle and draining cycles.
    * `address`, `row_address_bits(engine)`: index row.
    * `use`, `1`: `address` counts.
    * `drain`, `1`: the lanes show a bucket instead of adding.
    * `first`, `1`: first cycle of a drain.
    * `last`, `1`: last cycle of a drain.
    * `start`, `1`: first cycle of the first drain of a product.
    * `mode`, `2`: bits of an index - 1, 3 in drains; if the engine `packs`.
    * `position`, `2`: the beat's number in its tile, modulo the beats that share rows of the index
      store (4, but 2 for 2-bit indices); if the engine `packs`.
    * `parity`, `1`: that of all the others but `x`, which Σ checks; with `lockstep`.
    """

    def __init__(self, engine):
        super().__init__(
            {
                "x": data.ArrayLayout(signed(engine.activation_bits), engine.segments),
                "address": row_address_bits(engine),
                "use": 1,
                "drain": 1,
                "first": 1,
                "last": 1,
                "start": 1,
                **({"mode": 2, "position": 2} if engine.packs else {}),
                **({"parity": 1} if engine.lockstep else {}),
            }
        )


class Stage(wiring.Component):
    """`segments` segments of `columns` lanes, which add up drained buckets on their way.

    Segment s works s cycles later than segment 0, so a beat's `x[s]` must come s cycles after its
    control.  Drained buckets show `latency` cycles after the beat's control.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `beat`, `In(BeatLayout(engine))`: what the lanes do in a cycle.
    * `bucket`, `Out(signed(sum_bits)).array(columns)`: column m's drained buckets, added up over
      the segments; 0 when nothing drains.
    * `corrupt`, `Out(1)`: strobes when an index word of odd parity was used, and with `lockstep`
      for a beat that is not of its `parity` any more, in whichever segment it changed.
    * `w_address`, `In(max(1, row_address_bits(engine) - ceil_log2(fold)))`: word of the index
      stores to be written.
    * `w_data`, `In(32)`: what is written.
    * `w_enable`, `In(segments * index_words)`: a bit for each 32-bit word of each segment.
    * `r_address`, `In(max(1, row_address_bits(engine) - ceil_log2(fold)))`: word of the index
      stores to be read.
    * `r_enable`, `In(1)`: the link reads; takes the read port from the lanes.
    * `r_pick`, `In(segments * index_words)`: the one 32-bit word to be shown, as in `w_enable`.
    * `r_word`, `Out(32)`: that word, 3 cycles later; 0 if none.
    """

    def __init__(self, *, engine):
        self.engine = engine
        self.latency = SEGMENT_LATENCY + engine.segments - 1
        self._segments = [Segment(engine=engine, first=s == 0) for s in range(engine.segments)]
        store = self._segments[0].signature.members
        words = engine.segments * engine.index_words
        super().__init__(
            {
                "beat": In(BeatLayout(engine)),
                "bucket": Out(signed(engine.sum_bits)).array(engine.columns),
                "corrupt": Out(1),
                "w_address": In(store["w_address"].shape),
                "w_data": In(32),
                "w_enable": In(words),
                "r_address": In(store["r_address"].shape),
                "r_enable": In(1),
                "r_pick": In(words),
                "r_word": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = self.engine.index_words
        names = ["address", "drain", "use", *(["mode", "position"] if self.engine.packs else [])]
        control = [self.beat[name] for name in names]
        if self.engine.lockstep:
            names.append("parity")
            marks = Cat(self.beat.first, self.beat.last, self.beat.start)
            control.append(self.beat.parity ^ marks.xor())
        corrupt, word, before = 0, 0, None
        for s, component in enumerate(self._segments):
            segment = place(m, component, f"segment_{s}")
            m.d.comb += [
                segment.x.eq(self.beat.x[s]),
                *(
                    getattr(segment, name).eq(value)
                    for name, value in zip(names, control, strict=True)
                ),
                segment.w_address.eq(self.w_address),
                segment.w_data.eq(self.w_data),
                segment.w_enable.eq(self.w_enable.word_select(s, words)),
                segment.r_address.eq(self.r_address),
                segment.r_enable.eq(self.r_enable),
                segment.r_pick.eq(self.r_pick.word_select(s, words)),
            ]
            if before is not None:
                m.d.comb += [chain.eq(o) for chain, o in zip(segment.chain, before.o, strict=True)]
            reached, control = control, [getattr(segment, f"next_{name}") for name in names]
            corrupt, word, before = corrupt | segment.corrupt, word | segment.r_word, segment
        if self.engine.lockstep:
            corrupt |= Cat(reached).xor()
        m.d.comb += [o.eq(last) for o, last in zip(self.bucket, before.o, strict=True)]
        m.d.comb += self.r_word.eq(word)
        m.d.sync += self.corrupt.eq(corrupt)
        return m
