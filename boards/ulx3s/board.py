"""Radiona ULX3S with an LFE5U-85F: from sizes to a bitstream with tools from PyPI alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dpnet.boards.board import BuildOptions, Built, Engine
from dpnet.boards.command import progress
from dpnet.boards.ecp5.flow import Pad, lpf, place_and_route, synthesize
from dpnet.boards.ecp5.nextpnr import AVAILABLE, ECPPACK, find_nextpnr, pack
from dpnet.boards.parts.map_engines import RESNET8_SLIM
from dpnet.boards.ulx3s.top import OSCILLATOR_MHZ, Ulx3sTop
from dpnet.boards.yosys import find_yosys
from dpnet.gateware.emit import emit
from dpnet.model.engine.devices import LFE5U_85F
from dpnet.model.engine.parameters import EngineParameters

TOP = "ulx3s"

MHZ = 50.0
"""Seed 1 reaches 57.0 MHz; the slowest paths start in the link's block RAM, not in the array."""

PADS = {
    "clk25": Pad("G2", "PULLMODE=NONE"),
    # The FT231X's TXD and RXD: 3 Mbaud at most.
    "rx": Pad("M1", "PULLMODE=UP"),
    "tx": Pad("L4", "PULLMODE=UP DRIVE=4"),
    **{
        f"led[{n}]": Pad(site, "PULLMODE=NONE DRIVE=4")
        for n, site in enumerate(("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3"))
    },
}
"""Of every revision from v2.0 on: doc/constraints/ulx3s_v20.lpf of the board's project
(emard/ulx3s, file version 0a4321a), prototype/ulx3s_v314.lpf and ulx3s_v316.lpf there;
amaranth-boards 0.0.21 has the same sites."""

WIFI_GPIO0 = {"v3.0": "L2", "v3.1.6": "F1"}
"""The ESP32's GPIO0 by revision.  v3.0 stands for v2.x, v3.0.x and v3.1.4; on v3.1.6 L2 is GPIO22,
and F1 was the ESP32's enable before."""


def pads(revision: str) -> dict[str, Pad]:
    """The pads of the top's ports on a board of this revision, one of `WIFI_GPIO0`."""
    return {**PADS, "wifi_gpio0": Pad(WIFI_GPIO0[revision], "PULLMODE=NONE DRIVE=4")}


class Ulx3s:
    """The board; see `dpnet.boards.board.Board`."""

    name = "ulx3s"
    title = "Radiona ULX3S, LFE5U-85F-6BG381C"
    device = LFE5U_85F
    toolchains = ("nextpnr",)
    doors = ("uart",)
    revisions = tuple(WIFI_GPIO0)
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
    # Of 128 lanes (RESNET8) nextpnr found no routes in 40 minutes; of these in 15.
    maps = replace(RESNET8_SLIM, multiplier="18x18")

    def build(
        self,
        *,
        engine: Engine,
        toolchain: str | None,
        folder: Path,
        options: BuildOptions,
    ) -> Built:
        """See `dpnet.boards.board.Board.build`; the toolchain is nextpnr, the door the UART."""
        top = Ulx3sTop(engine=engine, mhz=options.mhz or MHZ, baud=options.baud)
        yosys, nextpnr, ecppack = find_yosys(), find_nextpnr(), ECPPACK.find()
        revision = options.revision or self.revisions[0]
        pins = lpf(pads(revision), "clk25", OSCILLATOR_MHZ)
        verilog = emit(top, TOP)
        timing, config = place_and_route(
            synthesize(verilog, TOP, yosys),
            pins=pins,
            mhz=top.clock_hz / 1e6,
            seed=options.seed,
            nextpnr=nextpnr,
        )
        with progress(f"packing ({ecppack})") as ended:
            data = pack(config, ecppack)
            ended(f"{len(data):,} bytes")
        files = {"dpnet.v": verilog, "dpnet.lpf": pins, "dpnet.config": config}
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
            available=AVAILABLE,
            notes=(
                f"slowest path: {critical.ns:.1f} ns from {critical.source} to {critical.target}",
                f"pins of revision {revision} (others: "
                f"{', '.join(r for r in self.revisions if r != revision)}; boards/ulx3s/README.md)",
                f"UART of {top.baud:,} baud; load it: openFPGALoader -b ulx3s dpnet.bit",
            ),
        )


BOARD = Ulx3s()
