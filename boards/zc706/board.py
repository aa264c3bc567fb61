"""Xilinx ZC706: the pins, and how an engine for it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from dpnet.boards.bitfile import BitFileError, write_bin
from dpnet.boards.board import BuildOptions, Built
from dpnet.boards.command import Candidate
from dpnet.boards.resources import measure, module_table, table
from dpnet.boards.tool import ToolError
from dpnet.boards.xc7 import KINDS, XC7Z045
from dpnet.boards.xilinx import (
    BIT,
    TOP,
    Clock,
    Design,
    Pin,
    Routed,
    find_openxc7,
    find_vivado,
    run_openxc7,
    run_vivado,
    write_openxc7,
    write_vivado,
)
from dpnet.boards.zc706.devicetree import overlay
from dpnet.boards.zc706.top import LAMPS, OSCILLATOR_MHZ, AxiEngine, AxiTop, UartEngine, UartTop
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters

PART, FAMILY = "xc7z045ffg900-2", "zynq7"
MHZ = 100.0

# UG954; the lamps are called 0, center, left and right there.
LED_PINS = {
    "alive": ("A17", "LVCMOS15"),
    "failed": ("G2", "LVCMOS15"),
    "link": ("Y21", "LVCMOS25"),
    "busy": ("W21", "LVCMOS25"),
}
CLOCK_PINS = {"clk200_p": ("H9", "LVDS"), "clk200_n": ("G9", "LVDS")}
BUTTON_PIN = ("A8", "LVCMOS15")
PMOD_PINS = ("AJ21", "AK21", "AB21", "AB16", "Y20", "AA20", "AC18", "AC19")
"""Of the connector J58, PMOD1_0 to PMOD1_7; a level shifter makes 3.3 V of them."""
PMOD_STANDARD = "LVCMOS25"
PMOD_TX, PMOD_RX = 1, 2
"""Where Digilent's UART modules listen and talk."""

OPENXC7_LAMPS = ("alive", "failed")
OPENXC7_BANKS = "openXC7's pin file for the XC7Z045 has only banks 10, 33, 34 and 35"


class Zc706:
    """See `dpnet.boards.board.Board`.  Door "axi" is M_AXI_GP0 at FCLK0, "uart" the PMOD connector
    at the board's oscillator; the second one needs Vivado."""

    name = "zc706"
    title = "Xilinx ZC706, XC7Z045FFG900-2"
    toolchains = ("vivado", "openxc7")
    doors = ("axi", "uart")
    engine = EngineParameters()

    def build(
        self,
        *,
        engine: EngineParameters,
        toolchain: str | None,
        folder: Path,
        options: BuildOptions,
    ) -> Built:
        """See `dpnet.boards.board.Board.build`.  Verilog, constraints and scripts are in folders of
        the toolchains' names; without a toolchain there is one for each that could build this."""
        if options.door == "uart" and toolchain == "openxc7":
            raise ValueError(f"door uart needs toolchain vivado: {OPENXC7_BANKS}, not the PMOD's")
        possible = [t for t in self.toolchains if t == "vivado" or options.door != "uart"]
        installed, errors = _installed([t for t in possible if toolchain in (None, t)])
        if toolchain is not None and not installed:
            raise ToolError(errors[0])
        designs = {t: design(engine, t, options) for t in installed[:1] or possible}
        notes = []
        if options.door == "uart" and toolchain is None:
            notes.append(f"openXC7 cannot build this: {OPENXC7_BANKS}, not the PMOD's")
        files = [
            file
            for t, made in designs.items()
            for file in _write(t, made, folder / t, options.seed)
        ]
        if options.door != "uart":
            (folder / f"{TOP}.dts").write_text(overlay(f"{TOP}.bin", _mhz(options)))
            files.append(folder / f"{TOP}.dts")
        routed = None
        if installed:
            ((chosen, made),) = designs.items()
            routed = _run(chosen, made, folder / chosen, options.seed)
            files += [folder / chosen / name for name in routed.files]
            files.append(_hand_over(folder / chosen / BIT, folder))
        used = dict(routed.used) if routed else {}
        if not used:
            used, note = _estimate(engine, options, folder)
            files += [folder / "resources.txt"] if used else []
            notes.append(note)
        return Built(
            bitstream=folder / BIT if routed else None,
            files=tuple(files),
            clock_hz=_mhz(options) * 1e6,
            mhz=routed.mhz if routed else None,
            used=used,
            available={kind: XC7Z045[kind] for kind in used},
            notes=tuple(notes),
            missing=None if routed else "; ".join(errors),
        )


