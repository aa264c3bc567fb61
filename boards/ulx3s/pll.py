"""The ECP5's PLL, EHXPLLL: divider settings for a frequency, and the instance."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from amaranth.hdl import Const, Instance

# Project Trellis, libtrellis/tools/ecppll.cpp; Lattice FPGA-DS-02012, table 3.30.
PHASE_DETECTOR_MHZ = (Fraction(25, 8), 400)
VCO_MHZ = (400, 800)
INPUT_DIVIDERS = range(1, 129)
FEEDBACK_DIVIDERS = range(1, 81)
OUTPUT_DIVIDERS = range(1, 129)
BEST_VCO_MHZ = 600


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Settings that make `mhz` of `input_mhz`: input / `ref` · `feedback`, where the oscillator
    runs at that times `output`."""

    input_mhz: Fraction
    ref: int
    feedback: int
    output: int

    @property
    def mhz(self) -> Fraction:
        return self.input_mhz * self.feedback / self.ref

    @property
    def vco_mhz(self) -> Fraction:
        return self.mhz * self.output

    def instance(self, *, i, o, locked):
        """The primitive, with its output fed back: signals `i` (input), `o`, `locked`."""
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
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=self.ref,
            p_CLKFB_DIV=self.feedback,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=self.output,
            p_CLKOP_CPHASE=self.output // 2,
            p_CLKOP_FPHASE=0,
            i_CLKI=i,
            i_CLKFB=o,
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
        )


def find_pll(*, input_mhz: float, mhz: float) -> Pll:
    """Settings for exactly `mhz` (to 1e-6 MHz), with the oscillator as near to 600 MHz as can be.

    Raises `ValueError` if there are none, with the nearest frequency that there is.
    """
    source, wanted = (Fraction(round(value * 10**6), 10**6) for value in (input_mhz, mhz))
    best: tuple[tuple[Fraction, Fraction, int], Pll] | None = None
    for ref in INPUT_DIVIDERS:
        if not PHASE_DETECTOR_MHZ[0] <= source / ref <= PHASE_DETECTOR_MHZ[1]:
            continue
        for feedback in {max(1, min(80, round(wanted * ref / source) + n)) for n in (-1, 0, 1)}:
            made = source * feedback / ref
            output = max(1, min(128, round(BEST_VCO_MHZ / made)))
            pll = Pll(input_mhz=source, ref=ref, feedback=feedback, output=output)
            if not VCO_MHZ[0] <= pll.vco_mhz <= VCO_MHZ[1]:
                continue
            rank = (abs(made - wanted), abs(pll.vco_mhz - BEST_VCO_MHZ), ref)
            if best is None or rank < best[0]:
                best = rank, pll
    if best is None or best[1].mhz != wanted:
        nearest = "" if best is None else f"; the nearest is {float(best[1].mhz):.6g}"
        raise ValueError(
            f"mhz must be a frequency that the PLL makes of {input_mhz:g} MHz, not {mhz!r}{nearest}"
        )
    return best[1]
