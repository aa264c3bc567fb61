"""Bench of RequantizeUnit.

Values: `acc_bits`, `bias_bits`, `multiplier_bits`, `latency`, `count` beats under each kind of
pauses.
"""

from __future__ import annotations

from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from dpnet.model.golden.requantize import Requantize
from dpnet.sim.kit.bench import parameters, seed
from dpnet.sim.kit.pipelines import check_cycles, check_results
from dpnet.sim.kit.streams import PAUSES, Layout, pack, unsigned

Integers = NDArray[np.int64]


@cocotb.test()
@cocotb.parametrize(kind=PAUSES)
async def equals_golden(dut: Any, kind: str) -> None:
    """Operands of every length, extremes, ties, every shift and output width."""
    number = PAUSES.index(kind)
    payloads, expected = cases(np.random.default_rng([seed(), number]), parameters()["count"])
    await check_results(dut, payloads, expected, kind, seed() + number)


@cocotb.test()
async def takes_an_accumulator_per_cycle(dut: Any) -> None:
    """Latency and throughput without pauses."""
    payloads, _ = cases(np.random.default_rng(seed()), 300)
    await check_cycles(dut, payloads, parameters()["latency"])


def cases(rng: np.random.Generator, count: int) -> tuple[list[int], list[int]]:
    """`count` payloads and the golden results."""
    values = parameters()
    golden = Requantize(values["acc_bits"], values["bias_bits"], values["multiplier_bits"])
    shift = rng.integers(0, 64, count)
    fields: dict[str, Integers] = {
        "acc": signed_of_any_length(rng, golden.acc_bits, count),
        "bias": signed_of_any_length(rng, golden.bias_bits, count),
        "multiplier": rng.integers(0, 2**16, count) >> rng.integers(0, 16, count),
        "shift": shift,
        "relu": (rng.random(count) < 0.3).astype(np.int64),
        "out_bits": rng.integers(2, 26, count),
    }
    fields["multiplier"] &= (1 << golden.multiplier_bits) - 1
    make_ties(rng, golden, fields)
    expected = golden.compute(**fields)
    layout: Layout = [
        ("acc", -golden.acc_bits),
        ("bias", -golden.bias_bits),
        ("multiplier", golden.multiplier_bits),
        ("shift", 6),
        ("relu", 1),
        ("out_bits", 5),
    ]
    columns = {name: column.tolist() for name, column in fields.items()}
    payloads = [
        pack(layout, **{name: column[n] for name, column in columns.items()}) for n in range(count)
    ]
    return payloads, [unsigned(value, 25) for value in expected.tolist()]


def make_ties(rng: np.random.Generator, golden: Requantize, fields: dict[str, Integers]) -> None:
    """Change a third of the beats so that exactly half a unit, or nearly that, is shifted out."""
    count = len(fields["acc"])
    chosen = rng.random(count) < 0.35
    shift = rng.integers(1, golden.acc_bits - 8, count)
    odd = rng.integers(-60, 60, count) * 2 + 1
    total = (odd << (shift - 1)) + rng.choice([0, 0, 1, -1], count)
    bias = np.clip(fields["bias"], -(1 << (golden.bias_bits - 3)), 1 << (golden.bias_bits - 3))
    bias = np.sign(bias) * np.minimum(np.abs(bias), 1 << (golden.acc_bits - 3))
    power = rng.integers(0, golden.multiplier_bits, count)
    for name, column in {
        "acc": total - bias,
        "bias": bias,
        "multiplier": np.int64(1) << power,
        "shift": shift + power,
        "out_bits": rng.choice([7, 8, 9, 25], count),
    }.items():
        fields[name] = np.where(chosen, column, fields[name])


def signed_of_any_length(rng: np.random.Generator, bits: int, count: int) -> Integers:
    """Signed integers of up to `bits` bits, every length equally likely, and the extremes."""
    values = rng.integers(0, 1 << (bits - 1), count) >> rng.integers(0, bits, count)
    values = np.where(rng.random(count) < 0.5, -values, values)
    extreme = rng.choice([-(1 << (bits - 1)), (1 << (bits - 1)) - 1], count)
    return np.where(rng.random(count) < 0.1, extreme, values)
