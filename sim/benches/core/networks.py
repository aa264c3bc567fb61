"""The array core through its bus: random networks against the golden model, cycle for cycle.

Values: `engines`, the parameters of the core of each name in the bundle; `networks` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from dpnet.model.engine.layout import Region
from dpnet.model.engine.parameters import EngineParameters, ceil_log2
from dpnet.sim.kit.bench import kinds, parameters, rounds
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.core_driver import CoreDriver, attach
from dpnet.sim.kit.random_networks import Batches, Layer, Network
from dpnet.sim.kit.streams import bursts, never, sometimes, start

KINDS = kinds("none", "idle", "bursts")
ENGINES = {
    name: EngineParameters(**sizes) for name, sizes in parameters().get("engines", {}).items()
}
"""The engines of the bundle."""
NAMES = tuple(ENGINES)
FLOATS = tuple(name for name, engine in ENGINES.items() if engine.fp32)
"""Those that take fp32 and give it; the others have integers alone."""
WHOLE = tuple(name for name in FLOATS if ENGINES[name].integer)
"""Those that have both."""
NONFINITE, RANGE, SIGMA, OVERFLOW, PARITY = 1, 2, 4, 8, 16
NAN, INFINITY = 0x7FC00000, 0x7F800000


class Core:
    """A core, its engine, and what its result buffer must hold."""

    def __init__(self, name: str, dut: Any, kind: str, label: str) -> None:
        self.name = name
        self.engine = ENGINES[name]
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {kind} {label}")
        pause = {
            "none": never,
            "idle": sometimes(self.source, 0.3),
            "bursts": bursts(self.source, 9),
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
        for port in ("bus__read", "bus__write", "start", "abort"):
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
    networks = parameters()["networks"] if kind == "idle" else rounds(parameters()["networks"])
    for _ in range(networks):
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
    if networks == parameters()["networks"]:
        assert len(shapes) >= 25, f"{core.name}: only {len(shapes)} shapes"
        assert ks == set(range(1, core.engine.buckets + 1)), f"{core.name}: only K {sorted(ks)}"


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def runs_back_to_back(dut: Any, name: str) -> None:
    """The same layers again and again with other inputs, started as soon as the core is free."""
    core = await begin(dut, name, "again")
    network = Network(core.engine, core.rng)
    await core.load(network)
    for _ in range(rounds(25)):
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
    for _ in range(rounds(20)):
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


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, kind=KINDS)
async def takes_vectors_back_to_back(dut: Any, name: str, kind: str) -> None:
    """1 to 6 vectors a run: every result, the exact cycles, nothing written elsewhere."""
    core = await begin(dut, name, "batch", kind)
    taken: set[int] = set()
    waits = 0
    batches = parameters()["batches"] if kind == "idle" else rounds(parameters()["batches"])
    for _ in range(batches):
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
    assert len(taken) >= 3, f"{core.name}: only {taken} vectors"
    # Only a single stage is fast enough for the next scan to be late.
    assert waits > batches or core.engine.stages > 1, f"{core.name}: {waits} products had to wait"
    dut._log.info(f"{core.name}: {taken} vectors, {waits} runs with intervals beyond the product")
