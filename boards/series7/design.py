"""What a toolchain for 7-series chips gets, and what it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TOP = "dpnet"
VERILOG, XDC, BIT = f"{TOP}.v", f"{TOP}.xdc", f"{TOP}.bit"
DEFINE = "XC7"
"""The macro that chooses the chip's own primitives (`dpnet.gateware.array.lane.TopBits`)."""

FAMILIES = {"xc7s": "spartan7", "xc7a": "artix7", "xc7k": "kintex7", "xc7z": "zynq7"}
"""prjxray's names, by the beginning of a part's."""


@dataclass(frozen=True)
class Pad:
    """A ball of the chip, and the I/O standard of its bank."""

    site: str
    standard: str = "LVCMOS33"


@dataclass(frozen=True)
class Pin:
    """A port of the top, and the pad that it is on."""

    port: str
    pad: Pad
    output: bool


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock that comes in at a port of the top, or at a pin of a cell in it (one of the two);
    `net` is the engine's clock in the top."""

    mhz: float
    port: str | None = None
    pin: str | None = None
    net: str = "clk"

    def __post_init__(self) -> None:
        if (self.port is None) == (self.pin is None):
            raise ValueError(
                f"a clock must come in at a port or at a pin, not {self.port!r} and {self.pin!r}"
            )


@dataclass(frozen=True, kw_only=True)
class Design:
    """What a tool gets: Verilog of the module `TOP`, its pins, the clock that comes in, and `mhz`,
    what the engine's clock is; `part` with package and speed (`xc7z045ffg900-2`)."""

    part: str
    verilog: str
    pins: tuple[Pin, ...]
    clock: Clock
    mhz: float

    @property
    def family(self) -> str:
        return family(self.part)


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What a tool reached: its clock in MHz, the sites it reports (empty if it does not), its log
    and reports by file name."""

    mhz: float
    used: Mapping[str, int]
    files: tuple[str, ...]


def family(part: str) -> str:
    """The family of `part`, one of `FAMILIES`; raises `ValueError`."""
    if part[:4] not in FAMILIES:
        raise ValueError(f"part must begin with {', '.join(FAMILIES)}, not {part!r}")
    return FAMILIES[part[:4]]


def write_files(folder: Path, texts: Mapping[str, str]) -> tuple[Path, ...]:
    """Write the texts into `folder`, which is made if it is not there; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return tuple(folder / name for name in texts)
