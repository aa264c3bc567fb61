"""The dense int8 baseline: every weight multiplied, two multiplications per DSP slice."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.baselines.dense_pair import DensePair
from dpnet.gateware.baselines.dense_results import DenseResults
from dpnet.gateware.emit import place
from dpnet.gateware.parts.bus import BusSignature
from dpnet.gateware.parts.bus_decoder import BusDecoder
from dpnet.gateware.parts.ram import Ram
from dpnet.model.engine.dense import ROW_WORDS, DenseParameters
from dpnet.model.engine.layout import Region
from dpnet.model.engine.parameters import ceil_log2


class DenseSequencer(wiring.Component):
    """Commands of a run: vector after vector, tile after tile, beat after beat, no idle cycle.

    Addresses name the words of the first beat in the cycle after `start`; a tile takes
    `params.tile_cycles`.

    Parameters: `params`, a `DenseParameters`.

    Members:

    * `start`, `In(1)`: begins a run, while not `busy`.
    * `tiles`, `In(16)`: tiles of a vector, at least 1, with `start`.
    * `beats`, `In(16)`: beats of a vector, at least 1, with `start`.
    * `vectors`, `In(16)`: vectors, at least 1, with `start`.
    * `weight_address`, `Out(max(1, ceil_log2(weight_depth)))`: word of the weights.
    * `vector_address`, `Out(max(1, ceil_log2(vector_depth)))`: word of the vectors.
    * `first`, `Out(1)`: the beat begins a tile.
    * `last`, `Out(1)`: the beat ends a tile.
    * `done`, `In(1)`: must strobe for each tile, when its results are stored.
    * `busy`, `Out(1)`: falls with the last `done`.
    * `cycles`, `Out(48)`: when not `busy`, the cycles from `start` to the last `done`, both
      included.
    """

    def __init__(self, *, params):
        self.params = params
        super().__init__(
            {
                "start": In(1),
                "tiles": In(16),
                "beats": In(16),
                "vectors": In(16),
                "weight_address": Out(max(1, ceil_log2(params.weight_depth))),
                "vector_address": Out(max(1, ceil_log2(params.vector_depth))),
                "first": Out(1),
                "last": Out(1),
                "done": In(1),
                "busy": Out(1),
                "cycles": Out(48),
            }
        )

    def elaborate(self, platform):
        m = Module()
        slot, tile, vector = Signal(16), Signal(16), Signal(16)
        tiles, beats, vectors, slots = Signal(16), Signal(16), Signal(16), Signal(16)
        base = Signal.like(self.vector_address)
        issuing, pending = Signal(), Signal(8)
        tile_ends, vector_ends = slot == slots - 1, tile == tiles - 1
        m.d.comb += [
            self.busy.eq(issuing | (pending != 0)),
            self.first.eq(issuing & (slot == 0)),
            self.last.eq(issuing & (slot == beats - 1)),
        ]
        m.d.sync += pending.eq(pending + self.last - self.done)
        with m.If(self.start & ~self.busy):
            steps = self.params.tile_steps
            m.d.sync += [
                issuing.eq(1),
                slot.eq(0),
                tile.eq(0),
                vector.eq(0),
                base.eq(0),
                self.weight_address.eq(0),
                self.vector_address.eq(0),
                tiles.eq(self.tiles),
                beats.eq(self.beats),
                vectors.eq(self.vectors),
                slots.eq(Mux(self.beats > steps, self.beats, steps)),
            ]
        with m.Elif(issuing):
            m.d.sync += slot.eq(slot + 1)
            with m.If(slot < beats):
                m.d.sync += [
                    self.weight_address.eq(self.weight_address + 1),
                    self.vector_address.eq(self.vector_address + 1),
                ]
            with m.If(tile_ends):
                m.d.sync += [slot.eq(0), tile.eq(tile + 1), self.vector_address.eq(base)]
            with m.If(tile_ends & vector_ends):
                following = base + beats
                m.d.sync += [
                    tile.eq(0),
                    vector.eq(vector + 1),
                    self.weight_address.eq(0),
                    base.eq(following),
                    self.vector_address.eq(following),
                    issuing.eq(vector != vectors - 1),
                ]
        with m.If(self.start & ~self.busy):
            m.d.sync += self.cycles.eq(1)
        with m.Elif(self.busy):
            m.d.sync += self.cycles.eq(self.cycles + 1)
        return m


class DenseCore(wiring.Component):
    """y = requantize(W x) for int8 matrices and vectors: `params.macs` multiply-adds per cycle.

    Equal to `params.golden` bit for bit.  A run takes `params.cycles` cycles,
    `params.interval_cycles` per vector.  The DSP slices only multiply: the sums over the segments
    are adders in LUTs.

    Parameters: `params`, a `DenseParameters`.

    Members:

    * `bus`, `In(BusSignature())`: writes weights, vectors and row parameters while not `busy`,
      reads results, at the addresses of `DenseParameters`; what was written cannot be read back.
    * `start`, `In(1)`: begins a run, while not `busy`.
    * `tiles`, `In(16)`: tiles of a vector, with `start`.
    * `beats`, `In(16)`: beats of a vector, with `start`.
    * `vectors`, `In(16)`: vectors in the store, with `start`.
    * `busy`, `Out(1)`: a run is on.
    * `cycles`, `Out(48)`: when not `busy`, the cycles of the last run.
    """

    def __init__(self, *, params):
        if not isinstance(params, DenseParameters):
            raise TypeError(f"params must be DenseParameters, not {params!r}")
        self.params = params
        super().__init__(
            {
                "bus": In(BusSignature()),
                "start": In(1),
                "tiles": In(16),
                "beats": In(16),
                "vectors": In(16),
                "busy": Out(1),
                "cycles": Out(48),
            }
        )

    def elaborate(self, platform):
        m = Module()
        params = self.params
        sequencer = place(m, DenseSequencer(params=params), "sequencer")
        vector = place(
            m,
            Ram(width=32 * params.vector_words, depth=params.vector_depth, granularity=32),
            "vector",
        )
        results = place(m, DenseResults(params=params), "results")
        part = DensePair(
            segments=params.segments,
            acc_bits=params.requantize.acc_bits,
            depth=params.weight_depth,
        )
        pairs = [place(m, part, f"pair_{n}") for n in range(params.pairs)]
        first, last = Signal(part.latency - 1), Signal(part.latency)
        m.d.sync += [
            first.eq(Cat(sequencer.first, first)),
            last.eq(Cat(sequencer.last, last)),
        ]
        starting = self.start & ~self.busy
        m.d.comb += [
            sequencer.start.eq(starting),
            sequencer.tiles.eq(self.tiles),
            sequencer.beats.eq(self.beats),
            sequencer.vectors.eq(self.vectors),
            sequencer.done.eq(results.done),
            self.busy.eq(sequencer.busy),
            self.cycles.eq(sequencer.cycles),
            vector.r_address.eq(sequencer.vector_address),
            results.load.eq(last[-1]),
            results.start.eq(starting),
        ]
        tiles = Signal(16)
        with m.If(starting):
            m.d.sync += tiles.eq(self.tiles)
        m.d.comb += results.tiles.eq(tiles)
        for n, pair in enumerate(pairs):
            m.d.comb += [pair.address.eq(sequencer.weight_address), pair.first.eq(first[-1])]
            m.d.comb += [
                pair.x[s].eq(vector.r_data.word_select(s, 8)) for s in range(params.segments)
            ]
            m.d.comb += [results.acc[2 * n + row].eq(pair.o[row]) for row in range(2)]
        self._stores(m, BusDecoder(m, self.bus), pairs, vector, results)
        return m

    def _stores(self, m, bus, pairs, vector, results):
        params = self.params
        word_bits, pair_bits = ceil_log2(params.weight_words), ceil_log2(params.pairs)
        store = bus.store(Region.INDEX, low=word_bits + pair_bits, depth=params.weight_depth)
        for n, pair in enumerate(pairs):
            chosen = store.write & (bus.field(word_bits, pair_bits) == n)
            m.d.comb += [
                pair.w_address.eq(store.row),
                pair.w_data.eq(bus.data),
                pair.w_enable.eq(Mux(chosen, 1 << bus.field(0, word_bits), 0)),
            ]
        word_bits = ceil_log2(params.vector_words)
        store = bus.store(Region.VECTOR, low=word_bits, depth=params.vector_depth)
        m.d.comb += [
            vector.w_address.eq(store.row),
            vector.w_data.eq(Cat(*[bus.data] * params.vector_words)),
            vector.w_enable.eq(Mux(store.write, 1 << bus.field(0, word_bits), 0)),
        ]
        steps, unit_bits = params.tile_steps, params.unit_bits
        store = bus.store(
            Region.ROWS, low=ceil_log2(ROW_WORDS) + unit_bits, depth=params.tiles * steps
        )
        field = bus.field(0, ceil_log2(ROW_WORDS) + unit_bits)
        m.d.comb += [
            results.w_address.eq(store.row),
            results.w_data.eq(bus.data),
            results.w_enable.eq(Mux(store.write, 1 << field, 0)),
        ]
        store = bus.store(Region.RESULT, low=unit_bits, depth=params.result_tiles * steps)
        m.d.comb += results.r_address.eq(store.row)
        bus.answer(m, store, [(u, value) for u, value in enumerate(results.value)], bits=unit_bits)
        bus.finish(m)
