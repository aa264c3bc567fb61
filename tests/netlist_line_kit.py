"""A board's netlist at the far end of a line, which a host talks to as to a simulated board."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.boards.ecp5.flow import synthesize
from dpnet.boards.ecp5.models import HARD_CELLS, netlist_model
from dpnet.boards.ecp5.startup import SETTLE_CYCLES
from dpnet.boards.ulx3s.board import TOP
from dpnet.boards.ulx3s.top import LAMPS, Ulx3sTop
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.doors.uart import UartDoor
from dpnet.gateware.emit import emit
from dpnet.sim.board.bytes_board import SimTransport
from dpnet.sim.board.harness import build
from dpnet.sim.simulator import find_simulator

REPLY_S = 0.02
"""Longer than a window of frames takes on a line of 6.25 Mbaud (7 ms)."""


class FarEnd(wiring.Component):
    """The ULX3S's netlist behind its two wires of a UART: what the board of a simulation gets and
    gives goes over these at `baud`.

    The PLL's model passes its input on, so the oscillator has the engine's clock, `clock_hz`.
    """

    def __init__(self, *, clock_hz: int, baud: int) -> None:
        self.clock_hz, self.baud = clock_hz, baud
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "busy": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.door = door = UartDoor(clock_hz=self.clock_hz, baud=self.baud)
        led = Signal(len(LAMPS))
        m.submodules.netlist = Instance(
            "netlist", i_clk25=ClockSignal(), i_rx=door.tx, o_tx=door.rx, o_led=led
        )
        wiring.connect(m, wiring.flipped(self.i), door.i)
        wiring.connect(m, door.o, wiring.flipped(self.o))
        # No pin says whether there is a request without its answer.
        m.d.comb += [self.busy.eq(led[LAMPS.index("busy")]), self.active.eq(1)]
        return m


def netlist_on_line(top: Ulx3sTop) -> SimTransport:
    """A transport to the netlist of `top` that nextpnr reads, once its clock runs."""
    netlist = synthesize(emit(top, TOP), TOP, find_yosys())
    far = FarEnd(clock_hz=top.clock_hz, baud=top.baud)
    text = emit(far, "top") + netlist_model(netlist, TOP) + HARD_CELLS
    transport = SimTransport("netlist", build(text, find_simulator()), clock_hz=top.clock_hz)
    transport.reply_s = REPLY_S
    # What comes before its clock is lost, and a host waits a million cycles until it asks again.
    transport.sleep(2 * SETTLE_CYCLES / top.clock_hz)
    return transport
