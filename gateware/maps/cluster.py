"""A cluster: a unit of each stage, and the columns that their drains share."""

from amaranth.hdl import Cat, Const, Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array.column import Column
from dpnet.gateware.emit import place
from dpnet.gateware.maps.delay import delayed
from dpnet.gateware.maps.finish import Finish
from dpnet.gateware.maps.index_stores import WORD_BITS
from dpnet.gateware.maps.row_store import ROW
from dpnet.gateware.maps.stage_path import UnitLayout
from dpnet.gateware.maps.unit import Unit
from dpnet.gateware.parts.ram import Ram
from dpnet.gateware.parts.select import select
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.parameters import ceil_log2


class PhasesLayout(data.StructLayout):
    """What the columns do, each field in the cycle t + n after the command of a bucket in t; all
    clusters get the same.

    Fields:

    * `old`, `ceil_log2(stages * LANES)`: n = 5: where the bucket's former value is.
    * `keep`, `1`: n = 5: the bucket drains, its value is kept there.
    * `first`, `1`: n = 8: it is the row's first one.
    * `last`, `1`: n = 8: it is the row's last one.
    * `lane`, `4`: n = 26: the lane whose row is next, the bucket's number.
    * `valid`, `1`: n = 27: this row is there.
    """

    def __init__(self, params):
        lane = ceil_log2(LANES)
        old = ceil_log2(params.stages * LANES)
        super().__init__({"old": old, "keep": 1, "first": 1, "last": 1, "lane": lane, "valid": 1})


class Cluster(wiring.Component):
    """Bytes in, a byte a cycle out: the units of all stages, one of which drains at a time.

    With t the cycle of a command: `x` and `to_lanes` belong to t + 3, `index` and `control` to
    t + 4, `entries` to t + 8 of a bucket; of the row with the bucket's number `row` belongs to
    t + 25 and `o` to t + `latency` = t + 39.  `range` and `sigma` strobe in t + 29.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `x`, `In(signed(8)).array(stages)`: what each stage's unit reads.
    * `to_lanes`, `In(1).array(stages)`: it is added.
    * `index`, `In(64).array(stages)`: the buckets of a stage's lanes, 4 bits each.
    * `control`, `In(UnitLayout()).array(stages)`: what a stage's units do.
    * `phases`, `In(PhasesLayout(params))`: what the columns do.
    * `entries`, `In(16 * entry_bits)`: the bucket's entry in each column, that of lane 0 lowest.
    * `row`, `In(ROW)`: the row's parameters.
    * `low`, `In(signed(9))`: least result; steady while a pass's results leave.
    * `high`, `In(signed(9))`: largest result; likewise.
    * `o`, `Out(8)`: the result's lowest 8 bits.
    * `range`, `Out(1)`: strobes for an accumulator beyond 40 bits.
    * `sigma`, `Out(1)`: strobes for a row whose buckets did not add up to what was read, or whose
      sum is not what its residue says.
    """

    serialized = 27
    """From the command of a bucket to the sum of the row with its number."""

    latency = serialized + Finish.latency

    def __init__(self, *, params):
        self.params = params
        stages = params.stages
        super().__init__(
            {
                "x": In(signed(8)).array(stages),
                "to_lanes": In(1).array(stages),
                "index": In(WORD_BITS).array(stages),
                "control": In(UnitLayout()).array(stages),
                "phases": In(PhasesLayout(params)),
                "entries": In(LANES * params.entry_bits),
                "row": In(ROW),
                "low": In(signed(9)),
                "high": In(signed(9)),
                "o": Out(8),
                "range": Out(1),
                "sigma": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        units = self._units(m)
        columns = self._columns(m, units)
        row = [Cat(column.high, column.mismatch, column.residue) for column in columns]
        finish = place(m, Finish(params=self.params), "finish")
        bits = len(finish.sum)
        serialized = delayed(m, select(row, self.phases.lane), 1, "serialized")
        m.d.comb += [
            finish.sum.eq(serialized[:bits]),
            finish.mismatch.eq(serialized[bits]),
            finish.residue.eq(serialized[bits + 1 :]),
            finish.valid.eq(self.phases.valid),
            finish.row.eq(self.row),
            # From t + 5 on until the sum is next but one.
            finish.skip.eq(_of_all(m, units, "skip", self.serialized - 2 - 5)),
            finish.maximum.eq(_of_all(m, units, "maximum", self.serialized - 2 - 5)),
            finish.low.eq(self.low),
            finish.high.eq(self.high),
            self.o.eq(finish.o),
            self.range.eq(finish.range),
            self.sigma.eq(finish.sigma),
        ]
        return m

    def _units(self, m):
        units = []
        for g in range(self.params.stages):
            unit = place(m, Unit(params=self.params), f"unit_{g}")
            m.d.comb += [
                unit.x.eq(self.x[g]),
                unit.to_lanes.eq(self.to_lanes[g]),
                unit.index.eq(self.index[g]),
                unit.control.eq(self.control[g]),
            ]
            units.append(unit)
        return units

    def _columns(self, m, units):
        engine, phases = self.params.cluster, self.phases
        bits, entry_bits = engine.sum_bits, engine.entry_bits
        old = place(m, Ram(width=LANES * bits, depth=engine.stages * LANES), "old")
        m.d.comb += old.r_address.eq(phases.old)
        m.d.sync += [old.w_address.eq(phases.old), old.w_enable.eq(phases.keep)]
        # In phase 3 of the column, t + 8.
        owed = _of_all(m, units, "owed", 3)
        columns = []
        for n in range(LANES):
            column = place(m, Column(engine=engine), f"column_{n}")
            m.d.comb += [
                *(column.bucket[g].eq(unit.bucket[n]) for g, unit in enumerate(units)),
                column.before.eq(old.r_data.word_select(n, bits)),
                column.entry.eq(self.entries.word_select(n, entry_bits)),
                column.first.eq(phases.first),
                column.last.eq(phases.last),
                column.owed.eq(owed),
            ]
            columns.append(column)
        m.d.comb += old.w_data.eq(Cat(column.drained for column in columns))
        return columns


def _of_all(m, units, name, cycles):
    """The output `name` of the one unit that drains, `cycles` later; 0 if none."""
    value = Const(0, 1)
    for unit in units:
        value = value | getattr(unit, name).as_unsigned()
    return delayed(m, value, cycles, f"{name}_line")
