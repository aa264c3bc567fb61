"""The ULX3S's pins around an engine: clock, start-up, UART, lamps."""

from amaranth.hdl import (
    Cat,
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

from dpnet.boards.ulx3s.pll import find_pll
from dpnet.gateware.emit import place
from dpnet.gateware.top import Top

OSCILLATOR_MHZ = 25
SETTLE_CYCLES = 256
"""Oscillator cycles (10 µs) in which the PLL must be locked before the engine is clocked."""

LAMPS = ("alive", "clocked", "received", "sent", "busy", "failed", "lost", "stopped")
"""What LED 0 to 7 say; see `Lamps` and `Startup`."""


class Startup(wiring.Component):
    """The engine's clock stands still until it is good.

    After configuration every register of an ECP5 has its initial value, which is its reset value,
    so a clock that has not ticked yet is a reset that costs nothing.  A reset net is not free: it
    would reach every register's logic, and limit the clock.

    Runs on the oscillator.  Members: `locked` from the PLL, asynchronous; `run`, a register, once
    it was high for `SETTLE_CYCLES`; `stopped`, when it went low after that: what was computed may
    be wrong, so the engine stays still until the FPGA is configured again.
    """

    locked: In(1)
    run: Out(1)
    stopped: Out(1)

    def elaborate(self, platform):
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


class Lamps(wiring.Component):
    """What the engine does, slow enough to be seen.

    Parameters: `clock_hz`.
    Members: `rx`, `tx`, the line as synchronous signals; `busy`.  `alive` blinks about once a
    second as long as the clock ticks; `received`, `sent` and `shown_busy` are on for 8 to 32 ms
    after the last low level of the line, or the last busy cycle.
    """

    rx: In(1)
    tx: In(1)
    busy: In(1)
    alive: Out(1)
    received: Out(1)
    sent: Out(1)
    shown_busy: Out(1)

    def __init__(self, *, clock_hz):
        if not isinstance(clock_hz, int) or clock_hz < 1000:
            raise ValueError(f"clock_hz must be an integer of at least 1000, not {clock_hz!r}")
        self.clock_hz = clock_hz
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        heartbeat = Signal((self.clock_hz // 2).bit_length() + 1)
        m.d.sync += heartbeat.eq(heartbeat + 1)
        m.d.comb += self.alive.eq(heartbeat[-1])
        # One slow clock for all: a lamp is on for one to two of its ticks, 2^-7 to 2^-6 s each.
        tick_bit = len(heartbeat) - 6
        tick, before = Signal(), Signal()
        m.d.sync += [before.eq(heartbeat[tick_bit]), tick.eq(before != heartbeat[tick_bit])]
        for name, seen in (("received", ~self.rx), ("sent", ~self.tx), ("shown_busy", self.busy)):
            left = Signal(2, name=f"{name}_left")
            m.d.comb += getattr(self, name).eq(left.any())
            with m.If(seen):
                m.d.sync += left.eq(0b11)
            with m.Elif(tick):
                m.d.sync += left.eq(left >> 1)
        return m


class Ulx3sTop(wiring.Component):
    """An engine with a UART on the ULX3S, at `mhz` made of the board's 25 MHz.

    Parameters: `engine` (`EngineParameters`), `mhz` (whatever the PLL can make), `baud`.
    Members: `clk25`; `rx` and `tx`, the line to the FT231X as the FPGA sees it; `led`, see `LAMPS`;
    `wifi_gpio0`, high, or the ESP32 on the board takes it for a request to reboot.
    """

    clk25: In(1)
    rx: In(1, init=1)
    tx: Out(1, init=1)
    led: Out(8)
    wifi_gpio0: Out(1, init=1)

    def __init__(self, *, engine, mhz, baud=3_000_000):
        self.engine = engine
        self.mhz = mhz
        self.baud = baud
        self.pll = find_pll(input_mhz=OSCILLATOR_MHZ, mhz=mhz)
        self.clock_hz = int(self.pll.mhz * 1_000_000)
        self._top = Top(params=engine, door="uart", clock_hz=self.clock_hz, baud=baud, status=True)
        self._lamps = Lamps(clock_hz=self.clock_hz)
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        locked, made, gated = Signal(), Signal(), Signal()
        for name, clock in (("board", self.clk25), ("pll", made)):
            m.domains += ClockDomain(name, reset_less=True)
            m.d.comb += ClockSignal(name).eq(clock)
        m.domains += ClockDomain("sync")
        m.d.comb += [ClockSignal().eq(gated), ResetSignal().eq(0)]
        m.submodules.pll = self.pll.instance(i=self.clk25, o=made, locked=locked)
        startup = Startup()
        m.submodules.startup = DomainRenamer("board")(startup)
        run = Signal()
        m.submodules.run = cdc.FFSynchronizer(startup.run, run, o_domain="pll")
        m.submodules.gate = Instance("DCCA", i_CLKI=made, i_CE=run, o_CLKO=gated)

        top = place(m, self._top, "engine")
        m.submodules.lamps = lamps = self._lamps
        rx = Signal(init=1)
        m.submodules.rx = cdc.FFSynchronizer(self.rx, rx, init=1)
        m.d.comb += [
            top.rx.eq(self.rx),
            self.tx.eq(top.tx),
            self.wifi_gpio0.eq(1),
            startup.locked.eq(locked),
            lamps.rx.eq(rx),
            lamps.tx.eq(top.tx),
            lamps.busy.eq(top.busy),
            self.led.eq(
                Cat(
                    lamps.alive,
                    startup.run,
                    lamps.received,
                    lamps.sent,
                    lamps.shown_busy,
                    top.failed,
                    top.lost,
                    startup.stopped,
                )
            ),
        ]
        return m
