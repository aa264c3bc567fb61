"""A board with a Zynq-7000 as data: the processor's AXI port besides the UART."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.lib.wiring import Component

from dpnet.boards.bitfile import write_bin
from dpnet.boards.board import BuildOptions, Engine
from dpnet.boards.parts.engines import AxiEngine
from dpnet.boards.series7.description import Series7Board
from dpnet.boards.series7.design import TOP, Clock, Design, Pad
from dpnet.boards.series7.top import UartTop
from dpnet.boards.zynq.devicetree import overlay
from dpnet.boards.zynq.top import AxiTop, IdleTop, fclk_mhz
from dpnet.gateware.emit import emit


@dataclass(frozen=True, kw_only=True)
class ZynqBoard(Series7Board):
    """A `Series7Board` with two doors: "axi", M_AXI_GP0 at FCLK0 (dpnet.dts and dpnet.bin are for
    its Linux), and "uart", `rx` and `tx` at a connector of the logic, clocked by the board's
    oscillator."""

    doors: tuple[str, ...] = ("axi", "uart")

    def design(self, engine: Engine, toolchain: str, options: BuildOptions) -> Design:
        """What a toolchain gets."""
        if options.door == "uart":
            return super().design(engine, toolchain, options)
        lamps = self._lamps(toolchain)
        chip = AxiTop(engine=engine, mhz=options.mhz or self.mhz, lamps=tuple(lamps))
        mhz = chip.clock_hz / 1e6
        return Design(
            part=self.part,
            verilog=emit(chip, TOP),
            clock=Clock(mhz=mhz, pin="ps7/FCLKCLK[0]"),
            mhz=mhz,
            pins=tuple(lamps.values()),
        )

    def logic(self, engine: Engine, mhz: float, options: BuildOptions) -> Component:
        """What is counted where nothing is placed: all but clock and pins."""
        if options.door == "uart":
            return super().logic(engine, mhz, options)
        return AxiEngine(engine=engine, clock_hz=round(mhz * 1e6))

    def needed(self, options: BuildOptions) -> tuple[Pad, ...]:
        """Pads without which the engine cannot be reached."""
        return super().needed(options) if options.door == "uart" else ()

    def beside(self, folder: Path, options: BuildOptions) -> list[Path]:
        """The device tree overlay, where the processor side is used."""
        if options.door == "uart":
            return []
        path = folder / f"{TOP}.dts"
        path.write_text(overlay(f"{TOP}.bin", float(fclk_mhz(options.mhz or self.mhz))))
        return [path]

    def loadable(self, bit: Path, folder: Path) -> list[Path]:
        """What Linux' FPGA manager takes."""
        write_bin(bit, folder / f"{TOP}.bin", self.part)
        return [folder / f"{TOP}.bin"]

    def _chip(self, **parameters: Any) -> UartTop:
        return IdleTop(**parameters)
