"""The array core through its bus: random networks against the golden model, cycle for cycle.

Values: `engines`, the parameters of the core of each name in the bundle; `networks` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from model.engine import EngineParameters, ceil_log2
from model.layout import Descriptor, Region, slot_words
from sim.bench import parameters
from sim.bundle import Part
from sim.core_driver import CoreDriver, attach
from sim.networks import Batches, Layer, Network
from sim.streams import bursts, never, sometimes, start
from sim.upsets import flip, memory

KINDS = ("none", "idle", "bursts")
NAMES = ("full", "int8", "lane")
FLOATS = ("full", "lane")
"""Engines that take fp32 and give it; the others have integers alone."""
NONFINITE, RANGE, SIGMA, OVERFLOW, PARITY = 1, 2, 4, 8, 16
NAN, INFINITY = 0x7FC00000, 0x7F800000


class Core:
    """A core, its engine, and what its result buffer must hold."""

    def __init__(self, name: str, dut: Any, kind: str, label: str) -> None:
        self.name = name
        self.engine = EngineParameters(**parameters()["engines"][name])
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind} {label}")
        pause = {
            "none": never, "idle": sometimes(self.source, 0.3), "bursts": bursts(self.source, 9)
        }[kind]
        self.driver: CoreDriver = attach(Part(dut, name), name, pause)
        self.rng = np.random.default_rng(self.source.getrandbits(64))
        self.held: dict[int, int] = {}

    async def load(self, network: Network) -> None:
        """The image; and NaN in every word of the vector store, which no layer may look at."""
        for address, words in network.image():
            await self.driver.write(address, words)
        engine = self.engine
        beats = engine.vector_rows * engine.row_beats
        await self.driver.write(Region.VECTOR.base, [NAN] * (beats << ceil_log2(engine.segments)))

    async def give(self, network: Network, layer: Layer, words: Any, vector: int = 0) -> None:
        await self.driver.write(*network.input(layer, words, vector))

    async def batch(self, network: Network, number: int, vectors: int) -> None:
        """Run a layer for several vectors; note what they must leave."""
        layer = network.layers[number]
        words = [network.vector(layer) for _ in range(vectors)]
        for v, vector in enumerate(words):
            await self.give(network, layer, vector, v)
        cycles = await self.driver.run(number, number, vectors)
        note = f"{self.name}, {vectors} vectors, {vars(layer.descriptor)}"
        assert not self.driver.errors, f"errors {self.driver.errors}, {note}"
        wanted = layer.cycles_of(vectors) + 1
        assert cycles == wanted, f"{cycles} cycles, not {wanted}, {note}"
        for v, vector in enumerate(words):
            self.held |= layer.stored(layer.results(vector), v)

    async def compare(self, note: str) -> None:
        """Every word of the result buffer that was ever written, in address order."""
        await self.driver.expect_at(sorted(self.held.items()), note)

    async def chain(self, network: Network, first: int, last: int) -> None:
        """Run layers that hand on their results; note what they must leave."""
        layers = network.layers[first : last + 1]
        words = network.vector(layers[0])
        await self.give(network, layers[0], words)
        cycles = await self.driver.run(first, last)
        note = f"{self.name}, layers {first} to {last}: {[vars(y.descriptor) for y in layers]}"
        assert cycles == sum(layer.cycles for layer in layers) + 1, f"{cycles} cycles, {note}"
        assert not self.driver.errors, f"errors {self.driver.errors}, {note}"
        for layer in layers:
            words = layer.results(words)
            self.held |= layer.stored(words)


async def begin(dut: Any, name: str, label: str, kind: str = "none") -> Core:
    """Reset, with a driver on one of the cores; the others have nothing to do."""
    for other in NAMES:
        for port in ("bus__read", "bus__write", "start"):
            getattr(Part(dut, other), f"link__{port}").value = 0
    core = Core(name, dut, kind, label)
    await start(dut)
    await core.driver.idle()
    return core


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, kind=KINDS)
async def equals_golden(dut: Any, name: str, kind: str) -> None:
    """Chains of layers: every result, every K, the exact cycles, nothing written elsewhere."""
    core = await begin(dut, name, "golden", kind)
    left: list[int] = []
    shapes, ks = set(), set()
    for _ in range(parameters()["networks"]):
        network = Network(core.engine, core.rng, left)
        await core.load(network)
        for first, last in network.chains:
            # Most times results are looked at only after the next runs.
            await core.chain(network, first, last)
            if core.source.random() < 0.3:
                await core.compare(f"{core.name}, chain {first} to {last}")
        await core.compare(core.name)
        shapes |= {(y.rows, y.columns, y.descriptor.k) for y in network.layers}
        ks |= {y.descriptor.k for y in network.layers}
    core.driver.finish()
    dut._log.info(f"{core.name}: {len(shapes)} shapes, K {sorted(ks)}")
    assert len(shapes) >= 25, f"{core.name}: only {len(shapes)} shapes"
    assert ks == set(range(1, core.engine.buckets + 1)), f"{core.name}: only K {sorted(ks)}"


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def runs_back_to_back(dut: Any, name: str) -> None:
    """The same layers again and again with other inputs, started as soon as the core is free."""
    core = await begin(dut, name, "again")
    network = Network(core.engine, core.rng)
    await core.load(network)
    for _ in range(25):
        first, last = core.source.choice(network.chains)
        words = network.vector(network.layers[first])
        await core.give(network, network.layers[first], words)
        cycles = [await core.driver.run(first, last) for _ in range(3)]
        assert len(set(cycles)) == 1, f"{core.name}: the same run took {cycles} cycles"
        for layer in network.layers[first : last + 1]:
            words = layer.results(words)
            core.held |= layer.stored(words)
    assert not core.driver.errors
    await core.compare(core.name)
    core.driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def a_reset_leaves_nothing_behind(dut: Any, name: str) -> None:
    """A reset in any cycle of a run; the next run is right, as the stores keep the image."""
    core = await begin(dut, name, "reset")
    network = Network(core.engine, core.rng)
    await core.load(network)
    for _ in range(20):
        first, last = core.source.choice(network.chains)
        longest = sum(layer.cycles for layer in network.layers[first : last + 1])
        await core.give(network, network.layers[first], network.vector(network.layers[first]))
        await core.driver.start(first, last)
        for _ in range(core.source.randint(0, longest)):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        for _ in range(core.source.randint(1, 3)):
            await RisingEdge(dut.clk)
        dut.rst.value = 0
        await core.driver.idle()
        core.held = {}
        await core.chain(network, *core.source.choice(network.chains))
        await core.compare(f"{core.name} after a reset")
    core.driver.finish()


def alone(core: Core, **changes: Any) -> tuple[Network, Layer]:
    """A network with its longest layer put first and changed, to run it on its own."""
    network = Network(core.engine, core.rng)
    layer = max(network.layers, key=lambda layer: layer.columns)
    fresh = {"forward": False, "fp32_in": False} | changes
    layer.descriptor = Descriptor(**{**vars(layer.descriptor), **fresh})
    network.layers.remove(layer)
    network.layers.insert(0, layer)
    return network, layer


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=FLOATS)
async def refuses_what_is_not_finite(dut: Any, name: str) -> None:
    """A NaN or infinity anywhere in the vector: an error, no result, and no later layer."""
    core = await begin(dut, name, "nonfinite")
    network, layer = alone(core, fp32_in=True, fp32_out=True)
    await core.load(network)
    good = network.vector(layer)
    await core.give(network, layer, good)
    assert await core.driver.run(0, 0) == layer.cycles + 1
    core.held = layer.stored(layer.results(good))
    for place in {0, layer.columns - 1, core.source.randrange(layer.columns)}:
        for bad in (NAN, INFINITY, INFINITY | 1 << 31, 0x7F800001, 0xFFFFFFFF):
            words = network.vector(layer)
            words[place] = bad
            await core.give(network, layer, words)
            cycles = await core.driver.run(0, len(network.layers) - 1)
            assert core.driver.errors == NONFINITE, f"{core.driver.errors}, {bad:#x} at {place}"
            assert cycles <= 3 + core.engine.scan_cycles(layer.columns) + 1
    await core.compare(f"{core.name} after refusals")
    await core.give(network, layer, good)
    assert await core.driver.run(0, 0) == layer.cycles + 1
    assert not core.driver.errors
    core.driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def reports_integers_beyond_their_width(dut: Any, name: str) -> None:
    """One more than an activation can be, either way, in the first or the last place."""
    core = await begin(dut, name, "range")
    engine = core.engine
    network, layer = alone(core)
    await core.load(network)
    for place in {0, layer.columns - 1}:
        for value in (1 << engine.activation_bits - 1, -(1 << engine.activation_bits - 1) - 1):
            words = network.vector(layer)
            words[place] = value & 0xFFFFFFFF
            await core.give(network, layer, words)
            await core.driver.run(0, 0)
            assert core.driver.errors == RANGE, f"{core.name}: {value} at {place}"
    core.held = {}
    good = network.vector(layer)
    await core.give(network, layer, good)
    await core.driver.run(0, 0)
    core.held = layer.stored(layer.results(good))
    await core.compare(f"{core.name} after refusals")
    core.driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=FLOATS)
async def reports_an_overflow_of_fp32(dut: Any, name: str) -> None:
    """Infinity is written where a result is too large, and reported."""
    core = await begin(dut, name, "overflow")
    network, layer = alone(core, fp32_out=True)
    words = network.vector(layer)
    # As large as a row's exponent may be for half of the rows, and no overflow for the others.
    layer.exponent[:] = 127 * (np.arange(layer.rows) % 2)
    results = layer.results(words)
    if layer.rows > 1:
        assert (results & INFINITY == INFINITY).any(), "the bench made no overflow"
    await core.load(network)
    await core.give(network, layer, words)
    await core.driver.run(0, 0)
    overflows = bool((results & INFINITY == INFINITY).any())
    assert core.driver.errors == OVERFLOW * overflows, core.name
    core.held = layer.stored(results)
    await core.compare(core.name)
    core.driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def requantizer_takes_40_bits(dut: Any) -> None:
    """Accumulators at and beyond both ends of the requantizer's 40 bits."""
    core = await begin(dut, "full", "forty")
    network, layer = alone(core, k=2, relu=False, out_bits=25, fp32_out=False)
    layer.entries = np.tile([1 << 20, -1], (layer.rows, 1))
    layer.indices[:] = 0
    layer.indices[:, 1] = 1
    layer.bias[:], layer.multiplier[:], layer.shift[:] = 0, 1, 16
    await core.load(network)
    for high, low, fits in ((1, 1, True), (1, 0, False), (-1, 0, True), (-1, 1, False)):
        words = np.zeros(layer.columns, np.int64)
        words[:2] = high << 19, low
        stored = (words & 0xFFFFFFFF).astype(np.uint32)
        assert (layer.accumulators(stored) == (high << 39) - low).all()
        await core.give(network, layer, stored)
        await core.driver.run(0, 0)
        assert core.driver.errors == (0 if fits else RANGE), f"{(high << 39) - low}"
        if fits:
            core.held = layer.stored(layer.results(stored))
            await core.compare(core.name)
    core.driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def sigma_sees_an_index_beyond_k(dut: Any, name: str) -> None:
    """Inputs that land in a bucket that is not drained are missing, and Σ says so, of every vector;
    the next run is right, although it drains that bucket: the core has emptied it.
    """
    core = await begin(dut, name, "sigma")
    network = Batches(core.engine, core.rng)
    number = min(range(len(network.layers)), key=lambda n: network.layers[n].descriptor.k)
    layer = network.layers[number]
    layer.descriptor = Descriptor(**{**vars(layer.descriptor), "k": 1})
    layer.entries, good = layer.entries[:, :1], 0 * layer.indices
    layer.indices = good.copy()
    layer.indices[-1, -1] = 1
    other = next(n for n, y in enumerate(network.layers) if y.descriptor.k > 1)
    await core.load(network)
    for vectors in range(1, layer.most_vectors + 1):
        for v in range(vectors):
            words = network.vector(layer)
            words[-1] = 0x3F800000 if layer.descriptor.fp32_in else 1
            await core.give(network, layer, words, v)
        cycles = await core.driver.run(number, number, vectors)
        assert core.driver.errors & SIGMA, f"{core.name}: errors {core.driver.errors}"
        assert cycles == layer.cycles_of(vectors) + 1, f"{core.name}: {cycles} cycles"
        await core.batch(network, other, 1)
        await core.batch(network, other, network.layers[other].most_vectors)
    layer.indices = good
    await core.load(network)
    core.held = {}
    await core.batch(network, number, layer.most_vectors)
    await core.compare(core.name)
    core.driver.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, kind=KINDS)
