"""The array core's errors: what cannot be computed, and what changed in the stores, is reported.

Values as in `dpnet.sim.benches.core.networks`.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from dpnet.model.engine.layout import Descriptor
from dpnet.model.engine.parameters import ceil_log2
from dpnet.sim.benches.core.networks import (
    FLOATS,
    INFINITY,
    NAMES,
    NAN,
    NONFINITE,
    OVERFLOW,
    PARITY,
    RANGE,
    SIGMA,
    WHOLE,
    Core,
    begin,
)
from dpnet.sim.kit.random_networks import Batches, Layer, Network
from dpnet.sim.kit.upsets import flip, memory


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
@cocotb.parametrize(name=WHOLE)
async def requantizer_takes_40_bits(dut: Any, name: str) -> None:
    """Accumulators at and beyond both ends of the requantizer's 40 bits."""
    core = await begin(dut, name, "forty")
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
        "index": (
            (
                "array",
                f"stage_{stage}",
                f"segment_{source.randrange(engine.segments)}",
                "store",
                "ram",
            ),
            row // engine.fold,
            33 * engine.index_words,
        ),
        "book": (
            ("array", "books", "ram"),
            slot * engine.buckets + source.randrange(d.k),
            engine.entry_bits + 1,
        ),
        "rows": (
            (f"post_{bank}", "rows", "ram"),
            (slot << ceil_log2(engine.bank_columns)) + c,
            33 * 4,
        ),
        "vectors": (("vectors", "ram"), d.in_row * engine.row_beats, 33 * engine.segments),
        "layers": (("layers", "ram"), 0, 33 * 7),
        **(
            {"exponents": (("exponents", "rows"), d.in_row, 9 * min(d.beats, engine.row_beats))}
            if d.fp32_in
            else {}
        ),
    }
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
    result = d.result_slot + (layer.rows - 1) // engine.columns << ceil_log2(engine.bank_columns)
    results = memory(dut, f"part_{name}", f"post_{bank}", "buffer", "ram")
    for errors in (PARITY, 0):
        flip(results, result + c, 32)
        core.driver.errors = 0
        await core.compare(f"{name}, an upset parity bit of a result")
        for _ in range(4):
            await RisingEdge(dut.clk)
        assert core.driver.errors == errors, f"{name}: errors {core.driver.errors}"
    core.driver.finish()
