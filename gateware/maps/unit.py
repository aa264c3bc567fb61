"""A unit: 16 lanes with one stream of activations, their sum, and 16 running maxima."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array.lane import Lane
from dpnet.gateware.emit import place
from dpnet.gateware.maps.index_stores import INDEX_BITS, WORD_BITS
from dpnet.gateware.maps.stage_path import UnitLayout
from dpnet.model.engine.maps.parameters import LANES


class Unit(wiring.Component):
    """Adds each byte to the buckets that the lanes' indices name, or compares it with the largest
    one of its channel so far.

    With t the cycle of a command: `x` and `to_lanes` belong to t + 3, `index` and `control` to
    t + 4, all outputs to t + 5; they are 0 unless the unit drains.

    Buckets are never emptied (see `Lane`); the sum begins anew with the first cycle of a drain.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `x`, `In(signed(8))`: what is added or compared; in drains the skip value.
    * `to_lanes`, `In(1)`: it is added; else the lanes get 0.
    * `index`, `In(64)`: the lanes' buckets, 4 bits each.
    * `control`, `In(UnitLayout())`: what the unit does.
    * `bucket`, `Out(signed(params.cluster.sum_bits)).array(16)`: each lane's drained bucket.
    * `owed`, `Out(signed(params.cluster.sum_bits))`: with the first bucket, minus the sum of all
      that was added since the last drain began.
    * `skip`, `Out(signed(8))`: the skip value.
    * `maximum`, `Out(signed(8))`: the maximum that is shown.
    """

    def __init__(self, *, params):
        self.params = params
        bits = signed(params.cluster.sum_bits)
        super().__init__(
            {
                "x": In(signed(8)),
                "to_lanes": In(1),
                "index": In(WORD_BITS),
                "control": In(UnitLayout()),
                "bucket": Out(bits).array(LANES),
                "owed": Out(bits),
                "skip": Out(signed(8)),
                "maximum": Out(signed(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # Two registers, because the reset of one keeps from the lanes what is not theirs, at no
        # LUT.
        x, added = (Signal(signed(8), name=name, reset_less=True) for name in ("any_x", "added_x"))
        m.d.sync += [
            x.eq(self.x),
            added.eq(Mux(self.to_lanes, self.x, 0)),
            self.skip.eq(Mux(self.control.add, 0, x)),
        ]
        self._lanes(m, added)
        self._sum(m, added)
        self._maxima(m, x)
        return m

    def _lanes(self, m, x):
        bits = self.params.cluster.sum_bits
        for n in range(LANES):
            lane = place(m, Lane(buckets=LANES, activation_bits=8, bits=bits), f"lane_{n}")
            m.d.comb += [
                lane.index.eq(self.index.word_select(n, INDEX_BITS)),
                lane.x.eq(x),
                lane.add.eq(self.control.add),
                lane.chain.eq(0),
                self.bucket[n].eq(lane.o),
            ]

    def _sum(self, m, x):
        total = Signal(signed(self.params.cluster.sum_bits), reset_less=True)
        ending = self.control.ending
        m.d.sync += [
            total.eq(Mux(ending, 0, total - x)),
            self.owed.eq(Mux(ending, total, 0)),
        ]

    def _maxima(self, m, x):
        control = self.control
        m.submodules.maxima = words = memory.Memory(shape=signed(8), depth=LANES, init=[])
        read, write = words.read_port(domain="comb"), words.write_port()
        m.d.comb += [
            read.addr.eq(control.word),
            write.addr.eq(control.word),
            write.en.eq(control.largest),
            write.data.eq(Mux(control.first | (x > read.data), x, read.data)),
        ]
        m.d.sync += self.maximum.eq(Mux(control.show, read.data, 0))
