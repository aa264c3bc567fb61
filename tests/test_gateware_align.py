"""AlignUnit against Align, in simulation."""

import pytest

from dpnet.gateware.arithmetic.align import AlignUnit
from dpnet.gateware.emit import emit
from dpnet.model.golden.align import Align
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.streams import PAUSES


@pytest.mark.parametrize("bits", [25, 12])
def test_unit_equals_golden(bits):
    unit = AlignUnit(params=Align(bits))
    assert unit.latency == 5
    values = {"bits": bits, "latency": 5, "count": rounds(2_500)}
    assert run_bench(emit(unit), "arithmetic.align", values=values) == len(PAUSES) + 1
