"""What a design takes of an XC7 chip: synthesis by Yosys, counted module by module."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property

from dpnet.boards.build import kept
from dpnet.boards.tool import Tool, ToolError
from dpnet.boards.yosys import find_yosys, run_script
from dpnet.model.engine.devices import KINDS, LIMITS, XC7Z045, Device


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Sites of an XC7 chip.

    `lut`: all LUT sites, those used as memory included; `lutram`: those that need a memory LUT
    (RAM and shift registers); `ff`; `dsp`: DSP48E1; `bram18`: halves of a block RAM; `carry`:
    CARRY4, for information.  LUTs are counted one by one: a placer that packs two small ones into
    one site does better, never worse.
    """

    lut: int = 0
    lutram: int = 0
    ff: int = 0
    dsp: int = 0
    bram18: int = 0
    carry: int = 0

    @property
    def bram36(self) -> int:
        """Block RAMs, two halves in one."""
        return -(-self.bram18 // 2)

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            **{
                field.name: getattr(self, field.name) + getattr(other, field.name)
                for field in fields(self)
            }
        )

    def times(self, count: int) -> Resources:
        """What `count` of it take."""
        return Resources(
            **{field.name: getattr(self, field.name) * count for field in fields(self)}
        )


_MEMORY_LUTS = {
    "RAM32X1S": 1,
    "RAM32X1S_1": 1,
    "RAM64X1S": 1,
    "RAM64X1S_1": 1,
    "RAM32X2S": 2,
    "RAM128X1S": 2,
    "RAM128X1S_1": 2,
    "RAM256X1S": 4,
    "RAM32X1D": 2,
    "RAM32X1D_1": 2,
    "RAM64X1D": 2,
    "RAM64X1D_1": 2,
    "RAM128X1D": 4,
    "RAM32M": 4,
    "RAM64M": 4,
    "SRL16E": 1,
    "SRLC16E": 1,
    "SRLC32E": 1,
}
_FLIP_FLOPS = ("FDRE", "FDSE", "FDCE", "FDPE", "FDRE_1", "FDSE_1", "FDCE_1", "FDPE_1")
# Inverters go into the LUT before or after them; the wide multiplexers are part of the slice;
# pins and clock buffers belong to a board; `$scopeinfo` is a name that Yosys keeps.
_FREE = ("INV", "MUXF7", "MUXF8", "IBUF", "OBUF", "BUFG", "VCC", "GND", "$scopeinfo")

CELLS: Mapping[str, Resources] = {
    **{f"LUT{inputs}": Resources(lut=1) for inputs in range(1, 7)},
    **{cell: Resources(lut=sites, lutram=sites) for cell, sites in _MEMORY_LUTS.items()},
    **{cell: Resources(ff=1) for cell in _FLIP_FLOPS},
    **{cell: Resources() for cell in _FREE},
    "CARRY4": Resources(carry=1),
    "DSP48E1": Resources(dsp=1),
    "RAMB18E1": Resources(bram18=1),
    "RAMB36E1": Resources(bram18=2),
}
"""What each cell of a netlist takes; a cell that is not here is an error."""

_SYNTHESIS = """\
read_verilog -D XC7 design.v
synth_xilinx -family xc7 -top {top} -noiopad -noclkbuf
"""
SCRIPT = _SYNTHESIS + "tee -q -o netlist.json stat -json -tech xilinx\n"
"""Not flattened, so that each distinct module is synthesized once.  `XC7` chooses the chip's own
primitive where Yosys does not find it (`dpnet.gateware.array.lane.TopBits`)."""

MODELS = (
    _SYNTHESIS
    + """\
write_verilog -noattr cells.v
design -reset
read_verilog +/xilinx/cells_sim.v cells.v
hierarchy -top {top}
proc
flatten
opt_expr
opt_clean
rename {top} netlist
write_verilog -noattr netlist.v
"""
)
"""The same netlist, whose cells are replaced by Yosys' models of them."""


@dataclass(frozen=True)
class Use:
    """A module of a netlist: how often it is there, and what one takes without its submodules."""

    module: str
    count: int
    own: Resources


