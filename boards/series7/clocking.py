"""The engine's clock on a 7-series chip: the MMCM's settings for a frequency, and its reset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import cdc, wiring
from amaranth.lib.wiring import In, Out

# DS181 and DS187, speed grade 1, the slowest.
VCO_MHZ = (600, 1200)
PHASE_DETECTOR_MHZ = (10, 450)
ENGINE_MHZ = (10, 250)
# In eighths: 2 to 64, and 2 to 128.
MULTIPLIERS = range(16, 513)
DIVIDERS = range(16, 1025)
BEST_VCO_MHZ = 1000
RESET_CYCLES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Mmcm:
    """Settings of an MMCME2 that make `mhz` of `input_mhz`: an oscillator (VCO) of `input_mhz` ·
    `multiply` / 8, divided by `divide` / 8.  Its phase detector runs at `input_mhz`."""

    input_mhz: Fraction
    multiply: int
    divide: int

    @property
    def vco_mhz(self) -> Fraction:
        return self.input_mhz * self.multiply / 8

    @property
    def mhz(self) -> Fraction:
        return self.vco_mhz * 8 / self.divide

    @property
    def fractions(self) -> int:
        """How many of the two dividers are not whole: such ones jitter more."""
        return (self.multiply % 8 > 0) + (self.divide % 8 > 0)

    def instance(self, *, i: Any, o: Any, locked: Any) -> Instance:
        """The primitive: signals `i` (input), `o`, `locked`.

        Phases are 0 and say so: where they do not, older nextpnr-xilinx takes 1 degree.
        """
        back = Signal(name="back")
        return Instance(
            "MMCME2_BASE",
            p_CLKIN1_PERIOD=float(1000 / self.input_mhz),
            p_CLKFBOUT_MULT_F=self.multiply / 8,
            p_CLKFBOUT_PHASE=0.0,
            p_DIVCLK_DIVIDE=1,
            p_CLKOUT0_DIVIDE_F=self.divide / 8,
            p_CLKOUT0_PHASE=0.0,
            i_CLKIN1=i,
            i_CLKFBIN=back,
            o_CLKFBOUT=back,
            o_CLKOUT0=o,
            o_LOCKED=locked,
            i_PWRDWN=Const(0),
            i_RST=Const(0),
        )


def find_mmcm(*, input_mhz: float, mhz: float) -> Mmcm:
    """Settings for `mhz` (to 1 Hz), if possible with whole dividers, then with the oscillator as
    near to 1000 MHz as can be.

    Raises `ValueError` if there are none, with the nearest frequency that there is.
    """
    source, wanted = Fraction(input_mhz), Fraction(mhz)
    low, high = ENGINE_MHZ
    if not PHASE_DETECTOR_MHZ[0] <= source <= PHASE_DETECTOR_MHZ[1]:
        raise ValueError(
            f"input_mhz must be from {PHASE_DETECTOR_MHZ[0]} to {PHASE_DETECTOR_MHZ[1]}, not "
            f"{input_mhz!r}"
        )
    best = min(
        _near(source, wanted),
        key=lambda m: (abs(m.mhz - wanted), m.fractions, abs(m.vco_mhz - BEST_VCO_MHZ)),
    )
    if not low <= mhz <= high or abs(best.mhz - wanted) > Fraction(1, 1_000_000):
        raise ValueError(
            f"mhz must be a frequency from {low} to {high} that the MMCM makes of {input_mhz:g} "
            f"MHz, not {mhz!r}; the nearest is {float(best.mhz):.9g}"
        )
    return best


def _near(source: Fraction, wanted: Fraction) -> Iterator[Mmcm]:
    """For every frequency of the oscillator the divider that comes nearest to `wanted`, and that
    can be used."""
    wanted = min(max(wanted, Fraction(ENGINE_MHZ[0])), Fraction(ENGINE_MHZ[1]))
    for multiply in MULTIPLIERS:
        vco = source * multiply / 8
        if VCO_MHZ[0] <= vco <= VCO_MHZ[1]:
            for divide in (int(vco * 8 / wanted), int(vco * 8 / wanted) + 1):
                made = vco * 8 / divide
                if divide in DIVIDERS and ENGINE_MHZ[0] <= made <= ENGINE_MHZ[1]:
                    yield Mmcm(input_mhz=source, multiply=multiply, divide=divide)


class Restart(wiring.Component):
    """Reset for `cycles` cycles after configuration, after `good` was low, and after every change
    of the button, which therefore may be high or low when it is pressed, and may bounce.

    Members: `good` and `button`, asynchronous; `reset`, a register, which does not reset this.
    """

    def __init__(self, *, cycles: int = RESET_CYCLES) -> None:
        self.cycles = cycles
        super().__init__({"good": In(1), "button": In(1), "reset": Out(1)})

    def elaborate(self, platform: Any) -> Module:
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


def clock_by_mmcm(m: Module, mmcm: Mmcm, *, oscillator: Any, button: Any) -> None:
    """Gives `m` its domain `sync`: the clock that `mmcm` makes of `oscillator`, in reset as
    `Restart` says."""
    made, locked = Signal(name="made"), Signal(name="locked")
    m.domains += ClockDomain("sync")
    m.submodules.mmcm = mmcm.instance(i=oscillator, o=made, locked=locked)
    m.submodules.bufg = Instance("BUFG", i_I=made, o_O=ClockSignal())
    m.submodules.restart = restart = Restart()
    m.d.comb += [
        ResetSignal().eq(restart.reset),
        restart.good.eq(locked),
        restart.button.eq(button),
    ]