async def takes_vectors_back_to_back(dut: Any, name: str, kind: str) -> None:
    """1 to 6 vectors a run: every result, the exact cycles, nothing written elsewhere."""
    core = await begin(dut, name, "batch", kind)
    taken: set[int] = set()
    waits = 0
    for _ in range(parameters()["batches"]):
        network = Batches(core.engine, core.rng, core.source.choices([1, 2], k=8))
        await core.load(network)
        for number, layer in enumerate(network.layers):
            vectors = core.source.randint(1, min(6, layer.most_vectors))
            await core.batch(network, number, vectors)
            taken.add(vectors)
            d = layer.descriptor
            interval = core.engine.interval_cycles(d.rows, layer.columns, d.k, fp32_in=d.fp32_in)
            product = d.tiles * core.engine.tile_cycles(layer.columns, d.k)
            waits += vectors > 1 and interval > product
            if core.source.random() < 0.3:
                await core.compare(f"{core.name}, {vectors} vectors")
        await core.compare(core.name)
    core.driver.finish()
    assert len(taken) >= 4, f"{core.name}: only {taken} vectors"
    # Only a single stage is fast enough for the next scan to be late.
    assert waits > 3 or core.engine.stages > 1, f"{core.name}: {waits} products had to wait"
    dut._log.info(f"{core.name}: {taken} vectors, {waits} runs with intervals beyond the product")


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=FLOATS)
async def ends_at_a_vector_that_is_not_finite(dut: Any, name: str) -> None:
    """A NaN or infinity in a later vector: the ones before it are right, no word is written for it
    or behind it, and the run ends as if they had been all.
    """
    core = await begin(dut, name, "abandoned")
    network = Batches(core.engine, core.rng)
    for layer in network.layers:
        layer.descriptor = Descriptor(**{**vars(layer.descriptor), "fp32_in": True})
    await core.load(network)
    seen = 0
    for number, layer in enumerate(network.layers):
        vectors = min(6, layer.most_vectors)
        # All result words of this run are known before it, whatever it writes.
        await core.batch(network, number, vectors)
        wrong = core.source.randrange(vectors)
        bad = core.source.choice([NAN, INFINITY, INFINITY | 1 << 31, 0x7F800001, 0xFFFFFFFF])
        for v in range(vectors):
            words = network.vector(layer)
            if v == wrong:
                words[core.source.randrange(layer.columns)] = bad
            elif v < wrong:
                core.held |= layer.stored(layer.results(words), v)
            await core.give(network, layer, words, v)
        cycles = await core.driver.run(number, number, vectors)
        note = f"{core.name}: vector {wrong} of {vectors}, {vars(layer.descriptor)}"
        assert core.driver.errors == NONFINITE, f"{core.driver.errors}, {note}"
        if wrong:
            wanted = layer.cycles_of(wrong) + 1
            assert cycles == wanted, f"{cycles} cycles, not {wanted}, {note}"
        seen += wrong > 0
        await core.compare(note)
    assert seen >= 3, f"only {seen} runs were abandoned"
    core.driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def sees_upset_words(dut: Any, name: str) -> None:
    """A flipped bit of any store that a run uses is reported; a word written again is sound."""
    core = await begin(dut, name, "parity")
    network, layer = alone(core)
    engine, d, source = core.engine, layer.descriptor, core.source
    # The last row's stage and column, and its place in their stores.
    slot, m = d.slot + (layer.rows - 1) // engine.columns, (layer.rows - 1) % engine.columns
    stage = (layer.rows - 1) // engine.columns % engine.stages
    bank, c = divmod(m, engine.bank_columns)
    row = d.index_row + source.randrange(d.tiles * engine.index_rows(layer.columns, d.k))
    places = {
        "index": (("array", f"stage_{stage}", f"segment_{source.randrange(engine.segments)}",
                   "store", "ram"), row // engine.fold, 33 * engine.index_words),
        "book": (("array", "books", "ram"),
                 slot * engine.buckets + source.randrange(d.k), engine.entry_bits + 1),
        "rows": ((f"post_{bank}", "rows", "ram"),
                 (slot << ceil_log2(engine.bank_columns)) + c, 33 * 4),
        "vectors": (("vectors", "ram"), d.in_row * engine.row_beats, 33 * engine.segments),
        "layers": (("layers", "ram"), 0, 33 * 7),
        **({"exponents": (("exponents", "rows"), d.in_row, 9 * min(d.beats, engine.row_beats))}
           if d.fp32_in else {}),
    }  # fmt: skip
    widths = {"book": engine.entry_bits + 1, "exponents": 9}
    await core.load(network)
    words = network.vector(layer)
    core.held = layer.stored(layer.results(words))
    for store, (path, address, bits) in places.items():
        store_words = memory(dut, f"part_{name}", *path)
        width = widths.get(store, 33)
        lowest = m * width if store == "book" else 0
        for bit in (width - 1, source.randrange(bits // width) * width + width - 1):
            await core.give(network, layer, words)
            await core.driver.settle()
            flip(store_words, address, lowest + bit)
            assert await core.driver.run(0, 0) == layer.cycles + 1
            assert core.driver.errors == PARITY, f"{name}: {store}, errors {core.driver.errors}"
            flip(store_words, address, lowest + bit)
            await core.driver.run(0, 0)
            assert not core.driver.errors, f"{name}: {store}, errors {core.driver.errors}"
            await core.compare(f"{name}, an upset parity bit of {store}")
    # A result that is read back by the host, and is right again once it is written again.
    result = (d.result_slot + (layer.rows - 1) // engine.columns << ceil_log2(engine.bank_columns))
    results = memory(dut, f"part_{name}", f"post_{bank}", "buffer", "ram")
    for errors in (PARITY, 0):
        flip(results, result + c, 32)
        core.driver.errors = 0
        await core.compare(f"{name}, an upset parity bit of a result")
        for _ in range(4):
            await RisingEdge(dut.clk)
        assert core.driver.errors == errors, f"{name}: errors {core.driver.errors}"
    core.driver.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def address_map_has_its_holes(dut: Any, name: str) -> None:
    """Every word address: what is a store keeps its bits, holes and what lies behind read as 0."""
    core = await begin(dut, name, "map")
    engine, source = core.engine, core.source
    stores = [
        (Region.INDEX, index_place, 32), (Region.CODEBOOK, book_place, engine.entry_bits),
        (Region.ROWS, row_place, 32), (Region.LAYERS, layer_place, 32),
        (Region.VECTOR, vector_place, 32),
    ]  # fmt: skip
    written, expected = [], []
    for region, inside, bits in stores:
        # All addresses up to twice the store, and some far behind it.
        last = max(n for n in range(1 << 14) if inside(engine, n))
        far = [1 << bit | source.randrange(1 << 10) for bit in range(15, 26)]
        for n in [*range(2 * last + 9), *far]:
            word = source.getrandbits(32)
            address = region.base // 4 + n
            written.append((address, word))
            expected.append((address, word % (1 << bits) if inside(engine, n) else 0))
    for nowhere in (0, 6, 7, 15):
        written.append((nowhere << 26 | source.randrange(8), source.getrandbits(32)))
    await core.driver.write_at(source.sample(written, len(written)))
    await core.driver.expect_at(source.sample(expected, len(expected)), core.name)
    behind = Region.RESULT.base // 4 + engine.result_slots * slot_words(engine)
    nothing = [(behind + n, 0) for n in range(40)] + [(n << 26, 0) for n in (0, 7, 15)]
    await core.driver.expect_at(nothing, f"{core.name} nowhere")
    # What no address reaches, as the rows that drain, is as it was.
    network = Network(core.engine, core.rng)
    await core.load(network)
    await core.chain(network, *network.chains[0])
    await core.compare(f"{core.name} after writes everywhere")
    core.driver.finish()


def index_place(engine: EngineParameters, n: int) -> bool:
    """Index words: store word, stage, segment, 32-bit word of it."""
    rest, word = divmod(n, power(engine.index_words))
    rest, segment = divmod(rest, power(engine.segments))
    row, stage = divmod(rest, power(engine.stages))
    words = -(-engine.index_depth // engine.fold)
    inside = row < words and stage < engine.stages and segment < engine.segments
    return inside and word < engine.index_words


def book_place(engine: EngineParameters, n: int) -> bool:
    """Codebooks: slot, column, k."""
    slot, column = divmod(n // engine.buckets, power(engine.columns))
    return slot < engine.slots and column < engine.columns


def row_place(engine: EngineParameters, n: int) -> bool:
    """Row parameters: slot, bank, column of the bank, word."""
    rest, column = divmod(n // 4, power(engine.bank_columns))
    slot, bank = divmod(rest, power(engine.banks))
    return slot < engine.slots and bank < engine.banks and column < engine.bank_columns


def layer_place(engine: EngineParameters, n: int) -> bool:
    return n < 8 * engine.layers


def vector_place(engine: EngineParameters, n: int) -> bool:
    """Vector: row, beat, segment."""
    beat, segment = divmod(n, power(engine.segments))
    return beat < engine.vector_rows * engine.row_beats and segment < engine.segments


def power(n: int) -> int:
    """The power of two that has room for n."""
    size = 1
    while size < n:
        size *= 2
    return size