@dataclass(frozen=True)
class Netlist:
    """Cells and submodules of each module: `modules[module][cell or module]` = how many.

    Raises `ToolError` if a module has a cell that is neither in `CELLS` nor a module.
    """

    top: str
    modules: Mapping[str, Mapping[str, int]]
    kept: bool = False

    def __post_init__(self) -> None:
        for module, cells in self.modules.items():
            for cell in cells:
                if cell not in self.modules and cell not in CELLS:
                    raise ToolError(
                        f"cannot count {module}: no size known for its cell {cell!r}; "
                        "add it to CELLS in boards/series7/netlist.py"
                    )
        if self.top not in self.modules:
            raise ToolError(f"cannot count the netlist: it has no module {self.top!r}")

    @cached_property
    def uses(self) -> tuple[Use, ...]:
        """Every module below the top and the top, those that take the most LUTs first."""
        counts = dict.fromkeys(self.modules, 0)
        self._count(self.top, 1, counts)
        uses = [Use(name, count, self._own(name)) for name, count in counts.items() if count]
        return tuple(sorted(uses, key=lambda use: (-use.count * use.own.lut, use.module)))

    @property
    def total(self) -> Resources:
        """What the top takes with everything below it."""
        return sum((use.own.times(use.count) for use in self.uses), Resources())

    def _count(self, module: str, times: int, counts: dict[str, int]) -> None:
        counts[module] += times
        for cell, number in self.modules[module].items():
            if cell in self.modules:
                self._count(cell, times * number, counts)

    def _own(self, module: str) -> Resources:
        cells = self.modules[module].items()
        own = (CELLS[cell].times(number) for cell, number in cells if cell not in self.modules)
        return sum(own, Resources())


def synthesize(verilog: str, top: str) -> Resources:
    """What module `top` of `verilog` takes; raises `ToolError`."""
    return synthesize_netlist(verilog, top).total


def synthesize_netlist(verilog: str, top: str, yosys: Tool | None = None) -> Netlist:
    """The netlist of module `top`, kept from an earlier run if Verilog, Yosys' version and
    script are the same; raises `ToolError`."""
    yosys = yosys or find_yosys()
    script = SCRIPT.format(top=top)

    def run() -> dict[str, dict[str, int]]:
        return parse_statistics(run_script(yosys, script, verilog, "netlist.json"))

    modules, was_kept = kept((verilog, yosys.version, script), run)
    return Netlist(top, modules, was_kept)


def netlist_model(verilog: str, top: str, yosys: Tool | None = None) -> str:
    """The netlist of module `top` of `verilog` as Verilog that any simulator takes: one module
    `netlist` with the ports of `top`.  Block RAMs must not be in it: they have no model.  Kept
    like `synthesize_netlist`'s; raises `ToolError`."""
    yosys = yosys or find_yosys()
    script = MODELS.format(top=top)

    def run() -> str:
        return run_script(yosys, script, verilog, "netlist.v")

    return str(kept((verilog, yosys.version, script), run)[0])


def parse_statistics(text: str) -> dict[str, dict[str, int]]:
    """`modules` of a `Netlist` from what `stat -json` writes."""
    # Yosys writes public names with a backslash where it lists modules, without where it counts.
    return {
        module.removeprefix("\\"): {
            cell.removeprefix("\\"): number for cell, number in entry["num_cells_by_type"].items()
        }
        for module, entry in json.loads(text)["modules"].items()
    }


def share(resources: Resources, device: Device = XC7Z045) -> dict[str, float]:
    """The part of the chip that is taken, for each of `KINDS`."""
    return {kind: getattr(resources, kind) / device.sizes[kind] for kind in KINDS}


def load(resources: Resources, device: Device = XC7Z045) -> dict[str, float]:
    """The part taken of what a design may take (`LIMITS`), for each of `KINDS`: fits if none is
    above 1, and the largest one binds."""
    return {
        kind: float(Fraction(getattr(resources, kind), device.sizes[kind]) / LIMITS[kind])
        for kind in KINDS
    }


def binding(resources: Resources, device: Device = XC7Z045) -> str:
    """The kind that runs out first as the design grows."""
    loads = load(resources, device)
    return max(loads, key=lambda kind: loads[kind])


def fits(resources: Resources, device: Device = XC7Z045) -> bool:
    """Whether the chip holds it within `LIMITS`."""
    return max(load(resources, device).values()) <= 1
