"""MultiplyAdd against NumPy's float32, in simulation, and its count of cycles."""

from dpnet.gateware.arithmetic.multiply_add import MultiplyAdd
from dpnet.gateware.emit import emit
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES


def test_unit_equals_numpy():
    unit = MultiplyAdd()
    values = {"latency": 19, "interval": 6}
    assert (unit.latency, unit.interval) == (19, 6)
    assert run_bench(emit(unit), "arithmetic.multiply_add", values=values) == len(PAUSES) + 1


def test_cycles_of_table_six():
    # 61.5 ms and 39.8 ms at 100 MHz in the paper.
    assert MultiplyAdd.cycles(1000, 1024) == 6_144_014
    assert MultiplyAdd.cycles(384, 1728) == 3_981_326
