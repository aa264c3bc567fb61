"""An engine with its door and its lamps, in one clock domain: what a board's top clocks."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import In, Out

from dpnet.boards.board import Engine
from dpnet.boards.parts.lamps import Lamps
from dpnet.gateware.doors.axi3 import Axi3Door, axi3_members
from dpnet.gateware.emit import place
from dpnet.gateware.top import Top


def engine_top(*, engine: Engine, clock_hz: int, door: str, baud: int = 3_000_000) -> Top:
    """The engine behind its door, with outputs for lamps: the one place where a board says which
    clock its engine gets."""
    return Top(params=engine, door=door, clock_hz=clock_hz, baud=baud, status=True)


class UartEngine(wiring.Component):
    """Everything behind the pins of a UART.

    Parameters: `engine` (array or map engine), `clock_hz`, `baud`.
    Members:

    * `rx` (asynchronous), `tx`: the line as the FPGA sees it;
    * `alive`, `received`, `sent`, `busy`: see `Lamps`; the line is or was low, a run is under way;
    * `failed`: the last run had an error, until the next one starts;
    * `lost`: the line lost or damaged a byte, until the reset.
    """

    def __init__(self, *, engine: Engine, clock_hz: int, baud: int) -> None:
        self.engine = engine
        self.clock_hz = clock_hz
        self.baud = baud
        self._top = engine_top(engine=engine, clock_hz=clock_hz, door="uart", baud=baud)
        lamps = ("alive", "received", "sent", "busy", "failed", "lost")
        super().__init__(
            {"rx": In(1, init=1), "tx": Out(1, init=1)} | {name: Out(1) for name in lamps}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.lamps = lamps = Lamps(
            clock_hz=self.clock_hz, events=("received", "sent", "busy")
        )
        top = place(m, self._top, "engine")
        line = Signal(init=1)
        m.submodules.line = cdc.FFSynchronizer(self.rx, line, init=1)
        m.d.comb += [
            top.rx.eq(self.rx),
            self.tx.eq(top.tx),
            lamps.i_received.eq(~line),
            lamps.i_sent.eq(~top.tx),
            lamps.i_busy.eq(top.busy),
            self.alive.eq(lamps.o_alive),
            self.received.eq(lamps.o_received),
            self.sent.eq(lamps.o_sent),
            self.busy.eq(lamps.o_busy),
            self.failed.eq(top.failed),
            self.lost.eq(top.lost),
        ]
        return m


class AxiEngine(wiring.Component):
    """Everything behind a processor's AXI port.

    Parameters: `engine` (array or map engine), `clock_hz`.
    Members:

    * `s_axi_*`: see `dpnet.gateware.doors.axi3.Axi3Door`;
    * `alive`, `link`, `busy`: see `Lamps`; bytes come or go, a run is under way;
    * `failed`: the last run had an error, until the next one starts.
    """

    def __init__(self, *, engine: Engine, clock_hz: int) -> None:
        self.engine = engine
        self.clock_hz = clock_hz
        lamps = ("alive", "link", "busy", "failed")
        super().__init__(axi3_members() | {name: Out(1) for name in lamps})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.door = door = Axi3Door()
        m.submodules.lamps = lamps = Lamps(clock_hz=self.clock_hz, events=("link", "busy"))
        made = engine_top(engine=self.engine, clock_hz=self.clock_hz, door="bytes")
        top = place(m, made, "engine")
        wiring.connect(m, door.o, top.i)
        wiring.connect(m, top.o, door.i)
        for name, member in axi3_members().items():
            own, inner = getattr(self, name), getattr(door, name)
            m.d.comb += inner.eq(own) if member.flow == In else own.eq(inner)
        m.d.comb += [
            lamps.i_link.eq((top.i.valid & top.i.ready) | (top.o.valid & top.o.ready)),
            lamps.i_busy.eq(top.busy),
            self.alive.eq(lamps.o_alive),
            self.link.eq(lamps.o_link),
            self.busy.eq(lamps.o_busy),
            self.failed.eq(top.failed),
        ]
        return m
