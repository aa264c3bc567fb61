"""The array against `BucketProduct`, with tiles at full speed and with idle cycles anywhere.

Values: `arrays`, by name in the bundle the parameters `engine` and how many `outputs` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge, with_timeout

from gateware.stage import drain_row, row_address_bits
from model.engine import EngineParameters, ceil_log2
from model.golden.array import BucketProduct
from model.layout import codebook_store, index_rows, index_store
from sim.bench import parameters
from sim.bundle import Part
from sim.streams import PERIOD_NS, bursts, never, pack, signed, sometimes, start

KINDS = ("none", "idle", "bursts")
VECTORS = 6
"""Vectors for each matrix, because loading one takes longer than multiplying by it."""


class Product:
    """A random matrix and vector, drawn so that the extremes occur."""

    def __init__(self, engine: EngineParameters, rng: np.random.Generator) -> None:
        tiles = min(4, engine.slots // engine.stages)
        self.rows = int(rng.integers(1, tiles * engine.tile_rows + 1))
        self.columns = int(rng.integers(1, engine.max_columns + 1))
        self.k = int(rng.choice([k for k in (2, 4, 8, 16) if k <= engine.buckets]))
        self.entries = self._draw(rng, engine.entry_bits, (self.rows, self.k))
        self.indices = rng.integers(0, self.k, (self.rows, self.columns))
        if rng.random() < 0.2:  # one bucket takes all: the largest sums, and a hazard if any
            self.indices[:] = rng.integers(0, self.k)
        self.vector(engine, rng)

    def vector(self, engine: EngineParameters, rng: np.random.Generator) -> None:
        """Draw another vector for the same matrix."""
        self.x = self._draw(rng, engine.activation_bits, (self.columns,))

    @staticmethod
    def _draw(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> np.ndarray:
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        kind = rng.random()
        if kind < 0.15:
            return np.full(shape, low if rng.random() < 0.5 else high)
        if kind < 0.3:
            return rng.choice([low, high, 0, -1, 1], shape)
        return rng.integers(low, high, shape, endpoint=True)

    def golden(self, engine: EngineParameters) -> np.ndarray:
        product = BucketProduct(
            activation_bits=engine.activation_bits, entry_bits=engine.entry_bits
        )
        return product.compute(self.entries, self.indices, self.x)


async def load(dut: Any, engine: EngineParameters, product: Product, slot: int) -> None:
    """Write indices and codebooks through the link's ports."""
    words = index_store(engine, index_rows(engine, product.indices))
    word_bits, stage_bits = ceil_log2(engine.index_words), ceil_log2(engine.stages)
    for n, word in enumerate(words):
        stage = n >> word_bits & (1 << stage_bits) - 1
        if stage >= engine.stages or n & (1 << word_bits) - 1 >= engine.index_words:
            continue
        dut.index_address.value = n >> word_bits + stage_bits
        dut.w_data.value = int(word)
        enable = getattr(dut, f"index_write__{stage}")
        enable.value = 1 << (n & (1 << word_bits) - 1)
        await RisingEdge(dut.clk)
        enable.value = 0
    book = codebook_store(engine, product.entries).reshape(
        -1, 1 << ceil_log2(engine.columns), engine.buckets
    )
    for s, m, k in np.ndindex(book.shape[0], engine.columns, product.k):
        dut.book_address.value = (slot + s) * engine.buckets + k
        dut.w_data.value = int(book[s, m, k])
        dut.book_write.value = 1 << m
        await RisingEdge(dut.clk)
    dut.book_write.value = 0


async def feed(dut: Any, engine: EngineParameters, product: Product, idle: Any) -> None:
    """All tiles, each C/S beats and K drain cycles, `tile_cycles` apart but for idle cycles."""
    layout = [
        *((f"x{s}", -engine.activation_bits) for s in range(engine.segments)),
        ("address", row_address_bits(engine)), ("drain", 1), ("first", 1), ("last", 1),
        ("start", 1),
    ]  # fmt: skip
    beats = engine.beats(product.columns)
    x = np.zeros(beats * engine.segments, np.int64)
    x[: product.columns] = product.x
    none = {f"x{s}": 0 for s in range(engine.segments)}
    gap = engine.tile_cycles(product.columns, product.k) - product.k - beats
    for tile in range(engine.tiles(product.rows)):
        for n in range(beats):
            values = {f"x{s}": int(x[n * engine.segments + s]) for s in range(engine.segments)}
            values |= {"address": tile * beats + n, "drain": 0, "first": 0, "last": 0, "start": 0}
            await _beat(dut, pack(layout, **values), idle)
        for n in range(product.k):
            flags = {"drain": 1, "first": n == 0, "last": n == product.k - 1}
            start_flag = tile == 0 and n == 0
            address = drain_row(engine) + n
            await _beat(
                dut, pack(layout, **none, address=address, start=start_flag, **flags),
                never if n else idle,
            )  # fmt: skip
        dut.beat__valid.value = 0
        for _ in range(gap):
            await RisingEdge(dut.clk)


