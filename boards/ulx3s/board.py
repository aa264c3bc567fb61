"""Radiona ULX3S with an LFE5U-85F: from sizes to a bitstream with tools from PyPI alone."""

from __future__ import annotations

import base64
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpnet.boards import ecp5
from dpnet.boards.board import BuildOptions, Built
from dpnet.boards.build import kept, synthesis_folder
from dpnet.boards.command import progress
from dpnet.boards.ecp5 import CriticalPath, Timing, TimingError
from dpnet.boards.tool import Tool
from dpnet.boards.ulx3s.top import OSCILLATOR_MHZ, Ulx3sTop
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters

TOP = "ulx3s"
CLOCK = "clk"
"""The engine's clock in nextpnr's report."""

MHZ = 50.0
"""Seed 1 reaches 57.0 MHz; the slowest paths start in the link's block RAM, not in the array."""

PINS = {
    "clk25": ("G2", "PULLMODE=NONE"),
    # The FT231X's TXD and RXD: 3 Mbaud at most.
    "rx": ("M1", "PULLMODE=UP"),
    "tx": ("L4", "PULLMODE=UP DRIVE=4"),
    **{
        f"led[{n}]": (pin, "PULLMODE=NONE DRIVE=4")
        for n, pin in enumerate(("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"))
    },
    "wifi_gpio0": ("L2", "PULLMODE=NONE DRIVE=4"),
}
"""(site, options) of each port, all LVCMOS33: doc/constraints/ulx3s_v20.lpf of the board's project
(emard/ulx3s, file version 0a4321a), boards v2.x and v3.0.x; amaranth-boards 0.0.21 has the same
sites."""


def constraints() -> str:
    """The pins and the oscillator, as nextpnr reads them."""
    lines = [f'FREQUENCY PORT "clk25" {OSCILLATOR_MHZ} MHZ;']
    for port, (site, options) in PINS.items():
        lines += [
            f'LOCATE COMP "{port}" SITE "{site}";',
            f'IOBUF PORT "{port}" IO_TYPE=LVCMOS33 {options};',
        ]
    return "\n".join([*lines, ""])


class Ulx3s:
    """The board; see `dpnet.boards.board.Board`."""

    name = "ulx3s"
    title = "Radiona ULX3S, LFE5U-85F-6BG381C"
    toolchains = ("nextpnr",)
    doors = ("uart",)
    # It holds the digits networks of `make sim`: 64-256-128-10 takes 6,336 index rows, 99 slots.
    engine = EngineParameters(
        stages=1,
        columns=4,
        segments=2,
        activation_bits=8,
        entry_bits=16,
        max_columns=1024,
        index_depth=8192,
        slots=128,
        result_slots=128,
        vector_words=1024,
        row_beats=1,
        edges="integer",
        packed=False,
        multiplier="18x18",
    )

    def build(
        self,
        *,
        engine: EngineParameters,
        toolchain: str | None,
        folder: Path,
        options: BuildOptions,
    ) -> Built:
        """See `dpnet.boards.board.Board.build`; the toolchain is nextpnr, the door the UART."""
        top = Ulx3sTop(engine=engine, mhz=options.mhz or MHZ, baud=options.baud)
        yosys, nextpnr, ecppack = find_yosys(), ecp5.find_nextpnr(), ecp5.ECPPACK.find()
        verilog = emit(top, TOP)
        netlist = synthesize(verilog, yosys)
        timing, config = place_and_route(netlist, top.mhz, options.seed, nextpnr)
        with progress(f"packing ({ecppack})") as ended:
            data = ecp5.pack(config, ecppack)
            ended(f"{len(data):,} bytes")
        files = {"dpnet.v": verilog, "dpnet.lpf": constraints(), "dpnet.config": config}
        for name, text in files.items():
            (folder / name).write_text(text)
        (folder / "dpnet.bit").write_bytes(data)
        critical = timing.critical
        return Built(
            bitstream=folder / "dpnet.bit",
            files=tuple(folder / name for name in files),
            clock_hz=top.clock_hz,
            mhz=timing.mhz,
            used=timing.used,
            available=ecp5.AVAILABLE,
            notes=(
                f"slowest path: {critical.ns:.1f} ns from {critical.source} to {critical.target}",
                f"UART of {top.baud:,} baud; load it: openFPGALoader -b ulx3s dpnet.bit",
            ),
        )


def synthesize(verilog: str, yosys: Tool) -> str:
    """The netlist that nextpnr reads, kept by Verilog, Yosys' version and script."""
    with progress(f"synthesis ({yosys})") as ended:
        script = ecp5.SCRIPT.format(top=TOP)
        text, was_kept = _kept_text(
            (verilog, yosys.version, script, "netlist"),
            lambda: ecp5.synthesize(verilog, TOP, yosys),
        )
        ended("kept from an earlier run" if was_kept else "done")
    return text


def place_and_route(netlist: str, mhz: float, seed: int, nextpnr: Tool) -> tuple[Timing, str]:
    """(timing, configuration) for this clock, kept by netlist, nextpnr's version and options.

    Raises `TimingError` if the clock is not reached.
    """

    def run() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=synthesis_folder(), prefix="config-") as name:
            config = Path(name) / "chip.config"
            timing = ecp5.place_and_route(
                netlist,
                seed=seed,
                target=mhz,
                config=config,
                nextpnr=nextpnr,
                pins=constraints(),
                clock=CLOCK,
            )
            return {"timing": asdict(timing), "config": _squeeze(config.read_text())}

    with progress(f"placing and routing for {mhz:g} MHz, seed {seed} ({nextpnr})") as ended:
        inputs = (netlist, nextpnr.version, ecp5.DEVICE, constraints(), str(mhz), str(seed))
        try:
            entry, was_kept = kept((*inputs, *ecp5.options()), run)
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


BOARD = Ulx3s()
