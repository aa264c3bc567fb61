"""A board's netlist at the end of a line, which a host talks to as to a simulated board."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.boards.ecp5.flow import synthesize
from dpnet.boards.ecp5.models import HARD_CELLS, netlist_model
from dpnet.boards.ulx3s.board import TOP
from dpnet.boards.ulx3s.top import LAMPS, Ulx3sTop
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.doors.uart import UartDoor
from dpnet.gateware.emit import emit
from dpnet.sim.board.bytes_board import SimTransport
from dpnet.sim.board.harness import build
from dpnet.sim.simulator import find_simulator


class FarEnd(wiring.Component):
    """The ULX3S's netlist on a table: bytes of a harness go over its two wires at its baud rate.
    The PLL's model passes its input on, so the oscillator has the engine's clock."""

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
            "netlist",
            i_clk25=ClockSignal(),
            i_rx=door.tx,
            o_tx=door.rx,
            o_led=led,
        )
        wiring.connect(m, wiring.flipped(self.i), door.i)
        wiring.connect(m, door.o, wiring.flipped(self.o))
        # Whether there is a request without its answer no pin says: time passes as it is asked to.
        m.d.comb += [self.busy.eq(led[LAMPS.index("busy")]), self.active.eq(1)]
        return m


def netlist_on_line(top: Ulx3sTop) -> SimTransport:
    """A transport to the netlist of `top` that nextpnr reads: at its clock, over its UART."""
    netlist = synthesize(emit(top, TOP), TOP, find_yosys())
    far = FarEnd(clock_hz=top.clock_hz, baud=top.baud)
    text = emit(far, "top") + netlist_model(netlist, TOP) + HARD_CELLS
    return SimTransport("netlist", build(text, find_simulator()), clock_hz=top.clock_hz)
