"""NormalizeUnit against Normalize, in simulation."""

import pytest

from dpnet.gateware.arithmetic.normalize import NormalizeUnit
from dpnet.gateware.emit import emit
from dpnet.model.golden.normalize import Normalize
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.streams import PAUSES


@pytest.mark.parametrize(("width", "latency"), [(62, 12), (20, 11)])
def test_unit_equals_golden(width, latency):
    unit = NormalizeUnit(params=Normalize(width))
    assert unit.latency == latency
    values = {"width": width, "latency": latency, "count": rounds(4_000)}
    assert run_bench(emit(unit), "arithmetic.normalize", values=values) == len(PAUSES) + 1
