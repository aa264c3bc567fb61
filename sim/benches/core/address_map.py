"""The array core's address map through its bus: every word, and the holes between.

Values as in `dpnet.sim.benches.core.networks`.
"""

from __future__ import annotations

from typing import Any

import cocotb

from dpnet.model.engine.layout import Region, slot_words
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.benches.core.networks import (
    NAMES,
    begin,
)
from dpnet.sim.kit.bench import rounds
from dpnet.sim.kit.random_networks import Network


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(name=NAMES)
async def address_map_has_its_holes(dut: Any, name: str) -> None:
    """Every word address: what is a store keeps its bits, holes and what lies behind read as 0;
    of what lies behind a part, unless the bench is thorough."""
    core = await begin(dut, name, "map")
    engine, source = core.engine, core.source
    stores = [
        (Region.INDEX, index_place, 32),
        (Region.CODEBOOK, book_place, engine.entry_bits),
        (Region.ROWS, row_place, 32),
        (Region.LAYERS, layer_place, 32),
        (Region.VECTOR, vector_place, 32),
    ]
    written, expected = [], []
    for region, inside, bits in stores:
        # Addresses up to twice the store, and some far behind it.
        last = max(n for n in range(1 << 14) if inside(engine, n))
        far = [1 << bit | source.randrange(1 << 10) for bit in range(15, 26)]
        further = source.sample(range(last + 9, 2 * last + 9), rounds(last))
        for n in [*range(last + 9), *further, *far]:
            word = source.getrandbits(32)
            address = region.base // 4 + n
            written.append((address, word))
            expected.append((address, word % (1 << bits) if inside(engine, n) else 0))
    for nowhere in (0, 6, 7, 15):
        written.append((nowhere << 26 | source.randrange(8), source.getrandbits(32)))
    await core.driver.write_at(source.sample(written, len(written)))
    await core.driver.expect_at(source.sample(expected, len(expected)), core.name)
    behind = Region.RESULT.base // 4 + engine.result_slots * slot_words(engine)
    nothing = [(behind + n, 0) for n in range(40)] + [(n << 26, 0) for n in (0, 7, 15)]
    await core.driver.expect_at(nothing, f"{core.name} nowhere")
    # What no address reaches, as the rows that drain, is as it was.
    network = Network(core.engine, core.rng)
    await core.load(network)
    await core.chain(network, *network.chains[0])
    await core.compare(f"{core.name} after writes everywhere")
    core.driver.finish()


def index_place(engine: EngineParameters, n: int) -> bool:
    """Index words: store word, stage, segment, 32-bit word of it."""
    rest, word = divmod(n, power(engine.index_words))
    rest, segment = divmod(rest, power(engine.segments))
    row, stage = divmod(rest, power(engine.stages))
    words = -(-engine.index_depth // engine.fold)
    inside = row < words and stage < engine.stages and segment < engine.segments
    return inside and word < engine.index_words


def book_place(engine: EngineParameters, n: int) -> bool:
    """Codebooks: slot, column, k."""
    slot, column = divmod(n // engine.buckets, power(engine.columns))
    return slot < engine.slots and column < engine.columns


def row_place(engine: EngineParameters, n: int) -> bool:
    """Row parameters: slot, bank, column of the bank, word."""
    rest, column = divmod(n // 4, power(engine.bank_columns))
    slot, bank = divmod(rest, power(engine.banks))
    return slot < engine.slots and bank < engine.banks and column < engine.bank_columns


def layer_place(engine: EngineParameters, n: int) -> bool:
    return n < 8 * engine.layers


def vector_place(engine: EngineParameters, n: int) -> bool:
    """Vector: row, beat, segment."""
    beat, segment = divmod(n, power(engine.segments))
    return beat < engine.vector_rows * engine.row_beats and segment < engine.segments


def power(n: int) -> int:
    """The power of two that has room for n."""
    size = 1
    while size < n:
        size *= 2
    return size
