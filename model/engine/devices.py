"""The chips that engines are made for: how much of each kind there is, and how much may be taken.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

KINDS = ("lut", "lutram", "ff", "dsp", "bram36")
"""LUT sites, those of them that can be memory, flip-flops, DSP48E1 and whole block RAMs.  On an
ECP5: LUTs of four inputs, memories of 16 × 4 bits, flip-flops, MULT18X18D and pairs of DP16KD."""

LIMITS = {
    "lut": Fraction(85, 100),
    "lutram": Fraction(90, 100),
    "ff": Fraction(1),
    "dsp": Fraction(1),
    "bram36": Fraction(1),
}
"""The part of each kind that a design may take and still be routed."""

FAMILIES = ("xc7", "ecp5")


@dataclass(frozen=True)
class Device:
    """A chip by its name, how much of each of `KINDS` it has, and its family, one of `FAMILIES`."""

    name: str
    sizes: Mapping[str, int]
    family: str = "xc7"

    def __post_init__(self) -> None:
        for kind in KINDS:
            if self.sizes.get(kind, 0) < 1:
                raise ValueError(f"{kind} must be at least 1, not {self.sizes.get(kind)!r}")
        if self.family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(FAMILIES)}, not {self.family!r}")


# Zynq-7000: DS190; Artix-7: DS180; ECP5: FPGA-DS-02012, as nextpnr counts.
XC7Z045 = Device(
    "XC7Z045", {"lut": 218_600, "lutram": 70_400, "ff": 437_200, "dsp": 900, "bram36": 545}
)
XC7Z020 = Device(
    "XC7Z020", {"lut": 53_200, "lutram": 17_400, "ff": 106_400, "dsp": 220, "bram36": 140}
)
XC7A35T = Device("XC7A35T", {"lut": 20_800, "lutram": 9_600, "ff": 41_600, "dsp": 90, "bram36": 50})
XC7A100T = Device(
    "XC7A100T", {"lut": 63_400, "lutram": 19_000, "ff": 126_800, "dsp": 240, "bram36": 135}
)
LFE5U_85F = Device(
    "LFE5U-85F",
    {"lut": 83_640, "lutram": 10_455, "ff": 83_640, "dsp": 156, "bram36": 104},
    family="ecp5",
)

BOARDS = {
    "arty-a7-35t": XC7A35T,
    "arty-z7-20": XC7Z020,
    "nexys4-ddr": XC7A100T,
    "ulx3s": LFE5U_85F,
    "zc706": XC7Z045,
}
"""The boards that can be built (the folders of boards/), and their chips."""