BOARD = Zc706()


def design(engine: EngineParameters, toolchain: str, options: BuildOptions) -> Design:
    """What a toolchain gets; lamps that it has no pins for are left out."""
    mhz = _mhz(options)
    lamps = OPENXC7_LAMPS if toolchain == "openxc7" else tuple(LAMPS)
    pins = {f"led_{name}": (*LED_PINS[name], True) for name in lamps}
    top: Any
    if options.door == "uart":
        top = UartTop(engine=engine, mhz=mhz, baud=options.baud, lamps=lamps)
        pins |= {name: (*pin, False) for name, pin in CLOCK_PINS.items()}
        pins |= {
            "button": (*BUTTON_PIN, False),
            "rx": (PMOD_PINS[PMOD_RX], PMOD_STANDARD, False),
            "tx": (PMOD_PINS[PMOD_TX], PMOD_STANDARD, True),
        }
        clock = Clock(mhz=OSCILLATOR_MHZ, vivado="[get_ports {clk200_p}]")
    else:
        top = AxiTop(engine=engine, mhz=mhz, lamps=lamps)
        clock = Clock(mhz=mhz, vivado="[get_pins {ps7/FCLKCLK[0]}]")
    return Design(
        part=PART,
        family=FAMILY,
        verilog=emit(top, TOP),
        clock=clock,
        mhz=mhz,
        pins=tuple(Pin(name, *pin) for name, pin in pins.items()),
    )


def _mhz(options: BuildOptions) -> float:
    return options.mhz or MHZ


def _installed(toolchains: list[str]) -> tuple[list[str], list[str]]:
    """(those that are there, what is said of the others)."""
    found, errors = [], []
    for toolchain in toolchains:
        try:
            find_vivado() if toolchain == "vivado" else find_openxc7(PART, FAMILY)
            found.append(toolchain)
        except ToolError as error:
            errors.append(str(error))
    return found, errors


def _write(toolchain: str, made: Design, folder: Path, seed: int) -> tuple[Path, ...]:
    if toolchain == "vivado":
        return write_vivado(made, folder)
    return write_openxc7(made, folder, seed=seed)


def _run(toolchain: str, made: Design, folder: Path, seed: int) -> Routed:
    if toolchain == "vivado":
        return run_vivado(made, folder)
    return run_openxc7(made, folder, seed=seed)


def _hand_over(bit: Path, folder: Path) -> Path:
    """Move the bitstream to `folder`, and write what the FPGA manager takes beside it."""
    try:
        write_bin(bit, folder / f"{TOP}.bin", PART)
    except BitFileError as error:
        raise ToolError(f"what the tool wrote is no bitstream for this chip: {error}") from error
    bit.replace(folder / BIT)
    return folder / f"{TOP}.bin"


def _estimate(
    engine: EngineParameters, options: BuildOptions, folder: Path
) -> tuple[dict[str, int], str]:
    """(sites by kind as Yosys counts them, what to know of them); writes resources.txt."""
    clock_hz = int(_mhz(options) * 1e6)
    logic: wiring.Component = AxiEngine(engine=engine, clock_hz=clock_hz)
    if options.door == "uart":
        logic = UartEngine(engine=engine, clock_hz=clock_hz, baud=options.baud)
    try:
        (row,) = measure([Candidate("zc706", engine.lanes, logic)])
    except ToolError as error:
        return {}, f"no resource estimate: {error}"
    (folder / "resources.txt").write_text(f"{table([row])}\n\n{module_table(row)}\n")
    fits = "" if row["fits"] else "; this does not fit the chip"
    return (
        {kind: row[kind] for kind in KINDS},
        f"sites as Yosys counts them, without clock and pins; nothing was placed{fits}",
    )
