"""The ZC706's pins around an engine: clock, reset, the processor's AXI port or a UART, lamps."""

from fractions import Fraction

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import In, Out

from dpnet.boards.zc706.ps7 import gp0, ps7
from dpnet.gateware.doors.axi3 import Axi3Door, axi3_members
from dpnet.gateware.emit import place
from dpnet.gateware.top import Top

LAMPS = {
    "alive": "blinks about once a second: clock and reset are right",
    "failed": "the last run had an error, or the line of a UART lost a byte",
    "link": "bytes come or go",
    "busy": "a run is under way",
}
"""The lamps, the most important ones first, and what they say."""

OSCILLATOR_MHZ = 200
VCO_MHZ = 1000
"""Of the MMCM, which may run at 600 to 1,440 MHz, and of the processor side's I/O PLL: every clock
of the engine is this, divided."""
MOST_MHZ = 250
RESET_CYCLES = 1 << 16


def divider(mhz, parts):
    """`VCO_MHZ` / `mhz` in units of 1 / `parts`; raises `ValueError` if the division does not come
    out even or `mhz` is not from 10 to `MOST_MHZ`."""
    units = Fraction(VCO_MHZ * parts) / Fraction(mhz).limit_denominator(1_000_000)
    if not 10 <= mhz <= MOST_MHZ or units.denominator != 1:
        near = float(Fraction(VCO_MHZ * parts, max(1, round(units))))
        raise ValueError(
            f"mhz must be {VCO_MHZ * parts} / n for a whole n, from 10 to {MOST_MHZ}, not {mhz!r} "
            f"(near it: {near:g})"
        )
    return int(units)


