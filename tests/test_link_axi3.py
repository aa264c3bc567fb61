"""The AXI3 door: bench with a manager of our own; what the constructor refuses."""

import itertools
import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from dpnet.gateware.doors.axi3 import ADDRESS, Axi3Door
from dpnet.gateware.emit import emit
from dpnet.sim.formal.proofs.axi3_burst import NUMBER_BITS, Formulas
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES
from dpnet.sim.peers.axi3 import FIXED, INCR, WRAP, Burst


def test_axi3_bench():
    assert run_bench(emit(Axi3Door()), "doors.axi3") == 2 * len(PAUSES) + 6 + 3


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


def test_formulas_of_the_proof():
    """What the proofs have for the specification, against the model that goes beat by beat, for
    every length, size and kind."""
    m = Module()
    kept, number = Signal(ADDRESS), Signal(NUMBER_BITS)
    formulas = Formulas(m, kept, number)
    address, lanes, bad, last = Signal(32), Signal(4), Signal(), Signal()
    m.d.comb += [
        address.eq(formulas.address),
        lanes.eq(formulas.lanes()),
        bad.eq(formulas.bad),
        last.eq(formulas.last),
    ]
    source = random.Random(3)

    async def compare(context):
        for beats, size, kind in itertools.product(range(1, 17), range(4), range(4)):
            for low, align in itertools.product((0xFFFF_FFC0, source.getrandbits(26) << 6), (0, 1)):
                start = low + source.randrange(64)
                start = start >> size << size if align else start
                burst = Burst(start, beats, size, kind)
                fields = {"addr": burst.address, "len": beats - 1, "size": size, "burst": kind}
                context.set(kept, {"id": 0, **fields})
                assert context.get(bad) == (not burst.legal()), burst
                if not burst.legal():
                    continue
                for n, (at, touched) in enumerate(
                    zip(burst.addresses(), burst.lanes(), strict=True)
                ):
                    context.set(number, n)
                    assert context.get(address) == at % 2**32, (burst, n)
                    assert context.get(lanes) == sum(1 << lane for lane in touched), (burst, n)
                    assert context.get(last) == (n == beats - 1)

    simulator = Simulator(m)
    simulator.add_testbench(compare)
    simulator.run()


@pytest.mark.parametrize("base", [0x4000_0800, -4096, 1 << 32, "0", 4096.0])
def test_axi3_refuses(base):
    with pytest.raises(ValueError) as caught:
        Axi3Door(base=base)
    assert str(caught.value) == f"base must be a multiple of 4096 below 2**32, not {base!r}"
