"""From Verilog to a configuration, every step kept: an interrupted build goes on where it was."""

from __future__ import annotations

import base64
import tempfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dpnet.boards.build import kept, synthesis_folder
from dpnet.boards.command import progress
from dpnet.boards.ecp5 import nextpnr as place
from dpnet.boards.ecp5.nextpnr import CriticalPath, Timing, TimingError
from dpnet.boards.tool import Tool

CLOCK = "clk"
"""The engine's clock in nextpnr's report."""


@dataclass(frozen=True)
class Pad:
    """A ball of the chip, with its options; the I/O standard is LVCMOS33."""

    site: str
    options: str


def lpf(pads: Mapping[str, Pad], oscillator: str, mhz: float) -> str:
    """The pads of the top's ports, and the clock that comes in at the port `oscillator`, as nextpnr
    reads them."""
    lines = [f'FREQUENCY PORT "{oscillator}" {mhz:g} MHZ;']
    for port, pad in pads.items():
        lines += [
            f'LOCATE COMP "{port}" SITE "{pad.site}";',
            f'IOBUF PORT "{port}" IO_TYPE=LVCMOS33 {pad.options};',
        ]
    return "\n".join([*lines, ""])


def synthesize(verilog: str, top: str, yosys: Tool) -> str:
    """The netlist that nextpnr reads, kept by Verilog, Yosys' version and script."""
    with progress(f"synthesis ({yosys})") as ended:
        script = place.SCRIPT.format(top=top)
        text, was_kept = _kept_text(
            (verilog, yosys.version, script, "netlist"),
            lambda: place.synthesize(verilog, top, yosys),
        )
        ended("kept from an earlier run" if was_kept else "done")
    return text


def place_and_route(
    netlist: str, *, pins: str, mhz: float, seed: int, nextpnr: Tool
) -> tuple[Timing, str]:
    """(timing, configuration) for this clock, kept by netlist, nextpnr's version and options.

    `pins`: see `lpf`.  Raises `TimingError` if the clock is not reached.
    """

    def run() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=synthesis_folder(), prefix="config-") as name:
            config = Path(name) / "chip.config"
            timing = place.place_and_route(
                netlist,
                seed=seed,
                target=mhz,
                config=config,
                nextpnr=nextpnr,
                pins=pins,
                clock=CLOCK,
            )
            return {"timing": asdict(timing), "config": _squeeze(config.read_text())}

    with progress(f"placing and routing for {mhz:g} MHz, seed {seed} ({nextpnr})") as ended:
        inputs = (netlist, nextpnr.version, place.DEVICE, pins, str(mhz), str(seed))
        try:
            entry, was_kept = kept((*inputs, *place.options()), run)
        except TimingError:
            ended("timing not met")
            raise
        timing = Timing(
            **{**entry["timing"], "critical": CriticalPath(**entry["timing"]["critical"])}
        )
        ended(f"{timing.mhz:.1f} MHz{', kept from an earlier run' if was_kept else ''}")
    return timing, _expand(entry["config"])


def _kept_text(parts: tuple[str, ...], compute: Callable[[], str]) -> tuple[str, bool]:
    """`kept` of a text of megabytes, made small."""
    squeezed, was_kept = kept(parts, lambda: _squeeze(compute()))
    return _expand(squeezed), was_kept


def _squeeze(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode())).decode()


def _expand(text: str) -> str:
    return zlib.decompress(base64.b64decode(text)).decode()
