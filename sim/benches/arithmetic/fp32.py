"""Bench of Fp32AddUnit and Fp32MultiplyUnit: NumPy's own float32 results, over every kind of pair.

Values: `operation` ("add" or "multiply"), `latency`, `count` pairs under each kind of pauses.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from dpnet.sim.kit.bench import parameters, seed
from dpnet.sim.kit.pipelines import check_cycles, check_results
from dpnet.sim.kit.streams import PAUSES

Words = NDArray[np.uint32]

CANONICAL_NAN = 0x7FC00000
SPECIAL = [
    sign | magnitude
    for sign in (0, 0x80000000)
    for magnitude in (
        0,
        1,
        2,
        3,
        0x007FFFFF,
        0x00800000,
        0x00800001,
        0x00FFFFFF,
        0x01000000,
        0x0C000000,
        0x33800000,
        0x33800001,
        0x33FFFFFF,
        0x3F7FFFFF,
        0x3F800000,
        0x3F800001,
        0x3FC00000,
        0x3FFFFFFF,
        0x40000000,
        0x4B800000,
        0x72FFFFFF,
        0x73000000,
        0x73000001,
        0x7E800000,
        0x7F000000,
        0x7F7FFFFE,
        0x7F7FFFFF,
        0x7F800000,
        0x7F800001,
        0x7FC00000,
        0x7FFFFFFF,
    )
]


@cocotb.test()
@cocotb.parametrize(kind=PAUSES)
async def equals_numpy(dut: Any, kind: str) -> None:
    """Random, close, cancelling, tying, subnormal, overflowing and special pairs."""
    number = PAUSES.index(kind)
    a, b = pairs(np.random.default_rng([seed(), number]), parameters()["count"])
    await check_results(dut, payloads(a, b), results(a, b), kind, seed() + number)


@cocotb.test()
async def takes_a_pair_per_cycle(dut: Any) -> None:
    """Latency and throughput without pauses."""
    a, b = pairs(np.random.default_rng(seed()), 100)
    await check_cycles(dut, payloads(a, b)[:300], parameters()["latency"])


def payloads(a: Words, b: Words) -> list[int]:
    """The payloads {a, b} of pairs of words."""
    return [x | y << 32 for x, y in zip(a.tolist(), b.tolist(), strict=True)]


def results(a: Words, b: Words) -> list[int]:
    """What NumPy makes of them, every NaN canonical."""
    operation = {"add": np.add, "multiply": np.multiply}[parameters()["operation"]]
    with np.errstate(all="ignore"):
        values = operation(a.view(np.float32), b.view(np.float32))
    words: list[int] = np.where(np.isnan(values), CANONICAL_NAN, values.view(np.uint32)).tolist()
    return words


def pairs(rng: np.random.Generator, count: int) -> tuple[Words, Words]:
    """About `count` pairs of all kinds, in random order, and all pairs of special words."""
    kinds = (any_bits, close, cancelling, tying, short, subnormal, huge, tiny_product, edge_product)
    parts = [kind(rng, count // len(kinds)) for kind in kinds]
    left, right = np.meshgrid(words(SPECIAL), words(SPECIAL))
    parts.append((left, right))
    a = np.concatenate([part[0].ravel() for part in parts])
    b = np.concatenate([part[1].ravel() for part in parts])
    swap = rng.integers(0, 2, len(a)) == 1
    order = rng.permutation(len(a))
    return np.where(swap, b, a)[order], np.where(swap, a, b)[order]


def words(values: Any) -> Words:
    """The lower 32 bits of integers, as fp32 words."""
    return (np.asarray(values, dtype=np.int64) & 0xFFFFFFFF).astype(np.uint32)


def joined(rng: np.random.Generator, exponent: Any, fraction: Any) -> Words:
    """Words of these fields with random signs; exponents are limited to 0..254."""
    sign = rng.integers(0, 2, len(fraction)) << 31
    return words(sign | np.clip(exponent, 0, 254) << 23 | fraction)


def any_bits(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """Any 32 bits."""
    return words(rng.integers(0, 2**32, n)), words(rng.integers(0, 2**32, n))


def close(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """Exponents that differ by at most 27."""
    exponent = rng.integers(0, 255, n)
    other = exponent + rng.integers(-27, 28, n)
    a, b = rng.integers(0, 2**23, (2, n))
    return joined(rng, exponent, a), joined(rng, other, b)


def cancelling(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """Opposite signs, magnitudes a few units apart or one binade apart; equal ones too."""
    exponent = rng.choice([1, 2, 3, 20, 27, 28, 100, 254], n)
    a = joined(rng, exponent, rng.integers(0, 2**23, n)).astype(np.int64)
    nearby = (a & 0x7FFFFFFF) + rng.choice([0, 1, -1, 2, 1000, 1 << 22, 1 << 23], n)
    return words(a), words(np.clip(nearby, 0, 0x7F7FFFFF) | (~a & 0x80000000))


def tying(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """For sums: the smaller one is half a unit of the larger one, or next to that."""
    exponent = rng.integers(26, 255, n)
    fraction = rng.integers(0, 2**23, n) | rng.choice([0, 0x7FFFFE], n)
    last = rng.choice([0, 0, 1, 1 << 22, 0x7FFFFF], n)
    return joined(rng, exponent, fraction), joined(rng, exponent - rng.integers(23, 27, n), last)


def short(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """For products: significands of 12 and 13 bits, so that many are ties."""
    a, b = rng.integers(0, 2**11, n) << 12, rng.integers(0, 2**12, n) << 11
    return joined(rng, rng.integers(1, 255, n), a), joined(rng, rng.integers(1, 255, n), b)


def subnormal(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """A subnormal number of any size, and one with any exponent or a small one."""
    a = rng.integers(0, 2**23, n) >> rng.integers(0, 24, n)
    exponent = np.where(rng.integers(0, 2, n), rng.integers(0, 255, n), rng.integers(0, 3, n))
    return joined(rng, np.zeros(n, dtype=int), a), joined(rng, exponent, rng.integers(0, 2**23, n))


def huge(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """For sums: at the overflow boundary."""
    a = rng.integers(0, 2**23, n) | rng.choice([0, 0x7FFF00], n)
    exponents = 254 - rng.choice([0, 1, 2, 23, 24, 25], (2, n))
    return joined(rng, exponents[0], a), joined(rng, exponents[1], rng.integers(0, 2**23, n))


def tiny_product(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """For products: results around and below the smallest normal number, down to zero."""
    exponent = rng.integers(1, 128, n)
    other = 127 - exponent + rng.integers(-26, 3, n)
    trim = rng.choice([0, 12, 20], n)
    a, b = (rng.integers(0, 2**23, n) >> trim << trim for _ in range(2))
    return joined(rng, exponent, a), joined(rng, other, b)


def edge_product(rng: np.random.Generator, n: int) -> tuple[Words, Words]:
    """For products: at the overflow boundary."""
    exponent = rng.integers(127, 255, n)
    other = 381 - exponent + rng.integers(-2, 2, n)
    a, b = rng.integers(0, 2**23, (2, n))
    return joined(rng, exponent, a), joined(rng, other, b)
