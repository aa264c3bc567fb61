"""The data half of the map engine: from commands and activations to bytes of maps."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Mux, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.array import Strobe
from dpnet.gateware.emit import place
from dpnet.gateware.maps.cluster import Cluster
from dpnet.gateware.maps.delay import delayed
from dpnet.gateware.maps.index_stores import IndexStores
from dpnet.gateware.maps.row_store import RowStore
from dpnet.gateware.maps.stage_path import StagePath
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.maps.records import MAP_ROW
from dpnet.model.engine.parameters import ceil_log2


class CommandLayout(data.StructLayout):
    """An addition of stage 0; each other stage does the same, 16 cycles after the one before.

    Fields:

    * `address`, `data.ArrayLayout(ceil_log2(params.stream_depth) or 1, streams)`: index word of
      each stream.
    * `use`, `streams`: the streams whose word counts.
    * `mode`, `2`: bits of an index - 1: 0, 1 or 3.
    * `position`, `2`: number of the addition in its tile, modulo 4.
    * `maximum`, `1`: what is read goes to the maxima; else to the lanes.
    * `first`, `1`: as the first value of its maximum.
    * `channel`, `4`: the number of that maximum.
    """

    def __init__(self, params):
        address = ceil_log2(params.stream_depth) or 1
        super().__init__(
            {
                "address": data.ArrayLayout(address, params.streams),
                "use": params.streams,
                "mode": 2,
                "position": 2,
                "maximum": 1,
                "first": 1,
                "channel": ceil_log2(LANES),
            }
        )


class StartLayout(data.StructLayout):
    """A tile begins in a stage.

    Fields:

    * `stage`, `ceil_log2(stages) or 1`: the stage.
    * `stream`, `ceil_log2(streams) or 1`: the stream of its indices in this tile.
    """

    def __init__(self, params):
        super().__init__(
            {"stage": ceil_log2(params.stages) or 1, "stream": ceil_log2(params.streams) or 1}
        )


class DrainLayout(data.StructLayout):
    """A bucket of the one stage that drains.

    Fields:

    * `stage`, `ceil_log2(stages) or 1`: the stage.
    * `bucket`, `4`: the bucket; also the number of the row whose skip value is read with it.
    * `slot`, `ceil_log2(row_groups) or 1`: the row group, whose codebooks and parameters are taken.
    * `row`, `1`: it has a row of the bucket's number.
    * `maximum`, `1`: the result is the maximum of this number.
    * `tag`, `tag_bits`: comes out with the row's result.
    """

    def __init__(self, params, tag_bits):
        super().__init__(
            {
                "stage": ceil_log2(params.stages) or 1,
                "bucket": ceil_log2(LANES),
                "slot": ceil_log2(params.row_groups) or 1,
                "row": 1,
                "maximum": 1,
                "tag": tag_bits,
            }
        )


@dataclass(frozen=True)
class _Drain:
    """A bucket of a drain, whether there is one, and whether it names a row that is there."""

    valid: Value
    row: Value
    bucket: data.View


class Clusters(wiring.Component):
    """*Clusters* × *stages* units and all that they share: indices, codebooks, parameters of rows.

    All is done in the cycle that belongs to it; there is no back-pressure.  A command is given to
    stage 0 in t, and stage g has it in its own cycle t + 16 · g; `start` and `drain` belong to
    their stage's own cycle t, `x` to its t + 3, results to t + `latency` = t + 39 of the bucket
    with the row's number, and all errors of a row before it.

    A tile of a stage is its additions, then 16 cycles of drain, buckets 0 to 15; idle cycles may
    come anywhere before the drain.  A stage drains while no other one does.  What a drain shows is
    what was added since the one before: after a reset or a run that was cut off each stage must
    drain once without rows.

    Parameters: `params`, a `MapEngineParameters`; `tag_bits`, bits that come out with a result.

    Members:

    * `command`, `In(CommandLayout(params))`: addition of stage 0; of an idle cycle `use` and
      `maximum` are 0.
    * `start`, `In(Strobe(StartLayout(params)))`: with a stage's first addition of a tile, unless
      these are maxima.
    * `drain`, `In(Strobe(DrainLayout(params, tag_bits)))`: a stage drains instead of adding.
    * `x`, `In(signed(8)).array(stages, clusters)`: what each unit adds, or compares with its
      maximum, or the skip value if it drains; 0 in idle cycles.
    * `low`, `In(signed(9))`: least result; steady from a pass's first drain to its last result.
    * `high`, `In(signed(9))`: largest result; likewise.
    * `result`, `Out(Strobe(tag_bits))`: tag of a row whose results are there.
    * `o`, `Out(8).array(clusters)`: these results: the lowest 8 bits of each cluster's.
    * `sigma`, `Out(1)`: strobes for a row whose buckets did not add up to what was read, or whose
      sum is not what its residue says.
    * `range`, `Out(1)`: strobes for an accumulator beyond 40 bits.
    * `corrupt`, `Out(1)`: strobes when a word of odd parity was used.
    * `w_data`, `In(32)`: the word that the link writes to any store.
    * `index_address`, `In(ceil_log2(params.stream_depth) or 1)`: word of the index stores.
    * `index_write`, `In(2 * streams)`: the 32-bit words that `w_data` goes to, those of stream 0
      lowest.
    * `index_read`, `In(1)`: the link reads; only while nothing works.
    * `index_pick`, `In(2 * streams)`: the one word to be shown.
    * `index_word`, `Out(32)`: that word, 3 cycles later; 0 if none.
    * `book_address`, `In(ceil_log2(params.row_groups) + 4)`: row group · 16 + k.
    * `book_write`, `In(16)`: the lanes whose entry `w_data` becomes.
    * `book_read`, `In(1)`: the link reads; only while nothing works.
    * `book_pick`, `In(16)`: the one lane to be shown.
    * `book_word`, `Out(entry_bits)`: its entry, 3 cycles later; 0 if none.
    * `row_address`, `In(ceil_log2(params.row_groups) + 4)`: row group · 16 + row.
    * `row_write`, `In(MAP_ROW.words)`: the words of the row's parameters that `w_data` goes to.
    * `row_read`, `In(1)`: the link reads; only while nothing works.
    * `row_pick`, `In(MAP_ROW.words)`: the one word to be shown.
    * `row_word`, `Out(32)`: that word, 3 cycles later; 0 if none, as are bits that no field has.
    """

    latency = Cluster.latency

    def __init__(self, *, params, tag_bits=1):
        if not isinstance(tag_bits, int) or tag_bits < 1:
            raise ValueError(f"tag_bits must be an integer of at least 1, not {tag_bits!r}")
        self.params = params
        self.tag_bits = tag_bits
        row = ceil_log2(params.row_groups) + ceil_log2(LANES)
        super().__init__(
            {
                "command": In(CommandLayout(params)),
                "start": In(Strobe(StartLayout(params))),
                "drain": In(Strobe(DrainLayout(params, tag_bits))),
                "x": In(signed(8)).array(params.stages, params.clusters),
                "low": In(signed(9)),
                "high": In(signed(9)),
                "result": Out(Strobe(tag_bits)),
                "o": Out(8).array(params.clusters),
                "sigma": Out(1),
                "range": Out(1),
                "corrupt": Out(1),
                "w_data": In(32),
                "index_address": In(ceil_log2(params.stream_depth) or 1),
                "index_write": In(2 * params.streams),
                "index_read": In(1),
                "index_pick": In(2 * params.streams),
                "index_word": Out(32),
                "book_address": In(row),
                "book_write": In(LANES),
                "book_read": In(1),
                "book_pick": In(LANES),
                "book_word": Out(params.entry_bits),
                "row_address": In(row),
                "row_write": In(MAP_ROW.words),
                "row_read": In(1),
                "row_pick": In(MAP_ROW.words),
                "row_word": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        drains = self._drains(m)
        stages, index_corrupt = self._stages(m)
        books, rows = self._books(m, drains[6]), self._rows(m, drains[23])
        clusters = []
        for c in range(self.params.clusters):
            cluster = place(m, Cluster(params=self.params), f"cluster_{c}")
            m.d.comb += [
                *(cluster.x[g].eq(x[c]) for g, x in enumerate(self.x)),
                *(cluster.to_lanes[g].eq(stage.to_lanes) for g, stage in enumerate(stages)),
                *(cluster.index[g].eq(stage.index) for g, stage in enumerate(stages)),
                *(cluster.control[g].eq(stage.control) for g, stage in enumerate(stages)),
                *self._phases(cluster.phases, drains),
                cluster.entries.eq(books.late),
                cluster.row.eq(rows.row),
                cluster.low.eq(self.low),
                cluster.high.eq(self.high),
                self.o[c].eq(cluster.o),
            ]
            clusters.append(cluster)
        m.d.comb += [
            self.result.valid.eq(drains[self.latency].row),
            self.result.payload.eq(drains[self.latency].bucket.tag),
        ]
        m.d.sync += [
            self.sigma.eq(Cat(cluster.sigma for cluster in clusters).any()),
            self.range.eq(Cat(cluster.range for cluster in clusters).any()),
            self.corrupt.eq(index_corrupt | books.corrupt | rows.corrupt),
        ]
        return m

    def _drains(self, m):
        """What drained n cycles ago, by n."""
        found, last = {}, 0
        now = _Drain(
            self.drain.valid, self.drain.valid & self.drain.payload.row, self.drain.payload
        )
        for n in (5, 6, 8, 23, 26, 27, self.latency):
            flags = delayed(m, Cat(now.valid, now.row), n - last, f"flags_{n}", reset_less=False)
            bucket = delayed(m, now.bucket, n - last, f"bucket_{n}")
            layout = DrainLayout(self.params, self.tag_bits)
            now, last = _Drain(flags[0], flags[1], data.View(layout, bucket)), n
            found[n] = now
        return found

    def _phases(self, phases, drains):
        stage = drains[5].bucket.stage[: ceil_log2(self.params.stages)]
        return [
            phases.old.eq(Cat(drains[5].bucket.bucket, stage)),
            phases.keep.eq(drains[5].valid),
            phases.first.eq(drains[8].valid & (drains[8].bucket.bucket == 0)),
            phases.last.eq(drains[8].valid & (drains[8].bucket.bucket == LANES - 1)),
            phases.lane.eq(drains[26].bucket.bucket),
            phases.valid.eq(drains[27].row),
        ]

    def _stages(self, m):
        """(the paths of all stages, whether an index word was corrupt)"""
        indices = self._indices(m)
        command = self.command
        late = delayed(m, Cat(command.maximum, command.first, command.channel), 3, "maximum_line")
        stages, path = [], Cat(*indices.words, late)
        for g in range(self.params.stages):
            stage = place(m, StagePath(params=self.params, first=g == 0), f"stage_{g}")
            bucket = self.drain.payload
            m.d.comb += [
                stage.path.as_value().eq(path),
                stage.start.eq(self.start.valid & (self.start.payload.stage == g)),
                stage.stream.eq(self.start.payload.stream),
                stage.drain.eq(self.drain.valid & (bucket.stage == g)),
                stage.bucket.eq(bucket.bucket),
                stage.show.eq(bucket.maximum),
            ]
            stages.append(stage)
            path = stage.next_path
        return stages, indices.corrupt

    def _indices(self, m):
        indices, command = place(m, IndexStores(params=self.params), "indices"), self.command
        m.d.comb += [
            *(one.eq(command.address[s]) for s, one in enumerate(indices.address)),
            indices.use.eq(command.use),
            indices.mode.eq(command.mode),
            indices.position.eq(command.position),
            indices.w_address.eq(self.index_address),
            indices.w_data.eq(self.w_data),
            indices.w_enable.eq(self.index_write),
            indices.r_address.eq(self.index_address),
            indices.r_enable.eq(self.index_read),
            indices.r_pick.eq(self.index_pick),
            self.index_word.eq(indices.r_word),
        ]
        return indices

    def _books(self, m, drain):
        """The codebooks, whose entry of a bucket is there in phase 3 of the columns."""
        bits = self.params.entry_bits
        depth = self.params.row_groups * LANES
        books = place(m, CheckedRam(width=LANES * bits, granularity=bits, depth=depth), "books")
        entry = Cat(drain.bucket.bucket, drain.bucket.slot)
        m.d.comb += [
            books.w_address.eq(self.book_address),
            books.w_data.eq(self.w_data),
            books.w_enable.eq(self.book_write),
            books.r_address.eq(Mux(self.book_read, self.book_address, entry)),
            books.r_use.eq(drain.valid & ~self.book_read),
            books.r_hide.eq(Mux(self.book_read, ~self.book_pick, 0)),
            self.book_word.eq(books.r_word),
        ]
        return books

    def _rows(self, m, drain):
        """The parameters of rows, there in time to add up what is added to a sum."""
        rows = place(m, RowStore(params=self.params), "rows")
        m.d.comb += [
            rows.address.eq(Cat(drain.bucket.bucket, drain.bucket.slot)),
            rows.use.eq(drain.row),
            rows.w_address.eq(self.row_address),
            rows.w_data.eq(self.w_data),
            rows.w_enable.eq(self.row_write),
            rows.r_address.eq(self.row_address),
            rows.r_enable.eq(self.row_read),
            rows.r_pick.eq(self.row_pick),
            self.row_word.eq(rows.r_word),
        ]
        return rows
