"""Where results go: rows of an item to the banks of maps and of results."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.maps.clusters import Clusters
from dpnet.gateware.maps.control.drains import DrainPassLayout
from dpnet.gateware.maps.control.layouts import TargetLayout, WriteItemLayout, address_bits
from dpnet.gateware.maps.control.row_offset import RowOffset
from dpnet.gateware.maps.delay import delayed
from dpnet.gateware.parts.select import select
from dpnet.model.engine.parameters import ceil_log2

BEHIND = 2
"""Cycles from a result to the banks' write ports: its bank's choice, and the way to all stages."""


class BankWriteLayout(data.StructLayout):
    """A byte for a bank of `bits` of address.

    Fields:

    * `enable`, `1`: there is one.
    * `address`, `bits`: where it goes.
    * `byte`, `8`: it.
    """

    def __init__(self, bits):
        super().__init__({"enable": 1, "address": bits, "byte": 8})


class Writer(wiring.Component):
    """Puts each row's results where they belong; those that come in cycle t are at the write ports
    in t + `BEHIND`.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `drains`, `In(1)`: an item's drain begins in the next cycle.
    * `work`, `In(DrainPassLayout(params))`: its pass, from then on until its last row is written.
    * `take`, `Out(1)`: the item's rows come from the second cycle after this one on.
    * `item`, `In(WriteItemLayout(params))`: that item.
    * `targets`, `In(TargetLayout(params)).array(clusters)`: what each bank is given, where it is
      one of the item's `banks`.
    * `valid`, `In(1)`: there is a row.
    * `o`, `In(8).array(clusters)`: it.
    * `maps`, `Out(BankWriteLayout(address_bits(params))).array(clusters)`: for each bank of maps.
    * `copies`, `Out(stages)`: the stages whose copies of these banks it is for.
    * `results`, `Out(BankWriteLayout(ceil_log2(result_depth))).array(clusters)`: for each bank of
      results.
    * `tile_done`, `Out(1)`: the last row that a tile may have is at the write ports.
    * `pass_done`, `Out(1)`: so is the pass's.
    * `run_done`, `Out(1)`: so is the run's.
    """

    def __init__(self, *, params):
        self.params = params
        clusters = params.clusters
        super().__init__(
            {
                "drains": In(1),
                "work": In(DrainPassLayout(params)),
                "take": Out(1),
                "item": In(WriteItemLayout(params)),
                "targets": In(TargetLayout(params)).array(clusters),
                "valid": In(1),
                "o": In(8).array(clusters),
                "maps": Out(BankWriteLayout(address_bits(params))).array(clusters),
                "copies": Out(params.stages),
                "results": Out(BankWriteLayout(ceil_log2(params.result_depth))).array(clusters),
                "tile_done": Out(1),
                "pass_done": Out(1),
                "run_done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params, work = self.params, self.work
        # A row's address is there with its result, and is added up a cycle before.
        m.d.comb += self.take.eq(
            delayed(m, self.drains, Clusters.latency - 1, "line", reset_less=False)
        )
        item, row, open_ = Signal(WriteItemLayout(params)), Signal(4), Signal()
        targets = [Signal(TargetLayout(params), name=f"target_{n}") for n in range(params.clusters)]
        m.d.sync += [row.eq(row + 1), open_.eq(open_ & ~row.all())]
        with m.If(self.take):
            m.d.sync += [item.eq(self.item), row.eq(0), open_.eq(1)]
            m.d.sync += [kept.eq(new) for kept, new in zip(targets, self.targets, strict=True)]
        rows, last_row = Signal(6), Signal()
        m.d.comb += [
            rows.eq(Mux(item.short, work.last_rows, work.rows)),
            last_row.eq(open_ & item.ends & (row + 1 == rows)),
        ]
        bits, result_bits = address_bits(params), ceil_log2(params.result_depth)
        half = Mux(work.half, params.result_depth // 2, 0)
        offset = self._offset(m, "map_row", bits, 0, work.write_words, last_row)
        result = self._offset(
            m, "result_row", result_bits, work.result + half, work.result_words, last_row
        )
        # A tile begins in stage 0.
        fresh = Signal(name="fresh_tile")
        m.d.comb += fresh.eq(self.item.first | item.last)
        self._maps(m, item.banks, targets, offset)
        self._copies(m, fresh)
        self._results(m, item, result, fresh | ~work.apart)
        ends = open_ & row.all() & item.last
        done = Cat(ends, ends & item.final, ends & item.final & work.final)
        m.d.comb += Cat(self.tile_done, self.pass_done, self.run_done).eq(
            delayed(m, done, 1 + BEHIND, "done", reset_less=False)
        )
        return m

    def _offset(self, m, name, bits, first, step, ends):
        m.submodules[name] = offset = RowOffset(bits=bits)
        m.d.comb += [
            offset.take.eq(self.take),
            offset.afresh.eq(self.item.first),
            offset.first.eq(first),
            offset.ends.eq(ends),
            offset.step.eq(step),
        ]
        return offset.o

    def _maps(self, m, banks, targets, offset):
        """Each bank takes its cluster's byte: positions of different planes lie in any order."""
        o = [Value.cast(byte) for byte in self.o]
        for b, (target, port) in enumerate(zip(targets, self.maps, strict=True)):
            cluster, used = Signal.like(target.cluster, name=f"from_{b}"), Signal(name=f"used_{b}")
            address, first = Signal.like(target.word, name=f"at_{b}"), Signal(port.shape())
            m.d.sync += [
                used.eq(banks[b] & self.work.to_map),
                cluster.eq(target.cluster),
                address.eq(target.word + offset),
                first.enable.eq(used & self.valid),
                first.address.eq(address),
                first.byte.eq(select(o, cluster)),
                port.eq(first),
            ]

    def _copies(self, m, fresh):
        """A stage after the other, or all."""
        stages = self.params.stages
        copies = Signal(stages, name="stage_copies")
        with m.If(self.take):
            m.d.sync += copies.eq(
                Mux(self.work.apart, Mux(fresh, 1, copies << 1), (1 << stages) - 1)
            )
        m.d.comb += self.copies.eq(delayed(m, copies, 1 + BEHIND, "copies_line"))

    def _results(self, m, item, offset, first):
        """A cluster has its own bank; a row's groups lie one behind the other, and pictures that a
        tile has after its `first` one a pitch further each."""
        group, following = Signal(20), Signal(20)
        used, address, at = Signal.like(item.used), Signal.like(offset), Signal.like(offset)
        # A group's last item is its tile's where stages are apart, else it is its only one.
        moves = item.last | ~self.work.apart
        m.d.comb += following.eq(Mux(self.item.first | item.ends, 0, group + moves))
        with m.If(self.take):
            m.d.sync += [
                group.eq(following),
                at.eq(Mux(first, following, at + (self.work.result_pitch << 2))),
            ]
        m.d.sync += [
            used.eq(Mux(self.work.to_result, item.used, 0)),
            address.eq(offset + at),
        ]
        for c, port in enumerate(self.results):
            first = Signal(port.shape(), name=f"result_{c}")
            m.d.sync += [
                first.enable.eq(used[c] & self.valid),
                first.address.eq(address),
                first.byte.eq(self.o[c]),
                port.eq(first),
            ]
