"""Frames bit by bit through the UART and the frame decoder behind it, with clocks that differ."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.doors.uart import COUNTER_BITS, UartDoor
from dpnet.gateware.emit import emit
from dpnet.gateware.link.receiver import HEADER, PAYLOAD_WORDS, FrameReceiver
from dpnet.sim.soak.build import build_program
from dpnet.sim.soak.cells import Cell, program_cell

CLOCK_HZ = 100_000_000
BAUDS = (3_000_000, 11_520_000)
"""The default, 33.3 cycles a bit, and nearly the fastest that is allowed, 8.68."""
ERRORS = (-0.02, -0.015, -0.01, -0.005, 0.0, 0.005, 0.01, 0.015, 0.02)
"""How much faster than the engine's clock the far end's is."""
PROMISES = ("wrong", "lost", "returned_wrong", "framing_errors", "overruns")
"""Counts that must be 0 (see uart.cpp)."""


class UartReceiver(wiring.Component):
    """`UartDoor` with a `FrameReceiver` on its received bytes; the members of both."""

    def __init__(self, *, baud: int) -> None:
        self.baud = baud
        super().__init__(
            {
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                "i": In(stream.Signature(8)),
                "valid": Out(1),
                "header": Out(HEADER),
                "address": In(range(PAYLOAD_WORDS)),
                "word": Out(32),
                "done": In(1),
                "framing_errors": Out(COUNTER_BITS),
                "overruns": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.door = door = UartDoor(clock_hz=CLOCK_HZ, baud=self.baud)
        m.submodules.receiver = receiver = FrameReceiver()
        wiring.connect(m, wiring.flipped(self.i), door.i)
        wiring.connect(m, door.o, receiver.i)
        m.d.comb += [
            door.rx.eq(self.rx),
            self.tx.eq(door.tx),
            self.valid.eq(receiver.valid),
            self.header.eq(receiver.header),
            receiver.address.eq(self.address),
            self.word.eq(receiver.word),
            receiver.done.eq(self.done),
            self.framing_errors.eq(door.framing_errors),
            self.overruns.eq(door.overruns),
        ]
        return m


def cells(frames: int, seed: int) -> list[Cell]:
    """`frames` shared out over both rates and all clock errors."""
    programs = {baud: build_program(emit(UartReceiver(baud=baud)), "uart") for baud in BAUDS}
    places = [(baud, error) for baud in BAUDS for error in ERRORS]
    share = -(-frames // len(places))
    return [
        program_cell(
            "uart",
            f"{baud / 1e6:g} Mbaud, {error:+.1%}",
            programs[baud],
            (f"{CLOCK_HZ / baud:.6f}", f"{error:g}", str(share), str(1000 * seed + n)),
        )
        for n, (baud, error) in enumerate(places)
    ]
