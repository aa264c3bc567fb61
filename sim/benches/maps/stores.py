"""The stores of indices and of rows' parameters against what was written.

Values: `indices`, the names in the bundle with `streams` and `depth`; `rows`, with `row_groups`;
`cycles` per test.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.model.engine.maps.parameters import LANES
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.scoreboard import Scoreboard
from dpnet.sim.kit.streams import start
from dpnet.sim.kit.upsets import flip, memory

WORDS, CHECK = 3, 4
"""Cycles from an address to what shows of it, and to the strobe of an odd word."""
ROW_BITS = (32, 8, 22, 18)
"""Bits of a row's words that mean something."""
ROW_MASK = sum((1 << bits) - 1 << 32 * n for n, bits in enumerate(ROW_BITS))
ROW_LATE = 2


class StoreBench:
    """A store whose 32-bit words are `held[address][part]`; odd ones are in `odd`."""

    def __init__(self, dut: Any, name: str, depth: int, parts: int, masks: list[int]) -> None:
        self.name, self.dut = name, Part(dut, name)
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {name}")
        self.held = [[0] * parts for _ in range(depth)]
        self.masks = masks
        self.odd: set[tuple[int, int]] = set()
        self.board = Scoreboard(name, show=str)
        self.shown: deque[int | None] = deque([None] * WORDS)

    async def fill(self) -> None:
        for address, parts in enumerate(self.held):
            for part in range(len(parts)):
                await self.write(address, part, self.source.getrandbits(32))

    async def write(self, address: int, part: int, data: int) -> None:
        dut = self.dut
        dut.w_address.value, dut.w_data.value, dut.w_enable.value = address, data, 1 << part
        await RisingEdge(dut.clk)
        dut.w_enable.value = 0
        self.held[address][part] = data & self.masks[part]

    async def read(self, address: int | None, part: int | None) -> None:
        """By the link; compares what was read three cycles ago."""
        dut = self.dut
        dut.r_enable.value = int(address is not None)
        dut.r_address.value, dut.r_pick.value = address or 0, 0 if part is None else 1 << part
        await FallingEdge(dut.clk)
        assert not int(dut.corrupt.value), f"{self.name}: corrupt by a read of the link's"
        wanted = self.shown.popleft()
        if wanted is not None:
            self.board.expect(wanted)
            self.board.receive(int(dut.r_word.value))
        held = 0 if part is None else self.held[address or 0][part]
        self.shown.append(None if address is None else held)
        await RisingEdge(dut.clk)
        dut.r_enable.value = 0

    async def read_back(self) -> None:
        at = [(a, p) for a, parts in enumerate(self.held) for p in [*range(len(parts)), None]]
        self.source.shuffle(at)
        for address, part in [*at, *[(None, None)] * WORDS]:
            await self.read(address, part)
        self.board.finish()