async def _beat(dut: Any, payload: int, idle: Any) -> None:
    dut.beat__valid.value = 0
    # While idle the payload is rubbish: the array must not look at it.
    dut.beat__payload.value = payload ^ 0x5A5A5A % (1 << len(dut.beat__payload))
    while idle():
        await RisingEdge(dut.clk)
    dut.beat__payload.value = payload
    dut.beat__valid.value = 1
    await RisingEdge(dut.clk)


async def gather(dut: Any, engine: EngineParameters, product: Product, slot: int) -> np.ndarray:
    """Every row's result of every tile, padding rows included; fails on a Σ mismatch."""
    bits = engine.accumulator_bits
    slot_bits, column_bits = ceil_log2(engine.slots) or 1, ceil_log2(engine.bank_columns) or 1
    slots = engine.tiles(product.rows) * engine.stages
    received: dict[tuple[int, int], int] = {}
    while len(received) < slots * engine.columns:
        await FallingEdge(dut.clk)
        for b in range(engine.banks):
            if not int(getattr(dut, f"result__{b}__valid").value):
                continue
            word = int(getattr(dut, f"result__{b}__payload").value)
            where = word >> bits
            key = (
                (where & (1 << slot_bits) - 1) - slot,
                b * engine.bank_columns + (where >> slot_bits & (1 << column_bits) - 1),
            )
            assert key not in received, f"row {key} came twice"
            assert not where >> slot_bits + column_bits, f"Σ mismatch at {key} without a fault"
            received[key] = signed(word & (1 << bits) - 1, bits)
    return np.array([received[s, m] for s in range(slots) for m in range(engine.columns)])


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def equals_golden(dut: Any, kind: str) -> None:
    """As many random outputs as asked for, of every array in the bundle."""
    arrays = parameters()["arrays"]
    for name in arrays:
        silence(Part(dut, name), EngineParameters(**arrays[name]["engine"]))
    await start(dut)
    for name, values in arrays.items():
        engine = EngineParameters(**values["engine"])
        rng = np.random.default_rng([cocotb.RANDOM_SEED, KINDS.index(kind), *name.encode()])
        checked = 0
        while checked < values["outputs"]:
            checked += await matrix(Part(dut, name), engine, rng, kind)
        dut._log.info(f"{name}: {checked} outputs equal golden, seed {cocotb.RANDOM_SEED}")


def silence(dut: Any, engine: EngineParameters) -> None:
    for port in ("beat__valid", "index_read", "book_read", "book_write"):
        getattr(dut, port).value = 0
    for g in range(engine.stages):
        getattr(dut, f"index_write__{g}").value = 0


async def matrix(dut: Any, engine: EngineParameters, rng: np.random.Generator, kind: str) -> int:
    """Load a matrix, and multiply it by `VECTORS` vectors; how many outputs were right."""
    source = random.Random(int(rng.integers(1 << 32)))
    idle = {"none": never, "idle": sometimes(source, 0.3), "bursts": bursts(source, 9)}[kind]
    product = Product(engine, rng)
    tiles = engine.tiles(product.rows)
    slot = int(rng.integers(0, engine.slots - tiles * engine.stages + 1))
    await load(dut, engine, product, slot)
    dut.slot_base.value = slot
    for _ in range(VECTORS):
        product.vector(engine, rng)
        begin = cocotb.utils.get_sim_time("ns")
        cocotb.start_soon(feed(dut, engine, product, idle))
        limit = 40 * (tiles + 1) * engine.tile_cycles(product.columns, product.k)
        got = await with_timeout(
            gather(dut, engine, product, slot), (limit + 2000) * PERIOD_NS, "ns"
        )
        cycles = round((cocotb.utils.get_sim_time("ns") - begin) / PERIOD_NS + 0.5)
        await RisingEdge(dut.clk)
        assert np.array_equal(got[: product.rows], product.golden(engine)), f"{vars(product)}"
        if kind == "none":
            assert cycles == engine.array_cycles(product.rows, product.columns, product.k)
    for _ in range(engine.slot_cycles + 4):
        await FallingEdge(dut.clk)
        for b in range(engine.banks):
            assert not int(getattr(dut, f"result__{b}__valid").value), "a surplus result"
    await RisingEdge(dut.clk)
    return VECTORS * product.rows
