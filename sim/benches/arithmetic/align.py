"""Bench of AlignUnit.  Values: `bits`, `latency`, `count` words under each kind of pauses."""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.align import Align
from dpnet.sim.kit.bench import parameters, seed
from dpnet.sim.kit.pipelines import check_cycles, check_results
from dpnet.sim.kit.streams import PAUSES, Layout, pack

INPUT: Layout = [("word", 32), ("exponent", 8), ("fp32", 1)]

Case = tuple[list[int], list[int]]


@cocotb.test()
@cocotb.parametrize(kind=PAUSES)
async def equals_golden(dut: Any, kind: str) -> None:
    """fp32 words under every distance of exponents, integers around the limits, invalid words."""
    number = PAUSES.index(kind)
    payloads, expected = cases(np.random.default_rng([seed(), number]), parameters()["count"])
    await check_results(dut, payloads, expected, kind, seed() + number)


@cocotb.test()
async def takes_a_word_per_cycle(dut: Any) -> None:
    """Latency and throughput without pauses."""
    payloads, _ = cases(np.random.default_rng(seed()), 300)
    await check_cycles(dut, payloads, parameters()["latency"])


def cases(rng: np.random.Generator, count: int) -> Case:
    """`count` payloads and results of all kinds, in random order."""
    parts = [finite(rng, count // 2), integers(rng, count // 3), invalid(rng, count // 6)]
    payloads = [payload for part in parts for payload in part[0]]
    expected = [result for part in parts for result in part[1]]
    order = rng.permutation(len(payloads))
    return [payloads[n] for n in order], [expected[n] for n in order]


def finite(rng: np.random.Generator, n: int) -> Case:
    """Finite numbers, most of them less than 30 binades below the shared exponent; ties too."""
    bits = parameters()["bits"]
    e_max = rng.integers(1, 255, n)
    distance = np.where(rng.random(n) < 0.9, rng.integers(0, 30, n), rng.integers(0, 255, n))
    exponent = np.maximum(e_max - distance, 0)
    fraction = rng.integers(0, 2**23, n)
    # Few bits around the place that is rounded, so that ties are common; and all ones.
    place = np.clip(distance + 24 - bits + 2, 1, 23)
    coarse = fraction >> (place - 1) << (place - 1)
    fraction = np.where(rng.random(n) < 0.5, coarse, fraction)
    fraction = np.where(rng.random(n) < 0.1, 0x7FFFFF, fraction)
    words = (rng.integers(0, 2, n) << 31 | exponent << 23 | fraction).astype(np.uint32)
    x = [
        int(Align(bits).compute_at(value[None], int(largest))[0])
        for value, largest in zip(words.view(np.float32), e_max, strict=True)
    ]
    return inputs(words, e_max, 1), [result(value) for value in x]


def integers(rng: np.random.Generator, n: int) -> Case:
    """Integers around the limits of `bits` bits and of 32, and small ones."""
    limit = 1 << (parameters()["bits"] - 1)
    edges = np.array([0, limit, -limit, 2 * limit, -2 * limit, 2**31 - 1, -(2**31)])
    near = rng.choice(edges, n) + rng.integers(-3, 4, n)
    values = np.where(rng.random(n) < 0.5, near, rng.integers(-2 * limit, 2 * limit, n))
    values = np.clip(values, -(2**31), 2**31 - 1)
    expected = [
        result(value) if -limit <= value < limit else result(0, invalid=1)
        for value in values.tolist()
    ]
    return inputs(values, rng.integers(0, 256, n), 0), expected


def invalid(rng: np.random.Generator, n: int) -> Case:
    """NaN, infinities, and numbers above the shared exponent."""
    e_max = rng.integers(0, 254, n)
    above = np.minimum(e_max + 1 + rng.integers(0, 3, n) ** 4, 254)
    exponent = np.where(rng.random(n) < 0.5, 255, above)
    fraction = np.where(rng.random(n) < 0.3, 0, rng.integers(0, 2**23, n))
    words = rng.integers(0, 2, n) << 31 | exponent << 23 | fraction
    return inputs(words, e_max, 1), [result(0, invalid=1)] * n


def inputs(words: NDArray[Any], exponents: NDArray[Any], fp32: int) -> list[int]:
    """Input payloads."""
    return [
        pack(INPUT, word=word, exponent=exponent, fp32=fp32)
        for word, exponent in zip(words.tolist(), exponents.tolist(), strict=True)
    ]


def result(x: int, *, invalid: int = 0) -> int:
    """An output payload."""
    return pack([("x", -parameters()["bits"]), ("invalid", 1)], x=x, invalid=invalid)
