"""The array against `BucketProduct`, every row in its cycle: at full speed and with idle cycles.

Values: `arrays`, by name in the bundle the parameters `engine` and how many `outputs` per test.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from gateware.column import accumulator_widths, limb_widths
from gateware.segment import drain_row, row_address_bits
from model.engine import EngineParameters, ceil_log2
from model.golden.array import BucketProduct
from model.layout import codebook_store, index_rows, index_store
from sim.bench import parameters
from sim.bundle import Part
from sim.scoreboard import Scoreboard
from sim.streams import Pause, bursts, never, pack, signed, sometimes, start
from sim.upsets import flip, memory

KINDS = ("none", "idle", "bursts")
VECTORS = 6
"""Vectors for each matrix, because loading one takes longer than multiplying by it."""
PRODUCTS = 16


def latency(engine: EngineParameters) -> int:
    """Cycles from a tile's last drain cycle to its first row, 3 of the first segment, 1 of each
    further one, 6 or 7 of the column, 1 to be sent."""
    split = engine.multiplier == "18x18" and engine.entry_bits > 18
    return 3 + engine.segments - 1 + (7 if split else 6) + 1


class Product:
    """A random matrix, and vectors drawn so that the extremes occur."""

    def __init__(self, engine: EngineParameters, rng: np.random.Generator, k: int) -> None:
        self.engine, self.rng, self.k = engine, rng, k
        self.tiles = int(rng.integers(1, min(4, engine.slots // engine.stages) + 1))
        self.rows = self.tiles * engine.tile_rows - int(rng.integers(0, engine.tile_rows))
        self.columns = int(rng.integers(1, engine.max_columns + 1))
        if rng.random() < 0.25:  # so short that tiles have to wait for the drains of the last
            self.columns = min(self.columns, 3 * engine.segments)
        self.entries = self._draw(engine.entry_bits, (self.rows, self.k))
        self.indices = rng.integers(0, self.k, (self.rows, self.columns))
        if rng.random() < 0.2:  # one bucket takes all: the largest sums, and a hazard if any
            self.indices[:] = rng.integers(0, self.k)
        self.slot = int(rng.integers(0, engine.slots - self.tiles * engine.stages + 1))

    def vector(self) -> np.ndarray:
        return self._draw(self.engine.activation_bits, (self.columns,))

    def _draw(self, bits: int, shape: tuple[int, ...]) -> np.ndarray:
        low, high, rng = -(1 << bits - 1), (1 << bits - 1) - 1, self.rng
        kind = rng.random()
        if kind < 0.15:
            return np.full(shape, low if rng.random() < 0.7 else high)
        if kind < 0.3:
            return rng.choice([low, high, 0, -1, 1], shape)
        return rng.integers(low, high, shape, endpoint=True)

    def golden(self, x: np.ndarray) -> np.ndarray:
        """Results (tiles, stages, columns) of all rows, 0 for those that pad the last tile."""
        engine = self.engine
        product = BucketProduct(
            activation_bits=engine.activation_bits, entry_bits=engine.entry_bits
        )
        full = np.zeros(self.tiles * engine.tile_rows, np.int64)
        full[: self.rows] = product.compute(self.entries, self.indices, x)
        return full.reshape(self.tiles, engine.stages, engine.columns)


class ArrayBench:
    """An array, and by cycle from the last reset on what it is given and what it must send."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.engine = engine = EngineParameters(**parameters()["arrays"][name]["engine"])
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        self.rng = np.random.default_rng(self.source.getrandbits(64))
        self.stages = [self._part(dut, g) for g in range(engine.stages)]
        self.book = memory(dut, f"part_{name}", "column_0", "book", "ram")
        self.layout = [
            *((f"x{s}", -engine.activation_bits) for s in range(engine.segments)),
            ("address", row_address_bits(engine)), ("use", 1), ("drain", 1), ("first", 1),
            ("last", 1), ("start", 1),
        ]  # fmt: skip
        self.low_bits, self.high_bits = accumulator_widths(engine)
        self.limb = limb_widths(engine)[0]
        self.slot_bits = ceil_log2(engine.slots) or 1
        self.column_bits = ceil_log2(engine.bank_columns) or 1
        self.board = Scoreboard(name, show=str)
        self.cycle, self.products, self.checked, self.strobes = 0, 0, 0, 0
        self.due: dict[int, tuple[tuple[int | str, ...], str]] = {}

    def _part(self, dut: Any, stage: int) -> Any:
        return memory(dut, f"part_{self.name}", f"stage_{stage}", "segment_0", "store", "ram")

    def silence(self) -> None:
        for port in ("beat__valid", "index_read", "book_read", "book_write"):
            getattr(self.dut, port).value = 0
        for g in range(self.engine.stages):
            getattr(self.dut, f"index_write__{g}").value = 0

    async def load(self, product: Product) -> None:
        """Write indices and codebooks through the link's ports."""
        dut, engine = self.dut, self.engine
        words = index_store(engine, index_rows(engine, product.indices)).reshape(
            -1, *(1 << ceil_log2(n) for n in (engine.stages, engine.segments, engine.index_words))
        )
        for row, g, s, n in np.ndindex(
            len(words), engine.stages, engine.segments, engine.index_words
        ):
            dut.index_address.value, dut.w_data.value = row, int(words[row, g, s, n])
            enable = getattr(dut, f"index_write__{g}")
            enable.value = 1 << s * engine.index_words + n
            await RisingEdge(dut.clk)
            enable.value = 0
        book = codebook_store(engine, product.entries).reshape(
            -1, 1 << ceil_log2(engine.columns), engine.buckets
        )
        for slot, m, k in np.ndindex(len(book), engine.columns, product.k):
            dut.book_address.value = (product.slot + slot) * engine.buckets + k
            dut.w_data.value = int(book[slot, m, k])
            dut.book_write.value = 1 << m
            await RisingEdge(dut.clk)
        dut.book_write.value = 0
        dut.slot_base.value = product.slot

    def beats(self, product: Product, x: np.ndarray, pause: Pause) -> Iterator[int | None]:
        """All tiles, `tile_cycles` apart but for pauses: the payload of each cycle."""
        engine, k = self.engine, product.k
        beats = engine.beats(product.columns)
        padded = np.zeros(beats * engine.segments, np.int64)
        padded[: product.columns] = x
        inputs = padded.reshape(beats, engine.segments).tolist()
        golden = product.golden(x)
        self.products = (self.products + 1) % PRODUCTS
        gap = engine.tile_cycles(product.columns, k) - k - beats
        for tile in range(product.tiles):
            for n in range(beats):
                while pause():
                    yield None
                yield self.payload(inputs[n], address=tile * beats + n)
            while pause():
                yield None
            # Within a drain no cycle may be idle: the next stage's follows.
            for n in range(k):
                if n == k - 1:
                    self.expect(product, tile, golden[tile])
                yield self.draining(n, last=n == k - 1, start=tile == 0 and n == 0)
            yield from [None] * gap

    def payload(self, x: list[int] | None = None, **marks: int) -> int:
        values = {f"x{s}": 0 if x is None else x[s] for s in range(self.engine.segments)}
        none = {"drain": 0, "first": 0, "last": 0, "start": 0}
        return pack(self.layout, **values, **(none | marks), use=1)

    def draining(self, n: int, *, last: bool = False, start: bool = False) -> int:
        return self.payload(
            address=drain_row(self.engine) + n, drain=1, first=int(n == 0), last=int(last),
            start=int(start),
        )  # fmt: skip

    def expect(self, product: Product, tile: int, rows: np.ndarray) -> None:
        """This cycle is the last of a tile's drain: when which row must come, from every bank."""
        engine = self.engine
        for g in range(engine.stages):
            first = self.cycle + latency(engine) + g * engine.slot_cycles
            for c in range(engine.bank_columns):
                own = rows[g, c :: engine.bank_columns].tolist()
                where = product.slot + tile * engine.stages + g, c, self.products
                note = f"K {product.k}, {product.rows} x {product.columns}, tile {tile}, stage {g}"
                self.due[first + c] = (*where, *own), note

    async def play(self, payloads: Iterator[int | None]) -> None:
        """Drive a payload per cycle, rubbish where there is none, and compare what comes."""
        dut = self.dut
        mask = (1 << len(dut.beat__payload)) - 1
        for payload in payloads:
            dut.beat__valid.value = int(payload is not None)
            dut.beat__payload.value = (
                self.source.getrandbits(64) * 0x5A5A5A & mask if payload is None else payload
            )
            await FallingEdge(dut.clk)
            self._compare()
            self.cycle += 1
            await RisingEdge(dut.clk)
        dut.beat__valid.value = 0

    def _compare(self) -> None:
        dut = self.dut
        self.strobes += int(dut.corrupt.value)
        due = self.due.pop(self.cycle, None)
        if not int(dut.result__valid.value):
            assert due is None, f"{self.name}: nothing in the cycle of {due}"
            return
        assert due is not None, f"{self.name}: a row in cycle {self.cycle}, which is none's"
        where = int(dut.result__payload.value)
        slot = where & (1 << self.slot_bits) - 1
        column = where >> self.slot_bits & (1 << self.column_bits) - 1
        product = where >> self.slot_bits + self.column_bits
        wanted, note = due
        rows = [self._row(b) for b in range(len(wanted) - 3)]
        self.board.expect(wanted, note)
        self.board.receive((slot, column, product, *rows))
        self.checked += len(rows)

    def _row(self, bank: int) -> int | str:
        word = int(getattr(self.dut, f"rows__{bank}").value)
        low = signed(word & (1 << self.low_bits) - 1, self.low_bits)
        high = signed(word >> self.low_bits & (1 << self.high_bits) - 1, self.high_bits)
        if word >> self.low_bits + self.high_bits:
            return "mismatch"
        return (high << self.limb) + (low if self.limb else 0)

    async def flush(self) -> None:
        """Drain every bucket, as the sequencer does after a reset, and let everything come out."""
        engine = self.engine
        await self.play(iter([self.draining(n) for n in range(engine.buckets)]))
        await self.settle()

    async def settle(self) -> None:
        """Wait for the last result, and a little longer for surplus ones."""
        engine = self.engine
        rest = (engine.stages + 1) * engine.slot_cycles + engine.segments + 13
        await self.play(iter([None] * rest))
        assert not self.due, f"{self.name}: {len(self.due)} rows are missing"


