"""A Zynq around an engine: the processor's AXI port, or a UART beside an idle processor."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, Signal
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import Out

from dpnet.boards.board import Engine
from dpnet.boards.parts.engines import AxiEngine
from dpnet.boards.series7.clocking import ENGINE_MHZ
from dpnet.boards.series7.top import UartTop
from dpnet.boards.zynq.ps7 import gp0, ps7
from dpnet.gateware.emit import place

IO_PLL_MHZ = 1000
"""Of the processor side, as boot loaders set it: FCLK0 is this, divided."""


def fclk_mhz(mhz: float) -> Fraction:
    """`mhz` (to 1 Hz) as FCLK0 makes it; raises `ValueError` if it cannot, or if no engine takes
    it, with the nearest frequency that there is."""
    low, high = ENGINE_MHZ
    dividers = range(IO_PLL_MHZ // high, IO_PLL_MHZ // low + 1)
    best = min((Fraction(IO_PLL_MHZ, n) for n in dividers), key=lambda made: abs(made - mhz))
    if abs(best - Fraction(mhz)) > Fraction(1, 1_000_000):
        raise ValueError(
            f"mhz must be {IO_PLL_MHZ} / n for a whole n, from {low} to {high}, not {mhz!r}; the "
            f"nearest is {float(best):.9g}"
        )
    return best


class AxiTop(wiring.Component):
    """The chip with M_AXI_GP0 as its way in; clock and reset are FCLK0 and FCLK_RESET0_N.

    No button resets it: a processor whose access is not answered waits for ever.

    Parameters: `engine`, `mhz` (see `fclk_mhz`), `lamps`, those of `dpnet.boards.series7.top.LAMPS`
    that have a pin.
    Readable: `clock_hz`.
    Members: `led_NAME` for each of `lamps`.
    """

    def __init__(self, *, engine: Engine, mhz: float, lamps: Collection[str]) -> None:
        self.lamps = tuple(lamps)
        self.clock_hz = round(fclk_mhz(mhz) * 1_000_000)
        self.logic = AxiEngine(engine=engine, clock_hz=self.clock_hz)
        super().__init__({f"led_{name}": Out(1) for name in self.lamps})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.domains += ClockDomain("sync")
        clocks, resets = Signal(4), Signal(4)
        inner = place(m, self.logic, "logic")
        m.submodules.ps7 = ps7(o_FCLKCLK=clocks, o_FCLKRESETN=resets, **gp0(inner, ClockSignal()))
        m.submodules.bufg = Instance("BUFG", i_I=clocks[0], o_O=ClockSignal())
        m.submodules.reset = cdc.ResetSynchronizer(~resets[0])
        for name in self.lamps:
            m.d.comb += getattr(self, f"led_{name}").eq(getattr(inner, name))
        return m


class IdleTop(UartTop):
    """A `UartTop` that needs nothing of the processor side, which is there: Vivado wants it to
    be."""

    def elaborate(self, platform: Any) -> Module:
        m = super().elaborate(platform)
        m.submodules.ps7 = ps7()
        return m
