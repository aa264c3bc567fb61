"""The array core told to end a run: at any moment, whatever the run is, it does, and forgets it.

Values as in `dpnet.sim.benches.core.networks`.
"""

from __future__ import annotations

from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from dpnet.model.engine.layout import LAYER_WORDS, Region
from dpnet.sim.benches.core.networks import NAMES, Core, begin
from dpnet.sim.kit.bench import rounds
from dpnet.sim.kit.random_networks import Network, Streams

ROUNDS = 25
SLACK = 20


async def abort(core: Core, copying: int) -> None:
    """Tell the core to end; it does within what leaving the array takes, twice, and a copy of
    `copying` results."""
    dut = core.driver.dut
    dut.link__abort.value = 1
    await RisingEdge(dut.clk)
    dut.link__abort.value = 0
    for _ in range(2 * core.engine.flush_cycles + copying + SLACK):
        await RisingEdge(dut.clk)
        if not core.driver.busy:
            return
    raise AssertionError(f"{core.name}: still busy")


async def wait(core: Core, cycles: int) -> None:
    for _ in range(cycles):
        await RisingEdge(core.driver.dut.clk)


async def all_is_well(core: Core, network: Network) -> None:
    """Whatever was before: runs are right, to the cycle, and without an error."""
    core.held = {}
    for _ in range(2):
        await core.chain(network, *core.source.choice(network.chains))
    await core.compare(f"{core.name} after an abort")


async def restore(core: Core, network: Network) -> None:
    """The descriptors again: no run writes anything else of an image."""
    for number, layer in enumerate(network.layers):
        address = Region.LAYERS.base + 4 * LAYER_WORDS * number
        await core.driver.write(address, layer.descriptor.words())


def garbage(core: Core) -> list[int]:
    """A descriptor that means nothing; a copy that it asks for is short."""
    words = [core.source.getrandbits(32) for _ in range(LAYER_WORDS)]
    if core.source.random() < 0.5:
        words[core.source.randrange(2)] = 0
    words[1] = words[1] & ~0xFFFF | core.source.randrange(200)
    return words


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def a_run_is_ended(dut: Any, name: str) -> None:
    """In any cycle of a good run: no error comes of it, and the next runs are as ever."""
    core = await begin(dut, name, "abort")
    network = Network(core.engine, core.rng)
    await core.load(network)
    for _ in range(rounds(ROUNDS, 12)):
        first, last = core.source.choice(network.chains)
        layers = network.layers[first : last + 1]
        await core.give(network, layers[0], network.vector(layers[0]))
        await core.driver.start(first, last)
        await wait(core, core.source.randrange(sum(layer.cycles for layer in layers)))
        if core.driver.busy:
            copying = max(layer.descriptor.rows for layer in layers) + core.engine.segments
            await abort(core, copying)
        assert not core.driver.errors, f"{core.name}: errors {core.driver.errors} of an abort"
        await all_is_well(core, network)
    core.driver.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def a_run_that_means_nothing_is_ended(dut: Any, name: str) -> None:
    """Descriptors of random bits, which may run for ever."""
    core = await begin(dut, name, "garbage")
    network = Network(core.engine, core.rng)
    await core.load(network)
    for _ in range(rounds(ROUNDS, 12)):
        number = core.source.randrange(core.engine.layers)
        await core.driver.write(Region.LAYERS.base + 4 * LAYER_WORDS * number, garbage(core))
        await core.driver.start(number, number, core.source.choice([1, 1, 256]))
        await wait(core, core.source.choice([1, 5, 40, 300, 2000]))
        if core.driver.busy:
            await abort(core, 200 + core.engine.segments)
        await restore(core, network)
        await all_is_well(core, network)
    core.driver.finish()


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def a_run_that_waits_for_a_tile_is_ended(dut: Any, name: str) -> None:
    """A streamed layer whose tiles do not come, with none or one of them released."""
    core = await begin(dut, name, "waits")
    streams, network = Streams(core.engine, core.rng), Network(core.engine, core.rng)
    numbers = [n for n, y in enumerate(streams.layers) if y.descriptor.stream > 1]
    for released in (0, 1) * rounds(2):
        number = core.source.choice(numbers)
        await core.load(streams)
        layer = streams.layers[number]
        await core.give(streams, layer, streams.vector(layer))
        for address, words in layer.tile_words(0) if released else []:
            await core.driver.write(address, words)
        core.driver.dut.link__released.value = 0
        await core.driver.start(number, number)
        core.driver.dut.link__released.value = released
        await wait(core, core.source.randrange(100, 600))
        assert core.driver.busy
        await abort(core, 0)
        core.driver.dut.link__released.value = 0
        assert not core.driver.errors
        await core.load(network)
        await all_is_well(core, network)
    core.driver.finish()


@cocotb.test(timeout_time=5, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def an_abort_of_nothing_is_nothing(dut: Any, name: str) -> None:
    """While no run is on; and in the first cycles after a reset, when buckets are emptied."""
    core = await begin(dut, name, "nothing")
    network = Network(core.engine, core.rng)
    await core.load(network)
    for _ in range(3):
        core.driver.dut.link__abort.value = 1
        await wait(core, core.source.randint(1, 9))
        core.driver.dut.link__abort.value = 0
        assert not core.driver.busy
        await all_is_well(core, network)
        dut.rst.value = 1
        await wait(core, 2)
        dut.rst.value = 0
        core.driver.dut.link__abort.value = 1
        await wait(core, 3)
        core.driver.dut.link__abort.value = 0
        await core.driver.idle()
        await all_is_well(core, network)
    core.driver.finish()
