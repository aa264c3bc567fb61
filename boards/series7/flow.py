"""The toolchains for 7-series chips: which are installed, and a build with the first of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpnet.boards.bitfile import BitFileError, parse
from dpnet.boards.series7 import openxc7, vivado
from dpnet.boards.series7.design import BIT, Design, Routed
from dpnet.boards.tool import ToolError


@dataclass(frozen=True)
class Toolchain:
    """`find(part)` raises `ToolError` if something is missing for the part; `write(design, folder,
    seed)` gives the paths of what `run(design, folder, seed)` needs there."""

    find: Callable[[str], Any]
    write: Callable[[Design, Path, int], tuple[Path, ...]]
    run: Callable[[Design, Path, int], Routed]


TOOLCHAINS = {
    "vivado": Toolchain(vivado.find, vivado.write, vivado.run),
    "openxc7": Toolchain(openxc7.find, openxc7.write, openxc7.run),
}
"""By name, the preferred one first."""


def installed(toolchains: Sequence[str], part: str) -> tuple[list[str], str]:
    """(those that are there for `part`, what is missing of the others in one line)."""
    found, errors = [], []
    for name in toolchains:
        try:
            TOOLCHAINS[name].find(part)
            found.append(name)
        except ToolError as error:
            errors.append(str(error))
    return found, "; ".join(errors)


def write(designs: Mapping[str, Design], folder: Path, seed: int) -> list[Path]:
    """Write what each toolchain needs into a folder of its name; the paths."""
    return [
        path
        for name, design in designs.items()
        for path in TOOLCHAINS[name].write(design, folder / name, seed)
    ]


def route(toolchain: str, design: Design, folder: Path, seed: int) -> tuple[Routed, Path]:
    """(what was reached, the bitstream) in `folder`, where `write` has been.

    Raises `ToolError`, for a bitstream that is none for the part as well.
    """
    routed = TOOLCHAINS[toolchain].run(design, folder, seed)
    bit = folder / BIT
    try:
        parse(bit.read_bytes()).check_part(design.part)
    except BitFileError as error:
        raise ToolError(
            f"what the tool wrote is no bitstream for this chip: {bit}: {error}"
        ) from error
    return routed, bit
