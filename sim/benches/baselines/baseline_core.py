"""The baseline cores through their bus against their golden models, and their cycles.

Values: `sizes` of the parameters; `interleaved`, which of the two they are; `runs` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from dpnet.model.engine.baseline import BaselineParameters, InterleavedParameters
from dpnet.model.engine.layout import Descriptor, Region
from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.core_driver import CoreDriver, attach
from dpnet.sim.kit.streams import bursts, never, sometimes, start

KINDS = kinds("none", "idle", "bursts")
NONFINITE, OVERFLOW = 1, 8


class Layer:
    """A random matrix and vector in fp32; `kind` says which extremes they have."""

    def __init__(self, rng: np.random.Generator, sizes: BaselineParameters, kind: str) -> None:
        self.sizes = sizes
        self.columns = int(rng.integers(1, min(sizes.columns, 30) + 1))
        self.rows = int(rng.integers(1, min(sizes.rows, 9) + 1))
        scale = {"plain": 0, "tiny": -70, "huge": 62, "nonfinite": 0}[kind]
        self.weights, self.vector = (
            np.float32(rng.normal(0, 1, shape) * 2.0 ** (scale + rng.integers(-3, 4, shape)))
            for shape in ((self.rows, self.columns), (self.columns,))
        )
        self.vector[rng.random(self.columns) < 0.1] = 0
        if kind == "huge":  # the first row's sum overflows, products do not
            self.weights[0], self.vector[0] = 3e38, 1
            self.vector[-1] = 1
        if kind == "nonfinite":
            target = self.weights if rng.random() < 0.5 else self.vector
            target.flat[rng.integers(target.size)] = rng.choice([np.nan, np.inf, -np.inf])

    def results(self) -> np.ndarray:
        return self.sizes.compute(self.weights, self.vector).view(np.uint32)

    def cycles(self) -> int:
        return self.sizes.cycles(self.rows, self.columns)

    def errors(self) -> int:
        finite = np.isfinite(self.weights).all() and np.isfinite(self.vector).all()
        words = self.results()
        special = words >> 23 & 255 == 255
        return NONFINITE * (not finite) | OVERFLOW * bool(special.any())


def sizes_here() -> BaselineParameters:
    """The parameters of the core in this bench."""
    values = parameters()
    kind = InterleavedParameters if values["interleaved"] else BaselineParameters
    return kind(**values["sizes"])


async def give(driver: CoreDriver, layer: Layer, number: int, row: int) -> None:
    descriptor = Descriptor(
        beats=layer.columns,
        tiles=1,
        rows=layer.rows,
        k=1,
        index_row=row,
        slot=0,
        result_slot=0,
        in_row=0,
    )
    weights = layer.weights.view(np.uint32).reshape(-1)
    await driver.write(Region.INDEX.base + 4 * row, weights)
    await driver.write(Region.VECTOR.base, layer.vector.view(np.uint32))
    await driver.write(Region.LAYERS.base + 32 * number, descriptor.words())


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def equals_golden(dut: Any, kind: str) -> None:
    """Random shapes, weights anywhere in the store: every sum bit for bit, and the exact cycles."""
    sizes = sizes_here()
    source = random.Random(f"{cocotb.RANDOM_SEED} {kind}")
    rng = np.random.default_rng(source.getrandbits(64))
    pause = {"none": never, "idle": sometimes(source, 0.3), "bursts": bursts(source, 9)}[kind]
    driver = attach(dut, "baseline", pause)
    await start(dut)
    await driver.idle()
    for number in range(parameters()["runs"]):
        case = ("plain", "plain", "tiny", "huge", "nonfinite")[number % 5]
        layer = Layer(rng, sizes, case)
        row = source.randint(0, sizes.weights - layer.weights.size)
        place = source.choice([0, sizes.layers - 1, source.randrange(sizes.layers)])
        await give(driver, layer, place, row)
        cycles = await driver.run(place, place)
        shape = f"{layer.rows} x {layer.columns} ({case})"
        assert cycles == layer.cycles(), shape
        assert driver.errors == layer.errors(), f"errors {driver.errors}, {shape}"
        await driver.expect(Region.RESULT.base, layer.results(), shape)
    driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def layers_follow_each_other(dut: Any) -> None:
    """Layers `first` to `last` in one run: the last one's sums are what is left."""
    sizes = sizes_here()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    driver = attach(dut, "baseline")
    await start(dut)
    await driver.idle()
    layers, row = [], 0
    for number in range(sizes.layers):
        layer = Layer(rng, sizes, "plain")
        layer.weights, layer.rows = layer.weights[:4], min(4, layer.rows)
        layers.append(layer)
        await give(driver, layer, number, row)
        row += layer.weights.size
        assert row <= sizes.weights
    for first, last in ((0, sizes.layers - 1), (1, 2), (2, 2)):
        vector = rng.normal(0, 1, sizes.columns).astype(np.float32)
        await driver.write(Region.VECTOR.base, vector.view(np.uint32))
        left: dict[int, int] = {}
        for layer in layers[first : last + 1]:
            layer.vector = vector[: layer.columns]
            left |= dict(enumerate(layer.results().tolist()))
        await driver.run(first, last)
        assert not driver.errors
        await driver.expect(Region.RESULT.base, [left[n] for n in range(len(left))])
    driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def a_reset_leaves_nothing_behind(dut: Any) -> None:
    """A reset in any cycle of a run: the next run's sums start from zero."""
    sizes = sizes_here()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    driver = attach(dut, "baseline")
    await start(dut)
    for _ in range(12):
        layer = Layer(rng, sizes, "plain")
        await give(driver, layer, 0, 0)
        await driver.start(0, 0)
        for _ in range(int(rng.integers(layer.cycles()))):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        await driver.idle()
        assert await driver.run(0, 0) == layer.cycles()
        await driver.expect(Region.RESULT.base, layer.results())
    driver.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_run_is_ended(dut: Any) -> None:
    """In any cycle of a run, also of one whose descriptor means nothing: the next one is right."""
    sizes = sizes_here()
    rng = np.random.default_rng(cocotb.RANDOM_SEED)
    driver = attach(dut, "baseline")
    await start(dut)
    await driver.idle()
    for n in range(40):
        layer = Layer(rng, sizes, "plain")
        await give(driver, layer, 0, 0)
        if n % 2:
            garbage = rng.integers(0, 1 << 32, 8)
            garbage[n // 2 % 2] = 0
            await driver.write(Region.LAYERS.base, garbage)
        await driver.start(0, 0)
        for _ in range(int(rng.integers(layer.cycles()))):
            await RisingEdge(dut.clk)
        dut.link__abort.value = 1
        await RisingEdge(dut.clk)
        dut.link__abort.value = 0
        for _ in range(100):
            await RisingEdge(dut.clk)
        assert not driver.busy
        await give(driver, layer, 0, 0)
        assert await driver.run(0, 0) == layer.cycles()
        assert not driver.errors
        await driver.expect(Region.RESULT.base, layer.results())
    driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def address_map_ends(dut: Any) -> None:
    """Every store keeps its words; behind its end reads are 0 and writes vanish."""
    sizes = sizes_here()
    source = random.Random(cocotb.RANDOM_SEED)
    driver = attach(dut, "baseline")
    await start(dut)
    await driver.idle()
    written, expected = [], []
    for region, depth in (
        (Region.INDEX, sizes.weights),
        (Region.VECTOR, sizes.columns),
        (Region.LAYERS, 8 * sizes.layers),
    ):
        for n in [*range(depth + 20), *(1 << bit for bit in range(12, 26))]:
            word = source.getrandbits(32)
            written.append((region.base // 4 + n, word))
            expected.append((region.base // 4 + n, word if n < depth else 0))
    expected += [(Region.RESULT.base // 4 + sizes.rows + n, 0) for n in range(20)]
    expected += [(Region.ROWS.base // 4, 0), (Region.CODEBOOK.base // 4, 0), (0, 0), (15 << 26, 0)]
    await driver.write_at(source.sample(written, len(written)))
    await driver.expect_at(source.sample(expected, len(expected)), "baseline")
    driver.finish()
