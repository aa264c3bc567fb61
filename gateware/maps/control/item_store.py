"""Items between the walker and what they are for: a stage's start, its drain, its rows."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.maps.control.layouts import (
    SIDES,
    DrainItemLayout,
    ItemLayout,
    PositionLayout,
    SpotLayout,
    StartLayout,
    TargetLayout,
    WriteItemLayout,
    steps_of,
)
from dpnet.model.engine.maps.limits import SPREAD_BITS
from dpnet.model.engine.parameters import ceil_log2

AHEAD = 4
"""Items that are prepared before they start."""

BEHIND = 4
"""Items at most whose rows are on their way to the banks: 41 cycles of 16 each."""


class ItemStore(wiring.Component):
    """A queue with three ends: every item starts, drains and is written, in this order.

    An item can be taken from the cycle after its `done` on.  What is shown of an item is
    combinational from the store; with `…_take` the next one shows.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `clear`, `In(1)`: forgets all.
    * `room`, `Out(1)`: another item may begin.
    * `valid`, `In(1)`: there are positions of the item that is being made.
    * `cluster`, `In(range(max(2, clusters)))`: the first one's cluster, a multiple of their number.
    * `position`, `In(PositionLayout(params)).array(steps_of(params))`: they.
    * `done`, `In(1)`: they are the item's last ones.
    * `item`, `In(ItemLayout(params))`: that item, with `done`.
    * `start_valid`, `Out(1)`: an item is there that has not started.
    * `start`, `Out(StartLayout(params))`: the first of these.
    * `spots`, `Out(SpotLayout()).array(clusters)`: its positions.
    * `start_take`, `In(1)`: it starts.
    * `drain`, `Out(DrainItemLayout(params))`: the first one that has not drained.
    * `skips`, `Out(SPREAD_BITS).array(clusters)`: words from cluster 0's skip value to each one's.
    * `drain_take`, `In(1)`: it drains.
    * `write`, `Out(WriteItemLayout(params))`: the first one that has not been written.
    * `targets`, `Out(TargetLayout(params)).array(clusters)`: what each bank is given, where it is
      one of the item's `banks`.
    * `write_take`, `In(1)`: it is written.
    """

    def __init__(self, *, params):
        self.params = params
        self._depth = 1 << ceil_log2(params.stages + AHEAD + BEHIND)
        clusters = params.clusters
        super().__init__(
            {
                "clear": In(1),
                "room": Out(1),
                "valid": In(1),
                "cluster": In(range(max(2, clusters))),
                "position": In(PositionLayout(params)).array(steps_of(params)),
                "done": In(1),
                "item": In(ItemLayout(params)),
                "start_valid": Out(1),
                "start": Out(StartLayout(params)),
                "spots": Out(SpotLayout()).array(clusters),
                "start_take": In(1),
                "drain": Out(DrainItemLayout(params)),
                "skips": Out(SPREAD_BITS).array(clusters),
                "drain_take": In(1),
                "write": Out(WriteItemLayout(params)),
                "targets": Out(TargetLayout(params)).array(clusters),
                "write_take": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        made = self._pointer(m, self.done, "made")
        ends = {
            name: self._pointer(m, getattr(self, f"{name}_take"), name)
            for name in ("start", "drain", "write")
        }
        ahead, kept = Signal.like(made), Signal.like(made)
        m.d.comb += [
            ahead.eq(made - ends["start"]),
            kept.eq(made - ends["write"]),
            self.start_valid.eq(ahead != 0),
            self.room.eq((ahead < AHEAD) & (kept < self._depth - 1)),
        ]
        for name, end in ends.items():
            shown = getattr(self, name)
            self._store(m, f"{name}_item", self.item[name], self.done, made, shown, end)
        steps = len(self.position)
        for n in range(self.params.clusters):
            position, here = self.position[n % steps], Signal(name=f"here_{n}")
            m.d.comb += here.eq(self.valid & (self.cluster == n - n % steps))
            spot = Signal(SpotLayout(), name=f"spot_{n}")
            m.d.comb += [spot[side].eq(position[side]) for side in SIDES]
            m.d.comb += spot.spread.eq(position.read)
            written, target = self._target(m, n)
            for name, value, enable, shown, end in (
                ("spots", spot, here, self.spots[n], ends["start"]),
                ("skips", position.skip, here, self.skips[n], ends["drain"]),
                ("targets", target, written, self.targets[n], ends["write"]),
            ):
                self._store(m, f"{name}_{n}", value, enable, made, shown, end)
        return m

    def _target(self, m, bank):
        """(whether a position is written to the bank, what the bank is to be given)"""
        target = Signal(TargetLayout(self.params), name=f"target_{bank}")
        mine = []
        for n, position in enumerate(self.position):
            mine.append(Signal(name=f"mine_{bank}_{n}"))
            m.d.comb += mine[n].eq(self.valid & position.used & (position.write_bank == bank))
        for n, position in enumerate(self.position):
            with m.If(mine[n]):
                m.d.comb += [
                    target.word.eq(position.write_word),
                    target.cluster.eq(self.cluster + n),
                ]
        return Cat(mine).any(), target

    def _pointer(self, m, step, name):
        pointer = Signal(range(self._depth), name=f"{name}_pointer")
        m.d.sync += pointer.eq(pointer + step)
        with m.If(self.clear):
            m.d.sync += pointer.eq(0)
        return pointer

    def _store(self, m, name, value, enable, at, shown, end):
        shape = shown.shape()
        width = shape.size if isinstance(shape, data.Layout) else shape.width
        m.submodules[name] = store = memory.Memory(shape=width, depth=self._depth, init=[])
        write, read = store.write_port(), store.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(at),
            write.data.eq(value),
            write.en.eq(enable),
            read.addr.eq(end),
            shown.eq(read.data),
        ]
