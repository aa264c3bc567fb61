"""The AXI4-Lite door: bench with cocotbext-axi."""

from dpnet.gateware.doors.axi import AxiLiteDoor
from dpnet.gateware.emit import emit
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES


def test_axi_bench():
    assert run_bench(emit(AxiLiteDoor()), "doors.axi") == 2 * len(PAUSES) + 3
