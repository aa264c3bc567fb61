"""InterleavedMultiplyAdd against NumPy's float32, in simulation, and its count of cycles."""

import pytest

from dpnet.gateware.baselines.interleaved import InterleavedMultiplyAdd
from dpnet.gateware.emit import emit
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES


def test_unit_equals_numpy():
    unit = InterleavedMultiplyAdd()
    latency = [38, 39, 40, 41, 42, 43, 44] + [45] * 13
    assert [unit.latency(columns) for columns in range(1, 21)] == latency
    values = {"latency": latency}
    assert run_bench(emit(unit), "baselines.interleaved", values=values) == len(PAUSES) + 1


@pytest.mark.parametrize(
    "rows, columns, cycles", [(1000, 1024, 1_024_045), (384, 1728, 663_597), (3, 2, 45)]
)
def test_cycles_are_the_weights_and_a_constant(rows, columns, cycles):
    assert InterleavedMultiplyAdd.cycles(rows, columns) == cycles