async def begin(dut: Any, label: str) -> list[ArrayBench]:
    benches = [ArrayBench(dut, name, label) for name in parameters()["arrays"]]
    for bench in benches:
        bench.silence()
    await start(dut)
    for bench in benches:
        await bench.flush()
    return benches


def pauses(bench: ArrayBench, kind: str) -> Pause:
    source = bench.source
    return {"none": never, "idle": sometimes(source, 0.3), "bursts": bursts(source, 9)}[kind]


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def equals_golden(dut: Any, kind: str) -> None:
    """As many random outputs as asked for, of every array in the bundle; every K."""
    for bench in await begin(dut, kind):
        pause = pauses(bench, kind)
        ks: list[int] = []
        used: set[int] = set()
        outputs = parameters()["arrays"][bench.name]["outputs"]
        while bench.checked < outputs or len(used) < bench.engine.buckets:
            ks = ks or bench.source.sample(range(1, bench.engine.buckets + 1), bench.engine.buckets)
            product = Product(bench.engine, bench.rng, ks.pop())
            used.add(product.k)
            await bench.load(product)
            for _ in range(VECTORS):
                await bench.play(bench.beats(product, product.vector(), pause))
            await bench.settle()
        bench.board.finish()
        assert not bench.strobes, f"{bench.name}: corrupt"
        dut._log.info(f"{bench.name}: {bench.checked} equal golden, seed {cocotb.RANDOM_SEED}")


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def reaches_the_largest_sums(dut: Any) -> None:
    """The longest rows of nothing but most negative factors, all in one bucket, or one in each."""
    for bench in await begin(dut, "extremes"):
        engine = bench.engine
        for spread in (False, True):
            product = Product(engine, bench.rng, engine.buckets)
            product.columns = engine.max_columns
            shape = product.rows, product.columns
            product.entries[:] = -(1 << engine.entry_bits - 1)
            product.indices = np.full(shape, engine.buckets - 1)
            if spread:
                product.indices[:] = np.arange(product.columns) % engine.buckets
            await bench.load(product)
            x = np.full(product.columns, -(1 << engine.activation_bits - 1))
            largest = product.columns << engine.entry_bits + engine.activation_bits - 2
            assert (product.golden(x).reshape(-1)[: product.rows] == largest).all()
            # Buckets count on: after some vectors each has gone round more than once.
            for _ in range(3):
                await bench.play(bench.beats(product, x, never))
            await bench.settle()
        bench.board.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def sigma_sees_an_index_beyond_k(dut: Any) -> None:
    """Inputs in a bucket that is not drained: mismatch, of those rows alone, until a flush."""
    for bench in await begin(dut, "sigma"):
        engine = bench.engine
        k = bench.source.randint(1, engine.buckets - 1)
        product = Product(engine, bench.rng, k)
        good = product.indices.copy()
        bad = sorted(bench.source.sample(range(product.rows), -(-product.rows // 3)))
        product.indices[bad, bench.source.randrange(product.columns)] = k
        x = np.ones(product.columns, np.int64)
        await bench.load(product)
        product.indices = good
        play = bench.beats(product, x, never)
        for payload in play:
            await bench.play(iter([payload]))
            mark(bench, product, bad)
        await bench.settle()
        product.indices = good
        await bench.load(product)
        await bench.flush()
        await bench.play(bench.beats(product, x, never))
        await bench.settle()
        bench.board.finish()


def mark(bench: ArrayBench, product: Product, bad: list[int]) -> None:
    """What is due of these rows is a mismatch."""
    width = bench.engine.bank_columns
    for cycle, ((slot, column, number, *rows), note) in bench.due.items():
        first = (int(slot) - product.slot) * bench.engine.columns + int(column)
        marked = ["mismatch" if first + b * width in bad else row for b, row in enumerate(rows)]
        bench.due[cycle] = (slot, column, number, *marked), note


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def sees_upset_words(dut: Any) -> None:
    """A flipped bit of an index word of any stage, or of an entry, that a product uses."""
    for bench in await begin(dut, "upsets"):
        engine = bench.engine
        product = Product(engine, bench.rng, bench.source.randint(1, engine.buckets))
        await bench.load(product)
        x = np.zeros(product.columns, np.int64)
        rows = product.tiles * engine.beats(product.columns)
        entry = product.slot * engine.buckets
        # The parity bits themselves, so that every row stays what it is.
        used = [(stage, bench.source.randrange(rows) // engine.fold, 32) for stage in bench.stages]
        used.append((bench.book, entry + bench.source.randrange(product.k), engine.entry_bits))
        for words, address, bit in used:
            for wrong in (True, False):
                flip(words, address, bit)
                bench.strobes = 0
                await bench.play(bench.beats(product, x, never))
                await bench.settle()
                assert bool(bench.strobes) == wrong, f"{bench.name}: {bench.strobes} strobes"
        bench.board.finish()
