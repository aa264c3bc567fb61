"""The map core as the link uses it: stores, halves, ends of runs, refusals, changed bits.

That a run is right is `dpnet.sim.kit.map_runs`' to show, with many networks; here one of them is
run again and again.  Values: `sizes`, parameters of the engine; `rounds` of some tests.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from numpy.typing import NDArray

from dpnet.gateware.parts.bus import ERRORS
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.placement import place, taps_at
from dpnet.model.engine.maps.records import MAP_ROW
from dpnet.model.engine.regions import Region
from dpnet.model.maps.golden import compute
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.core_driver import attach
from dpnet.sim.kit.map_networks import small_network
from dpnet.sim.kit.streams import sometimes, start
from dpnet.sim.kit.upsets import flip, memory

Integers = NDArray[np.int64]

RANGE, PARITY = (1 << ERRORS.index(name) for name in ("range", "parity"))
ENDS = 100
"""Cycles, besides those of a tile, within which a run ends after `abort`."""


class Core:
    """A core with a network, and pictures whose results are known."""

    def __init__(self, dut: Any, seed: str) -> None:
        self.dut = dut
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {seed}")
        self.driver = attach(dut)
        self.params = MapEngineParameters(**parameters()["sizes"])
        self.network = small_network(self.source.getrandbits(16))
        self.placed = place(self.params, self.network)
        self.passes = len(self.placed.plan.passes)
        shape = (4, *self.network.input.shape)
        self.pictures = np.random.default_rng(self.source.getrandbits(16)).integers(
            -128, 128, shape
        )
        self.wanted = compute(self.network, self.pictures)[self.network.output]

    def address(self, region: Region, half: int, depth: int) -> int:
        return region.base + 4 * (half * depth // 8 << self.params.cluster_bits)

    async def load(self) -> None:
        for region, words in self.placed.words.items():
            await self.driver.write(region.base, words.tolist())

    async def give(self, number: int, half: int) -> None:
        """A picture into a half."""
        words = self.placed.picture_words(self.pictures[number]).tolist()
        await self.driver.write(self.address(Region.VECTOR, half, self.params.picture_depth), words)

    async def compare(self, number: int, half: int) -> None:
        """The results in a half are the picture's: those bytes that are results."""
        count = self.placed.result_words
        at = self.address(Region.RESULT, half, self.params.result_depth)
        words = np.array([await self.word(at + 4 * n) for n in range(count)], np.uint32)
        found = self.placed.results(words)
        assert (found == self.wanted[number]).all(), f"picture {number} in half {half}"

    async def word(self, address: int) -> int:
        """A word that is not known before."""
        dut = self.dut
        dut.link__bus__address.value, dut.link__bus__read.value = address // 4, 1
        await RisingEdge(dut.clk)
        dut.link__bus__read.value = 0
        await FallingEdge(dut.clk)
        while not int(dut.link__bus__r_valid.value):
            await FallingEdge(dut.clk)
        word = int(dut.link__bus__r_data.value)
        # The driver's watch has it too.
        self.driver.board.expect(word)
        await RisingEdge(dut.clk)
        return word

    async def run(self, half: int, errors: int = 0) -> None:
        """All passes: their cycles, and these errors."""
        cycles = await self.driver.run(0, self.passes - 1, half + 1)
        assert cycles == self.placed.plan.cycles, f"{cycles} cycles"
        assert self.driver.errors == errors, f"errors {self.driver.errors:#b}"
        assert int(self.dut.link__tiles_done.value) == self.passes

    async def all_is_well(self) -> None:
        """Whatever was before: a picture is right, to the cycle, without an error."""
        number, half = self.source.randrange(4), self.source.randrange(2)
        await self.give(number, half)
        await self.run(half)
        await self.compare(number, half)


