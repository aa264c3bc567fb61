"""The reader of descriptors against the words of its store.

Values: `sizes`, the parameters of the engine of each name; `passes` per test.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.maps.control.layouts import PassLayout
from dpnet.gateware.maps.control.reader import ROW_WORDS, PassReader
from dpnet.model.engine.layout import record_words
from dpnet.model.engine.maps.placement import PASS_PITCH
from dpnet.model.engine.maps.records import PASS
from dpnet.sim.benches.maps.control.passes import PassMaker, params_of, pass_vector
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.bundle import Part
from dpnet.sim.kit.streams import start

ROWS = PASS_PITCH // ROW_WORDS
UNUSED = sum(
    (1 << bits) - 1 << sum(width for _, width in PASS.fields[:n])
    for n, (name, bits) in enumerate(PASS.fields)
    if name.startswith("unused")
)


class Store:
    """Rows of two words, read in the next cycle."""

    def __init__(self, dut: Part, rows: list[int]) -> None:
        self.dut, self.rows, self.used = dut, rows, 0

    async def run(self) -> None:
        dut = self.dut
        while True:
            await FallingEdge(dut.clk)
            used, address = int(dut.use.value), int(dut.address.value)
            self.used += used
            await RisingEdge(dut.clk)
            dut.data.value = self.rows[address] if used else random.getrandbits(64)


async def read(dut: Part, number: int) -> int:
    """Reads a descriptor; the cycles until it is there."""
    dut.start.value, dut.number.value = 1, number
    await RisingEdge(dut.clk)
    dut.start.value, dut.number.value = 0, 0
    for cycle in range(1, 100):
        await FallingEdge(dut.clk)
        if int(dut.ready.value):
            return cycle
        await RisingEdge(dut.clk)
    raise AssertionError(f"descriptor {number} does not come")


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def reads_descriptors(dut: Any) -> None:
    """In any order, taken at once or later, or forgotten half-way."""
    for name, sizes in parameters()["sizes"].items():
        part, params = Part(dut, f"reader_{name}"), params_of(sizes)
        source = random.Random(f"{cocotb.RANDOM_SEED} {name}")
        maker, layout = PassMaker(params, source), PassLayout(params)
        rows = [0] * ROWS * params.passes
        part.start.value = part.taken.value = part.clear.value = 0
        await start(dut)
        store = Store(part, rows)
        memory = cocotb.start_soon(store.run())
        for count in range(parameters()["passes"]):
            number, fields = source.randrange(params.passes), maker.made()
            words = [int(word) for word in record_words(PASS, **fields)] + [0] * PASS_PITCH
            rows[number * ROWS : (number + 1) * ROWS] = [
                words[2 * n] | words[2 * n + 1] << 32 for n in range(ROWS)
            ]
            store.used = 0
            assert await read(part, number) == PassReader.latency
            assert store.used == -(-PASS.words // ROW_WORDS)
            found = int(part.pass_.value) & ~UNUSED
            assert found == pass_vector(layout, params, fields), f"{name}, pass {number}"
            end = part.clear if count % 3 == 0 else part.taken
            await RisingEdge(part.clk)
            end.value = 1
            await RisingEdge(part.clk)
            end.value = 0
            await FallingEdge(part.clk)
            assert not int(part.ready.value)
            await RisingEdge(part.clk)
        memory.cancel()
