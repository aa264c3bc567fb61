"""The array core with streamed layers: tiles written and released while others compute.

Values as in `dpnet.sim.benches.core.networks`, and `streams`, networks per test.
"""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from dpnet.sim.benches.core.networks import KINDS, NAMES, Core, begin
from dpnet.sim.kit.bench import parameters, rounds
from dpnet.sim.kit.random_networks import Layer, Streams


class Feed:
    """What a host does for a run: writes each tile when its place is free, then releases it."""

    def __init__(self, core: Core, layer: Layer) -> None:
        self.core, self.layer = core, layer
        self.most_ahead = 0

    def port(self, name: str) -> Any:
        return getattr(self.core.driver.dut, f"link__{name}")

    async def wait(self, cycles: int) -> None:
        for _ in range(cycles):
            await RisingEdge(self.core.driver.dut.clk)

    async def run(self, slow: bool) -> None:
        d, source = self.layer.descriptor, self.core.source
        for tile in range(d.stream):
            while int(self.port("tiles_done").value) < tile + 1 - d.tiles:
                await self.wait(1)
            self.most_ahead = max(self.most_ahead, tile - int(self.port("tiles_done").value))
            for address, words in self.layer.tile_words(tile):
                await self.core.driver.write(address, words)
            if slow:
                await self.wait(source.choice([0, 1, 2, 40, 300]))
            self.port("released").value = tile + 1


async def streamed(core: Core, network: Streams, number: int, slow: bool) -> bool:
    """Run a layer; its results are right, and its cycles but those stalled are the formula's.
    Returns whether that is exact, as it is for all but rounds of a few cycles."""
    layer, feed = network.layers[number], Feed(core, network.layers[number])
    words = network.vector(layer)
    await core.give(network, layer, words)
    feed.port("released").value = 0
    await core.driver.start(number, number)
    writer = cocotb.start_soon(feed.run(slow))
    await core.driver.idle()
    await writer
    cycles, stalled = (int(feed.port(name).value) for name in ("cycles", "stalled"))
    note = f"{core.name}, {vars(layer.descriptor)}, {layer.columns} columns"
    assert not core.driver.errors, f"errors {core.driver.errors}, {note}"
    # Rounds so short that products must wait for each other may have done so while stalled.
    wanted, least = layer.cycles + 1, layer.cycles_without_waits + 1
    assert least <= cycles - stalled <= wanted, f"{cycles} cycles, {stalled} stalled, {note}"
    assert layer.descriptor.tiles < 2 or layer.descriptor.stream < 2 or feed.most_ahead, note
    assert int(feed.port("tiles_done").value) == layer.descriptor.stream, note
    assert stalled or not slow, f"tiles that come late stall nothing; {note}"
    core.held |= layer.stored(layer.results(words))
    return least == wanted


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES, kind=KINDS)
async def streams_tiles(dut: Any, name: str, kind: str) -> None:
    """Rings of 1 to 3 tiles, indices of all widths, resident layers in between: every result."""
    core = await begin(dut, name, "stream", kind)
    rings: set[int] = set()
    exact = 0
    streams = parameters()["streams"] if kind == "idle" else rounds(parameters()["streams"])
    for _ in range(streams):
        network = Streams(core.engine, core.rng)
        await core.load(network)
        core.held = {}
        for number, layer in enumerate(network.layers):
            if layer.descriptor.stream:
                exact += await streamed(core, network, number, core.source.random() < 0.5)
                rings.add(layer.descriptor.tiles)
            else:
                await core.batch(network, number, 1)
            if core.source.random() < 0.3:
                await core.compare(f"{core.name}, layer {number}")
        await core.compare(core.name)
    core.driver.finish()
    assert rings >= {1, 2} or streams == 1, f"{core.name}: only rings of {rings}"
    assert exact >= 2 * streams, f"{core.name}: only {exact} runs of exact cycles"


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def waits_for_a_release(dut: Any, name: str) -> None:
    """A run whose next tile never comes stays busy, and ends, right, once it does."""
    core = await begin(dut, name, "withheld")
    network = Streams(core.engine, core.rng)
    number, layer = next((n, y) for n, y in enumerate(network.layers) if y.descriptor.stream > 1)
    await core.load(network)
    core.held = {}
    words = network.vector(layer)
    await core.give(network, layer, words)
    feed = Feed(core, layer)
    feed.port("released").value = 0
    await core.driver.start(number, number)
    await feed.wait(500)
    assert core.driver.busy and int(feed.port("tiles_done").value) == 0
    before = int(feed.port("stalled").value)
    await feed.wait(100)
    assert int(feed.port("stalled").value) == before + 100
    writer = cocotb.start_soon(feed.run(slow=True))
    await core.driver.idle()
    await writer
    core.held |= layer.stored(layer.results(words))
    await core.compare(core.name)
    core.driver.finish()
