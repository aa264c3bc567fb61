"""The sequencer: passes one after the other, their tiles, every cycle counted."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.maps.clusters import Clusters
from dpnet.gateware.maps.control.commands import Commands
from dpnet.gateware.maps.control.layouts import PassLayout, StartLayout, stage_bits
from dpnet.model.engine.maps.parameters import LANES, START_CYCLES
from dpnet.model.engine.parameters import ceil_log2

SETTLED = 8
"""Cycles after a run's last write until all of its errors have been there."""


class Sequencer(wiring.Component):
    """Runs passes `first` to `last` after `start`, as `dpnet.model.engine.maps.plan` says.

    A pass is read as soon as the one before has been given to the walker, and walked over as soon
    as that one has begun.  A tile begins when its time has come and its first item is there.

    After a reset every stage is drained once (`busy`), so that the columns know what the buckets
    hold.  After `abort` no tile begins; those that have begun end as always.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `start`, `In(1)`: begins a run; not while `busy`.
    * `first`, `In(8)`: the first pass, with `start`.
    * `last`, `In(8)`: the last pass, with `start`.
    * `number`, `In(8)`: with `start`, the half of the pictures and results, and twice the pictures
      less 1, of which there are no more than stages; more is refused, as are a `last` below
      `first` or behind the store.
    * `abort`, `In(1)`: ends the run.
    * `busy`, `Out(1)`: from the cycle after `start` on.
    * `cycles`, `Out(48)`: from `start` to the last write, both included.
    * `passes_done`, `Out(16)`: passes of the run that have written all.
    * `refused`, `Out(1)`: strobes, a cycle after a `start` that is refused.
    * `half`, `Out(1)`: of the run.
    * `pictures`, `Out(stage_bits(params))`: those of the run, less 1.
    * `read`, `Out(1)`: the descriptor of `pass_number` is to be read.
    * `pass_number`, `Out(ceil_log2(passes) or 1)`: it.
    * `ready`, `In(1)`: that is done.
    * `begin`, `Out(1)`: the pass that was read goes to the walker.
    * `walking`, `In(1)`: the walker is busy.
    * `pass_`, `In(PassLayout(params))`: the walker's pass.
    * `valid`, `In(1)`: an item is there.
    * `item`, `In(StartLayout(params))`: it.
    * `take`, `Out(1)`: it starts `Commands.latency` cycles later, in the stage `take_stage`.
    * `take_stage`, `Out(stage_bits(params))`: see `take`.
    * `launch`, `Out(1)`: it is its tile's first one.
    * `final`, `Out(1)`: with `launch`: its pass is the run's last one.
    * `flush`, `Out(1)`: all stages are to be drained.
    * `tile_done`, `In(1)`: a tile has written all.
    * `pass_done`, `In(1)`: a pass has.
    * `run_done`, `In(1)`: the run has.
    * `clear`, `Out(1)`: what was prepared is to be forgotten.
    """

    def __init__(self, *, params):
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "first": In(8),
                "last": In(8),
                "number": In(8),
                "abort": In(1),
                "busy": Out(1),
                "cycles": Out(48),
                "passes_done": Out(16),
                "refused": Out(1),
                "half": Out(1),
                "pictures": Out(stage_bits(params)),
                "read": Out(1),
                "pass_number": Out(ceil_log2(params.passes) or 1),
                "ready": In(1),
                "begin": Out(1),
                "walking": In(1),
                "pass_": In(PassLayout(params)),
                "valid": In(1),
                "item": In(StartLayout(params)),
                "take": Out(1),
                "take_stage": Out(stage_bits(params)),
                "launch": Out(1),
                "final": Out(1),
                "flush": Out(1),
                "tile_done": In(1),
                "pass_done": In(1),
                "run_done": In(1),
                "clear": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        running, aborted, begins = Signal(), Signal(), Signal()
        # A flush ends when the last bucket has left the columns.
        flushed = LANES * self.params.stages + Clusters.latency + SETTLED
        settling, fresh, tiles = Signal(range(flushed + 1), init=flushed), Signal(init=1), Signal(8)
        refuses = Signal()
        m.d.comb += [
            self.busy.eq(running | (settling != 0)),
            self.flush.eq(fresh),
            refuses.eq(
                (self.number[1:] >= self.params.stages)
                | (self.last < self.first)
                | (self.last >= self.params.passes)
            ),
            begins.eq(self.start & ~self.busy & ~refuses),
            self.clear.eq(running & (self.run_done | (aborted & (tiles == 0)))),
        ]
        m.d.sync += [
            fresh.eq(0),
            settling.eq(settling - (settling != 0)),
            self.refused.eq(self.start & ~self.busy & refuses),
            tiles.eq(tiles + self.launch - self.tile_done),
            self.passes_done.eq(self.passes_done + self.pass_done),
            self.cycles.eq(self.cycles + running),
        ]
        with m.If(self.start & ~self.busy):
            m.d.sync += [
                running.eq(~refuses),
                self.half.eq(self.number[0]),
                self.pictures.eq(self.number[1:]),
                self.cycles.eq(1),
                self.passes_done.eq(0),
            ]
            with m.If(refuses):
                m.d.sync += settling.eq(SETTLED)
        with m.If(self.abort & running):
            m.d.sync += aborted.eq(1)
        with m.If(self.clear):
            m.d.sync += [running.eq(0), aborted.eq(0), settling.eq(SETTLED)]
        self._passes(m, running & ~aborted & ~self.clear, begins)
        self._tiles(m, running & ~aborted & ~self.clear, begins)
        return m

    def _passes(self, m, works, begins):
        """Descriptors, read ahead and handed on to the walker."""
        number, last = Signal(8), Signal(8)
        # `held`: the walker has a pass of which no tile has begun.
        held, final = Signal(), Signal()
        more = Signal()
        m.d.comb += [
            self.pass_number.eq(number),
            more.eq(number != last),
            self.begin.eq(works & self.ready & ~self.walking & ~held),
            self.final.eq(final),
        ]
        m.d.sync += self.read.eq(begins | (self.begin & more))
        with m.If(begins):
            m.d.sync += [number.eq(self.first), last.eq(self.last), held.eq(0)]
        with m.Elif(self.begin):
            m.d.sync += [number.eq(number + 1), held.eq(1), final.eq(~more)]
        with m.Elif(self.launch & self.item.first):
            m.d.sync += held.eq(0)

    def _tiles(self, m, works, begins):
        """When a tile begins, and which stage the next item is for."""
        since, target, due = Signal(18), Signal(18), Signal()
        tile, last_tile = Signal(16), Signal(16)
        # `ended`: the next tile is of another pass; its wait shows two cycles after `begin`.
        ended, begun = Signal(), Signal()
        taking, count, stage = Signal(), Signal(range(LANES)), Signal.like(self.take_stage)
        m.d.comb += [
            self.launch.eq(works & due & self.valid & ~taking),
            self.take.eq(self.launch | (taking & (count == 0))),
            self.take_stage.eq(Mux(self.launch, 0, stage)),
        ]
        unknown = ended & (self.begin | begun)
        m.d.sync += [
            begun.eq(self.begin),
            since.eq(since + ~since[-1]),
            target.eq(Mux(ended, last_tile + self.pass_.fields.wait, tile)),
            due.eq((since + 1 >= target) & ~self.launch & ~unknown),
            count.eq(count + taking),
        ]
        with m.If(self.launch):
            m.d.sync += [since.eq(1), count.eq(1)]
            with m.If(self.item.first):
                m.d.sync += [
                    tile.eq(self.pass_.fields.tile),
                    last_tile.eq(self.pass_.fields.last_tile),
                ]
        with m.If(self.take):
            m.d.sync += [
                stage.eq(self.take_stage + 1),
                taking.eq(~self.item.last),
                ended.eq(self.item.final),
            ]
        with m.If(begins):
            m.d.sync += [
                since.eq(1),
                due.eq(0),
                ended.eq(1),
                last_tile.eq(START_CYCLES - Commands.latency),
            ]
