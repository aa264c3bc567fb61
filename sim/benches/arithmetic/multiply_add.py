"""Bench of MultiplyAdd.  Values: `latency`, `interval`."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from dpnet.sim.kit.bench import parameters, rounds, seed
from dpnet.sim.kit.pipelines import beat_cycles, check_results
from dpnet.sim.kit.streams import PAUSES

Row = tuple[NDArray[np.float32], NDArray[np.float32]]


@cocotb.test()
@cocotb.parametrize(kind=PAUSES)
async def equals_numpy(dut: Any, kind: str) -> None:
    """Rows of 1 to 40 pairs: ordinary, subnormal, overflowing, with NaN, infinities and zeros."""
    number = PAUSES.index(kind)
    rng = np.random.default_rng([seed(), number])
    rows = [row(rng) for _ in range(rounds(100))]
    await check_results(dut, payloads(rows), [total(*r) for r in rows], kind, seed() + number)


@cocotb.test()
async def keeps_its_cycles(dut: Any) -> None:
    """A pair every `interval` cycles, over all rows; a sum `latency` cycles after its last."""
    rng = np.random.default_rng(seed())
    lengths = (5, 1, 1, 2, 17, 1, 30)
    rows = [plain(rng, length) for length in lengths]
    taken, given, received = await beat_cycles(dut, payloads(rows), len(rows))
    interval, latency = parameters()["interval"], parameters()["latency"]
    assert taken == [taken[0] + interval * n for n in range(sum(lengths))]
    last = np.cumsum(lengths) - 1
    assert given == [taken[0] + interval * int(n) + latency for n in last]
    assert received == [total(*r) for r in rows]


def payloads(rows: list[Row]) -> list[int]:
    """The pairs of `rows`, {w, x, last}."""
    return [
        w | x << 32 | (n == len(weights) - 1) << 64
        for weights, inputs in rows
        for n, (w, x) in enumerate(
            zip(weights.view(np.uint32).tolist(), inputs.view(np.uint32).tolist(), strict=True)
        )
    ]


def total(weights: NDArray[np.float32], inputs: NDArray[np.float32]) -> int:
    """The sum's word by NumPy scalars, one operation after the other."""
    with np.errstate(all="ignore"):
        acc = np.float32(0)
        for w, x in zip(weights, inputs, strict=True):
            acc = np.float32(acc + np.float32(w * x))
    return 0x7FC00000 if np.isnan(acc) else int(acc.view(np.uint32))


def row(rng: np.random.Generator) -> Row:
    """A row of a random kind and length."""
    weights, inputs = plain(rng, int(rng.integers(1, 41)))
    kind = rng.integers(0, 8)
    if kind == 0:  # sums that are subnormal
        weights *= np.float32(2.0**-75)
        inputs *= np.float32(2.0**-66)
    elif kind == 1:  # sums that overflow now and then
        weights *= np.float32(2.0**64)
        inputs *= np.float32(2.0**62)
    elif kind == 2:  # sums that cancel
        weights[1::2] = -weights[: len(weights) // 2 * 2 : 2]
        inputs[1::2] = inputs[: len(inputs) // 2 * 2 : 2]
    elif kind == 3:
        special = [np.nan, np.inf, -np.inf, 0, -0.0]
        weights[rng.integers(len(weights))] = rng.choice(special)
        inputs[rng.integers(len(inputs))] = rng.choice(special)
    elif kind == 4:  # only negative zeros: the sum is +0, since it starts from +0
        weights[:], inputs[:] = -0.0, 1
    return weights, inputs


def plain(rng: np.random.Generator, length: int) -> Row:
    """Normally distributed weights and inputs."""
    weights, inputs = rng.normal(size=(2, length)).astype(np.float32)
    return weights, inputs
