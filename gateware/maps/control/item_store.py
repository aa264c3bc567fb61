"""Items between the walker and what they are for: a stage's start, its drain, its rows."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.maps.control.layouts import (
    DrainItemLayout,
    ItemLayout,
    PositionLayout,
    SpotLayout,
    StartLayout,
    TargetLayout,
    WriteItemLayout,
    address_bits,
)
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
    * `valid`, `In(1)`: there is a position of the item that is being made.
    * `cluster`, `In(range(max(2, clusters)))`: its cluster.
    * `position`, `In(PositionLayout(params))`: it.
    * `done`, `In(1)`: it is the item's last one.
    * `item`, `In(ItemLayout(params))`: that item, with `done`.
    * `start_valid`, `Out(1)`: an item is there that has not started.
    * `start`, `Out(StartLayout(params))`: the first of these.
    * `spots`, `Out(SpotLayout(params)).array(clusters)`: its positions.
    * `start_take`, `In(1)`: it starts.
    * `drain`, `Out(DrainItemLayout(params))`: the first one that has not drained.
    * `skips`, `Out(address_bits(params)).array(clusters)`: words of its skip values.
    * `drain_take`, `In(1)`: it drains.
    * `write`, `Out(WriteItemLayout(params))`: the first one that has not been written.
    * `targets`, `Out(TargetLayout(params)).array(clusters)`: its places.
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
                "position": In(PositionLayout(params)),
                "done": In(1),
                "item": In(ItemLayout(params)),
                "start_valid": Out(1),
                "start": Out(StartLayout(params)),
                "spots": Out(SpotLayout(params)).array(clusters),
                "start_take": In(1),
                "drain": Out(DrainItemLayout(params)),
                "skips": Out(address_bits(params)).array(clusters),
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
        position = self.position
        for n in range(self.params.clusters):
            here = Signal(name=f"here_{n}")
            m.d.comb += here.eq(self.valid & (self.cluster == n))
            spot = self._view(
                m, SpotLayout, f"spot_{n}", position.y, position.x, position.read_word
            )
            target = self._view(
                m, TargetLayout, f"target_{n}", position.write_word, position.write_bank
            )
            for name, value, shown, end in (
                ("spots", spot, self.spots[n], ends["start"]),
                ("skips", position.skip_word, self.skips[n], ends["drain"]),
                ("targets", target, self.targets[n], ends["write"]),
            ):
                self._store(m, f"{name}_{n}", value, here, made, shown, end)
        return m

    def _pointer(self, m, step, name):
        pointer = Signal(range(self._depth), name=f"{name}_pointer")
        m.d.sync += pointer.eq(pointer + step)
        with m.If(self.clear):
            m.d.sync += pointer.eq(0)
        return pointer

    def _view(self, m, layout, name, *values):
        view = Signal(layout(self.params), name=name)
        for field, value in zip(layout(self.params).members, values, strict=True):
            m.d.comb += view[field].eq(value)
        return view

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
