"""One column: its lanes' buckets, one multiplier, the codebooks of its rows, the Σ-check."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gateware.checked_ram import CheckedRam
from gateware.emit import place
from gateware.ram import Ram
from model.engine import ceil_log2

LIMB = 17
"""Bits that an 18-bit signed input of a multiplier takes of an unsigned number."""


def limb_widths(engine):
    """(bits of the low limb or 0, bits of the high limb) of a bucket: what a DSP slice's 25 × 18
    multiplier takes at once."""
    bits, entry = engine.sum_bits, engine.entry_bits
    if (bits <= 25 and entry <= 18) or (bits <= 18 and entry <= 25):
        return 0, bits
    return LIMB, bits - LIMB


def accumulator_widths(engine):
    """Bits of the accumulators of the two limbs' products, over all buckets; 1 where there is no
    low limb."""
    low, high = limb_widths(engine)
    return (engine.entry_bits + low + 1 + engine.index_bits if low else 1,
            engine.entry_bits + high + engine.index_bits)  # fmt: skip


class Column(wiring.Component):
    """Σ over the buckets of entry · bucket, for one drained row after another.

    `bucket[g]` is what stage g drains; all but the draining stage are 0.  Phases, counted from the
    cycle in which a bucket shows:

    * 0: `k_address` names this bucket of this stage (stage · buckets + k): the value that it had
      when it was drained before is looked up;
    * 1: `r_address` must name the entry of this bucket, with `r_use`;
    * 2: what the bucket has gained is taken;
    * 3: gain and entry enter the multiplier; `first` and `last` belong here, and with `first`
      `owed`, minus the sum of the tile's inputs, to which the gains are added;
    * `EngineParameters.column_cycles`: after the `last` bucket `low`, `high` and `mismatch` show
      the row, until the next `last`.

    The row is `high` · 2^17 + `low` where a bucket is too wide for one multiplier (its low 17 bits
    and the others have one each), else `high`.  `mismatch`: what the buckets gained does not add up
    to what was owed.

    Codebooks: `depth` entries of `entry_bits` with parity, written through `w_*`; `r_data` shows
    the entry of the last cycle's `r_address` (the link reads it back while nothing drains);
    `corrupt` strobes for an entry of odd parity 4 cycles after its `r_use`.
    """

    def __init__(self, *, engine):
        self.engine = engine
        low, high = accumulator_widths(engine)
        address = max(1, ceil_log2(engine.slots * engine.buckets))
        super().__init__({
            "bucket": In(signed(engine.sum_bits)).array(engine.stages),
            "drain": In(1),
            "k_address": In(max(1, ceil_log2(engine.stages * engine.buckets))),
            "first": In(1),
            "last": In(1),
            "owed": In(signed(engine.sum_bits)),
            "low": Out(signed(low)),
            "high": Out(signed(high)),
            "mismatch": Out(1),
            "corrupt": Out(1),
            "w_address": In(address),
            "w_data": In(engine.entry_bits),
            "w_enable": In(1),
            "r_address": In(address),
            "r_use": In(1),
            "r_data": Out(engine.entry_bits),
        })

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        book = place(m, CheckedRam(
            width=engine.entry_bits, depth=engine.slots * engine.buckets
        ), "book")  # fmt: skip
        m.d.comb += [
            book.w_address.eq(self.w_address),
            book.w_data.eq(self.w_data),
            book.w_enable.eq(self.w_enable),
            book.r_address.eq(self.r_address),
            book.r_use.eq(self.r_use),
            self.r_data.eq(book.r_data),
            self.corrupt.eq(book.corrupt),
        ]
        gain = self._gain(m)
        late = engine.column_cycles - 5
        first, last = Signal(late), Signal(late + 1)
        self._held = last[-1]
        m.d.sync += [first.eq(Cat(self.first, first)), last.eq(Cat(self.last, last))]
        self._check(m, gain)
        low = limb_widths(engine)[0]
        entry = book.late.as_signed()
        high_sum = self._accumulate(m, gain[low:].as_signed(), entry, first[-1], "high")
        with m.If(self._held):
            m.d.sync += self.high.eq(high_sum)
        if low:
            limb = Cat(gain[:low], Const(0, 1)).as_signed()
            low_sum = self._accumulate(m, limb, entry, first[-1], "low")
            with m.If(self._held):
                m.d.sync += self.low.eq(low_sum)
        return m

    def _gain(self, m):
        """What the bucket has gained since its last drain, in phase 3."""
        engine = self.engine
        old = place(m, Ram(width=engine.sum_bits, depth=engine.stages * engine.buckets), "old")
        drained = 0
        for bucket in self.bucket:
            drained = drained | bucket.as_unsigned()
        values = [Signal(engine.sum_bits, name=f"new_{n}", reset_less=True) for n in range(2)]
        before = Signal(engine.sum_bits, reset_less=True)
        # Without `keep` Yosys 0.70 takes the subtraction into the DSP slice's pre-adder, where the
        # wrap modulo 2^sum_bits is lost, and takes it away from the Σ-check.
        gain = Signal(engine.sum_bits, reset_less=True, attrs={"keep": 1})
        written, k_address = Signal(), Signal.like(self.k_address)
        m.d.comb += [
            old.r_address.eq(self.k_address),
            old.w_address.eq(k_address),
            old.w_data.eq(values[0]),
            old.w_enable.eq(written),
        ]
        m.d.sync += [
            values[0].eq(drained), values[1].eq(values[0]), before.eq(old.r_data),
            written.eq(self.drain), k_address.eq(self.k_address), gain.eq(values[1] - before),
        ]  # fmt: skip
        return gain

    def _accumulate(self, m, limb, entry, afresh, name):
        """Σ limb · entry: registers before, between and after the multiplier are the DSP's."""
        product = Signal(signed(len(limb) + len(entry)), name=f"product_{name}", reset_less=True)
        bits = len(product) + self.engine.index_bits
        total = Signal(signed(bits), name=f"total_{name}", reset_less=True)
        if self.engine.split_entries:
            upper = Signal.like(product, name=f"upper_{name}", reset_less=True)
            lower = Signal.like(product, name=f"lower_{name}", reset_less=True)
            m.d.sync += [
                lower.eq(limb * Cat(entry[:LIMB], Const(0, 1)).as_signed()),
                upper.eq(limb * entry[LIMB:].as_signed()),
                product.eq((upper << LIMB) + lower),
            ]
        else:
            m.d.sync += product.eq(limb * entry)
        m.d.sync += total.eq(Mux(afresh, 0, total) + product)
        return total

    def _check(self, m, gain):
        """Every input enters exactly one bucket: Σ gains = Σ inputs, row by row."""
        bits = self.engine.sum_bits
        left = Signal(bits, reset_less=True)
        # Named so as to come behind `gain` in the text, for the reason that `Lane` gives.
        missing = Signal(bits, name="missing")
        m.d.comb += missing.eq(Mux(self.first, self.owed.as_unsigned(), left))
        m.d.sync += left.eq(missing + gain)
        wrong = [left.any()]
        for n in range(self.engine.column_cycles - 5):
            wrong.append(Signal(name=f"wrong_{n}"))
            m.d.sync += wrong[-1].eq(wrong[-2])
        with m.If(self._held):
            m.d.sync += self.mismatch.eq(wrong[-1])