async def begin(dut: Any, seed: str) -> Core:
    core = Core(dut, seed)
    await start(dut)
    await core.driver.idle()
    await core.load()
    return core


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_run_is_ended(dut: Any) -> None:
    """In any cycle of a run: it ends when its tile has, no error comes of it, and the next run is
    as ever."""
    core = await begin(dut, "abort")
    slowest = max(one.work.adds for one in core.placed.plan.passes)
    limit = slowest + LANES * core.params.stages + ENDS
    for number in range(parameters()["rounds"]):
        await core.driver.start(0, core.passes - 1)
        cycles = 0 if number == 0 else core.source.randrange(core.placed.plan.cycles)
        for _ in range(cycles):
            await RisingEdge(dut.clk)
        dut.link__abort.value = int(core.driver.busy)
        await RisingEdge(dut.clk)
        dut.link__abort.value = 0
        waited = 0
        while core.driver.busy:
            await RisingEdge(dut.clk)
            waited += 1
            assert waited < limit, f"still busy {waited} cycles after an abort in cycle {cycles}"
        assert not core.driver.errors, f"errors {core.driver.errors} of an abort"
        await core.all_is_well()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def what_cannot_be_run_is_refused(dut: Any) -> None:
    """A third half, passes that there are not, passes the other way round: the error `range` and
    no cycle; then a run is as ever."""
    core = await begin(dut, "refused")
    last, depth = core.passes - 1, core.params.passes
    for first, end, vectors in (
        (0, last, 3),
        (0, last, 256),
        (2, 1, 1),
        (0, depth, 2),
        (255, 0, 1),
    ):
        cycles = await core.driver.run(first, end, vectors)
        assert core.driver.errors == RANGE, f"errors {core.driver.errors} of {first} … {end}"
        assert cycles == 1 and int(dut.link__tiles_done.value) == 0
        await core.all_is_well()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def halves_are_apart(dut: Any) -> None:
    """While a picture is computed the next one is written to the other half, with idle cycles; the
    results of the one before stay in theirs."""
    core = await begin(dut, "halves")
    core.driver.pause = sometimes(core.source, 0.3)
    await core.give(0, 0)
    for number in range(4):
        half = number % 2
        await core.driver.start(0, core.passes - 1, half + 1)
        if number < 3:
            await core.give(number + 1, 1 - half)
        await core.driver.idle()
        assert int(dut.link__cycles.value) == core.placed.plan.cycles
        await core.compare(number, half)
        if number:
            await core.compare(number - 1, 1 - half)
    assert not core.driver.errors


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def stores_are_read_back(dut: Any) -> None:
    """Every word of descriptors, taps and pictures, the first and last ones of the other stores;
    0 behind their ends, where writing is of no effect."""
    core = await begin(dut, "stores")
    params, driver, source = core.params, core.driver, core.source
    whole, entry = 0xFFFF_FFFF, (1 << params.entry_bits) - 1
    streams = 1 << (params.streams - 1).bit_length()
    clusters = 1 << params.cluster_bits
    pitch = taps_at(params)
    row = [whole, 0xFF, 0x3F_FFFF, 0x3_FFFF]
    sizes = {
        (Region.LAYERS, 0): (32 * params.passes, lambda n: whole),
        (Region.LAYERS, pitch): (2 * params.taps, lambda n: whole),
        (Region.INDEX, 0): (
            2 * streams * params.stream_depth,
            lambda n: whole if n // 2 % streams < params.streams else 0,
        ),
        (Region.CODEBOOK, 0): (256 * params.row_groups, lambda n: entry),
        (Region.ROWS, 0): (MAP_ROW.words * LANES * params.row_groups, lambda n: row[n % 4]),
        (Region.VECTOR, 0): (
            params.picture_depth // 4 * clusters,
            lambda n: whole if n % clusters < params.clusters else 0,
        ),
    }
    for (region, first), (size, mask) in sizes.items():
        some = 200
        places = [*range(min(size, some)), *range(max(some, size - some), size), size, size + 1]
        words = {first + n: (source.getrandbits(32), mask(n) if n < size else 0) for n in places}
        at = region.base // 4
        await driver.write_at((at + n, word) for n, (word, _) in words.items())
        await driver.settle()
        await driver.expect_at([(at + n, word & kept) for n, (word, kept) in words.items()])
    assert not driver.errors
    driver.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def changed_bits_are_told(dut: Any) -> None:
    """A bit turned over in a word that is read: the error `parity`, in whichever copy it is."""
    core = await begin(dut, "upsets")
    stages = range(core.params.stages)
    pictures = [(f"stage_{g}", "pictures_0", "ram") for g in stages]
    for path in (("passes", "ram"), ("taps", "ram"), *pictures):
        await core.give(0, 0)
        flip(memory(dut, *path), 0, core.source.randrange(16))
        await core.driver.run(0, core.passes - 1)
        assert core.driver.errors & PARITY, f"a bit of {path} was turned over, and nobody saw it"
        await core.load()
    await core.all_is_well()
    for stage in stages:
        base = core.placed.bases["first", (2, 2)]
        await core.driver.run(0, 0)
        assert not core.driver.errors
        flip(memory(dut, f"stage_{stage}", "maps_0", "ram"), base // 4, core.source.randrange(36))
        await core.driver.run(1, 1)
        assert core.driver.errors == PARITY, f"a bit of stage {stage}'s maps was turned over"
    await core.all_is_well()
    await core.run(0)
    core.driver.errors = 0
    flip(memory(dut, "results", "bank_0", "ram"), 0, core.source.randrange(8))
    await core.word(Region.RESULT.base)
    for _ in range(10):
        await RisingEdge(dut.clk)
    assert core.driver.errors == PARITY, "a bit of the results was turned over"
