"""The dense int8 core against its golden model, and its cycles.

Values: `params` of `DenseParameters`; `runs` per test.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.parts.bus import BUS_LATENCY
from dpnet.model.engine.dense import DenseParameters
from dpnet.model.engine.parameters import ceil_div
from dpnet.model.golden.dense import RowParameters
from dpnet.sim.kit.bench import kinds, parameters, seed
from dpnet.sim.kit.streams import Pause, bursts, never, sometimes, start
from dpnet.sim.measure.dense import DenseCase, random_case

KINDS = kinds("none", "idle", "bursts")


class DenseDriver:
    """Drives the ports of a `DenseCore`: stores, runs, results."""

    def __init__(self, dut: Any, pause: Pause = never) -> None:
        self.dut = dut
        self.pause = pause
        for port in ("bus__read", "bus__write", "start"):
            getattr(dut, port).value = 0

    async def write(self, pairs: Iterable[tuple[int, int]]) -> None:
        """(word address, word) pairs, one per cycle."""
        dut = self.dut
        for address, word in pairs:
            while self.pause():
                dut.bus__write.value = 0
                await RisingEdge(dut.clk)
            dut.bus__write.value = 1
            dut.bus__address.value = address
            dut.bus__w_data.value = word
            await RisingEdge(dut.clk)
        dut.bus__write.value = 0
        await RisingEdge(dut.clk)

    async def read(self, addresses: Iterable[int]) -> list[int]:
        """The words at these addresses, signed."""
        dut, found = self.dut, list[int]()

        async def answers() -> None:
            while True:
                await FallingEdge(dut.clk)
                if int(dut.bus__r_valid.value):
                    found.append(dut.bus__r_data.value.to_signed())

        watcher = cocotb.start_soon(answers())
        for address in addresses:
            while self.pause():
                await RisingEdge(dut.clk)
            dut.bus__read.value = 1
            dut.bus__address.value = address
            await RisingEdge(dut.clk)
            dut.bus__read.value = 0
        for _ in range(BUS_LATENCY + 1):
            await RisingEdge(dut.clk)
        watcher.cancel()
        return found

    async def start(self, case: DenseCase, vectors: int) -> None:
        """Start a run with the first `vectors` vectors of `case`."""
        params, (rows, columns) = case.params, case.matrix.shape
        for port, value in (
            ("start", 1),
            ("vectors", vectors),
            ("tiles", ceil_div(rows, params.tile_rows)),
            ("beats", ceil_div(columns, params.segments)),
        ):
            getattr(self.dut, port).value = value
        await RisingEdge(self.dut.clk)
        # They are taken with the start.
        for port in ("start", "vectors", "tiles", "beats"):
            getattr(self.dut, port).value = 0

    async def run(self, case: DenseCase, vectors: int) -> int:
        """Run the first `vectors` vectors of `case`, which must be in the stores; the cycles that
        the engine counted."""
        await self.start(case, vectors)
        rows, columns = case.matrix.shape
        for _ in range(2 * case.params.cycles(rows, columns, vectors) + 100):
            await FallingEdge(self.dut.clk)
            busy = int(self.dut.busy.value)
            await RisingEdge(self.dut.clk)
            if not busy:
                return int(self.dut.cycles.value)
        raise AssertionError("the core is busy for ever")

    async def mismatches(self, case: DenseCase) -> tuple[int, int]:
        """How many results of all vectors were compared, and how many differ from golden."""
        (rows, _), vectors = case.matrix.shape, len(case.vectors)
        found = await self.read(case.params.result_addresses(rows, vectors).reshape(-1).tolist())
        expected = case.results().reshape(-1)
        assert len(found) == len(expected)
        return len(found), int((np.array(found) != expected).sum())


async def check(driver: DenseDriver, case: DenseCase) -> None:
    """Load, run and compare."""
    (rows, columns), vectors = case.matrix.shape, len(case.vectors)
    shape = f"{rows} x {columns}, {vectors} vectors, seed {seed()}"
    await driver.write(case.stores())
    cycles = await driver.run(case, vectors)
    _, wrong = await driver.mismatches(case)
    assert not wrong, f"{wrong} results differ, {shape}"
    assert cycles == case.params.cycles(rows, columns, vectors), f"{cycles} cycles, {shape}"


def any_case(rng: np.random.Generator, params: DenseParameters) -> DenseCase:
    """A product of any shape that fits."""
    while True:
        rows = int(rng.integers(1, params.tiles * params.tile_rows + 1))
        columns = int(rng.integers(1, params.max_columns + 1))
        vectors = int(rng.integers(1, 6))
        try:
            return random_case(rng, params, rows, columns, vectors)
        except ValueError:
            continue


@cocotb.test(timeout_time=20, timeout_unit="ms")
@cocotb.parametrize(kind=KINDS)
async def equals_golden(dut: Any, kind: str) -> None:
    """Random shapes, one run after the other: every result, and the exact cycles."""
    params = DenseParameters(**parameters()["params"])
    source = random.Random(f"{seed()} {kind}")
    rng = np.random.default_rng(source.getrandbits(64))
    pause = {"none": never, "idle": sometimes(source, 0.3), "bursts": bursts(source, 9)}[kind]
    driver = DenseDriver(dut, pause)
    await start(dut)
    for _ in range(parameters()["runs"]):
        await check(driver, any_case(rng, params))


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def largest_sums(dut: Any) -> None:
    """Longest rows of only -128, or 127, against the same: sums that need every bit."""
    params = DenseParameters(**parameters()["params"])
    columns, rows = params.max_columns, 2 * params.tile_rows
    driver = DenseDriver(dut)
    await start(dut)
    for weight, x in ((-128, -128), (-128, 127), (127, -128), (127, 127)):
        matrix = np.full((rows, columns), weight)
        matrix[1::2] = [-128, 127] * (columns // 2) + [-128] * (columns % 2)
        ones = np.ones(rows, np.int64)
        case = DenseCase(
            params,
            matrix,
            np.full((1, columns), x),
            RowParameters(
                bias=0 * ones,
                multiplier=ones,
                shift=(params.requantize.acc_bits - 8) * ones,
                relu=0 * ones,
            ),
        )
        if weight == x:
            # The fullest sum would saturate at 127: 2^14 C / 2^shift = 64 or less proves it.
            assert case.results()[0, 0] > 0
        await check(driver, case)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_reset_leaves_nothing_behind(dut: Any) -> None:
    """A reset in any cycle of a run: the next run is as if nothing had been."""
    params = DenseParameters(**parameters()["params"])
    rng = np.random.default_rng(seed())
    driver = DenseDriver(dut)
    await start(dut)
    for _ in range(8):
        case = any_case(rng, params)
        (rows, columns), vectors = case.matrix.shape, len(case.vectors)
        await driver.write(case.stores())
        await driver.start(case, vectors)
        for _ in range(int(rng.integers(params.cycles(rows, columns, vectors)))):
            await RisingEdge(dut.clk)
        dut.rst.value = 1
        await RisingEdge(dut.clk)
        dut.rst.value = 0
        await RisingEdge(dut.clk)
        assert not int(dut.busy.value)
        await check(driver, case)
