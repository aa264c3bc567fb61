"""Segments against buckets in Python: index words as they lie in the store, folded or wide, packed
indices of all widths mixed; drains.

Values: `segments`, for each name in the bundle `engine` and whether it is the `first` of its stage;
`cycles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.widths import drain_row, row_address_bits
from dpnet.sim.kit.bench import kinds, parameters, rounds
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import bursts, never, signed, sometimes, start, unsigned
from dpnet.sim.kit.upsets import flip, memory

KINDS = kinds("none", "idle", "bursts")
LATENCY, CHECK = 3, 4

HELD: dict[str, list[list[int]]] = {}
"""What the buckets of each segment hold from one test to the next: nothing ever empties them."""


class IndexStore:
    """The index words of one segment, and which of their 32-bit words have a wrong parity."""

    def __init__(self, engine: EngineParameters) -> None:
        self.engine = engine
        # How rows are folded is the contract with the link: as many as fit 32 bits.
        row_bits = engine.columns * engine.index_bits
        self.fold = 1
        while row_bits * self.fold * 2 <= 32:
            self.fold *= 2
        self.parts = -(-row_bits // 32)
        self.words = [0] * -(-engine.index_depth // self.fold)
        self.rows = len(self.words) * self.fold
        self.odd: set[tuple[int, int]] = set()

    def write(self, address: int, enable: int, data: int) -> None:
        """32-bit words of one store word, those whose bit of `enable` is set, all with `data`."""
        for n in range(self.parts):
            if enable >> n & 1 and address < len(self.words):
                self.words[address] &= ~(0xFFFFFFFF << 32 * n)
                self.words[address] |= data << 32 * n
                self.odd.discard((address, n))

    def upset(self, address: int, bit: int) -> None:
        """A bit of the memory flips; the 33rd of each part is its parity."""
        n, place = divmod(bit, 33)
        self.odd ^= {(address, n)}
        if place < 32:
            self.words[address] ^= 1 << 32 * n + place

    def index(self, row: int, column: int) -> int:
        """Index of a lane in an index row, or in a drain row."""
        if row >= self.rows:
            return row - self.rows
        bits = self.engine.index_bits
        word = self.words[row // self.fold] >> row % self.fold * (32 // self.fold)
        return word >> column * bits & (1 << bits) - 1

    def wrong(self, row: int) -> bool:
        """Whether an odd number of bits of this row's word has changed."""
        return sum(address == row // self.fold for address, _ in self.odd) % 2 == 1


class Indices:
    """The indices of a segment's lanes: nibbles of a row, or packed into such."""

    def __init__(self, store: IndexStore) -> None:
        self.store = store
        self.columns, self.buckets = store.engine.columns, store.engine.buckets
        self.rows = [[0] * self.columns] * 2

    def of(self, row: int, mode: int = 3, position: int = 0, use: bool = False) -> list[int]:
        """Of every lane in a beat; beats must come in the order in which the segment gets them."""
        lanes = [self.store.index(row, m) for m in range(self.columns)]
        bits = mode + 1
        if not self.store.engine.packs or bits == 4:
            return [lane % self.buckets for lane in lanes]
        if bits < 3:
            return [lane >> position * bits & (1 << bits) - 1 for lane in lanes]
        if position < 3:
            if position < 2 and use:
                self.rows[position] = lanes
            return [lane & 7 for lane in lanes]
        rows = [*self.rows, lanes]
        return [sum((row[m] >> 3) << n for n, row in enumerate(rows)) for m in range(self.columns)]


def packed_rows(source: random.Random, rows: int) -> list[tuple[int, int, int]]:
    """(row, mode, position) of the beats of a tile in any rows of the store: some groups, the last
    one perhaps not whole."""
    mode = source.choice([0, 1, 2, 2, 3])
    beats: list[tuple[int, int, int]] = []
    row = 0
    for n in range(source.randint(1, 9)):
        position = n % (4, 2, 4, 1)[mode]
        if position == 0 or (mode == 2 and position < 3):
            row = source.randrange(rows)
        beats.append((row, mode, position))
    return beats


@dataclass(frozen=True)
class Beat:
    """What enters a segment in a cycle."""

    row: int = 0
    x: int = 0
    drain: bool = False
    use: bool = False
    chain: list[int] = field(default_factory=list)
    mode: int = 3
    position: int = 0


class SegmentBench:
    """A segment, its store, its buckets as integers, and a comparison in every cycle."""

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        values = parameters()["segments"][name]
        self.first = values["first"]
        self.engine = engine = EngineParameters(**values["engine"])
        self.store = IndexStore(engine)
        self.indices = Indices(self.store)
        self.waiting: list[tuple[int, int, int]] = []
        self.memory = memory(dut, f"part_{name}", "store", "ram")
        self.buckets = HELD.setdefault(name, [[0] * engine.buckets for _ in range(engine.columns)])
        self.board = Scoreboard(name, show=str)
        self.idle = Beat(chain=[0] * engine.columns, mode=0)
        self.past: deque[tuple[Beat, list[int], bool]] = deque(maxlen=CHECK)

    def silence(self) -> None:
        packing = ("mode", "position") if self.engine.packs else ()
        for port in ("x", "address", "drain", "use", "w_enable", "r_enable", *packing):
            getattr(self.dut, port).value = 0
        if not self.first:
            self._chain([0] * self.engine.columns)

    async def fill(self) -> None:
        """Random words everywhere, which a reset leaves as they were."""
        self.past += [(self.idle, [0] * self.engine.columns, False)] * CHECK
        for address in range(len(self.store.words)):
            for n in range(self.store.parts):
                await self.write(address, 1 << n, self.source.getrandbits(32))

    async def write(self, address: int, enable: int, data: int) -> None:
        dut = self.dut
        dut.w_address.value, dut.w_enable.value, dut.w_data.value = address, enable, data
        await RisingEdge(dut.clk)
        dut.w_enable.value = 0
        self.store.write(address, enable, data)

    def _chain(self, values: list[int]) -> None:
        for m, value in enumerate(values):
            port = getattr(self.dut, f"chain__{m}")
            port.value = unsigned(value, self.engine.sum_bits)

    async def cycle(self, beat: Beat, upset: tuple[int, int] | None = None) -> None:
        """One cycle: drive the beat, and compare everything that shows."""
        dut, engine = self.dut, self.engine
        dut.x.value = unsigned(beat.x, engine.activation_bits)
        dut.address.value, dut.drain.value, dut.use.value = beat.row, beat.drain, beat.use
        if engine.packs:
            dut.mode.value, dut.position.value = beat.mode, beat.position
        if not self.first:  # the lanes are two cycles behind
            self._chain(self.past[-2][0].chain)
        await FallingEdge(dut.clk)
        self._compare()
        if upset is not None:
            flip(self.memory, *upset)
            self.store.upset(*upset)
        shown = []
        indices = self.indices.of(beat.row, beat.mode, beat.position, beat.use)
        for m, (held, index) in enumerate(zip(self.buckets, indices, strict=True)):
            total = held[index] + (0 if self.first else beat.chain[m])
            shown.append(
                signed(total % (1 << engine.sum_bits), engine.sum_bits) if beat.drain else 0
            )
            held[index] = (held[index] + beat.x) % (1 << engine.sum_bits)
        self.past.append((beat, shown, beat.use and self.store.wrong(beat.row)))
        await RisingEdge(dut.clk)

    def _compare(self) -> None:
        dut, bits = self.dut, self.engine.sum_bits
        before = self.past[-1][0]
        beat, shown, _ = self.past[-LATENCY]
        packed = [before.mode, before.position] if self.engine.packs else []
        self.board.expect(
            (
                shown,
                before.row,
                int(before.drain),
                int(before.use),
                int(self.past[-CHECK][2]),
                *packed,
            ),
            f"o of row {beat.row}, drain {beat.drain}; then next_*, corrupt, next_*",
        )
        o = [signed(int(getattr(dut, f"o__{m}").value), bits) for m in range(len(shown))]
        following = [dut.next_address, dut.next_drain, dut.next_use, dut.corrupt]
        if packed:
            following += [dut.next_mode, dut.next_position]
        self.board.receive((o, *(int(port.value) for port in following)))

    def _anyhow(self) -> dict[str, int]:
        """A mode and a position that say nothing."""
        return {"mode": self.source.randrange(4), "position": self.source.randrange(4)}

    def rest(self) -> Beat:
        """An idle cycle: x is 0, and the address says nothing."""
        row = self.source.randrange(1 << row_address_bits(self.engine))
        row %= self.store.rows + self.engine.buckets
        return Beat(row=row, chain=self.idle.chain, **self._anyhow())

    def draining(self, k: int) -> Beat:
        half = 1 << self.engine.sum_bits - 1
        chain = [
            self.source.choice([0, -half, half - 1, self.source.randrange(-half, half)])
            for _ in range(self.engine.columns)
        ]
        position = self._anyhow()["position"]
        return Beat(row=self.store.rows + k, drain=True, use=True, chain=chain, position=position)

    def working(self) -> Beat:
        most = (1 << self.engine.activation_bits - 1) - 1
        x = self.source.choice([-most - 1, most, 0, self.source.randint(-most - 1, most)])
        row, mode, position = self.source.randrange(self.store.rows), 3, 0
        if self.engine.packs and self.source.random() < 0.9:
            self.waiting = self.waiting or packed_rows(self.source, self.store.rows)
            row, mode, position = self.waiting.pop(0)
        # Three of four 3-bit indices need beats that count; else that is `corrupt`'s matter alone.
        use = mode == 2 or self.source.random() < 0.8
        return Beat(row=row, x=x, use=use, chain=self.idle.chain, mode=mode, position=position)

    async def finish(self) -> int:
        """Drain everything and compare to the end."""
        for k in range(self.engine.buckets):
            await self.cycle(self.draining(k))
        for _ in range(CHECK + 1):
            await self.cycle(self.idle)
        return self.board.finish()


async def begin(dut: Any, label: str) -> list[SegmentBench]:
    benches = [SegmentBench(dut, name, label) for name in parameters()["segments"]]
    for bench in benches:
        bench.silence()
    await start(dut)
    for bench in benches:
        await bench.fill()
        # The bench would not notice otherwise that the first drain row is elsewhere.
        assert drain_row(bench.engine) == bench.store.rows
    return benches


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def buckets_follow_the_store(dut: Any, kind: str) -> None:
    """Beats and drains in any order, idle cycles between them; every output of every cycle."""
    for bench in await begin(dut, kind):
        source = bench.source
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 7)}[kind]
        given = 0
        while given < parameters()["cycles"]:
            for _ in range(source.randint(1, 40)):
                while pause():
                    await bench.cycle(bench.rest())
                await bench.cycle(bench.working())
                given += 1
            for k in source.sample(range(bench.engine.buckets), bench.engine.buckets):
                while pause():
                    await bench.cycle(bench.rest())
                await bench.cycle(bench.draining(k))
        await bench.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def sees_upsets_of_words_that_count(dut: Any) -> None:
    """A flipped bit of any word strobes `corrupt` for beats that use it, and for no others."""
    for bench in await begin(dut, "upsets"):
        source, strobes = bench.source, 0
        for _ in range(60):
            address = source.randrange(len(bench.store.words))
            bit = source.randrange(33 * bench.store.parts)
            await bench.cycle(bench.rest(), upset=(address, bit))
            for _ in range(source.randint(1, 8)):
                row = min(
                    address * bench.store.fold + source.randrange(bench.store.fold),
                    bench.store.rows - 1,
                )
                beat = Beat(
                    row=row,
                    x=source.randint(-3, 3),
                    use=source.random() < 0.5,
                    chain=bench.idle.chain,
                )
                if source.random() < 0.5:
                    beat = source.choice([bench.working, bench.rest])()
                await bench.cycle(beat)
                strobes += bench.past[-1][2]
            if source.random() < 0.7:  # by the same bit once more, or written over
                if source.random() < 0.5:
                    await bench.cycle(bench.idle, upset=(address, bit))
                else:
                    for _ in range(CHECK):
                        await bench.cycle(bench.idle)
                    everything = (1 << bench.store.parts) - 1
                    await bench.write(address, everything, source.getrandbits(32))
        assert strobes >= 20, f"{bench.name}: only {strobes} strobes were due"
        await bench.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def store_keeps_what_the_link_writes(dut: Any, kind: str) -> None:
    """Bus words alone and together with others, read and written in the same cycles."""
    for bench in await begin(dut, f"store {kind}"):
        source, store = bench.source, bench.store
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 7)}[kind]
        reader = Reader(bench)
        everything = [(a, n) for a in range(len(store.words)) for n in range(store.parts)]
        for address, n in everything:
            await reader.cycle(address, 1 << n)
        for _ in range(rounds(300)):
            while pause():
                await reader.cycle()
            address = source.randrange(len(store.words))
            # `use` does not count while the link has the port.
            bench.dut.use.value = source.getrandbits(1)
            written = source.choice([address, source.randrange(len(store.words))])
            enable = source.randrange(1 << store.parts)
            picked = source.choice([0, 1 << source.randrange(store.parts)])
            await reader.cycle(address, picked, (written, enable, source.getrandbits(32)))
        for address, n in everything:
            await reader.cycle(address, 1 << n)
        bench.dut.use.value = 0
        await reader.finish()


