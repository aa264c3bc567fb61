"""Stages against buckets in Python: segments one after the other, whose drained buckets add up.

Values: `engines`, the parameters of the stage of each name in the bundle; `cycles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.widths import drain_row, row_address_bits
from dpnet.sim.benches.array.segment import IndexStore, Indices, packed_rows
from dpnet.sim.kit.bench import kinds, parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import bursts, never, pack, signed, sometimes, start
from dpnet.sim.kit.upsets import flip, memory

KINDS = kinds("none", "idle", "bursts")
CHECK = 5
"""Cycles from a beat that uses a wrong word at segment 0 to `corrupt`."""


def engines() -> dict[str, EngineParameters]:
    return {name: EngineParameters(**sizes) for name, sizes in parameters()["engines"].items()}


class StageBench:
    """A stage, the stores of its segments, its buckets added up, and by cycle what must show.

    What the buckets hold after a reset is learned by a drain, as a column learns it: from then on
    every sum must be right.
    """

    def __init__(self, dut: Any, name: str, label: str) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name} {label}")
        self.engine = engine = engines()[name]
        self.count = engine.segments
        self.stores = [IndexStore(engine) for _ in range(self.count)]
        self.indices = [Indices(store) for store in self.stores]
        self.waiting: list[tuple[int, int, int]] = []
        self.parts, self.rows = self.stores[0].parts, self.stores[0].rows
        self.memories = [
            memory(dut, f"part_{name}", f"segment_{s}", "store", "ram") for s in range(self.count)
        ]
        self.buckets: list[list[int]] = [[] for _ in range(engine.columns)]
        self.layout = [
            *((f"x{s}", -engine.activation_bits) for s in range(self.count)),
            ("address", row_address_bits(engine)),
            ("use", 1),
            ("drain", 1),
            ("marks", 3),
            *([("mode", 2), ("position", 2)] if engine.packs else []),
        ]
        self.board = Scoreboard(f"{name}.bucket", show=str)
        # x[s] comes s cycles after its control.
        none = [0] * self.count
        self.xs: deque[list[int]] = deque([none] * self.count, maxlen=self.count)
        latency = self.latency = 3 + self.count - 1
        self.shown: deque[tuple[list[int], str]] = deque(
            [([0] * engine.columns, "before the test")] * latency
        )
        self.corrupt: deque[int] = deque([0] * (CHECK + self.count))

    async def write(self, address: int, enable: int, data: int) -> None:
        """Bus words of one store word of all segments, all with `data`; bits segment by segment."""
        dut = self.dut
        dut.w_address.value, dut.w_enable.value, dut.w_data.value = address, enable, data
        await RisingEdge(dut.clk)
        dut.w_enable.value = 0
        for s, store in enumerate(self.stores):
            store.write(address, enable >> s * self.parts & (1 << self.parts) - 1, data)

    async def fill(self) -> None:
        for address in range(len(self.stores[0].words)):
            for n in range(self.count * self.parts):
                await self.write(address, 1 << n, self.source.getrandbits(32))

    async def read_all(self) -> None:
        """Read every word of weights of all segments back, a word a cycle, 3 cycles later."""
        dut, board = self.dut, Scoreboard(f"{self.name}.r_word", show=hex)
        places = [
            (address, s, n)
            for address in range(len(self.stores[0].words))
            for s in range(self.count)
            for n in range(self.parts)
        ]
        dut.r_enable.value = 1
        for number, (address, s, n) in enumerate([*places, *[(0, 0, 0)] * 3]):
            dut.r_address.value, dut.r_pick.value = address, 1 << s * self.parts + n
            if number < len(places):
                board.expect(self.stores[s].words[address] >> 32 * n & 0xFFFFFFFF, f"{address}")
            await FallingEdge(dut.clk)
            if number >= 3:
                board.receive(int(dut.r_word.value))
            await RisingEdge(dut.clk)
        dut.r_enable.value = 0
        board.finish()

    async def beat(
        self,
        x: list[int],
        row: int,
        drain: bool = False,
        use: bool = False,
        mode: int = 3,
        position: int = 0,
    ) -> None:
        """One cycle; compares what it shows."""
        engine, dut = self.engine, self.dut
        self.xs.append(x)
        late = {f"x{s}": self.xs[-1 - s][s] for s in range(self.count)}
        marks = self.source.getrandbits(3)  # not the stage's to look at
        packed = {"mode": mode, "position": position} if engine.packs else {}
        dut.beat.value = pack(
            self.layout, **late, **packed, address=row, use=int(use), drain=int(drain), marks=marks
        )
        await FallingEdge(dut.clk)
        self._compare()
        modulus, shown = 1 << engine.sum_bits, []
        lanes = [indices.of(row, mode, position, use) for indices in self.indices]
        for m in range(engine.columns):
            held = self.buckets[m]
            k = (row - self.rows) % engine.buckets
            shown.append(signed(held[k], engine.sum_bits) if drain else 0)
            for s, index in enumerate(lanes):
                held[index[m]] = (held[index[m]] + x[s]) % modulus
        self.shown.append((shown, f"row {row}, drain {int(drain)}"))
        self.corrupt.append(0)
        for s, store in enumerate(self.stores):
            # Segment s is s cycles later.
            self.corrupt[CHECK + s - 1] |= use and store.wrong(row)
        await RisingEdge(dut.clk)

    async def learn(self) -> None:
        """What the buckets hold, each added up over the segments."""
        none = {f"x{s}": 0 for s in range(self.count)}
        if self.engine.packs:
            none |= {"mode": 3, "position": 0}
        for cycle in range(self.engine.buckets + self.latency + CHECK):
            draining = cycle < self.engine.buckets
            self.dut.beat.value = pack(
                self.layout,
                **none,
                use=0,
                marks=0,
                drain=int(draining),
                address=self.rows + cycle if draining else 0,
            )
            await FallingEdge(self.dut.clk)
            if self.latency <= cycle < self.engine.buckets + self.latency:
                for m, held in enumerate(self.buckets):
                    held.append(int(getattr(self.dut, f"bucket__{m}").value))
            await RisingEdge(self.dut.clk)

    def _compare(self) -> None:
        ports = [getattr(self.dut, f"bucket__{m}") for m in range(self.engine.columns)]
        buckets = [signed(int(port.value), self.engine.sum_bits) for port in ports]
        shown, note = self.shown.popleft()
        self.board.expect((shown, int(self.corrupt.popleft())), note)
        self.board.receive((buckets, int(self.dut.corrupt.value)))

    async def drain(self, order: list[int]) -> None:
        for k in order:
            await self.beat([0] * self.count, self.rows + k, True, True)

    async def rest(self) -> None:
        row = self.source.randrange(self.rows + self.engine.buckets)
        mode, position = self.source.randrange(4), self.source.randrange(4)  # which say nothing
        await self.beat([0] * self.count, row, mode=mode, position=position)

    async def work(self) -> None:
        most = (1 << self.engine.activation_bits - 1) - 1
        x = [
            self.source.choice([-most - 1, most, self.source.randint(-most - 1, most)])
            for _ in range(self.count)
        ]
        row, mode, position = self.source.randrange(self.rows), 3, 0
        if self.engine.packs:
            self.waiting = self.waiting or packed_rows(self.source, self.rows)
            row, mode, position = self.waiting.pop(0)
        await self.beat(x, row, use=True, mode=mode, position=position)

    async def finish(self) -> int:
        """Drain everything and compare to the end."""
        await self.drain(list(range(self.engine.buckets)))
        for _ in range(self.latency + CHECK):
            await self.rest()
        return self.board.finish()


async def begin(dut: Any, label: str) -> list[StageBench]:
    """Reset, with a bench for each stage, its stores filled."""
    benches = [StageBench(dut, name, label) for name in engines()]
    for bench in benches:
        bench.dut.beat.value, bench.dut.w_enable.value, bench.dut.r_enable.value = 0, 0, 0
    await start(dut)
    for bench in benches:
        await bench.fill()
        # The bench would not notice otherwise that the first drain row is elsewhere.
        assert drain_row(bench.engine) == bench.rows
        await bench.learn()
    return benches


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def buckets_follow_the_store(dut: Any, kind: str) -> None:
    """Rows of beats, with idle cycles, each ended by a drain of all buckets in any order."""
    for bench in await begin(dut, kind):
        source, buckets = bench.source, bench.engine.buckets
        pause = {"none": never, "idle": sometimes(source, 0.4), "bursts": bursts(source, 7)}[kind]
        given = 0
        while given < parameters()["cycles"]:
            for _ in range(source.randint(1, 30)):
                while pause():
                    await bench.rest()
                await bench.work()
                given += 1
            for k in source.sample(range(buckets), source.choice([buckets, 1])):
                while pause():
                    await bench.rest()
                await bench.drain([k])
        await bench.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def sees_upsets_of_every_segment(dut: Any) -> None:
    """A flipped bit of a word of one segment strobes `corrupt`, in that segment's cycle."""
    for bench in await begin(dut, "upsets"):
        source = bench.source
        for turn in range(5 * bench.count):
            s, address = turn % bench.count, source.randrange(len(bench.stores[0].words))
            bit = source.randrange(33 * bench.parts)
            for _ in range(bench.count):  # until no beat is on its way to a later segment
                await bench.rest()
            flip(bench.memories[s], address, bit)
            bench.stores[s].upset(address, bit)
            for _ in range(source.randint(1, 3)):
                row = min(address * bench.stores[s].fold, bench.rows - 1)
                await bench.beat([0] * bench.count, row, use=source.random() < 0.7)
                await bench.work()
        await bench.finish()


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def stores_keep_what_the_link_writes(dut: Any) -> None:
    """Bus words of several segments at once, read back, and used."""
    for bench in await begin(dut, "store"):
        await bench.read_all()
        for _ in range(100):
            enable = bench.source.getrandbits(bench.count * bench.parts)
            address = bench.source.randrange(len(bench.stores[0].words))
            await bench.write(address, enable, bench.source.getrandbits(32))
        await bench.read_all()
        for _ in range(20):
            await bench.work()
        await bench.finish()
