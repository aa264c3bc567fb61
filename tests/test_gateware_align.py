"""AlignUnit against Align, in simulation."""

import pytest

from gateware.align import AlignUnit
from gateware.emit import emit
from model.golden.align import Align
from sim.bench import run_bench
from sim.streams import PAUSES


@pytest.mark.parametrize("bits", [25, 12])
def test_unit_equals_golden(bits):
    unit = AlignUnit(params=Align(bits))
    assert unit.latency == 5
    values = {"bits": bits, "latency": 5, "count": 2_500}
    assert run_bench(emit(unit), "align", values=values) == len(PAUSES) + 1
