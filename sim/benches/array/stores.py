"""The array's stores: written beside a product, changed entry by entry, upset; see `array`.

Values: `arrays`, by name in the bundle the parameters `engine`.
"""

from __future__ import annotations

from collections import deque
from operator import length_hint
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.widths import drain_row
from dpnet.sim.benches.array.products import KINDS, ArrayBench, Product, begin, mark, pauses
from dpnet.sim.kit.bench import rounds
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import never, signed
from dpnet.sim.kit.upsets import flip


class Books:
    """The codebooks of an array, as they are written, read back and upset by the link's side."""

    def __init__(self, bench: ArrayBench) -> None:
        self.bench, self.source, engine = bench, bench.source, bench.engine
        self.bits, self.depth, self.columns = engine.entry_bits, len(bench.books), engine.columns
        assert self.depth == engine.slots * engine.buckets
        self.entries = [[0] * engine.columns for _ in range(self.depth)]
        self.board = Scoreboard(f"{bench.name}.book_word", show=str)
        # What the next cycles show, None where nothing was read.
        self.shown: deque[int | None] = deque([None] * 3)

    async def cycle(self, address: int, *, read: int | None = None, columns: int = 0) -> None:
        """Read an address of column `read` (`columns` of the engine: of none), and write a random
        entry there for the columns of a mask; compares what was read three cycles ago."""
        data, dut = self.source.getrandbits(32), self.bench.dut
        every = (1 << self.columns) - 1
        self.bench.link(
            {
                "book_address": address,
                "book_read": int(read is not None),
                "w_data": data,
                "book_hide": every if read is None else every & ~(1 << read),
                "book_write": columns,
            }
        )
        await FallingEdge(dut.clk)
        assert not int(dut.corrupt.value), f"{self.bench.name}: corrupt"
        wanted = self.shown.popleft()
        if wanted is not None:
            self.board.expect(wanted)
            self.board.receive(signed(int(dut.book_word.value), self.bits))
        held = self.entries[address]
        # Reading an entry while it is written gives the old one.
        self.shown.append(None if read is None else [*held, 0][read])
        for m in range(len(held)):
            if columns >> m & 1:
                held[m] = signed(data & (1 << self.bits) - 1, self.bits)
        await RisingEdge(dut.clk)
        self.bench.link({"book_hide": every})

    async def fill(self) -> None:
        """A random entry everywhere, the same in all columns."""
        every = (1 << self.columns) - 1
        for address in range(self.depth):
            await self.cycle(address, columns=every)

    def any(self) -> int | None:
        """A column, none of them, or no read at all."""
        reads = [self.source.randrange(self.columns), self.columns, None]
        return self.source.choices(reads, [6, 1, 3])[0]

    def learn(self, product: Product) -> None:
        """What loading a product of whole tiles has written."""
        for row, k in np.ndindex(product.entries.shape):
            slot, m = divmod(row, self.bench.engine.columns)
            self.entries[self._place(product, slot, k)][m] = int(product.entries[row, k])

    def _place(self, product: Product, slot: int, k: int) -> int:
        return (product.slot + slot) * self.bench.engine.buckets + k

    async def upset(self, product: Product, *, seen: bool) -> None:
        """Flip a bit of an entry that the product uses; if not `seen`, of any one, or of each of
        two columns' in the same place, which no parity sees."""
        bench, source, engine = self.bench, self.source, self.bench.engine
        slot, k = source.randrange(product.tiles * engine.stages), source.randrange(product.k)
        address = self._place(product, slot, k)
        if not seen and source.random() < 0.5:
            address = source.randrange(self.depth)
        count = 1 if seen or self.columns == 1 else source.randint(1, 2)
        for m in source.sample(range(self.columns), count):
            # At most one flip per cycle and word, and not while it is being written.
            await bench.play(iter([None]))
            bit = source.randrange(self.bits + 1)
            flip(bench.books, address, m * (self.bits + 1) + bit)
            bench.odd_entries ^= {address}
            if bit < self.bits:  # else the parity bit itself
                entry = (self.entries[address][m] ^ 1 << bit) & (1 << self.bits) - 1
                self.entries[address][m] = signed(entry, self.bits)
        self._give(product)

    def _give(self, product: Product) -> None:
        """The product's entries are what the stores hold."""
        for row, k in np.ndindex(product.entries.shape):
            slot, m = divmod(row, self.bench.engine.columns)
            product.entries[row, k] = self.entries[self._place(product, slot, k)][m]

    async def read_back(self) -> None:
        for address in range(self.depth):
            for m in range(self.columns):
                await self.cycle(address, read=m)
        for _ in self.shown.copy():
            await self.cycle(0)
        self.board.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def entries_can_be_changed(dut: Any, kind: str) -> None:
    """Single entries written over, of any columns at once and in any order, with reads of the old
    ones at the same time; all others stay."""
    for bench in await begin(dut, f"changed {kind}"):
        books, source, pause = Books(bench), bench.source, pauses(bench, kind)
        await books.fill()
        for _ in range(rounds(200)):
            while pause():
                await books.cycle(source.randrange(books.depth), read=books.any())
            columns = source.getrandbits(bench.engine.columns)
            await books.cycle(source.randrange(books.depth), read=books.any(), columns=columns)
        await books.read_back()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def sees_upset_entries(dut: Any) -> None:
    """Bits of entries flipped: a strobe whenever a store shows an odd word, and the rows as the
    entries are now; none for entries that no drain takes, or that the link reads."""
    for bench in await begin(dut, "entries"):
        books, source = Books(bench), bench.source
        await books.fill()
        product = Product(bench.engine, bench.rng, source.randint(1, bench.engine.buckets))
        product.fill()
        await bench.load(product)
        books.learn(product)
        for _ in range(4):
            for number in range(source.randint(1, 5)):
                await books.upset(product, seen=number == 0)
            for kind in KINDS:
                await bench.play(bench.beats(product, product.vector(), pauses(bench, kind)))
            await bench.settle()
        assert bench.strobes, f"{bench.name}: no strobe"
        strobes = bench.strobes
        bench.board.finish()
        await books.read_back()
        assert bench.strobes == strobes
        # So that the next test finds every word right.
        bench.odd_entries.clear()
        await books.fill()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def sees_upset_words(dut: Any) -> None:
    """A flipped bit of an index word of any segment, in each stage, strobes in each cycle that it
    is used in, be it by a beat or a drain; nothing strobes without it."""
    for bench in await begin(dut, "words"):
        engine, source = bench.engine, bench.source
        product = Product(engine, bench.rng, source.randint(1, engine.buckets))
        await bench.load(product)
        beats = engine.beats(product.columns)
        for turn in range(3 * engine.stages):
            g, s = turn % engine.stages, source.randrange(engine.segments)
            tile, n = source.randrange(product.tiles), source.randrange(beats)
            row = bench.address(product, tile, n)["address"]
            if turn % 3 == 2:
                row = drain_row(engine) + source.randrange(product.k)
            # The parity bit itself, so that every row stays what it is.
            address, bit = row // engine.fold, 33 * source.randrange(engine.index_words) + 32
            for odd in ({(g, s, address)}, set()):
                flip(bench.stores[g][s], address, bit)
                bench.odd_words, bench.strobes = odd, 0
                pause = pauses(bench, source.choice(KINDS))
                await bench.play(bench.beats(product, product.vector(), pause))
                await bench.settle()
                assert bool(bench.strobes) == bool(odd), f"{bench.name}: {bench.strobes} strobes"
        bench.board.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def sigma_sees_an_upset_of_what_a_bucket_held(dut: Any) -> None:
    """A flipped bit of the value at the last drain: mismatch, of that row alone, and only once."""
    for bench in await begin(dut, "old"):
        engine, source = bench.engine, bench.source
        product = Product(engine, bench.rng, source.randint(1, engine.buckets))
        await bench.load(product)
        for _ in range(2 * engine.columns):
            g, m = source.randrange(engine.stages), source.randrange(engine.columns)
            bit = m * engine.sum_bits + source.randrange(engine.sum_bits)
            flip(bench.old, g * engine.buckets + source.randrange(product.k), bit)
            for bad in ([g * engine.columns + m], []):
                for payload in bench.beats(product, product.vector(), never):
                    await bench.play(iter([payload]))
                    mark(bench, product, bad)
                await bench.settle()
        bench.board.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def stores_are_written_beside(dut: Any, kind: str) -> None:
    """A product runs from one half of the stores while the next one is written into the other."""
    for bench in await begin(dut, f"beside {kind}"):
        engine, source = bench.engine, bench.source
        product = Product(engine, bench.rng, engine.buckets, half=0)
        await bench.load(product)
        for turn in range(4):
            following = Product(
                engine, bench.rng, source.randint(1, engine.buckets), half=1 - turn % 2
            )
            writes = iter(list(bench.writes(following)))
            while length_hint(writes):
                beats = bench.beats(product, product.vector(), pauses(bench, kind))
                await bench.play(beats, writes, pauses(bench, kind))
            await bench.settle()
            product, bench.dut.slot_base.value = following, following.slot
        await bench.play(bench.beats(product, product.vector(), never))
        await bench.settle()
        bench.board.finish()
