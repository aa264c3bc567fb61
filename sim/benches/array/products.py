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

from dpnet.gateware.array.stage import BeatLayout
from dpnet.model.engine.layout import codebook_store, index_rows, index_store
from dpnet.model.engine.parameters import EngineParameters, ceil_log2
from dpnet.model.engine.widths import accumulator_widths, drain_row, limb_widths
from dpnet.model.golden.array import BucketProduct
from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import Pause, bursts, never, pack, signed, sometimes, start
from dpnet.sim.kit.upsets import memory

KINDS = kinds("none", "idle", "bursts")
VECTORS = 6
"""Vectors for each matrix, because loading one takes longer than multiplying by it."""
PRODUCTS = 16
STROBE = 6
"""Cycles to `corrupt`, from an index row's address at its segment: 4 of the store, 1 of the stage
and 1 of the array; as many from a bucket at its column: 1 until the entry's address, 4, 1."""

Ports = dict[str, int]
"""What a cycle gives the link's ports."""


def latency(engine: EngineParameters) -> int:
    """Cycles from a tile's last drain cycle to its first row, 3 of the first segment, 1 of each
    further one, 6 or 7 of the column, 1 to be sent."""
    split = engine.multiplier == "18x18" and engine.entry_bits > 18
    return 3 + engine.segments - 1 + (7 if split else 6) + 1


