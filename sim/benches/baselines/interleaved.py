"""Bench of InterleavedMultiplyAdd.  Values: `latency` for rows of 1, 2, … pairs."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from dpnet.sim.benches.arithmetic.multiply_add import payloads, plain, row
from dpnet.sim.kit.bench import parameters, seed
from dpnet.sim.kit.pipelines import beat_cycles, check_results
from dpnet.sim.kit.streams import PAUSES


@cocotb.test()
@cocotb.parametrize(kind=PAUSES)
async def equals_numpy(dut: Any, kind: str) -> None:
    """Rows of 1 to 40 pairs in any order, long before short ones too: ordinary, subnormal,
    overflowing, with NaN, infinities and zeros."""
    number = PAUSES.index(kind)
    rng = np.random.default_rng([seed(), number])
    rows = [row(rng) for _ in range(200)]
    rows += [plain(rng, int(length)) for length in rng.choice([1, 2, 3, 7, 8, 9, 16], 200)]
    await check_results(dut, payloads(rows), [total(*r) for r in rows], kind, seed() + number)


@cocotb.test()
async def takes_a_pair_per_cycle(dut: Any) -> None:
    """Rows of each length from 1 to 20, five of a kind: no bubble, and each sum's exact cycle."""
    rng = np.random.default_rng(seed())
    for length, latency in enumerate(parameters()["latency"], 1):
        rows = [plain(rng, length) for _ in range(5)]
        taken, given, received = await beat_cycles(dut, payloads(rows), len(rows))
        assert taken == list(range(taken[0], taken[0] + 5 * length)), f"bubbles, {length} pairs"
        assert given == [taken[length * (n + 1) - 1] + latency for n in range(5)], f"{length} pairs"
        assert received == [total(*r) for r in rows], f"{length} pairs"


def total(weights: NDArray[np.float32], inputs: NDArray[np.float32]) -> int:
    """The sum's word by NumPy scalars, one operation after the other."""
    with np.errstate(all="ignore"):
        sums = [np.float32(0)] * min(8, len(weights))
        for j, (w, x) in enumerate(zip(weights, inputs, strict=True)):
            sums[j % 8] = np.float32(sums[j % 8] + np.float32(w * x))
        while len(sums) > 1:
            sums = [
                np.float32(sums[n] + sums[n + 1]) if n + 1 < len(sums) else sums[n]
                for n in range(0, len(sums), 2)
            ]
    return 0x7FC00000 if np.isnan(sums[0]) else int(sums[0].view(np.uint32))
