"""A board with a 7-series chip as data: what is true of it alone; the rest is here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.lib.wiring import Component

from dpnet.boards.board import BuildOptions, Built, Engine
from dpnet.boards.command import Candidate
from dpnet.boards.parts.engines import UartEngine
from dpnet.boards.parts.map_engines import KEYWORDS
from dpnet.boards.series7.counting import measure, module_table, table
from dpnet.boards.series7.design import BIT, TOP, Clock, Design, Pad, Pin, Routed
from dpnet.boards.series7.flow import TOOLCHAINS, installed, route, write
from dpnet.boards.series7.top import LAMPS, Oscillator, UartTop
from dpnet.boards.tool import ToolError
from dpnet.gateware.emit import emit
from dpnet.model.engine.devices import KINDS, Device
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters

ESTIMATE = "resources.txt"

DIGITS = EngineParameters(
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
"""16 lanes that hold the digits networks of `make sim`, and fit every chip of this series."""


@dataclass(frozen=True, kw_only=True)
class Series7Board:
    """A board whose host talks to the logic through a UART; see `dpnet.boards.board.Board`.

    `part`, as tools name it with package and speed; `device`, what it holds; `clock`, the board's
    oscillator; `button`, what restarts the engine, or None; `rx` and `tx` as the FPGA sees the
    line; `lamps`, pads of those of `LAMPS` that are there; `mhz`, `engine` and `maps`, where
    nothing else is asked for; `load`, the command that brings dpnet.bit into the chip.  `unknown`
    are pads that openXC7's pin file lacks, with `why`: lamps there are left out, a clock or a UART
    there needs Vivado.
    """

    name: str
    title: str
    part: str
    device: Device
    clock: Oscillator
    button: Pad | None
    rx: Pad
    tx: Pad
    lamps: Mapping[str, Pad]
    load: str = ""
    mhz: float = 50.0
    engine: EngineParameters = DIGITS
    maps: MapEngineParameters = KEYWORDS
    doors: tuple[str, ...] = ("uart",)
    toolchains: tuple[str, ...] = tuple(TOOLCHAINS)
    revisions: tuple[str, ...] = ()
    unknown: tuple[Pad, ...] = ()
    why: str = ""

    def __post_init__(self) -> None:
        if foreign := set(self.lamps) - set(LAMPS):
            raise ValueError(f"lamps must be of {', '.join(LAMPS)}, not {sorted(foreign)!r}")

    def build(
        self,
        *,
        engine: Engine,
        toolchain: str | None,
        folder: Path,
        options: BuildOptions,
    ) -> Built:
        """See `dpnet.boards.board.Board.build`.  Verilog, constraints and scripts are in folders of
        the toolchains' names; without a toolchain there is one for each that could build this."""
        possible, notes = self._possible(toolchain, options)
        found, missing = installed([t for t in possible if toolchain in (None, t)], self.part)
        if toolchain is not None and not found:
            raise ToolError(missing)
        designs = {t: self.design(engine, t, options) for t in found[:1] or possible}
        files = write(designs, folder, options.seed)
        files += self.beside(folder, options)
        mhz = next(iter(designs.values())).mhz
        routed = None
        if found:
            routed, more = self._route(found[0], designs[found[0]], folder, options.seed)
            files += more
        used = dict(routed.used) if routed else {}
        if not used:
            used, note = self._estimate(self.logic(engine, mhz, options), engine.lanes, folder)
            files += [folder / ESTIMATE] if used else []
            notes = (*notes, note)
        return Built(
            bitstream=folder / BIT if routed else None,
            files=tuple(files),
            clock_hz=mhz * 1e6,
            mhz=routed.mhz if routed else None,
            used=used,
            available={kind: self.device.sizes[kind] for kind in used},
            notes=(*notes, *([f"load it: {self.load}"] if routed and self.load else [])),
            missing=None if routed else missing,
        )

    def design(self, engine: Engine, toolchain: str, options: BuildOptions) -> Design:
        """What a toolchain gets."""
        lamps = self._lamps(toolchain)
        chip = self._chip(
            engine=engine,
            mhz=options.mhz or self.mhz,
            baud=options.baud,
            oscillator=self.clock,
            lamps=tuple(lamps),
            has_button=self.button is not None,
        )
        pins = [Pin(*pin, False) for pin in zip(self.clock.ports, self.clock.pads, strict=True)]
        pins += [Pin("button", self.button, False)] if self.button else []
        pins += [Pin("rx", self.rx, False), Pin("tx", self.tx, True)]
        return Design(
            part=self.part,
            verilog=emit(chip, TOP),
            clock=Clock(mhz=self.clock.mhz, port=self.clock.ports[0]),
            mhz=float(chip.mmcm.mhz),
            pins=(*pins, *lamps.values()),
        )

    def logic(self, engine: Engine, mhz: float, options: BuildOptions) -> Component:
        """What is counted where nothing is placed: all but clock and pins."""
        return UartEngine(engine=engine, clock_hz=round(mhz * 1e6), baud=options.baud)

    def needed(self, options: BuildOptions) -> tuple[Pad, ...]:
        """Pads without which the engine cannot be reached."""
        return (*self.clock.pads, self.rx, self.tx)

    def beside(self, folder: Path, options: BuildOptions) -> list[Path]:
        """Write what else the board needs; its paths."""
        return []

    def loadable(self, bit: Path, folder: Path) -> list[Path]:
        """Write the bitstream in the other forms that the board takes; their paths."""
        return []

    def _chip(self, **parameters: Any) -> UartTop:
        return UartTop(**parameters)

    def _lamps(self, toolchain: str) -> dict[str, Pin]:
        """The pins of those that the toolchain can reach."""
        return {
            name: Pin(f"led_{name}", pad, True)
            for name, pad in self.lamps.items()
            if toolchain == "vivado" or pad not in self.unknown
        }

    def _possible(
        self, toolchain: str | None, options: BuildOptions
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(toolchains that could build this, what to know of the others); raises `ValueError` for a
        toolchain that could not."""
        if not set(self.needed(options)) & set(self.unknown):
            return self.toolchains, ()
        if toolchain == "openxc7":
            door = options.door or self.doors[0]
            raise ValueError(f"door {door} needs toolchain vivado: {self.why}")
        return ("vivado",), () if toolchain else (f"openXC7 cannot build this: {self.why}",)

    def _route(
        self, toolchain: str, made: Design, folder: Path, seed: int
    ) -> tuple[Routed, list[Path]]:
        """(what was reached, the files of it) with the bitstream in `folder`; raises `ToolError`,
        and hands over no bitstream that is none for the part."""
        routed, bit = route(toolchain, made, folder / toolchain, seed)
        files = [folder / toolchain / name for name in routed.files]
        files += self.loadable(bit, folder)
        bit.replace(folder / BIT)
        return routed, files

    def _estimate(self, logic: Component, lanes: int, folder: Path) -> tuple[dict[str, int], str]:
        """(sites by kind as Yosys counts them, what to know of them); writes `ESTIMATE`."""
        try:
            (row,) = measure([Candidate(self.name, lanes, logic)], device=self.device)
        except ToolError as error:
            return {}, f"no resource estimate: {error}"
        text = f"{table([row], self.device)}\n\n{module_table(row)}\n"
        (folder / ESTIMATE).write_text(text)
        fits = "" if row["fits"] else "; this does not fit the chip"
        return (
            {kind: row[kind] for kind in KINDS},
            f"sites as Yosys counts them, without clock and pins; nothing was placed{fits}",
        )
