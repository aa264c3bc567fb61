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

    `x`: one activation per segment, 0 in idle and draining cycles; `address`: index row, which
    counts if `use`; `drain`, with `first` and `last` in the first and last cycle of a drain;
    `start`: the first cycle of the first drain of a product.  Where indices may be packed (`packs`
    of the engine) `mode` is the bits of an index - 1 (3 in drains), and `position` the beat's
    number in its tile, modulo the beats that share rows of the index store (4, but 2 for 2-bit
    indices).  With `lockstep`, `parity` is that of all the others but `x`, which Σ checks.
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
    control.  `bucket[m]` shows the sum of column m's drained buckets `latency` cycles after the
    beat's control.  `corrupt` strobes when an index word of odd parity was used, and with
    `lockstep` for a beat that is not of its `parity` any more, in whichever segment it changed.

    `w_*` and `r_*` are the link's to the index stores, with a bit of `w_enable` and `r_pick` for
    each word of each segment.
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
