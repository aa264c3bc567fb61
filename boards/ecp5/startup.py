"""The engine's clock on an ECP5 stands still until it is good."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Instance,
    Module,
    ResetSignal,
    Signal,
)
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import In, Out

from dpnet.boards.ecp5.pll import Pll

SETTLE_CYCLES = 256
"""Oscillator cycles (10 µs at 25 MHz) in which the PLL must be locked before the engine is
clocked."""


class Startup(wiring.Component):
    """When the clock may go.

    After configuration every register of an ECP5 has its initial value, which is its reset value,
    so a clock that has not ticked yet is a reset that costs nothing.  A reset net is not free: it
    would reach every register's logic, and limit the clock.

    Runs on the oscillator.  Members: `locked` from the PLL, asynchronous; `run`, a register, once
    it was high for `SETTLE_CYCLES`; `stopped`, when it went low after that: what was computed may
    be wrong, so the engine stays still until the FPGA is configured again.
    """

    def __init__(self) -> None:
        super().__init__({"locked": In(1), "run": Out(1), "stopped": Out(1)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        locked, settled = Signal(), Signal(range(SETTLE_CYCLES))
        m.submodules.synchronizer = cdc.FFSynchronizer(self.locked, locked)
        m.d.sync += settled.eq(0)
        with m.If(self.run & ~locked):
            m.d.sync += [self.run.eq(0), self.stopped.eq(1)]
        with m.Elif(locked & ~self.stopped):
            m.d.sync += settled.eq(settled + 1)
            with m.If(settled.all()):
                m.d.sync += self.run.eq(1)
        return m


def clock_by_pll(m: Module, pll: Pll, *, oscillator: Any) -> Startup:
    """Gives `m` its domain `sync`, without a reset: the clock that `pll` makes of `oscillator`,
    when the `Startup` that is returned says so."""
    locked, made, gated = Signal(name="locked"), Signal(name="made"), Signal(name="gated")
    for name, clock in (("board", oscillator), ("pll", made)):
        m.domains += ClockDomain(name, reset_less=True)
        m.d.comb += ClockSignal(name).eq(clock)
    m.domains += ClockDomain("sync")
    m.d.comb += [ClockSignal().eq(gated), ResetSignal().eq(0)]
    m.submodules.pll = pll.instance(i=oscillator, o=made, locked=locked)
    startup = Startup()
    m.submodules.startup = DomainRenamer("board")(startup)
    run = Signal(name="run")
    m.submodules.run = cdc.FFSynchronizer(startup.run, run, o_domain="pll")
    m.submodules.gate = Instance("DCCA", i_CLKI=made, i_CE=run, o_CLKO=gated)
    m.d.comb += startup.locked.eq(locked)
    return startup
