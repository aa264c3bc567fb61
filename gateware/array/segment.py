"""One segment of a stage: an index store and the lanes that share an activation."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array.lane import Lane
from dpnet.gateware.emit import place
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.gateware.parts.lockstep import carried
from dpnet.model.engine.parameters import SEGMENT_LATENCY, ceil_log2
from dpnet.model.engine.widths import row_address_bits, store_words


class Segment(wiring.Component):
    """`columns` lanes that add the same `x`, each to the bucket that its index names.

    A beat given in cycle t reaches the lanes in t + 2, and what they drain shows in t + 3 = t +
    `SEGMENT_LATENCY`.  `next_*` is the beat's control in t + 1, for the segment behind, whose lanes
    get `o` in step: so a row's segments add up on their way, without an adder tree.

    The index itself addresses the bucket; the rows from `drain_row` on are 0, 1, 2, … in every
    lane, so that a drain needs no multiplexer.

    If the engine `packs`, the beat also says how the indices lie in the row.  Each lane has a
    nibble of the row; bits of the index above those are 0:

    * 4 bits: the nibble.  Drains are of this mode.
    * 2 bits: bits 0 and 1, then 2 and 3 of one row.
    * 1 bit: bit 0, 1, 2, then 3 of one row.
    * 3 bits: bits 0 to 2 of three rows; then, with the third of them still named by `address`, the
      bits 3 of the first, second and third row, which are its bits 0, 1 and 2.  Beats that are not
      of this mode, and those without `use`, may come in between.

    Parameters: `engine`, an `EngineParameters`; `first`, whether it is a row's first segment, which
    has no `chain`.

    Members:

    * `x`, `In(signed(activation_bits))`: what is added; 0 in drains and idle cycles.
    * `address`, `In(row_address_bits(engine))`: index row.
    * `drain`, `In(1)`: the lanes show the buckets that the row names.
    * `use`, `In(1)`: `address` counts.
    * `chain`, `In(signed(sum_bits)).array(columns)`: `o` of the segment in front; not if `first`.
    * `o`, `Out(signed(sum_bits)).array(columns)`: column m's drained bucket added to `chain[m]`,
      else 0.
    * `next_address`, `Out(row_address_bits(engine))`: `address`, a cycle later.
    * `next_drain`, `Out(1)`: `drain`, a cycle later.
    * `next_use`, `Out(1)`: `use`, a cycle later.
    * `mode`, `In(2)`: bits of an index - 1; if the engine `packs`.
    * `position`, `In(2)`: beats of a group, modulo 4 (modulo 2 with 2 bits); if the engine `packs`.
    * `next_mode`, `Out(2)`: `mode`, a cycle later; if the engine `packs`.
    * `next_position`, `Out(2)`: `position`, a cycle later; if the engine `packs`.
    * `parity`, `In(1)`: of the beat's control; with `lockstep`.
    * `next_parity`, `Out(1)`: `parity`, a cycle later; with `lockstep`.
    * `corrupt`, `Out(1)`: strobes 4 cycles after a `use` if the parity of a word of that row is
      wrong; with `lockstep` too for what changes on its way to the lanes here.
    * `w_address`, `In(max(1, row_address_bits(engine) - ceil_log2(fold)))`: word of the store,
      below `weight_words`.
    * `w_data`, `In(32)`: what is written.
    * `w_enable`, `In(index_words)`: the 32-bit words of it that `w_data` goes to.
    * `r_address`, `In(max(1, row_address_bits(engine) - ceil_log2(fold)))`: word of the store to be
      read.
    * `r_enable`, `In(1)`: the link reads; takes the read port from the lanes.
    * `r_pick`, `In(index_words)`: the one 32-bit word to be shown.
    * `r_word`, `Out(32)`: that word, 3 cycles later; 0 if none.
    """

    def __init__(self, *, engine, first=True):
        self.engine = engine
        self.first = first
        self._width = 32 * engine.index_words
        self._depth = store_words(engine)
        address = max(1, ceil_log2(self._depth))
        row, lane = row_address_bits(engine), signed(engine.sum_bits)
        super().__init__(
            {
                "x": In(signed(engine.activation_bits)),
                "address": In(row),
                "drain": In(1),
                "use": In(1),
                **({} if first else {"chain": In(lane).array(engine.columns)}),
                "o": Out(lane).array(engine.columns),
                "next_address": Out(row),
                "next_drain": Out(1),
                "next_use": Out(1),
                **(
                    {"mode": In(2), "position": In(2), "next_mode": Out(2), "next_position": Out(2)}
                    if engine.packs
                    else {}
                ),
                **({"parity": In(1), "next_parity": Out(1)} if engine.lockstep else {}),
                "corrupt": Out(1),
                "w_address": In(address),
                "w_data": In(32),
                "w_enable": In(engine.index_words),
                "r_address": In(address),
                "r_enable": In(1),
                "r_pick": In(engine.index_words),
                "r_word": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        fold_bits = ceil_log2(engine.fold)
        store = place(
            m,
            CheckedRam(
                width=self._width,
                depth=self._depth,
                granularity=32,
                storage=engine.storage,
                tail=self._drain_words(),
                guarded=engine.lockstep,
            ),
            "store",
        )
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
            self.next_address.eq(self.address),
            self.next_drain.eq(self.drain),
            self.next_use.eq(self.use),
        ]
        if engine.lockstep:
            m.d.sync += self.next_parity.eq(self.parity)
        if engine.packs:
            m.d.sync += [
                self.next_mode.eq(self.mode),
                self.next_position.eq(self.position),
            ]
        x, add, part, changed = self._to_lanes(m, self.address[:fold_bits])
        if engine.packs:
            row = self._unpacked(m, store.r_data, self.use, self.mode, self.position)
            if engine.lockstep:
                changed |= self._unpacked_wrongly(m, row, store.late)
        else:
            row = store.late.word_select(part, 32 // engine.fold) if fold_bits else store.late
        if engine.lockstep:
            m.d.comb += self.corrupt.eq(store.corrupt | changed)
        self._lanes(m, x, add, row)
        return m

    def _to_lanes(self, m, part):
        """(x, whether to add, part of the index row) when the row shows, and whether one of the
        latter has changed: Σ need not tell if a lane drains when it should add."""
        x, add, cycles = self.x, ~self.drain, SEGMENT_LATENCY - 1
        values, changed = (x, add, part), Const(0, 1)
        if self.engine.lockstep:
            taps, changed = carried(m, [add, part], cycles, name="late")
            values, (add, part) = (x,), taps[-1]
        for n in range(cycles):
            late = [Signal.like(value, name=f"late_{n}") for value in values]
            m.d.sync += [new.eq(old) for new, old in zip(late, values, strict=True)]
            values = late
        return *values, *(add, part)[: 3 - len(values)], changed

    def _unpacked_wrongly(self, m, row, late):
        """Unpacked once more, a cycle later: whether that differs, 3 cycles after the beat."""
        control, used = Cat(self.use, self.mode, self.position), Signal(3)
        behind, before = Signal.like(control), Signal.like(row)
        m.d.sync += [
            behind.eq(control),
            before.eq(row),
            used.eq(Cat(self.use, used)),
        ]
        return used[2] & (before != self._unpacked(m, late, behind[0], behind[1:3], behind[3:5]))

    def _unpacked(self, m, row, use, mode, position):
        """The lanes' indices, 4 bits each, in the cycle after their `row` shows."""
        lanes = self.engine.columns
        bits = [Signal(lanes, name=f"bit_{n}") for n in range(4)]
        index = [Signal(lanes, name=f"index_{n}", reset_less=True) for n in range(4)]
        first, second = (Signal(lanes, name=f"held_{n}", reset_less=True) for n in range(2))
        m.d.comb += [bit.eq(row[n : 4 * lanes : 4]) for n, bit in enumerate(bits)]
        # Decoded a cycle ahead, for four LUTs a lane; a flip-flop's own reset takes none.
        pick = Signal(2)
        fourth, upper, hold, cut_1, cut_2, cut_3 = (
            Signal(name=name) for name in ("fourth", "upper", "hold", "cut_1", "cut_2", "cut_3")
        )
        one, two, three, four = (mode == code for code in range(4))
        m.d.sync += [
            cut_1.eq(one),
            cut_2.eq(one | two),
            cut_3.eq(~four),
            upper.eq(two & position[0]),
            fourth.eq(three & (position == 3)),
            hold.eq(three & ~position[1] & use),
            pick.eq(Mux(one, position, Mux(two, position[0] << 1, 0))),
            index[3].eq(Mux(cut_3, 0, bits[3])),
            index[2].eq(Mux(cut_2, 0, Mux(fourth, bits[3], bits[2]))),
            index[1].eq(Mux(cut_1, 0, Mux(fourth, second, Mux(upper, bits[3], bits[1])))),
            index[0].eq(Mux(fourth, first, Array(bits)[pick])),
        ]
        with m.If(hold):
            m.d.sync += [first.eq(second), second.eq(bits[3])]
        return Cat(index[n][lane] for lane in range(lanes) for n in range(4))

    def _lanes(self, m, x, add, row):
        engine = self.engine
        for n in range(engine.columns):
            dsp = self.first and n < engine.dsp_columns
            lane = place(
                m,
                Lane(
                    buckets=engine.buckets,
                    activation_bits=engine.activation_bits,
                    bits=engine.sum_bits,
                    adder="dsp" if dsp else "lut",
                ),
                f"lane_{n}",
            )
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
