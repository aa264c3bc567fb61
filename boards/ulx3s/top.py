"""The ULX3S's pins around an engine: clock, start-up, UART, lamps."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.boards.board import Engine
from dpnet.boards.ecp5.pll import find_pll
from dpnet.boards.ecp5.startup import clock_by_pll
from dpnet.boards.parts.engines import UartEngine
from dpnet.gateware.emit import place

OSCILLATOR_MHZ = 25

LAMPS = ("alive", "clocked", "received", "sent", "busy", "failed", "lost", "stopped")
"""What LED 0 to 7 say; see `dpnet.boards.parts.engines.UartEngine` and `Startup`."""


class Ulx3sTop(wiring.Component):
    """An engine with a UART on the ULX3S, at `mhz` made of the board's 25 MHz.

    Parameters: `engine` (array or map engine), `mhz` (whatever the PLL can make), `baud`.
    Readable: `clock_hz`, what it makes.
    Members:

    * `clk25`, the oscillator;
    * `rx` and `tx`, the line to the FT231X as the FPGA sees it;
    * `led`, see `LAMPS`;
    * `wifi_gpio0`, high, or the ESP32 on the board takes it for a request to reboot.
    """

    def __init__(self, *, engine: Engine, mhz: float, baud: int = 3_000_000) -> None:
        self.baud = baud
        self.pll = find_pll(input_mhz=OSCILLATOR_MHZ, mhz=mhz)
        self.clock_hz = round(self.pll.mhz * 1_000_000)
        self.logic = UartEngine(engine=engine, clock_hz=self.clock_hz, baud=baud)
        super().__init__(
            {
                "clk25": In(1),
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "led": Out(len(LAMPS)),
                "wifi_gpio0": Out(1, init=1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        startup = clock_by_pll(m, self.pll, oscillator=self.clk25)
        inner = place(m, self.logic, "logic")
        shown = {name: getattr(inner, name, None) for name in LAMPS}
        shown |= {"clocked": startup.run, "stopped": startup.stopped}
        m.d.comb += [
            inner.rx.eq(self.rx),
            self.tx.eq(inner.tx),
            self.wifi_gpio0.eq(1),
            self.led.eq(Cat(shown[name] for name in LAMPS)),
        ]
        return m
