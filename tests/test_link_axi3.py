"""The AXI3 door: bench with a manager of our own; what the constructor refuses."""

import pytest

from gateware.axi3 import Axi3Door
from gateware.emit import emit
from sim.axi3 import FIXED, INCR, WRAP, Burst
from sim.bench import run_bench
from sim.streams import PAUSES


def test_axi3_bench():
    assert run_bench(emit(Axi3Door()), "axi3") == 2 * len(PAUSES) + 6 + 3


@pytest.mark.parametrize(
    ("burst", "addresses"),
    [
        (Burst(0x105, 3, 2, INCR), [0x105, 0x108, 0x10C]),
        (Burst(0x104, 4, 2, WRAP), [0x104, 0x108, 0x10C, 0x100]),
        (Burst(0x10A, 8, 1, WRAP), [0x10A, 0x10C, 0x10E, 0x100, 0x102, 0x104, 0x106, 0x108]),
        (Burst(0x103, 3, 0, FIXED), [0x103] * 3),
        (Burst(0x37, 2, 0, WRAP), [0x37, 0x36]),
    ],
)
def test_addresses_of_a_burst(burst, addresses):
    """The model that the bench trusts, against bursts worked out by hand."""
    assert burst.addresses() == addresses


@pytest.mark.parametrize("base", [0x4000_0800, -4096, 1 << 32, "0", 4096.0])
def test_axi3_refuses(base):
    with pytest.raises(ValueError) as caught:
        Axi3Door(base=base)
    assert str(caught.value) == f"base must be a multiple of 4096 below 2**32, not {base!r}"
