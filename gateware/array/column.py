"""One column: its lanes' buckets, one multiplier, the codebooks of its rows, the Σ-check."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array.residue import digits, fold, fold_to, product
from dpnet.model.engine.widths import LIMB, accumulator_widths, limb_widths


class Column(wiring.Component):
    """Σ over the buckets of entry · bucket, for one drained row after another.

    Phases, counted from the cycle in which a bucket shows:

    * 1: the bucket's value of the drain before is compared with the one that it has now;
    * 2: what the bucket has gained is taken;
    * 3: gain and entry enter the multiplier;
    * `EngineParameters.column_cycles`: after the last bucket the row shows, until the next last
      one.

    The row is `high` · 2^17 + `low` where a bucket is too wide for one multiplier (its low 17 bits
    and the others have one each), else `high`.

    Parameters: `engine`, an `EngineParameters`.

    Members:

    * `bucket`, `In(signed(sum_bits)).array(stages)`: what stage g drains; all but the draining
      stage are 0.
    * `before`, `In(sum_bits)`: in phase 1, the bucket's value when it was drained before.
    * `drained`, `Out(sum_bits)`: in phase 1, the one that it has now, to be kept for the next time.
    * `entry`, `In(signed(entry_bits))`: in phase 3, the bucket's entry.
    * `first`, `In(1)`: in phase 3, the row's first bucket.
    * `last`, `In(1)`: in phase 3, the row's last bucket.
    * `owed`, `In(signed(sum_bits))`: with `first`, minus the sum of the tile's inputs, to which the
      gains are added.
    * `low`, `Out(signed(accumulator_widths(engine)[0]))`: the row's low limbs; 0 where there are
      none.
    * `high`, `Out(signed(accumulator_widths(engine)[1]))`: the row, or its high limbs.
    * `mismatch`, `Out(1)`: what the buckets gained does not add up to what was owed.
    * `residue`, `Out(2)`: the row modulo 3, found from gains and entries alone: what the
      multipliers and all that comes after them must agree with; with `residues`.
    * `afresh`, `In(1)`: `first`, `column_cycles` - 5 cycles later: all columns then have it from
      the same checked register; with `lockstep`.
    * `held`, `In(1)`: `last`, `column_cycles` - 4 cycles later; with `lockstep`.
    """

    def __init__(self, *, engine):
        self.engine = engine
        low, high = accumulator_widths(engine)
        super().__init__(
            {
                "bucket": In(signed(engine.sum_bits)).array(engine.stages),
                "before": In(engine.sum_bits),
                "drained": Out(engine.sum_bits),
                "entry": In(signed(engine.entry_bits)),
                "first": In(1),
                "last": In(1),
                "owed": In(signed(engine.sum_bits)),
                "low": Out(signed(low)),
                "high": Out(signed(high)),
                "mismatch": Out(1),
                **({"residue": Out(2)} if engine.residues else {}),
                **({"afresh": In(1), "held": In(1)} if engine.lockstep else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        engine = self.engine
        gain = self._gain(m)
        afresh, held = self._marks(m)
        self._check(m, gain, held)
        if engine.residues:
            self._residue(m, gain, afresh, held)
        low = limb_widths(engine)[0]
        entry = self.entry
        high_sum = self._accumulate(m, gain[low:].as_signed(), entry, afresh, "high")
        with m.If(held):
            m.d.sync += self.high.eq(high_sum)
        if low:
            limb = Cat(gain[:low], Const(0, 1)).as_signed()
            low_sum = self._accumulate(m, limb, entry, afresh, "low")
            with m.If(held):
                m.d.sync += self.low.eq(low_sum)
        return m

    def _marks(self, m):
        """When the accumulators start afresh, and when they hold a row."""
        if self.engine.lockstep:
            return self.afresh, self.held
        late = self.engine.column_cycles - 5
        first, last = Signal(late), Signal(late + 1)
        m.d.sync += [first.eq(Cat(self.first, first)), last.eq(Cat(self.last, last))]
        return first[-1], last[-1]

    def _gain(self, m):
        """What the bucket has gained since its last drain, in phase 3."""
        engine = self.engine
        drained = 0
        for bucket in self.bucket:
            drained = drained | bucket.as_unsigned()
        values = [Signal(engine.sum_bits, name=f"new_{n}", reset_less=True) for n in range(2)]
        before = Signal(engine.sum_bits, reset_less=True)
        # Without `keep` Yosys 0.70 takes the subtraction into the DSP slice's pre-adder, where the
        # wrap modulo 2^sum_bits is lost, and takes it away from the Σ-check.
        gain = Signal(engine.sum_bits, reset_less=True, attrs={"keep": 1})
        m.d.comb += self.drained.eq(values[0])
        m.d.sync += [
            values[0].eq(drained),
            values[1].eq(values[0]),
            before.eq(self.before),
            gain.eq(values[1] - before),
        ]
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

    def _residue(self, m, gain, afresh, held):
        """Σ gain · entry modulo 3, in step with the accumulators."""
        factors = []
        for name, value in (("gain", gain), ("entry", self.entry)):
            few = Cat(fold_to(m, digits(value), 2, f"{name}_digit"))
            for n in range(self.engine.column_cycles - 5):
                late = Signal.like(few, name=f"{name}_digits_{n}")
                m.d.sync += late.eq(few)
                few = late
            factors += fold(m, [few[:2], few[2:]], f"{name}_residue")
        total, following = Signal(2, name="residue_total"), Signal(2, name="residue_next")
        m.d.comb += following.eq(
            fold(m, [product(*factors), Mux(afresh, 0, total)], "residue_sum")[0]
        )
        m.d.sync += total.eq(following)
        with m.If(held):
            m.d.sync += self.residue.eq(total)

    def _check(self, m, gain, held):
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
        with m.If(held):
            m.d.sync += self.mismatch.eq(wrong[-1])