async def begin(dut: Any, name: str, depth: int, masks: list[int]) -> StoreBench:
    bench = StoreBench(dut, name, depth, len(masks), masks)
    for port in ("w_enable", "r_enable", "use"):
        getattr(bench.dut, port).value = 0
    await start(bench.dut)
    await bench.fill()
    return bench


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def words_become_indices(dut: Any) -> None:
    """Words of all streams, modes and positions in any order, idle cycles between them; odd words
    strobe if they are used."""
    for name, sizes in parameters()["indices"].items():
        streams, depth = sizes["streams"], sizes["depth"]
        bench = await begin(dut, name, depth, [0xFFFFFFFF] * 2 * streams)
        source, ports = bench.source, bench.dut
        stores = [memory(dut, f"part_{name}", f"store_{s}", "ram") for s in range(streams)]
        due: deque[list[int]] = deque(maxlen=WORDS + 1)
        strobes: deque[bool] = deque([False] * (CHECK + 1), maxlen=CHECK + 1)
        for n in range(parameters()["cycles"]):
            use = source.getrandbits(streams) if source.random() < 0.8 else 0
            mode, position = source.choice([0, 1, 3]), source.randrange(4)
            at = [source.randrange(depth) for _ in range(streams)]
            for s, address in enumerate(at):
                getattr(ports, f"address__{s}").value = address
            ports.use.value, ports.mode.value, ports.position.value = use, mode, position
            due.append([lanes(bench.held[a][2 * s :], mode, position) for s, a in enumerate(at)])
            strobes.append(any(use >> s & 1 and (s, a) in bench.odd for s, a in enumerate(at)))
            await FallingEdge(ports.clk)
            assert int(ports.corrupt.value) == strobes[0], f"{name}: corrupt in cycle {n}"
            if len(due) > WORDS:
                bench.board.expect(due[0], f"cycle {n}")
                words = [int(getattr(ports, f"words__{s}").value) for s in range(streams)]
                bench.board.receive(words)
            await RisingEdge(ports.clk)
            if n % 10 == 0:
                s, address = source.randrange(streams), source.randrange(depth)
                await upset(bench, stores[s], address, source.choice([32, 65]))
                bench.odd ^= {(s, address)}
                due.clear()
                strobes.extend([False] * (CHECK + 1))
        for s, address in bench.odd:
            await upset(bench, stores[s], address, 32)
        await bench.read_back()


async def upset(bench: StoreBench, words: Any, address: int, bit: int) -> None:
    """A bit flips when all that was on its way is through."""
    bench.dut.use.value = 0
    for _ in range(CHECK + 1):
        await RisingEdge(bench.dut.clk)
    await FallingEdge(bench.dut.clk)
    flip(words, address, bit)
    await RisingEdge(bench.dut.clk)


def lanes(halves: list[int], mode: int, position: int) -> int:
    """The lanes' indices in the two halves of a word, 4 bits each."""
    word, bits = halves[0] | halves[1] << 32, mode + 1
    found = 0
    for n in range(LANES):
        nibble = word >> 4 * n & 15
        found |= (nibble >> position * bits % 4 & (1 << bits) - 1) << 4 * n
    return found


@cocotb.test(timeout_time=3, timeout_unit="ms")
async def rows_are_what_was_written(dut: Any) -> None:
    """Each row in any order; bits that no field has are 0; odd words strobe if they are used."""
    for name, sizes in parameters()["rows"].items():
        depth = sizes["row_groups"] * LANES
        bench = await begin(dut, name, depth, [(1 << bits) - 1 for bits in ROW_BITS])
        source, ports = bench.source, bench.dut
        stores = [memory(dut, f"part_{name}", f"word_{n}", "ram") for n in range(len(ROW_BITS))]
        shown: deque[int] = deque(maxlen=ROW_LATE + 1)
        strobes: deque[bool] = deque([False] * (CHECK + 1), maxlen=CHECK + 1)
        for n in range(parameters()["cycles"]):
            address, use = source.randrange(depth), source.random() < 0.7
            ports.address.value, ports.use.value = address, int(use)
            shown.append(sum(word << 32 * p for p, word in enumerate(bench.held[address])))
            odd = [part for row, part in bench.odd if row == address]
            strobes.append(use and bool(odd))
            await FallingEdge(ports.clk)
            assert int(ports.corrupt.value) == strobes[0], f"{name}: corrupt in cycle {n}"
            if len(shown) > ROW_LATE:
                bench.board.expect(shown[0], f"cycle {n}")
                bench.board.receive(int(ports.row.value) & ROW_MASK)
                assert int(ports.row.value) & ~ROW_MASK == 0
            await RisingEdge(ports.clk)
            if n % 10 == 0:
                part, row = source.randrange(len(ROW_BITS)), source.randrange(depth)
                await upset(bench, stores[part], row, ROW_BITS[part])
                bench.odd ^= {(row, part)}
                shown.clear()
                strobes.extend([False] * (CHECK + 1))
        for row, part in bench.odd:
            await upset(bench, stores[part], row, ROW_BITS[part])
        await bench.read_back()
