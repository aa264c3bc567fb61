"""Bench of NormalizeUnit.

Values: `width`, `latency`, `count` integers under each kind of pauses.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np

from dpnet.model.golden.normalize import Normalize
from dpnet.sim.kit.bench import parameters, seed
from dpnet.sim.kit.pipelines import check_cycles, check_results
from dpnet.sim.kit.streams import PAUSES, pack


@cocotb.test()
@cocotb.parametrize(kind=PAUSES)
async def equals_golden(dut: Any, kind: str) -> None:
    """Integers of every length, ties and near-ties, results from underflow to overflow."""
    number = PAUSES.index(kind)
    payloads, expected = cases(np.random.default_rng([seed(), number]), parameters()["count"])
    await check_results(dut, payloads, expected, kind, seed() + number)


@cocotb.test()
async def takes_an_integer_per_cycle(dut: Any) -> None:
    """Latency and throughput without pauses."""
    payloads, _ = cases(np.random.default_rng(seed()), 300)
    await check_cycles(dut, payloads, parameters()["latency"])


def cases(rng: np.random.Generator, count: int) -> tuple[list[int], list[int]]:
    """`count` payloads and the golden results."""
    width = parameters()["width"]
    length = rng.integers(0, width, count)
    values = rng.integers(0, 2**62, count) >> (62 - length)
    # A tie or next to it: 25 leading bits, then zeros, or a single one at the bottom.
    drop = np.maximum(length - 25, 0)
    tie = (values | 1 << drop) >> drop << drop
    values = np.where(rng.random(count) < 0.5, tie + rng.choice([0, 1, -1], count), values)
    limit = (1 << (width - 1)) - 1
    values = np.where(rng.random(count) < 0.05, limit - rng.integers(0, 2, count), values)
    values = np.minimum(values, limit) * rng.choice([1, -1], count)
    values = np.where(rng.random(count) < 0.02, -limit - 1, values)
    # Scales that put the result anywhere, at the subnormals, at the overflow; and any at all.
    wanted = np.stack(
        [
            rng.integers(-130, 130, count),
            rng.integers(-152, -124, count),
            rng.integers(126, 130, count),
        ]
    )[rng.integers(0, 3, count), np.arange(count)]
    scales = np.where(rng.random(count) < 0.05, rng.integers(-2048, 2048, count), wanted - length)
    words, overflow = Normalize(width).compute(values, scales)
    bits = words.view(np.uint32).tolist()
    payloads = [
        pack([("value", -width), ("scale", -12)], value=value, scale=scale)
        for value, scale in zip(values.tolist(), scales.tolist(), strict=True)
    ]
    return payloads, [word | flag << 32 for word, flag in zip(bits, overflow.tolist(), strict=True)]