class Lamps(wiring.Component):
    """What the engine does, slow enough to be seen.

    Parameters: `clock_hz`.
    Members: `moved`, `running`; `alive` changes every 2^26 cycles (0.67 s) at 100 MHz, every 0.5 to
    1 s at any clock; `link` and `busy` stay on for 1/32 to 1/16 of that after the last cycle of
    `moved` and `running`.
    """

    moved: In(1)
    running: In(1)
    alive: Out(1)
    link: Out(1)
    busy: Out(1)

    def __init__(self, *, clock_hz):
        if not isinstance(clock_hz, int) or clock_hz < 1000:
            raise ValueError(f"clock_hz must be an integer of at least 1000, not {clock_hz!r}")
        self.clock_hz = clock_hz
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        count = Signal((self.clock_hz // 2).bit_length() + 1)
        ticks = count[: len(count) - 6]
        m.d.sync += count.eq(count + 1)
        m.d.comb += self.alive.eq(count[-1])
        for name, seen in (("link", self.moved), ("busy", self.running)):
            left = Signal(2, name=f"{name}_left")
            m.d.comb += getattr(self, name).eq(left != 0)
            with m.If(seen):
                m.d.sync += left.eq(3)
            with m.Elif(ticks == 0):
                m.d.sync += left.eq(left >> 1)
        return m


class Restart(wiring.Component):
    """Reset for `cycles` cycles after configuration, after `good` was low, and after every change
    of the button, which therefore may be high or low when it is pressed, and may bounce.

    Members: `good` and `button`, asynchronous; `reset`, a register, which does not reset this.
    """

    good: In(1)
    button: In(1)
    reset: Out(1)

    def __init__(self, *, cycles=RESET_CYCLES):
        self.cycles = cycles
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        good, button, before = Signal(), Signal(), Signal(reset_less=True)
        left = Signal(range(self.cycles), init=self.cycles - 1, reset_less=True)
        reset = Signal(init=1, reset_less=True)
        m.submodules.good_here = cdc.FFSynchronizer(self.good, good)
        m.submodules.button_here = cdc.FFSynchronizer(self.button, button)
        m.d.comb += self.reset.eq(reset)
        m.d.sync += [before.eq(button), reset.eq(left != 0)]
        with m.If(~good | (button != before)):
            m.d.sync += left.eq(self.cycles - 1)
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        return m


class AxiEngine(wiring.Component):
    """Everything behind the processor's AXI port, in one clock domain.

    Parameters: `engine` (`EngineParameters`), `clock_hz`.
    Members: `s_axi_*` (see `dpnet.gateware.doors.axi3.Axi3Door`); `LAMPS`.
    """

    def __init__(self, *, engine, clock_hz):
        self.engine = engine
        self.clock_hz = clock_hz
        super().__init__(axi3_members() | {name: Out(1) for name in LAMPS})

    def elaborate(self, platform):
        m = Module()
        m.submodules.door = door = Axi3Door()
        m.submodules.lamps = lamps = Lamps(clock_hz=self.clock_hz)
        engine = Top(params=self.engine, door="bytes", clock_hz=self.clock_hz, status=True)
        top = place(m, engine, "engine")
        wiring.connect(m, door.o, top.i)
        wiring.connect(m, top.o, door.i)
        for name, member in axi3_members().items():
            own, inner = getattr(self, name), getattr(door, name)
            m.d.comb += inner.eq(own) if member.flow == In else own.eq(inner)
        m.d.comb += [
            lamps.moved.eq((top.i.valid & top.i.ready) | (top.o.valid & top.o.ready)),
            lamps.running.eq(top.busy),
            self.alive.eq(lamps.alive),
            self.link.eq(lamps.link),
            self.busy.eq(lamps.busy),
            self.failed.eq(top.failed),
        ]
        return m


class UartEngine(wiring.Component):
    """Everything behind the pins of a UART, in one clock domain.

    Parameters: `engine` (`EngineParameters`), `clock_hz`, `baud`.
    Members: `rx` (asynchronous), `tx`; `LAMPS`.
    """

    def __init__(self, *, engine, clock_hz, baud):
        self.engine = engine
        self.clock_hz = clock_hz
        self.baud = baud
        self._top = Top(params=engine, door="uart", clock_hz=clock_hz, baud=baud, status=True)
        super().__init__(
            {"rx": In(1, init=1), "tx": Out(1, init=1)} | {name: Out(1) for name in LAMPS}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.lamps = lamps = Lamps(clock_hz=self.clock_hz)
        top = place(m, self._top, "engine")
        line = Signal(init=1)
        m.submodules.line = cdc.FFSynchronizer(self.rx, line, init=1)
        m.d.comb += [
            top.rx.eq(self.rx),
            self.tx.eq(top.tx),
            lamps.moved.eq(~line | ~top.tx),
            lamps.running.eq(top.busy),
            self.alive.eq(lamps.alive),
            self.link.eq(lamps.link),
            self.busy.eq(lamps.busy),
            self.failed.eq(top.failed | top.lost),
        ]
        return m


class AxiTop(wiring.Component):
    """The chip with M_AXI_GP0 as its way in; clock and reset are FCLK0 and FCLK_RESET0_N.

    No button resets it: a processor whose access is not answered waits for ever.

    Parameters: `engine`, `mhz` (what FCLK0 is set to: 1000 / n), `lamps`, those of `LAMPS` that
    have a pin.
    Members: `led_…` for each of `lamps`.
    """

    def __init__(self, *, engine, mhz, lamps):
        self.engine = engine
        self.mhz = mhz
        self.lamps = tuple(lamps)
        self.clock_hz = round(Fraction(VCO_MHZ * 1_000_000, divider(mhz, 1)))
        self._inner = AxiEngine(engine=engine, clock_hz=self.clock_hz)
        super().__init__({f"led_{name}": Out(1) for name in self.lamps})

    def elaborate(self, platform):
        m = Module()
        m.domains += ClockDomain("sync")
        clocks, resets = Signal(4), Signal(4)
        inner = place(m, self._inner, "logic")
        m.submodules.ps7 = ps7(o_FCLKCLK=clocks, o_FCLKRESETN=resets, **gp0(inner, ClockSignal()))
        m.submodules.bufg = Instance("BUFG", i_I=clocks[0], o_O=ClockSignal())
        m.submodules.reset = cdc.ResetSynchronizer(~resets[0])
        for name in self.lamps:
            m.d.comb += getattr(self, f"led_{name}").eq(getattr(inner, name))
        return m


def clock_by_mmcm(m, oscillator, oscillator_mhz, *, eighths, button):
    """Gives `m` its domain `sync`: `VCO_MHZ` · 8 / `eighths`, made of `oscillator` by an MMCM, in
    reset as `Restart` says."""
    made, back, locked = Signal(), Signal(), Signal()
    m.domains += ClockDomain("sync")
    m.submodules.mmcm = Instance(
        "MMCME2_BASE",
        p_CLKIN1_PERIOD=1000 / oscillator_mhz,
        p_CLKFBOUT_MULT_F=VCO_MHZ / oscillator_mhz,
        p_DIVCLK_DIVIDE=1,
        p_CLKOUT0_DIVIDE_F=eighths / 8,
        i_CLKIN1=oscillator,
        i_CLKFBIN=back,
        o_CLKFBOUT=back,
        o_CLKOUT0=made,
        o_LOCKED=locked,
        i_PWRDWN=Const(0),
        i_RST=Const(0),
    )
    m.submodules.bufg = Instance("BUFG", i_I=made, o_O=ClockSignal())
    m.submodules.restart = restart = Restart()
    m.d.comb += [
        ResetSignal().eq(restart.reset),
        restart.good.eq(locked),
        restart.button.eq(button),
    ]


class UartTop(wiring.Component):
    """The chip with a UART at the PMOD connector as its way in, clocked by the board's 200 MHz
    through an MMCM: it needs nothing of the processor side.

    Parameters: `engine`, `mhz` (8000 / n), `baud`, `lamps`, those of `LAMPS` that have a pin.
    Members: `clk200_p`, `clk200_n`, `button` (see `Restart`), `rx`, `tx`; `led_…` for each of
    `lamps`.
    """

    def __init__(self, *, engine, mhz, baud, lamps):
        self.engine = engine
        self.mhz = mhz
        self.baud = baud
        self.lamps = tuple(lamps)
        self.eighths = divider(mhz, 8)
        self.clock_hz = round(Fraction(VCO_MHZ * 8_000_000, self.eighths))
        self._inner = UartEngine(engine=engine, clock_hz=self.clock_hz, baud=baud)
        super().__init__(
            {
                "clk200_p": In(1),
                "clk200_n": In(1),
                "button": In(1),
                "rx": In(1, init=1),
                "tx": Out(1, init=1),
                **{f"led_{name}": Out(1) for name in self.lamps},
            }
        )

    def elaborate(self, platform):
        m = Module()
        board = Signal()
        m.submodules.ps7 = ps7()
        m.submodules.ibufds = Instance("IBUFDS", i_I=self.clk200_p, i_IB=self.clk200_n, o_O=board)
        clock_by_mmcm(m, board, OSCILLATOR_MHZ, eighths=self.eighths, button=self.button)
        inner = place(m, self._inner, "logic")
        m.d.comb += [inner.rx.eq(self.rx), self.tx.eq(inner.tx)]
        for name in self.lamps:
            m.d.comb += getattr(self, f"led_{name}").eq(getattr(inner, name))
        return m
