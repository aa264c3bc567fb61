"""The drains: one stage after the other, sixteen cycles each, and the skip values beside them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array import Strobe
from dpnet.gateware.maps.clusters import DrainLayout
from dpnet.gateware.maps.control.layouts import (
    DrainItemLayout,
    PassLayout,
    address_bits,
    bank_bits,
    stage_bits,
)
from dpnet.gateware.maps.control.row_offset import RowOffset
from dpnet.model.engine.maps.limits import SPREAD_BITS


class DrainPassLayout(data.StructLayout):
    """What is to be known of a pass while it drains and writes; most of it as in its descriptor.

    Fields:

    * `rows`, `6`: rows of a row group.
    * `last_rows`, `6`: of the last one.
    * `low`, `9`: least result.
    * `high`, `9`: largest result.
    * `maximum`, `1`: it is one of maxima.
    * `to_map`, `1`: it writes a map.
    * `to_result`, `1`: it writes results.
    * `apart`, `1`: each stage writes those of a picture of its own.
    * `write_words`, `address_bits(params)`: from row to row of a map.
    * `result`, `18`: byte of the first result in a half.
    * `result_words`, `18`: from row to row of results.
    * `result_pitch`, `14`: words of 4 bytes from picture to picture of them.
    * `skips`, `1`: it adds skip values.
    * `skip_picture`, `1`: these are a picture's.
    * `skip_unsigned`, `1`: these are unsigned.
    * `skip_words`, `address_bits(params)`: from channel to channel of them.
    * `skip_first`, `16`: the row of their first channel, signed.
    * `skip_channels`, `16`: their channels.
    * `skip_start`, `address_bits(params)`: as in `PassLayout`.
    * `final`, `1`: it is the run's last one.
    * `half`, `1`: of the results.
    """

    def __init__(self, params):
        address = address_bits(params)
        super().__init__(
            {
                "rows": 6,
                "last_rows": 6,
                "low": 9,
                "high": 9,
                "maximum": 1,
                "to_map": 1,
                "to_result": 1,
                "apart": 1,
                "write_words": address,
                "result": 18,
                "result_words": 18,
                "result_pitch": 14,
                "skips": 1,
                "skip_picture": 1,
                "skip_unsigned": 1,
                "skip_words": address,
                "skip_first": 16,
                "skip_channels": 16,
                "skip_start": address,
                "final": 1,
                "half": 1,
            }
        )


class SkipLayout(data.StructLayout):
    """What the stage that drains reads in a cycle, after its address has been added up.

    Fields:

    * `valid`, `1`: a stage drains.
    * `stage`, `stage_bits(params)`: that stage.
    * `word`, `address_bits(params)`: cluster 0's address.
    * `spread`, `data.ArrayLayout(SPREAD_BITS, clusters)`: words from there to each cluster's.
    * `there`, `clusters`: the clusters that read.
    * `bank`, `bank_bits(params)`: what cluster 0 reads from; the others have the banks behind it.
    * `picture`, `1`: of pictures, not of maps.
    * `unsigned`, `1`: the pass has skip values, and they are unsigned.
    """

    def __init__(self, params):
        super().__init__(
            {
                "valid": 1,
                "stage": stage_bits(params),
                "word": address_bits(params),
                "spread": data.ArrayLayout(SPREAD_BITS, params.clusters),
                "there": params.clusters,
                "bank": bank_bits(params),
                "picture": 1,
                "unsigned": 1,
            }
        )


class Drains(wiring.Component):
    """Drains the stages of a tile, one after the other, from the cycle after `begin` on.

    Parameters: `params`, a `MapEngineParameters`.

    Members:

    * `launch`, `In(1)`: a pass begins; `pass_`, `final` and `half` count.
    * `pass_`, `In(PassLayout(params))`: it.
    * `final`, `In(1)`: it is the run's last one.
    * `half`, `In(1)`: of the results.
    * `begin`, `In(1)`: the last addition of a tile.
    * `flush`, `In(1)`: drains every stage, without an item; not while anything drains.
    * `take`, `Out(1)`: an item's drain begins in the next cycle.
    * `item`, `In(DrainItemLayout(params))`: that item.
    * `skips`, `In(SPREAD_BITS).array(clusters)`: words from cluster 0's skip value to each one's.
    * `work`, `Out(DrainPassLayout(params))`: the pass that drains and writes.
    * `drain`, `Out(Strobe(DrainLayout(params, 1)))`: the bucket that drains.
    * `skip`, `Out(SkipLayout(params))`: what is read for it, a cycle later.
    * `busy`, `Out(1)`: a stage drains.
    """

    def __init__(self, *, params):
        self.params = params
        super().__init__(
            {
                "launch": In(1),
                "pass_": In(PassLayout(params)),
                "final": In(1),
                "half": In(1),
                "begin": In(1),
                "flush": In(1),
                "take": Out(1),
                "item": In(DrainItemLayout(params)),
                "skips": In(SPREAD_BITS).array(params.clusters),
                "work": Out(DrainPassLayout(params)),
                "drain": Out(Strobe(DrainLayout(params, 1))),
                "skip": Out(SkipLayout(params)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params, work = self.params, self.work
        item, flushing = Signal(DrainItemLayout(params)), Signal()
        spreads = [Signal.like(one, name=f"spread_{n}") for n, one in enumerate(self.skips)]
        drain, busy = self.drain.payload, self.busy
        ends, last_row = Signal(), Signal()
        final_stage = Signal()
        m.d.comb += [
            self.drain.valid.eq(busy),
            ends.eq(busy & drain.bucket.all()),
            final_stage.eq(Mux(flushing, drain.stage == params.stages - 1, item.last)),
            self.take.eq(self.begin | (ends & ~final_stage & ~flushing)),
            drain.slot.eq(item.slot),
            drain.maximum.eq(work.maximum & ~flushing),
        ]
        rows = Signal(6)
        m.d.comb += [
            rows.eq(Mux(item.short, work.last_rows, work.rows)),
            drain.row.eq(busy & ~flushing & (drain.bucket < rows)),
            last_row.eq(busy & ~flushing & item.ends & (drain.bucket + 1 == rows)),
        ]
        m.d.sync += drain.bucket.eq(drain.bucket + busy)
        with m.If(self.begin | self.flush):
            m.d.sync += [busy.eq(1), drain.bucket.eq(0), drain.stage.eq(0)]
            m.d.sync += flushing.eq(self.flush)
        with m.Elif(ends):
            m.d.sync += [busy.eq(~final_stage), drain.stage.eq(drain.stage + 1)]
        with m.If(self.take):
            m.d.sync += item.eq(self.item)
            m.d.sync += [one.eq(new) for one, new in zip(spreads, self.skips, strict=True)]
        coming = self._pass(m)
        self._skips(m, coming, item, spreads, last_row)
        return m

    def _pass(self, m):
        """The pass that was launched last: the one before drains and writes until its own first
        drain."""
        coming = Signal(DrainPassLayout(self.params))
        named = [
            name for name in coming.shape().members if name in self.pass_.fields.shape().members
        ]
        with m.If(self.launch):
            m.d.sync += [
                *(coming[name].eq(self.pass_.fields[name]) for name in named),
                coming.skip_start.eq(self.pass_.skip_start),
                coming.final.eq(self.final),
                coming.half.eq(self.half),
            ]
        fresh = self.take & self.item.first
        with m.If(fresh):
            m.d.sync += self.work.eq(coming)
        return coming

    def _skips(self, m, coming, item, spreads, last_row):
        """Rows before the first channel stay at its word."""
        work, skip = self.work, self.skip
        m.submodules.skip_row = row = RowOffset(bits=17)
        m.submodules.skip_word = word = RowOffset(bits=address_bits(self.params))
        channel, there = row.o.as_signed(), Signal()
        for one in (row, word):
            m.d.comb += [
                one.take.eq(self.take),
                one.afresh.eq(self.item.first),
                one.ends.eq(last_row),
            ]
        m.d.comb += [
            row.first.eq(-coming.skip_first.as_signed()),
            word.first.eq(coming.skip_start),
            row.step.eq(1),
            word.step.eq(Mux(channel < 0, 0, work.skip_words)),
            there.eq((channel >= 0) & (channel < work.skip_channels) & work.skips),
        ]
        drains = self.drain.valid & ~self.drain.payload.maximum
        m.d.sync += [
            skip.valid.eq(self.drain.valid),
            skip.stage.eq(self.drain.payload.stage),
            skip.bank.eq(item.bank),
            skip.there.eq(Mux(there & drains & self.drain.payload.row, item.used, 0)),
            skip.picture.eq(work.skip_picture),
            skip.unsigned.eq(work.skip_unsigned & work.skips),
            skip.word.eq(item.word + word.o),
            *(skip.spread[n].eq(one) for n, one in enumerate(spreads)),
        ]
