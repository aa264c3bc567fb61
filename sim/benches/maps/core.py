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
from dpnet.model.engine.stores import HALVES, copy_words, half_words
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
    """A core with a network, and pictures whose results are known; one at a time, or `apart`, one
    in each stage."""

    def __init__(self, dut: Any, seed: str, apart: bool = False) -> None:
        self.dut = dut
        self.source = random.Random(f"{cocotb.RANDOM_SEED} {seed}")
        self.driver = attach(dut)
        self.params = MapEngineParameters(**parameters()["sizes"])
        self.network = small_network(self.source.getrandbits(16))
        self.placed = place(self.params, self.network, apart)
        self.passes = len(self.placed.plan.passes)
        shape = (4, *self.network.input.shape)
        self.pictures = np.random.default_rng(self.source.getrandbits(16)).integers(
            -128, 128, shape
        )
        self.wanted = compute(self.network, self.pictures)[self.network.output]

    def address(self, region: Region, half: int) -> int:
        return region.base + 4 * half * half_words(self.params)[region]

    async def load(self) -> None:
        for region, words in self.placed.words.items():
            await self.driver.write(region.base, words.tolist())

    async def give(self, numbers: list[int], half: int) -> None:
        """Pictures into a half, the first one for the first stage, or for all."""
        for stage, number in enumerate(numbers):
            words = self.placed.picture_words(self.pictures[number]).tolist()
            copy = (stage + 1) * copy_words(self.params)[Region.VECTOR]
            at = self.address(Region.VECTOR, half) + 4 * copy * self.placed.plan.apart
            await self.driver.write(at, words)

    async def compare(self, numbers: list[int], half: int) -> None:
        """The results in a half are the pictures': those bytes that are results."""
        count, at = self.placed.result_words, self.address(Region.RESULT, half)
        words = np.array([await self.word(at + 4 * n) for n in range(count)], np.uint32)
        for n, number in enumerate(numbers):
            found = self.placed.results(words, n)
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

    def vectors(self, half: int, pictures: int) -> int:
        return 1 + half + HALVES * (pictures - 1)

    async def run(self, half: int, errors: int = 0, pictures: int = 1) -> None:
        """All passes: their cycles, and these errors."""
        cycles = await self.driver.run(0, self.passes - 1, self.vectors(half, pictures))
        assert cycles == self.placed.plan.cycles_of(pictures), f"{cycles} cycles"
        assert self.driver.errors == errors, f"errors {self.driver.errors:#b}"
        assert int(self.dut.link__tiles_done.value) == self.passes

    async def all_is_well(self) -> None:
        """Whatever was before: pictures are right, to the cycle, without an error."""
        count = self.source.randint(1, self.placed.plan.pictures)
        numbers, half = self.source.choices(range(4), k=count), self.source.randrange(2)
        await self.give(numbers, half)
        await self.run(half, pictures=count)
        await self.compare(numbers, half)


async def begin(dut: Any, seed: str, apart: bool = False) -> Core:
    core = Core(dut, seed, apart)
    await start(dut)
    await core.driver.idle()
    await core.load()
    return core


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(apart=[False, True])
async def a_run_is_ended(dut: Any, apart: bool) -> None:
    """In any cycle of a run: it ends when its tile has, no error comes of it, and the next run is
    as ever."""
    core = await begin(dut, "abort", apart)
    slowest = max(one.work.adds for one in core.placed.plan.passes)
    limit = slowest + LANES * core.params.stages + ENDS
    for number in range(parameters()["rounds"]):
        vectors = core.vectors(0, core.placed.plan.pictures)
        await core.driver.start(0, core.passes - 1, vectors)
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
    """More pictures than stages, passes that there are not, passes the other way round: the error
    `range` and no cycle; then a run is as ever."""
    core = await begin(dut, "refused")
    last, depth = core.passes - 1, core.params.passes
    for first, end, vectors in (
        (0, last, core.vectors(0, core.params.stages + 1)),
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
@cocotb.parametrize(apart=[False, True])
async def halves_are_apart(dut: Any, apart: bool) -> None:
    """While pictures are computed the next ones are written to the other half, with idle cycles;
    the results of those before stay in theirs."""
    core = await begin(dut, "halves", apart)
    core.driver.pause = sometimes(core.source, 0.3)
    plan = core.placed.plan
    batches = [
        core.source.sample(range(4), core.source.randint(1, plan.pictures)) for _ in range(6)
    ]
    await core.give(batches[0], 0)
    for n, numbers in enumerate(batches):
        half = n % 2
        await core.driver.start(0, core.passes - 1, core.vectors(half, len(numbers)))
        if numbers is not batches[-1]:
            await core.give(batches[n + 1], 1 - half)
        await core.driver.idle()
        assert int(dut.link__cycles.value) == plan.cycles_of(len(numbers))
        await core.compare(numbers, half)
        if n:
            await core.compare(batches[n - 1], 1 - half)
    assert not core.driver.errors


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def every_stage_has_pictures_of_its_own(dut: Any) -> None:
    """Words for all stages, then others for each; 0 behind those of a stage, and behind the last
    one's."""
    core = await begin(dut, "copies")
    params, driver, source = core.params, core.driver, core.source
    pitch, base = copy_words(params)[Region.VECTOR], Region.VECTOR.base // 4
    size = params.picture_depth // 4
    places = [row << params.cluster_bits | b for row in range(size) for b in range(params.clusters)]
    copies = [base + (g + 1) * pitch for g in range(params.stages)]
    common = {place: source.getrandbits(32) for place in places}
    await driver.write_at((base + place, word) for place, word in common.items())
    await driver.settle()
    for copy in (base, *copies):
        await driver.expect_at([(copy + place, word) for place, word in common.items()])
    own = {copy + place: source.getrandbits(32) for copy in copies for place in places}
    behind = [base + (params.stages + 1) * pitch + n for n in (0, 1)]
    if size << params.cluster_bits < pitch:
        behind += [copy + pitch - 1 for copy in copies]
    await driver.write_at([*own.items(), *((place, 1) for place in behind)])
    await driver.settle()
    await driver.expect_at([*own.items(), *((place, 0) for place in behind)])
    await driver.expect_at([(base + place, own[copies[0] + place]) for place in places])
    assert not driver.errors
    driver.finish()


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
        places = [*range(min(size, some)), *range(max(some, size - some), size)]
        # Behind pictures for all stages there are those of each.
        places += [] if region == Region.VECTOR else [size, size + 1]
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
        await core.give([0], 0)
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
