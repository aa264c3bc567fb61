"""After a bank of columns: row parameters, then normalize or requantize, then the result buffer."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gateware.array import ResultLayout, Strobe
from gateware.emit import place
from gateware.normalize import NormalizeUnit
from gateware.ram import Ram
from gateware.requantize import RequantizeUnit
from model.engine import ceil_log2
from model.golden.normalize import Normalize
from model.golden.requantize import Requantize
from model.layout import ROW_WORDS

REQUANTIZE = Requantize()


class Post(wiring.Component):
    """Turns each result of a bank into one 32-bit word of the result buffer.

    With `fp32_out` the word is fp32(accumulator · 2^(`scale` + the row's exponent)), else the row's
    requantization with `relu` and `out_bits`, sign-extended.  The word lands at the result's slot +
    `slot_offset`; `done` strobes for every result written, with its slot in `done_slot`.
    Takes one result per cycle; all settings must be steady while it works.

    Errors strobe: `range`, an accumulator beyond the requantizer's width; `overflow`, an fp32
    infinity; `sigma`, a result whose buckets did not add up.

    `row_*` are the link's write port to the row parameters (word address = slot, column, word) and
    its read port; `result_address` reads the buffer; both reads answer in the next cycle.
    """

    def __init__(self, *, engine):
        self.engine = engine
        slot, column = ceil_log2(engine.slots) or 1, ceil_log2(engine.bank_columns)
        self._where = ceil_log2(engine.slots) + column or 1
        super().__init__({
            "i": In(Strobe(ResultLayout(engine))),
            "fp32_out": In(1),
            "relu": In(1),
            "out_bits": In(5),
            "scale": In(signed(12)),
            "slot_offset": In(slot),
            "done": Out(1),
            "done_slot": Out(slot),
            "range": Out(1),
            "overflow": Out(1),
            "sigma": Out(1),
            "row_address": In(self._where),
            "row_data": In(32),
            "row_write": In(ROW_WORDS),
            "row_read": In(1),
            "row_words": Out(32 * ROW_WORDS),
            "result_address": In(self._where),
            "result_word": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        depth = engine.slots << ceil_log2(engine.bank_columns)
        rows = place(m, Ram(width=32 * ROW_WORDS, depth=depth, granularity=32), "rows")
        buffer = place(m, Ram(width=32, depth=depth), "buffer")
        column_bits = ceil_log2(engine.bank_columns)
        where = Cat(self.i.payload.column[:column_bits], self.i.payload.slot)[: self._where]
        m.d.comb += [
            rows.w_address.eq(self.row_address),
            rows.w_data.eq(Cat(*[self.row_data] * ROW_WORDS)),
            rows.w_enable.eq(self.row_write),
            rows.r_address.eq(Mux(self.row_read, self.row_address, where)),
            self.row_words.eq(rows.r_data),
            buffer.r_address.eq(self.result_address),
            self.result_word.eq(buffer.r_data),
        ]
        valid, accumulator = Signal(), Signal(signed(engine.accumulator_bits))
        m.d.sync += [
            valid.eq(self.i.valid),
            accumulator.eq(self.i.payload.accumulator),
            self.sigma.eq(self.i.valid & self.i.payload.mismatch),
        ]
        normalize = self._normalize(m, valid, accumulator, rows.r_data)
        requantize = self._requantize(m, valid, accumulator, rows.r_data)
        taps = self._delayed(m, where, 1 + max(normalize.latency, requantize.latency))
        target = Mux(self.fp32_out, taps[1 + normalize.latency], taps[1 + requantize.latency])
        written = Mux(self.fp32_out, normalize.o.valid, requantize.o.valid)
        m.d.comb += [
            buffer.w_address.eq(target + (self.slot_offset << column_bits)),
            buffer.w_data.eq(
                Mux(self.fp32_out, normalize.o.p.word, requantize.o.p.value.as_signed())
            ),
            buffer.w_enable.eq(written),
            self.done.eq(written),
            self.done_slot.eq(target >> column_bits),
            self.overflow.eq(self.fp32_out & normalize.o.valid & normalize.o.p.overflow),
        ]
        return m

    def _normalize(self, m, valid, accumulator, row):
        m.submodules.normalize = unit = NormalizeUnit(
            params=Normalize(width=self.engine.accumulator_bits)
        )
        m.d.comb += [
            unit.i.valid.eq(valid),
            unit.i.p.value.eq(accumulator),
            unit.i.p.scale.eq(self.scale + row[96:108].as_signed()),
            unit.o.ready.eq(1),
        ]
        return unit

    def _requantize(self, m, valid, accumulator, row):
        m.submodules.requantize = unit = RequantizeUnit(params=REQUANTIZE)
        bits = REQUANTIZE.acc_bits
        above = accumulator[bits - 1 :]
        m.d.comb += [
            unit.i.valid.eq(valid),
            unit.i.p.acc.eq(accumulator),
            unit.i.p.bias.eq(row[: REQUANTIZE.bias_bits]),
            unit.i.p.multiplier.eq(row[64 : 64 + REQUANTIZE.multiplier_bits]),
            unit.i.p.shift.eq(row[80:86]),
            unit.i.p.relu.eq(self.relu),
            unit.i.p.out_bits.eq(self.out_bits),
            unit.o.ready.eq(1),
            self.range.eq(valid & ~self.fp32_out & ~(above.all() | ~above.any())),
        ]
        return unit

    def _delayed(self, m, value, cycles):
        taps = [value]
        for n in range(cycles):
            taps.append(Signal.like(taps[-1], name=f"where_{n + 1}"))
            m.d.sync += taps[-1].eq(taps[-2])
        return taps