class Product:
    """A random matrix, and vectors drawn so that the extremes occur."""

    def __init__(
        self, engine: EngineParameters, rng: np.random.Generator, k: int, half: int | None = None
    ) -> None:
        """In all of the stores, or in their first or second half."""
        self.engine, self.rng, self.k = engine, rng, k
        slots = engine.slots if half is None else engine.slots // 2
        self.tiles = int(rng.integers(1, min(4, slots // engine.stages) + 1))
        self.rows = self.tiles * engine.tile_rows - int(rng.integers(0, engine.tile_rows))
        self.columns = int(rng.integers(1, engine.max_columns + 1))
        if rng.random() < 0.25:  # so short that tiles have to wait for the drains of the last
            self.columns = min(self.columns, 3 * engine.segments)
        self.entries = self._draw(engine.entry_bits, (self.rows, self.k))
        self.indices = rng.integers(0, self.k, (self.rows, self.columns))
        # Where the engine packs indices, they may have more bits than they need.
        self.bits = int(rng.integers(max(1, ceil_log2(k)), 5))
        if rng.random() < 0.2:  # one bucket takes all: the largest sums, and a hazard if any
            self.indices[:] = rng.integers(0, self.k)
        self.slot = int(rng.integers(0, slots - self.tiles * engine.stages + 1))
        self.slot += slots * (half or 0)
        self.first_row = engine.index_depth // 2 * (half or 0)

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

    def fill(self) -> None:
        """Let the rows that pad the last tile be rows of the matrix, as they are: all zeros."""
        missing = self.tiles * self.engine.tile_rows - self.rows
        self.entries = np.pad(self.entries, [(0, missing), (0, 0)])
        self.indices = np.pad(self.indices, [(0, missing), (0, 0)])
        self.rows += missing

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
        part = f"part_{name}"
        self.books = memory(dut, part, "books", "ram")
        self.old = memory(dut, part, "old")
        self.stores = [
            [
                memory(dut, part, f"stage_{g}", f"segment_{s}", "store", "ram")
                for s in range(engine.segments)
            ]
            for g in range(engine.stages)
        ]
        self.odd_words: set[tuple[int, int, int]] = set()
        self.odd_entries: set[int] = set()
        fields = {field: shape.width for field, shape in BeatLayout(engine) if field != "x"}
        self.layout = [
            *((f"x{s}", -engine.activation_bits) for s in range(engine.segments)),
            *fields.items(),
        ]
        # Drains take whole nibbles; where an engine cannot pack, nothing says how indices lie.
        self.packs = "mode" in fields
        self.marks = dict.fromkeys(fields, 0) | {"use": 1} | ({"mode": 3} if self.packs else {})
        self.low_bits, self.high_bits = accumulator_widths(engine)
        self.limb = limb_widths(engine)[0]
        self.slot_bits = ceil_log2(engine.slots) or 1
        self.column_bits = ceil_log2(engine.bank_columns) or 1
        self.board = Scoreboard(name, show=str)
        self.cycle, self.products, self.checked, self.strobes = 0, 0, 0, 0
        self.due: dict[int, tuple[tuple[int | str, ...], str]] = {}
        self.due_strobes: set[int] = set()
        self.linked: list[str] = []

    def silence(self) -> None:
        for port in ("beat__valid", "index_read", "book_read", "book_write"):
            getattr(self.dut, port).value = 0
        for g in range(self.engine.stages):
            getattr(self.dut, f"index_write__{g}").value = 0
        # Hides nothing from a product, only from the link's reads.
        self.dut.book_hide.value = (1 << self.engine.columns) - 1

    async def load(self, product: Product) -> None:
        """Write indices and codebooks through the link's ports."""
        for ports in self.writes(product):
            self.link(ports)
            await RisingEdge(self.dut.clk)
        self.link({})
        self.dut.slot_base.value = product.slot

    def link(self, ports: Ports) -> None:
        """Set ports of the link for a cycle; those that write or read are 0 again."""
        for port in self.linked:
            getattr(self.dut, port).value = 0
        for port, value in ports.items():
            getattr(self.dut, port).value = value
        self.linked = [port for port in ports if "_write" in port or "_read" in port]

    def writes(self, product: Product) -> Iterator[Ports]:
        """What loads a product, a word a cycle."""
        engine = self.engine
        words = index_store(engine, index_rows(engine, product.indices, product.bits)).reshape(
            -1, *(1 << ceil_log2(n) for n in (engine.stages, engine.segments, engine.index_words))
        )
        for row, g, s, n in np.ndindex(
            len(words), engine.stages, engine.segments, engine.index_words
        ):
            yield {
                "index_address": product.first_row // engine.fold + row,
                "w_data": int(words[row, g, s, n]),
                f"index_write__{g}": 1 << s * engine.index_words + n,
            }
        book = codebook_store(engine, product.entries).reshape(
            -1, 1 << ceil_log2(engine.columns), engine.buckets
        )
        for slot, m, k in np.ndindex(len(book), engine.columns, product.k):
            yield {
                "book_address": (product.slot + slot) * engine.buckets + k,
                "w_data": int(book[slot, m, k]),
                "book_write": 1 << m,
            }

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
                marks = self.address(product, tile, n)
                self._use_row(marks["address"])
                yield self.payload(inputs[n], **marks)
            while pause():
                yield None
            # Within a drain no cycle may be idle: the next stage's follows.
            for n in range(k):
                if n == k - 1:
                    self.expect(product, tile, golden[tile])
                self._use_row(drain_row(engine) + n)
                self._use_entries(product.slot + tile * engine.stages, n)
                yield self.draining(n, last=n == k - 1, start=tile == 0 and n == 0)
            yield from [None] * gap

    def address(self, product: Product, tile: int, n: int) -> Ports:
        """Where beat n of a tile finds its indices; each tile starts in a row of its own."""
        beats = self.engine.beats(product.columns)
        if not self.packs:
            return {"address": product.first_row + tile * beats + n}
        # The fourth index of 3 bits lies above three others, and is read with the last of them.
        row, share = {
            1: (lambda n: n // 4, 4),
            2: (lambda n: n // 2, 2),
            3: (lambda n: n // 4 * 3 + min(n % 4, 2), 4),
            4: (lambda n: n, 1),
        }[product.bits]
        first = product.first_row + tile * (row(beats - 1) + 1)
        return {"address": first + row(n), "mode": product.bits - 1, "position": n % share}

    def payload(self, x: list[int] | None = None, **marks: int) -> int:
        values = {f"x{s}": 0 if x is None else x[s] for s in range(self.engine.segments)}
        return pack(self.layout, **values, **(self.marks | marks))

    def draining(self, n: int, *, last: bool = False, start: bool = False) -> int:
        return self.payload(
            address=drain_row(self.engine) + n,
            drain=1,
            first=int(n == 0),
            last=int(last),
            start=int(start),
        )

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

    def _use_row(self, row: int) -> None:
        """This cycle's beat reads an index row: when a word of odd parity must be seen."""
        for g, s, address in self.odd_words:
            if row // self.engine.fold == address:
                self.due_strobes.add(self.cycle + g * self.engine.slot_cycles + s + STROBE)

    def _use_entries(self, slot: int, k: int) -> None:
        """This cycle's beat drains bucket k of stage 0, whose entries are in `slot`."""
        engine = self.engine
        for g in range(engine.stages):
            address = (slot + g) * engine.buckets + k
            if address in self.odd_entries:
                arrives = self.cycle + g * engine.slot_cycles + 3 + engine.segments - 1
                self.due_strobes.add(arrives + STROBE)

    async def play(
        self,
        payloads: Iterator[int | None],
        writes: Iterator[Ports] | None = None,
        pause: Pause = never,
    ) -> None:
        """Drive a payload per cycle, rubbish where there is none, and compare what comes; beside it
        the link makes as many of its `writes` as it comes to."""
        dut = self.dut
        mask = (1 << len(dut.beat__payload)) - 1
        for payload in payloads:
            self.link({} if writes is None or pause() else next(writes, {}))
            dut.beat__valid.value = int(payload is not None)
            dut.beat__payload.value = (
                self.source.getrandbits(64) * 0x5A5A5A & mask if payload is None else payload
            )
            await FallingEdge(dut.clk)
            self._compare()
            self.cycle += 1
            await RisingEdge(dut.clk)
        dut.beat__valid.value = 0
        self.link({})

    def _compare(self) -> None:
        dut = self.dut
        strobe, wanted_strobe = int(dut.corrupt.value), self.cycle in self.due_strobes
        assert strobe == wanted_strobe, f"{self.name}: corrupt is {strobe} in cycle {self.cycle}"
        self.due_strobes.discard(self.cycle)
        self.strobes += strobe
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
        checks = word >> self.low_bits + self.high_bits
        if checks & 1:
            return "mismatch"
        row = (high << self.limb) + (low if self.limb else 0)
        if self.engine.residues and checks >> 1 != row % 3:
            return f"{row} with residue {checks >> 1}"
        return row

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
        assert not self.due_strobes, f"{self.name}: {len(self.due_strobes)} strobes are missing"


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
async def buckets_are_drained_again_at_once(dut: Any) -> None:
    """Tiles of a single beat and one or two buckets, one after the other."""
    for bench in await begin(dut, "short"):
        for k in (1, 2):
            product = Product(bench.engine, bench.rng, k)
            product.columns, product.indices = 1, product.indices[:, :1]
            await bench.load(product)
            for _ in range(2 * VECTORS):
                await bench.play(bench.beats(product, product.vector(), never))
            await bench.settle()
        bench.board.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def sigma_sees_an_index_beyond_k(dut: Any) -> None:
    """Inputs in a bucket that is not drained: mismatch, of those rows alone, until a flush."""
    for bench in await begin(dut, "sigma"):
        engine = bench.engine
        k = bench.source.randint(1, engine.buckets - 1)
        product = Product(engine, bench.rng, k)
        product.bits = max(product.bits, ceil_log2(k + 1))
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
