"""The ECP5's PLL, EHXPLLL: divider settings for a frequency, and the instance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from amaranth.hdl import Const, Instance, Signal

# Lattice FPGA-DS-02012, sysCLOCK PLL timing; ecppll of Project Trellis allows the phase detector
# 3.125 MHz, the data sheet does not.
PHASE_DETECTOR_MHZ = (10, 400)
VCO_MHZ = (400, 800)
OUTPUT_MHZ = (Fraction(25, 8), 400)
INPUT_DIVIDERS = range(1, 129)
FEEDBACK_DIVIDERS = range(1, 81)
OUTPUT_DIVIDERS = range(1, 129)
BEST_VCO_MHZ = 600


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Settings that make `mhz` of `input_mhz`.

    The phase detector holds input / `ref` equal to what is fed back, divided by `feedback`; the
    oscillator (VCO) divided by `output` leaves.  Fed back is that output, CLKOP, or, where `second`
    is not None, an output CLKOS of its own: the oscillator divided by `second`.
    """

    input_mhz: Fraction
    ref: int
    feedback: int
    output: int
    second: int | None = None

    @property
    def phase_detector_mhz(self) -> Fraction:
        return self.input_mhz / self.ref

    @property
    def vco_mhz(self) -> Fraction:
        return self.phase_detector_mhz * self.feedback * (self.second or self.output)

    @property
    def mhz(self) -> Fraction:
        return self.vco_mhz / self.output

    def instance(self, *, i: Any, o: Any, locked: Any) -> Instance:
        """The primitive: signals `i` (input), `o`, `locked`."""
        back = o if self.second is None else Signal(name="back")
        return Instance(
            "EHXPLLL",
            # Charge pump and loop filter as ecppll sets them for every frequency.
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            a_FREQUENCY_PIN_CLKI=f"{float(self.input_mhz):g}",
            a_FREQUENCY_PIN_CLKOP=f"{float(self.mhz):g}",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_FEEDBK_PATH="CLKOP" if self.second is None else "CLKOS",
            p_CLKI_DIV=self.ref,
            p_CLKFB_DIV=self.feedback,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.output,
            p_CLKOP_CPHASE=self.output // 2,
            p_CLKOP_FPHASE=0,
            i_CLKI=i,
            i_CLKFB=back,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(1),
            i_PHASESTEP=Const(1),
            i_PHASELOADREG=Const(1),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=o,
            o_LOCK=locked,
            **self._second_output(back),
        )

    def _second_output(self, back: Any) -> dict[str, Any]:
        if self.second is None:
            return {}
        return {
            "p_CLKOS_ENABLE": "ENABLED",
            "p_CLKOS_DIV": self.second,
            "p_CLKOS_CPHASE": self.second // 2,
            "p_CLKOS_FPHASE": 0,
            "i_ENCLKOS": Const(0),
            "o_CLKOS": back,
        }


def find_pll(*, input_mhz: float, mhz: float) -> Pll:
    """Settings for `mhz` (to 1 Hz): if possible with the output itself fed back, then with the
    oscillator as near to 600 MHz as can be, all of it within the data sheet's limits.

    Raises `ValueError` if there are none, with the nearest frequency that there is.
    """
    source, wanted = Fraction(input_mhz), Fraction(mhz)
    low, high = OUTPUT_MHZ
    if not PHASE_DETECTOR_MHZ[0] <= source <= PHASE_DETECTOR_MHZ[1]:
        raise ValueError(
            f"input_mhz must be from {PHASE_DETECTOR_MHZ[0]} to {PHASE_DETECTOR_MHZ[1]}, not "
            f"{input_mhz!r}"
        )

    def rank(pll: Pll) -> tuple[Any, ...]:
        error = abs(pll.mhz - wanted)
        return error, pll.second is not None, abs(pll.vco_mhz - BEST_VCO_MHZ), pll.ref

    best = min(_near(source, min(max(wanted, low), Fraction(high))), key=rank)
    if abs(best.mhz - wanted) > Fraction(1, 1_000_000):
        raise ValueError(
            f"mhz must be a frequency that the PLL makes of {input_mhz:g} MHz, not {mhz!r}; the "
            f"nearest is {float(best.mhz):.9g}"
        )
    return best


def _near(source: Fraction, wanted: Fraction) -> Iterator[Pll]:
    """Settings within all limits that come near to `wanted`."""
    for ref in INPUT_DIVIDERS:
        detector = source / ref
        if not PHASE_DETECTOR_MHZ[0] <= detector <= PHASE_DETECTOR_MHZ[1]:
            continue
        for feedback in _around(wanted / detector, FEEDBACK_DIVIDERS):
            for output in _around(BEST_VCO_MHZ / (detector * feedback), OUTPUT_DIVIDERS):
                pll = Pll(input_mhz=source, ref=ref, feedback=feedback, output=output)
                if _is_right(pll):
                    yield pll
        # What is fed back may be the detector's own frequency: all multiples of it are reached.
        for second in range(ceil(VCO_MHZ[0] / detector), int(VCO_MHZ[1] / detector) + 1):
            for output in _around(detector * second / wanted, OUTPUT_DIVIDERS):
                pll = Pll(input_mhz=source, ref=ref, feedback=1, output=output, second=second)
                if _is_right(pll):
                    yield pll


def _around(value: Fraction, values: range) -> set[int]:
    """The integers of `values` next to `value`."""
    return {min(max(int(value) + n, values[0]), values[-1]) for n in (0, 1)}


def _is_right(pll: Pll) -> bool:
    return VCO_MHZ[0] <= pll.vco_mhz <= VCO_MHZ[1] and OUTPUT_MHZ[0] <= pll.mhz <= OUTPUT_MHZ[1]
