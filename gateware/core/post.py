"""After a bank of columns: row parameters, then normalize or requantize, then the result buffer."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.arithmetic.normalize import NormalizeUnit
from dpnet.gateware.arithmetic.requantize import RequantizeUnit
from dpnet.gateware.array import PlaceLayout, ResultLayout
from dpnet.gateware.array.residue import digits, fold, fold_to
from dpnet.gateware.emit import place
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.gateware.parts.lockstep import Lockstep, carried
from dpnet.gateware.parts.records import record_layout
from dpnet.model.engine.layout import ROW_WORDS
from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.engine.records import ROW
from dpnet.model.engine.widths import limb_widths
from dpnet.model.golden.normalize import Normalize
from dpnet.model.golden.requantize import Requantize

REQUANTIZE = Requantize()


class Post(wiring.Component):
    """Turns each result of a bank into one 32-bit word of the result buffer.

    Takes one result per cycle.  With `fp32_out` the word is fp32(accumulator · 2^(`scale` + the
    row's exponent)), else the row's requantization with `relu` and `out_bits`, sign-extended; an
    engine has one of the two units, or both (`EngineParameters.edges`).  The word lands at the
    result's slot + `slot_offset`.  Reads of the link show 3 cycles after their address.  `valid`,
    `place`, `row`, `scale` and `slot_offset` belong to one cycle; the other settings must be steady
    while it works.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `valid`, `In(1)`: there is a result.
    * `place`, `In(PlaceLayout(engine))`: its slot and column, and its product.
    * `row`, `In(ResultLayout(engine))`: the result and its checks.
    * `fp32_out`, `In(1)`: normalize it, else requantize it.
    * `relu`, `In(1)`: requantize: negative results become 0.
    * `out_bits`, `In(5)`: requantize: width that results saturate at.
    * `scale`, `In(signed(12))`: normalize: power of two of the product's inputs.
    * `slot_offset`, `In(ceil_log2(result_slots) or 1)`: from the product's slots to its results'.
    * `done`, `Out(1)`: strobes for every result written.
    * `range`, `Out(1)`: strobes for an accumulator beyond the requantizer's width.
    * `overflow`, `Out(1)`: strobes for an fp32 infinity.
    * `sigma`, `Out(1)`: strobes for a result whose buckets did not add up, or that is not what its
      `residue` says, or two units in `lockstep` that disagree.
    * `corrupt`, `Out(1)`: strobes for row parameters of odd parity, a result of odd parity that was
      read with `result_use`, or (in `lockstep`) a result's place or scale that changed on its way.
    * `row_address`, `In(ceil_log2(slots) + ceil_log2(bank_columns) or 1)`: row parameters: slot,
      column.
    * `row_data`, `In(32)`: what is written there.
    * `row_write`, `In(ROW_WORDS)`: the words of a row that `row_data` goes to.
    * `row_read`, `In(1)`: the link reads; takes the read port from the results.
    * `row_hide`, `In(ROW_WORDS)`: all words of a row but the one to be shown.
    * `row_word`, `Out(32)`: that word.
    * `result_address`, `In(ceil_log2(result_slots) + ceil_log2(bank_columns) or 1)`: result to be
      read.
    * `result_use`, `In(1)`: its parity counts.
    * `result_hide`, `In(1)`: `result_late` shows 0 instead.
    * `result_word`, `Out(32)`: the result, a cycle after its address.
    * `result_late`, `Out(32)`: the result, 3 cycles after its address.
    """

    def __init__(self, *, engine):
        self.engine = engine
        column = ceil_log2(engine.bank_columns)
        result_slot = ceil_log2(engine.result_slots) or 1
        self._rows = ceil_log2(engine.slots) + column or 1
        self._results = ceil_log2(engine.result_slots) + column or 1
        super().__init__(
            {
                "valid": In(1),
                "place": In(PlaceLayout(engine)),
                "row": In(ResultLayout(engine)),
                "fp32_out": In(1),
                "relu": In(1),
                "out_bits": In(5),
                "scale": In(signed(12)),
                "slot_offset": In(result_slot),
                "done": Out(1),
                "range": Out(1),
                "overflow": Out(1),
                "sigma": Out(1),
                "corrupt": Out(1),
                "row_address": In(self._rows),
                "row_data": In(32),
                "row_write": In(ROW_WORDS),
                "row_read": In(1),
                "row_hide": In(ROW_WORDS),
                "row_word": Out(32),
                "result_address": In(self._results),
                "result_use": In(1),
                "result_hide": In(1),
                "result_word": Out(32),
                "result_late": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        rows, buffer, where, offset = self._stores(m)
        # Two cycles, because the row parameters come with a register behind their store.
        added = Signal(signed(engine.accumulator_bits), reset_less=True)
        accumulator = Signal.like(added, reset_less=True)
        valid, scale = Signal(2), Signal(2 * len(self.scale))
        m.d.sync += [
            valid.eq(Cat(self.valid, valid)),
            added.eq((self.row.high << limb_widths(engine)[0]) + self.row.low),
            accumulator.eq(added),
            scale.eq(Cat(self.scale, scale)),
        ]
        differs = self._differs(m, accumulator, valid[1])
        valid, scale = valid[1], scale[len(self.scale) :].as_signed()
        words, row = [], data.View(record_layout(ROW), rows.late)
        lockstep = Lockstep(m) if engine.lockstep else None
        if engine.fp32:
            words.append(self._normalize(m, lockstep, valid, accumulator, scale, row))
        if engine.integer:
            words.append(self._requantize(m, lockstep, valid, accumulator, row))
        if engine.lockstep:
            differs |= lockstep.differs()
        m.d.sync += self.sigma.eq(self.valid & self.row.mismatch | differs)
        longest = max(latency for latency, *_ in words)
        targets, moved = self._delayed(m, (where + offset)[: self._results], 2 + longest)
        if engine.lockstep:
            odd, changed = Signal(2, init=0b11), Signal()
            m.d.sync += [
                odd.eq(Cat(~Cat(self.valid, self.scale).xor(), odd)),
                changed.eq(~Cat(valid, scale, odd[1]).xor() | moved),
            ]
            m.d.comb += self.corrupt.eq(rows.corrupt | buffer.corrupt | changed)
        taps = [targets[2 + latency] for latency, *_ in words]
        _, written, word = words[0]
        target = taps[0]
        if len(words) > 1:
            target = Mux(self.fp32_out, *taps)
            written = Mux(self.fp32_out, words[0][1], words[1][1])
            word = Mux(self.fp32_out, words[0][2], words[1][2])
        m.d.comb += [
            buffer.w_address.eq(target),
            buffer.w_data.eq(word),
            buffer.w_enable.eq(written),
            self.done.eq(written),
        ]
        return m

    def _stores(self, m):
        """(row parameters, result buffer, place of the row in both, way to the result's)"""
        engine = self.engine
        column_bits = ceil_log2(engine.bank_columns)
        rows = place(
            m,
            CheckedRam(
                width=32 * ROW_WORDS,
                depth=engine.slots << column_bits,
                granularity=32,
                guarded=engine.lockstep,
            ),
            "rows",
        )
        buffer = place(
            m,
            CheckedRam(width=32, depth=engine.result_slots << column_bits, guarded=engine.lockstep),
            "buffer",
        )
        where = Cat(self.place.column[:column_bits], self.place.slot)
        offset = Cat(Const(0, column_bits), self.slot_offset)
        m.d.comb += [
            rows.w_address.eq(self.row_address),
            rows.w_data.eq(self.row_data),
            rows.w_enable.eq(self.row_write),
            rows.r_address.eq(Mux(self.row_read, self.row_address, where)),
            rows.r_use.eq(self.valid & ~self.row_read),
            rows.r_hide.eq(Mux(self.row_read, self.row_hide, 0)),
            self.row_word.eq(rows.r_word),
            buffer.r_address.eq(self.result_address),
            buffer.r_use.eq(self.result_use),
            buffer.r_hide.eq(self.result_hide),
            self.result_word.eq(buffer.r_data),
            self.result_late.eq(buffer.r_word),
            self.corrupt.eq(rows.corrupt | buffer.corrupt),
        ]
        return rows, buffer, where, offset

    def _differs(self, m, accumulator, valid):
        """Whether the sum of the limbs is not the row's residue modulo 3: 2 cycles later."""
        if not self.engine.residues:
            return Const(0, 1)
        few = Cat(fold_to(m, digits(accumulator), 3, "digit"))
        found, kept, now = Signal.like(few, name="digits"), Signal(6), Signal()
        m.d.sync += [
            found.eq(few),
            kept.eq(Cat(self.row.residue, kept)),
            now.eq(valid),
        ]
        parts = [found[n : n + 2] for n in range(0, len(found), 2)]
        [residue] = fold(m, parts, "residue")
        return now & (residue != kept[4:6])

    def _normalize(self, m, lockstep, valid, accumulator, scale, row):
        """(latency, whether a word is there, the word)"""
        params = Normalize(width=self.engine.accumulator_bits)
        m.submodules.normalize = unit = NormalizeUnit(params=params)
        if lockstep:
            lockstep.follow(NormalizeUnit(params=params), unit, "normalize")
        m.d.comb += [
            unit.i.valid.eq(valid),
            unit.i.p.value.eq(accumulator),
            unit.i.p.scale.eq(scale + row.exponent.as_signed()),
            unit.o.ready.eq(1),
            self.overflow.eq(self.fp32_out & unit.o.valid & unit.o.p.overflow),
        ]
        return unit.latency, unit.o.valid, unit.o.p.word

    def _requantize(self, m, lockstep, valid, accumulator, row):
        """(latency, whether a word is there, the word)"""
        m.submodules.requantize = unit = RequantizeUnit(params=REQUANTIZE)
        if lockstep:
            lockstep.follow(RequantizeUnit(params=REQUANTIZE), unit, "requantize")
        bits = REQUANTIZE.acc_bits
        above = accumulator[bits - 1 :]
        m.d.comb += [
            unit.i.valid.eq(valid),
            unit.i.p.acc.eq(accumulator),
            unit.i.p.bias.eq(row.bias),
            unit.i.p.multiplier.eq(row.multiplier),
            unit.i.p.shift.eq(row.shift),
            unit.i.p.relu.eq(self.relu),
            unit.i.p.out_bits.eq(self.out_bits),
            unit.o.ready.eq(1),
            self.range.eq(valid & ~self.fp32_out & ~(above.all() | ~above.any())),
        ]
        word = Signal(signed(32))
        m.d.comb += word.eq(unit.o.p.value.as_signed())
        return unit.latency, unit.o.valid, word

    def _delayed(self, m, value, cycles):
        """(`value` after 0, 1, … `cycles` cycles, whether it has changed)"""
        if self.engine.lockstep:
            taps, changed = carried(m, [value], cycles, name="where")
            return [tap for [tap] in taps], changed
        taps = [value]
        for n in range(cycles):
            taps.append(Signal.like(taps[-1], name=f"where_{n + 1}"))
            m.d.sync += taps[-1].eq(taps[-2])
        return taps, Const(0, 1)
