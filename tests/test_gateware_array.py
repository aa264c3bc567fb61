"""The array equals the golden model: shapes, widths, idle cycles, extremes; and takes its exact cycles."""

import pytest

from gateware.array import Array
from gateware.emit import emit
from model.engine import EngineParameters
from sim.bench import run_bench

ENGINES = {
    "wide": ({"stages": 4, "columns": 16, "segments": 1, "max_columns": 64, "slots": 32}, 30_000),
    "banks": ({"stages": 2, "columns": 19, "segments": 2, "max_columns": 48, "slots": 16,
               "storage": "distributed"}, 10_000),
    "three-bits": ({"stages": 3, "columns": 5, "segments": 3, "index_bits": 3, "max_columns": 70,
                    "slots": 16, "entry_bits": 18, "activation_bits": 16}, 3_000),
    "two-bits": ({"stages": 2, "columns": 4, "segments": 1, "index_bits": 2, "max_columns": 33,
                  "slots": 8, "activation_bits": 8, "entry_bits": 9}, 1_500),
    "one-bit": ({"stages": 5, "columns": 2, "segments": 4, "index_bits": 1, "max_columns": 50,
                 "slots": 20}, 1_500),
    "one-lane": ({"stages": 1, "columns": 1, "segments": 1, "max_columns": 40, "slots": 8}, 150),
}  # fmt: skip


@pytest.mark.parametrize("name", ENGINES)
def test_array_equals_golden(name):
    sizes, outputs = ENGINES[name]
    sizes = {"index_depth": 256, **sizes}
    engine = EngineParameters(**sizes)
    passed = run_bench(
        emit(Array(engine=engine)), "array", values={"engine": sizes, "outputs": outputs}
    )
    assert passed == 3
