"""What carries its parity: a delay of its values that raises no alarm, whatever they are and
whenever a reset comes; what a changed bit shows is tests/test_sim_faults.py's."""

import random

import pytest
from amaranth.hdl import Cat, ClockDomain, Module, Signal, signed
from amaranth.sim import Simulator

from dpnet.gateware.parts.lockstep import carried

CYCLES = 400


@pytest.mark.parametrize(("widths", "cycles"), [((1,), 1), ((1, 0), 2), ((12, 1), 2), ((7,), 9)])
def test_a_delay_with_parity_is_a_delay(widths, cycles):
    source, m = random.Random(f"{widths} {cycles}"), Module()
    m.domains.sync = domain = ClockDomain()
    values = [Signal(signed(width) if width > 7 else width) for width in widths]
    taps, changed = carried(m, values, cycles)
    assert len(taps) == cycles + 1 and len(taps[0]) == len(values)
    alarm = Signal()
    m.d.comb += alarm.eq(changed)
    shown = [Cat(*tap) for tap in taps]
    history = [0] * cycles

    async def bench(ctx):
        for _ in range(CYCLES):
            reset = source.random() < 0.05
            for value in values:
                ctx.set(Cat(value), source.getrandbits(len(value)) if len(value) else 0)
            now = ctx.get(shown[0])
            assert [ctx.get(tap) for tap in shown] == [now, *history[:cycles]]
            assert ctx.get(alarm) == 0
            ctx.set(domain.rst, int(reset))
            await ctx.tick()
            history[:] = [0] * cycles if reset else [now, *history][:cycles]

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
