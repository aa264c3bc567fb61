"""RequantizeUnit against Requantize, in simulation."""

import pytest

from dpnet.gateware.arithmetic.requantize import RequantizeUnit
from dpnet.gateware.emit import emit
from dpnet.model.golden.requantize import Requantize
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.streams import PAUSES


@pytest.mark.parametrize("params", [Requantize(), Requantize(24, 30, 9)])
def test_unit_equals_golden(params):
    unit = RequantizeUnit(params=params)
    assert unit.latency == 10
    values = {
        "acc_bits": params.acc_bits,
        "bias_bits": params.bias_bits,
        "multiplier_bits": params.multiplier_bits,
        "latency": 10,
        "count": rounds(4_000),
    }
    assert run_bench(emit(unit), "arithmetic.requantize", values=values) == len(PAUSES) + 1
