"""Fp32AddUnit and Fp32MultiplyUnit against NumPy's float32, in simulation."""

import pytest

from dpnet.gateware.arithmetic.fp32 import Fp32AddUnit, Fp32MultiplyUnit
from dpnet.gateware.emit import emit
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.streams import PAUSES


@pytest.mark.parametrize(
    ("unit", "operation", "latency"),
    [(Fp32AddUnit, "add", 6), (Fp32MultiplyUnit, "multiply", 13)],
)
def test_unit_equals_numpy(unit, operation, latency):
    assert unit.latency == latency
    values = {"operation": operation, "latency": latency, "count": rounds(9_000)}
    assert run_bench(emit(unit()), "arithmetic.fp32", values=values) == len(PAUSES) + 1