READ_LATENCY = 3


class Reader:
    """Reads by the link: each word exactly `READ_LATENCY` cycles after it was asked for."""

    def __init__(self, bench: SegmentBench) -> None:
        self.bench = bench
        self.board = Scoreboard(f"{bench.name}.r_word", show=hex)
        self.shown: deque[int | None] = deque([None] * READ_LATENCY)

    async def cycle(
        self, address: int | None = None, pick: int = 0, write: tuple[int, int, int] | None = None
    ) -> None:
        dut, store = self.bench.dut, self.bench.store
        dut.r_enable.value = int(address is not None)
        dut.r_address.value, dut.r_pick.value = address or 0, pick
        where, enable, data = write or (0, 0, 0)
        dut.w_address.value, dut.w_enable.value, dut.w_data.value = where, enable, data
        await FallingEdge(dut.clk)
        assert not int(dut.corrupt.value), f"{self.bench.name}: corrupt by a read of the link's"
        due = self.shown.popleft()
        if due is not None:
            self.board.expect(due)
            self.board.receive(int(dut.r_word.value))
        # A word read while it is written is the old one; none picked is 0.
        parts = [
            store.words[address or 0] >> 32 * n & 0xFFFFFFFF
            for n in range(store.parts)
            if pick >> n & 1
        ]
        self.shown.append(None if address is None else sum(parts))
        store.write(where, enable, data)
        await RisingEdge(dut.clk)

    async def finish(self) -> None:
        for _ in range(READ_LATENCY):
            await self.cycle()
        self.board.finish()
