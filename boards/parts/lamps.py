"""Lamps that people can see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Lamps(wiring.Component):
    """What happens, slow enough to be seen.

    Parameters: `clock_hz`; `events`, names of what is shown.
    Members, the first two for each of `events`:

    * `i_NAME`: high in every cycle in which it happens;
    * `o_NAME`: on from the cycle after the first one until 1/32 to 1/16 of `o_alive`'s time after
      the last one, 16 to 62 ms;
    * `o_alive`: changes every 0.5 to 1 s (2^26 cycles at 100 MHz) while the clock ticks.
    """

    def __init__(self, *, clock_hz: int, events: Sequence[str]) -> None:
        if not isinstance(clock_hz, int) or clock_hz < 1000:
            raise ValueError(f"clock_hz must be an integer of at least 1000, not {clock_hz!r}")
        self.clock_hz = clock_hz
        self.events = tuple(events)
        super().__init__(
            {f"i_{name}": In(1) for name in self.events}
            | {f"o_{name}": Out(1) for name in (*self.events, "alive")}
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        heartbeat = Signal((self.clock_hz // 2).bit_length() + 1)
        m.d.sync += heartbeat.eq(heartbeat + 1)
        m.d.comb += self.o_alive.eq(heartbeat[-1])
        # One slow clock for all: a lamp is on for one to two of its ticks.
        slow = heartbeat[len(heartbeat) - 6]
        tick, before = Signal(name="tick"), Signal(name="before")
        m.d.sync += [before.eq(slow), tick.eq(before != slow)]
        for name in self.events:
            left = Signal(2, name=f"{name}_left")
            m.d.comb += getattr(self, f"o_{name}").eq(left.any())
            with m.If(getattr(self, f"i_{name}")):
                m.d.sync += left.eq(0b11)
            with m.Elif(tick):
                m.d.sync += left.eq(left >> 1)
        return m
