"""The AXI4-Lite door: bench with cocotbext-axi."""

from gateware.axi import AxiLiteDoor
from gateware.emit import emit
from sim.bench import run_bench
from sim.streams import PAUSES


def test_axi_bench():
    assert run_bench(emit(AxiLiteDoor()), "axi") == 2 * len(PAUSES) + 3
