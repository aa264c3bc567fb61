"""Bench of DenseMac.  Values: `count` random beats."""

from __future__ import annotations

from itertools import product
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.sim.kit.bench import parameters, seed
from dpnet.sim.kit.streams import start

EDGES = (-128, -127, -64, -1, 0, 1, 64, 127)
LATENCY = 3


@cocotb.test(timeout_time=5, timeout_unit="ms")
async def products_are_exact(dut: Any) -> None:
    """Every combination of edge values, then random ones, a beat per cycle."""
    rng = np.random.default_rng(seed())
    beats = [*product(EDGES, repeat=3), *rng.integers(-128, 128, (parameters()["count"], 3))]
    expected = [(int(low) * int(x), int(high) * int(x)) for low, high, x in beats]
    await start(dut)
    found = []
    for low, high, x in [*beats, *[(0, 0, 0)] * LATENCY]:
        dut.w__0.value, dut.w__1.value, dut.x.value = int(low), int(high), int(x)
        await FallingEdge(dut.clk)
        found.append((dut.o__0.value.to_signed(), dut.o__1.value.to_signed()))
        await RisingEdge(dut.clk)
    wrong = [n for n, pair in enumerate(expected) if found[n + LATENCY] != pair]
    assert not wrong, f"{len(wrong)} wrong, first {beats[wrong[0]]}: {found[wrong[0] + LATENCY]}"
