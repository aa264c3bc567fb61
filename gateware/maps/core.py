"""The map core: stores on the bus, what reads descriptors and walks, the units and their banks."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from dpnet.gateware.emit import place
from dpnet.gateware.maps.clusters import Clusters
from dpnet.gateware.maps.control.commands import Commands
from dpnet.gateware.maps.control.drains import Drains
from dpnet.gateware.maps.control.item_store import ItemStore
from dpnet.gateware.maps.control.reader import PassReader
from dpnet.gateware.maps.control.reads import StageReads
from dpnet.gateware.maps.control.results import ResultBanks
from dpnet.gateware.maps.control.sequencer import Sequencer
from dpnet.gateware.maps.control.walker import Walker
from dpnet.gateware.maps.control.writer import Writer
from dpnet.gateware.maps.copies import copies_of
from dpnet.gateware.maps.delay import delayed
from dpnet.gateware.parts.bus import BUS_LATENCY, ERRORS, CoreSignature
from dpnet.gateware.parts.bus_decoder import BusDecoder
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.maps.placement import PASS_PITCH, taps_at
from dpnet.model.engine.maps.records import MAP_ROW, TAP
from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.engine.regions import Region

MOST_PASSES = 256
"""A run names its passes by 8 bits."""


class MapCore(wiring.Component):
    """A map engine with its stores, as the link uses it.

    The address map is that of `dpnet.model.engine.maps.placement.Placement`, that of the stages'
    copies of pictures and maps `dpnet.model.engine.stores.copy_words`.  A run's `first` and
    `last` are passes; bit 0 of its `last_vector` is the half of the pictures that is read, and of
    the results that is written; the bits above it are its pictures less 1, where stages are apart:
    those of the first stages.  More pictures than stages, a `last` below `first` or behind the
    store of descriptors are refused: the error `range`, and nothing is run.  A run of all
    passes takes `dpnet.model.engine.maps.plan.cycles`.  While a run reads one half of the pictures
    the other may be written, and the other half of the results read; all else is read while the
    core is not `busy`.

    `tiles_done` counts the passes of the run that have written all; there are no releases, so
    `released` is not looked at and `stalled` is 0.  Errors: `range` too for an accumulator beyond
    its 40 bits, `sigma`, `parity`; never `nonfinite` or `overflow`.

    After `abort` the tile in work ends as always (at most 4,096 + 16 · stages + 60 cycles),
    and no other one begins.

    Parameters: `params`, a `MapEngineParameters` of at most 256 passes.

    Members:

    * `link`, `Out(CoreSignature().flip())`: bus, start and end of runs, errors.
    """

    def __init__(self, *, params):
        if params.passes > MOST_PASSES:
            raise ValueError(f"passes must be at most {MOST_PASSES}, not {params.passes!r}")
        self.params = params
        super().__init__({"link": Out(CoreSignature().flip())})

    def elaborate(self, platform):
        m = Module()
        params = self.params
        bus = BusDecoder(m, self.link.bus)
        sequencer = place(m, Sequencer(params=params), "sequencer")
        reader = place(m, PassReader(params=params), "reader")
        walker = place(m, Walker(params=params), "walker")
        items = place(m, ItemStore(params=params), "items")
        commands = place(m, Commands(params=params), "commands")
        drains = place(m, Drains(params=params), "drains")
        writer = place(m, Writer(params=params), "writer")
        clusters = place(m, Clusters(params=params), "clusters")
        results = place(m, ResultBanks(params=params), "results")
        stages = [place(m, StageReads(params=params), f"stage_{g}") for g in range(params.stages)]
        self._prepare(m, sequencer, reader, walker, items)
        self._command(m, sequencer, walker, items, commands, drains, writer)
        self._units(m, sequencer, items, commands, drains, stages, clusters)
        self._results(m, drains, items, writer, clusters, stages, results)
        corrupt = [clusters.corrupt, results.corrupt, *(stage.corrupt for stage in stages)]
        corrupt += self._layer_store(m, bus, reader, commands)
        self._unit_stores(m, bus, clusters)
        self._banks(m, bus, stages)
        self._result_store(m, bus, results)
        self._link(m, sequencer, writer, clusters, Cat(corrupt).any())
        bus.finish(m)
        return m

    def _link(self, m, sequencer, writer, clusters, corrupt):
        link = self.link
        m.d.comb += [
            sequencer.start.eq(link.start),
            sequencer.first.eq(link.first),
            sequencer.last.eq(link.last),
            sequencer.number.eq(link.last_vector),
            sequencer.abort.eq(link.abort),
            sequencer.tile_done.eq(writer.tile_done),
            sequencer.pass_done.eq(writer.pass_done),
            sequencer.run_done.eq(writer.run_done),
            link.busy.eq(sequencer.busy | link.errors.any()),
            link.cycles.eq(sequencer.cycles),
            link.tiles_done.eq(sequencer.passes_done),
        ]
        strobes = {
            "range": sequencer.refused | clusters.range,
            "sigma": clusters.sigma,
            "parity": corrupt,
        }
        m.d.sync += link.errors.eq(Cat(strobes.get(name, 0) for name in ERRORS))

    def _prepare(self, m, sequencer, reader, walker, items):
        """Descriptors to items."""
        m.d.comb += [
            reader.start.eq(sequencer.read),
            reader.number.eq(sequencer.pass_number),
            reader.taken.eq(sequencer.begin),
            reader.clear.eq(sequencer.clear),
            sequencer.ready.eq(reader.ready),
            walker.begin.eq(sequencer.begin),
            walker.coming.eq(reader.pass_),
            walker.half.eq(sequencer.half),
            walker.pictures.eq(sequencer.pictures),
            walker.clear.eq(sequencer.clear),
            walker.room.eq(items.room),
            sequencer.walking.eq(walker.busy),
            sequencer.pass_.eq(walker.pass_),
            items.clear.eq(sequencer.clear),
            *(
                getattr(items, name).eq(getattr(walker, name))
                for name in ("valid", "cluster", "done", "item")
            ),
            *(one.eq(new) for one, new in zip(items.position, walker.position, strict=True)),
        ]

    def _command(self, m, sequencer, walker, items, commands, drains, writer):
        """Items to tiles and drains."""
        first = items.start.first
        m.d.comb += [
            sequencer.valid.eq(items.start_valid),
            sequencer.item.eq(items.start),
            items.start_take.eq(sequencer.take),
            commands.launch.eq(sequencer.launch),
            commands.first.eq(first),
            commands.pass_.eq(walker.pass_),
            commands.item.eq(items.start),
            drains.launch.eq(sequencer.launch & first),
            drains.pass_.eq(walker.pass_),
            drains.final.eq(sequencer.final),
            drains.half.eq(sequencer.half),
            drains.begin.eq(commands.last),
            drains.flush.eq(sequencer.flush),
            drains.item.eq(items.drain),
            *(one.eq(skip) for one, skip in zip(drains.skips, items.skips, strict=True)),
            items.drain_take.eq(drains.take),
        ]

    def _units(self, m, sequencer, items, commands, drains, stages, clusters):
        """What the units read and do."""
        start = clusters.start
        taken = Cat(sequencer.take, sequencer.take_stage, items.start.stream)
        late = delayed(m, taken, Commands.latency, "starts", reset_less=False)
        m.d.comb += [
            clusters.command.eq(commands.command),
            Cat(start.valid, start.payload.as_value()).eq(late),
            clusters.drain.valid.eq(drains.drain.valid),
            clusters.drain.payload.eq(drains.drain.payload),
            clusters.low.eq(drains.work.low),
            clusters.high.eq(drains.work.high),
        ]
        read = commands.read
        for g, stage in enumerate(stages):
            m.d.comb += [
                stage.read.eq(read),
                stage.take.eq(sequencer.take & (sequencer.take_stage == g)),
                stage.item.eq(items.start),
                *(one.eq(spot) for one, spot in zip(stage.spots, items.spots, strict=True)),
                stage.skips.eq(drains.skip.valid & (drains.skip.stage == g)),
                stage.skip.eq(drains.skip),
                *(one.eq(x) for one, x in zip(clusters.x[g], stage.x, strict=True)),
            ]
            read = stage.next_read

    def _results(self, m, drains, items, writer, clusters, stages, results):
        """Where results go."""
        m.d.comb += [
            writer.drains.eq(drains.take),
            writer.work.eq(drains.work),
            items.write_take.eq(writer.take),
            writer.item.eq(items.write),
            *(one.eq(target) for one, target in zip(writer.targets, items.targets, strict=True)),
            writer.valid.eq(clusters.result.valid),
            *(one.eq(o) for one, o in zip(writer.o, clusters.o, strict=True)),
        ]
        for one, port in zip(results.write, writer.results, strict=True):
            m.d.comb += one.eq(port)
        for g, stage in enumerate(stages):
            m.d.comb += [one.eq(port) for one, port in zip(stage.maps, writer.maps, strict=True)]
            m.d.comb += stage.mine.eq(writer.copies[g])

    def _layer_store(self, m, bus, reader, commands):
        """Descriptors and taps; whether one was corrupt."""
        params, row = self.params, taps_at(self.params) // TAP.words
        store = bus.store(Region.LAYERS, low=1, depth=row + params.taps)
        of_taps = store.row[ceil_log2(row)]
        depth = params.passes * PASS_PITCH // TAP.words
        word, strobes, reading = 0, [], bus.reading & store.inside
        for name, count, mine, address, use in (
            ("passes", depth, ~of_taps, reader.address, reader.use),
            ("taps", params.taps, of_taps, commands.tap_address, commands.tap_use),
        ):
            ram = place(m, CheckedRam(width=64, granularity=32, depth=count), name)
            inside, pick = Signal(name=f"of_{name}"), Signal(2, name=f"{name}_pick")
            m.d.comb += [
                inside.eq(store.inside & mine & (store.row[: ceil_log2(row)] < count)),
                pick.eq(Mux(inside, 1 << bus.field(0, 1), 0)),
                ram.w_address.eq(store.row),
                ram.w_data.eq(bus.data),
                ram.w_enable.eq(Mux(store.write, pick, 0)),
                ram.r_address.eq(Mux(reading, store.row, address)),
                ram.r_use.eq(use & ~reading),
                ram.r_hide.eq(Mux(reading, ~pick, 0)),
            ]
            word |= ram.r_word
            strobes.append(ram.corrupt)
            m.d.comb += (
                reader.data.eq(ram.r_data) if name == "passes" else commands.tap.eq(ram.late)
            )
        _answer(m, bus, reading, word, "layers_asked")
        return strobes

    def _unit_stores(self, m, bus, clusters):
        """Indices, codebooks and parameters of rows."""
        params, lane = self.params, ceil_log2(LANES)
        stream, word = ceil_log2(params.streams), ceil_log2(MAP_ROW.words)
        index = bus.store(Region.INDEX, low=1 + stream, depth=params.stream_depth)
        books = bus.store(Region.CODEBOOK, low=2 * lane, depth=params.row_groups)
        rows = bus.store(Region.ROWS, low=word + lane, depth=params.row_groups)
        picks = {
            "index": (index, bus.field(0, 1 + stream), index.row),
            "book": (books, bus.field(lane, lane), Cat(bus.field(0, lane), books.row)),
            "row": (rows, bus.field(0, word), Cat(bus.field(word, lane), rows.row)),
        }
        m.d.comb += clusters.w_data.eq(bus.data)
        for name, (store, field, address) in picks.items():
            write, pick = getattr(clusters, f"{name}_write"), getattr(clusters, f"{name}_pick")
            picked = Signal.like(pick, name=f"{name}_picked")
            m.d.comb += [
                picked.eq(Mux(store.inside, 1 << field, 0)),
                write.eq(Mux(store.write, picked, 0)),
                pick.eq(picked),
                getattr(clusters, f"{name}_address").eq(address),
                getattr(clusters, f"{name}_read").eq(bus.reading & store.inside),
            ]
            word = getattr(clusters, f"{name}_word")
            _answer(m, bus, bus.reading & store.inside, word, f"{name}_asked")

    def _banks(self, m, bus, stages):
        """Each stage's copies of maps, which are read, and of pictures, which are written too."""
        params, low = self.params, self.params.cluster_bits
        maps = copies_of(m, params, bus, Region.MAPS, params.map_depth)
        pictures = copies_of(m, params, bus, Region.VECTOR, params.picture_depth)
        picked = Signal(params.clusters, name="bank_picked")
        m.d.comb += picked.eq(1 << bus.field(0, low))
        for g, stage in enumerate(stages):
            reading = Signal(name=f"bank_reading_{g}")
            m.d.comb += [
                stage.picture_address.eq(pictures.row),
                stage.picture_word.eq(bus.data),
                stage.picture_write.eq(Mux(pictures.write[g], picked, 0)),
                reading.eq(bus.reading & (maps.read[g] | pictures.read[g])),
                stage.link_read.eq(reading),
                stage.link_address.eq(Mux(maps.read[g], maps.row, pictures.row)),
                stage.link_map.eq(Mux(maps.read[g], picked, 0)),
                stage.link_picture.eq(Mux(pictures.read[g], picked, 0)),
            ]
            _answer(m, bus, reading, stage.link_word, f"banks_asked_{g}")

    def _result_store(self, m, bus, results):
        params, low = self.params, self.params.cluster_bits
        store = bus.store(Region.RESULT, low=low, depth=params.result_depth // 4)
        m.d.comb += [
            results.link_read.eq(bus.reading),
            results.link_address.eq(store.row),
            results.link_pick.eq(Mux(store.inside, 1 << bus.field(0, low), 0)),
        ]
        bus.answer_with(results.link_word)


def _answer(m, bus, asked, word, name):
    """`word` answers a request that shows here while `asked`: a run, which reads with the same
    ports, may go on while the link reads results."""
    late = delayed(m, asked, BUS_LATENCY - 3, name, reset_less=False)
    bus.answer_with(Mux(late, word, 0))
