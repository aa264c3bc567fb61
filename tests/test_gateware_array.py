"""The array equals the golden model: shapes, widths, idle cycles, extremes; every row's cycle."""

import pytest

from dpnet.gateware.array import Array
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.benches.array.products import KINDS, latency
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle
from dpnet.sim.kit.upsets import open_memories

ENGINES = {
    "wide": ({"stages": 4, "columns": 16, "segments": 1, "max_columns": 64, "slots": 32}, 22_000),
    "banks": (
        {
            "stages": 2,
            "columns": 19,
            "segments": 2,
            "max_columns": 48,
            "slots": 16,
            "bank": 8,
            "dsp_columns": 7,
            "storage": "distributed",
        },
        7_000,
    ),
    "three_bits": (
        {
            "stages": 3,
            "columns": 5,
            "segments": 3,
            "index_bits": 3,
            "max_columns": 70,
            "slots": 16,
            "entry_bits": 18,
            "activation_bits": 16,
            "bank": 4,
        },
        3_000,
    ),
    "two_bits": (
        {
            "stages": 2,
            "columns": 4,
            "segments": 1,
            "index_bits": 2,
            "max_columns": 33,
            "slots": 8,
            "activation_bits": 8,
            "entry_bits": 9,
            "dsp_columns": 4,
        },
        1_500,
    ),
    "one_bit": (
        {
            "stages": 5,
            "columns": 2,
            "segments": 4,
            "index_bits": 1,
            "max_columns": 50,
            "slots": 20,
            "bank": 1,
        },
        1_500,
    ),
    "one_lane": ({"stages": 1, "columns": 1, "segments": 1, "max_columns": 40, "slots": 8}, 400),
    "flat": (
        {
            "stages": 1,
            "columns": 2,
            "segments": 21,
            "index_bits": 2,
            "max_columns": 80,
            "slots": 6,
            "bank": 1,
            "multiplier": "18x18",
        },
        400,
    ),
    "unchecked": (
        {
            "stages": 2,
            "columns": 5,
            "segments": 2,
            "index_bits": 3,
            "max_columns": 40,
            "slots": 8,
            "activation_bits": 12,
            "entry_bits": 17,
            "residues": False,
        },
        1_000,
    ),
}
"""Sizes, and random outputs compared in each of the bench's tests."""


SMALL = ("three_bits", "two_bits", "one_bit", "one_lane", "flat", "unchecked")


def bench(name, names):
    """Run bench `name` on these arrays, side by side; how many tests passed."""
    arrays = {
        name: {
            "engine": {"index_depth": 640, **ENGINES[name][0]},
            "outputs": rounds(ENGINES[name][1], 10),
        }
        for name in names
    }
    engines = {name: EngineParameters(**values["engine"]) for name, values in arrays.items()}
    for engine in engines.values():
        assert Array(engine=engine).latency == latency(engine)
    bundle = Bundle(**{name: Array(engine=engine) for name, engine in engines.items()})
    return run_bench(open_memories(emit(bundle)), name, values={"arrays": arrays})


@pytest.mark.parametrize(
    "names", [SMALL, *(pytest.param((name,), marks=pytest.mark.long) for name in ("wide", "banks"))]
)
def test_array_equals_golden(names):
    assert bench("array.products", names) == len(KINDS) + 3


@pytest.mark.parametrize("names", [("banks",), pytest.param(SMALL, marks=pytest.mark.long)])
def test_stores_of_the_array(names):
    assert bench("array.stores", names) == 2 * len(KINDS) + 3


def test_a_hundred_thousand_outputs_are_compared():
    """By `make test-long`, under each of three kinds of pauses."""
    assert 3 * sum(outputs for _, outputs in ENGINES.values()) >= 100_000
