"""Digilent Arty A7-35T: pins, clock and build, all that a board of pure logic takes.

Nothing here has been run on the board, nor with Vivado or openXC7.
"""

from __future__ import annotations

from pathlib import Path

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.boards import xilinx
from dpnet.boards.board import BuildOptions, Built
from dpnet.boards.tool import ToolError
from dpnet.boards.xc7 import KINDS, synthesize
from dpnet.boards.zc706.top import LAMPS, UartEngine, clock_by_mmcm, divider
from dpnet.gateware.emit import emit, place
from dpnet.model.engine.parameters import EngineParameters

PART, FAMILY = "xc7a35tcsg324-1", "artix7"
OSCILLATOR_MHZ = 100
MHZ = 50.0
"""Half of what an XC7Z045 of speed grade 2 is asked for, as this chip's grade is 1; never timed."""

SIZES = {"lut": 20_800, "lutram": 9_600, "ff": 41_600, "dsp": 90, "bram36": 50}
"""Of the XC7A35T (DS180)."""

PINS = {
    "clk100": ("E3", False),
    "button": ("C2", False),
    # The FT2232HQ's TXD and RXD.
    "rx": ("A9", False),
    "tx": ("D10", True),
    **{
        f"led_{name}": (site, True)
        for name, site in zip(LAMPS, ("H5", "J5", "T9", "T10"), strict=True)
    },
}
"""(site, whether it is an output) of each port, all LVCMOS33: as in amaranth-boards 0.0.21; LD4 to
LD7 are the lamps, CK_RST the button."""


class ArtyTop(wiring.Component):
    """An engine with a UART behind the board's pins, its clock made by an MMCM of 100 MHz.

    Parameters: `engine`, `mhz` (8000 / n), `baud`.
    Members: `PINS`.
    """

    def __init__(self, *, engine, mhz, baud):
        self.engine = engine
        self.mhz = mhz
        self.baud = baud
        self.eighths = divider(mhz, 8)
        self.inner = UartEngine(engine=engine, clock_hz=round(mhz * 1_000_000), baud=baud)
        super().__init__(
            {
                name: Out(1, init=name == "tx") if output else In(1, init=name == "rx")
                for name, (_, output) in PINS.items()
            }
        )

    def elaborate(self, platform):
        m = Module()
        clock_by_mmcm(m, self.clk100, OSCILLATOR_MHZ, eighths=self.eighths, button=self.button)
        inner = place(m, self.inner, "logic")
        m.d.comb += [inner.rx.eq(self.rx), self.tx.eq(inner.tx)]
        m.d.comb += [getattr(self, f"led_{name}").eq(getattr(inner, name)) for name in LAMPS]
        return m


class ArtyA7:
    """The board; see `dpnet.boards.board.Board`."""

    name = "arty-a7-35t"
    title = "Digilent Arty A7-35T, XC7A35TCSG324-1"
    toolchains = ("vivado", "openxc7")
    doors = ("uart",)
    # It holds the digits networks of `make sim`.
    engine = EngineParameters(
        stages=1,
        columns=8,
        segments=2,
        activation_bits=8,
        entry_bits=16,
        max_columns=1024,
        index_depth=4096,
        slots=64,
        result_slots=64,
        vector_words=1024,
        row_beats=1,
        edges="integer",
        packed=False,
    )

    def build(
        self,
        *,
        engine: EngineParameters,
        toolchain: str | None,
        folder: Path,
        options: BuildOptions,
    ) -> Built:
        """See `dpnet.boards.board.Board.build`: Verilog, XDC and scripts for both toolchains, a
        bitstream where one is installed."""
        mhz = options.mhz or MHZ
        top = ArtyTop(engine=engine, mhz=mhz, baud=options.baud)
        design = xilinx.Design(
            part=PART,
            family=FAMILY,
            verilog=emit(top, xilinx.TOP),
            mhz=mhz,
            pins=tuple(xilinx.Pin(name, site, "LVCMOS33", o) for name, (site, o) in PINS.items()),
            clock=xilinx.Clock(mhz=OSCILLATOR_MHZ, vivado="[get_ports {clk100}]"),
        )
        chosen, missing = find_toolchain(self.toolchains if toolchain is None else (toolchain,))
        if toolchain is not None and chosen is None:
            raise ToolError(missing)
        files = [
            *xilinx.write_vivado(design, folder / "vivado"),
            *xilinx.write_openxc7(design, folder / "openxc7", seed=options.seed),
        ]
        if chosen is None:
            estimate = synthesize(emit(top.inner, "logic"), "logic")
            used = {kind: getattr(estimate, kind) for kind in KINDS}
            notes = ("sites as Yosys counts them, without clock and pins; nothing was placed",)
            return Built(
                bitstream=None,
                files=tuple(files),
                clock_hz=mhz * 1e6,
                used=used,
                available=SIZES,
                notes=notes,
                missing=missing,
            )
        if chosen == "vivado":
            routed = xilinx.run_vivado(design, folder / chosen)
        else:
            routed = xilinx.run_openxc7(design, folder / chosen, seed=options.seed)
        bit = (folder / chosen / xilinx.BIT).replace(folder / xilinx.BIT)
        files += [folder / chosen / name for name in routed.files]
        return Built(
            bitstream=bit,
            files=tuple(files),
            clock_hz=mhz * 1e6,
            mhz=routed.mhz,
            used=routed.used,
            available=SIZES,
        )


def find_toolchain(toolchains: tuple[str, ...]) -> tuple[str | None, str]:
    """(the first one that is installed, or None, what is missing of those before it)."""
    errors = []
    for toolchain in toolchains:
        try:
            if toolchain == "vivado":
                xilinx.find_vivado()
            else:
                xilinx.find_openxc7(PART, FAMILY)
        except ToolError as error:
            errors.append(str(error))
        else:
            return toolchain, "; ".join(errors)
    return None, "; ".join(errors)


BOARD = ArtyA7()
