"""NormalizeUnit against Normalize, in simulation."""

import pytest

from gateware.emit import emit
from gateware.normalize import NormalizeUnit
from model.golden.normalize import Normalize
from sim.bench import run_bench
from sim.streams import PAUSES


@pytest.mark.parametrize(("width", "latency"), [(62, 12), (20, 11)])
def test_unit_equals_golden(width, latency):
    unit = NormalizeUnit(params=Normalize(width))
    assert unit.latency == latency
    values = {"width": width, "latency": latency, "count": 4_000}
    assert run_bench(emit(unit), "normalize", values=values) == len(PAUSES) + 1
