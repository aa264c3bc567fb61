"""The chips that engines are made for: how much of each kind there is, and how much may be taken.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

KINDS = ("lut", "lutram", "ff", "dsp", "bram36")
"""LUT sites, those of them that can be memory, flip-flops, DSP48E1 and whole block RAMs."""

LIMITS = {
    "lut": Fraction(85, 100),
    "lutram": Fraction(90, 100),
    "ff": Fraction(1),
    "dsp": Fraction(1),
    "bram36": Fraction(1),
}
"""The part of each kind that a design may take and still be routed."""


@dataclass(frozen=True)
class Device:
    """A chip by its name, and how much of each of `KINDS` it has."""

    name: str
    sizes: Mapping[str, int]

    def __post_init__(self) -> None:
        for kind in KINDS:
            if self.sizes.get(kind, 0) < 1:
                raise ValueError(f"{kind} must be at least 1, not {self.sizes.get(kind)!r}")


XC7Z045 = Device(
    "XC7Z045", {"lut": 218_600, "lutram": 70_400, "ff": 437_200, "dsp": 900, "bram36": 545}
)
XC7Z020 = Device(
    "XC7Z020", {"lut": 53_200, "lutram": 17_400, "ff": 106_400, "dsp": 220, "bram36": 140}
)

BOARDS = {"zc706": XC7Z045, "arty-z7-20": XC7Z020}
"""Boards and their chips (Zynq-7000 data sheet DS190)."""
