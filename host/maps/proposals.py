"""Proposals of map engines, as `dpnet plan` shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dpnet.host.maps.engines import engine_sizes, engine_url
from dpnet.host.report import table
from dpnet.model.engine.devices import KINDS, LIMITS, Device
from dpnet.model.engine.estimate import Estimate
from dpnet.model.engine.maps.sizing.search import MapProposal

CLOCK_MHZ = 100
"""The clock of an array's figures, and of a map engine's on an XC7."""
NAMES = {"lut": "LUT", "lutram": "LUT-RAM", "ff": "FF", "dsp": "DSP", "bram36": "BRAM"}
"""Kinds of `KINDS`, as people call them."""


@dataclass(frozen=True)
class Family:
    """What is said of engines on chips of a family: at which clock they are, what kinds of
    resources are called, and how the estimate of them was found."""

    clock_mhz: int
    names: Mapping[str, str]
    estimate: str


FAMILIES = {
    "xc7": Family(
        CLOCK_MHZ,
        NAMES,
        "resources of the engine without a link are an estimate, found by three engines that Yosys "
        "counted and within 4 % of these and of three others",
    ),
    "ecp5": Family(
        50,
        NAMES | {"lut": "LUT4", "lutram": "DPR16X4", "dsp": "MULT18X18D", "bram36": "DP16KD pairs"},
        "resources of the engine without a link, for which there is room, are an estimate, found "
        "by five engines that Yosys counted and within 6 % of these and of a sixth one; carries "
        "and memories are counted as the sites of LUT4 that they take",
    ),
}
"""The ECP5's clock is that of the ULX3S's bitstream."""


def document_of(found: Sequence[MapProposal], device: Device) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "device": {"name": device.name, **device.sizes},
        "limits": {kind: float(limit) for kind, limit in LIMITS.items()},
        "proposals": [_row(one, device) for one in found],
    }


def text_of(found: Sequence[MapProposal], device: Device, in_flight: bool = False) -> str:
    """A table of the proposals, and how the first one is named; with a picture in each stage also
    the cycles of a run."""
    best, family = engine_sizes(found[0].engine), FAMILIES[device.family]
    limits = ", ".join(
        f"{family.names[kind]} {float(limit):.0%}" for kind, limit in LIMITS.items() if limit < 1
    )
    header = ["clusters × stages, streams", "lanes", "cycles a picture", "pictures/s", "adds"]
    if in_flight:
        header.insert(3, "a run")
    shared = ", a run is of a picture in each stage" if in_flight else ""
    return "\n".join(
        (
            f"{device.name}: map engines for the whole network{', in flight' if in_flight else ''}",
            "",
            table(
                (*header, *(family.names[kind] for kind in KINDS), "binds"),
                [_cells(one, device, in_flight) for one in found],
            ),
            "",
            f"cycles are exact, the link not counted{shared}; pictures/s at {family.clock_mhz} "
            f"MHz; adds: the part of the cycles in which lanes add; {family.estimate}; a design "
            f"may take at most {limits}",
            "the first one: " + ", ".join(f"{name}={size}" for name, size in best.items()),
            f"simulate it: --port '{engine_url(found[0].engine)}'",
            "build it: make bitstream BOARD=… with the same text as ENGINE='…'",
        )
    )


def resource_figures(taken: Estimate, device: Device) -> dict[str, Any]:
    """How much is taken of each kind, and which `share` of the chip's that is."""
    counts = {kind: getattr(taken, kind) for kind in KINDS}
    return counts | {"share": {kind: counts[kind] / device.sizes[kind] for kind in KINDS}}


def resource_cells(taken: Estimate, device: Device) -> list[str]:
    """The same as cells of a table."""
    parts = [(getattr(taken, kind), device.sizes[kind]) for kind in KINDS]
    return [f"{count:,} {count / there:4.0%}" for count, there in parts]


def _row(one: MapProposal, device: Device) -> dict[str, Any]:
    total, clock_mhz = one.cycles.total, FAMILIES[device.family].clock_mhz
    return {
        "engine": asdict(one.engine),
        "lanes": one.engine.lanes,
        "cycles": total,
        "in_flight": one.pictures,
        "cycles_per_picture": one.each,
        **{f"{kind}_cycles": spent for kind, spent in asdict(one.cycles).items()},
        f"us_at_{clock_mhz}_mhz": total / clock_mhz,
        f"pictures_per_second_at_{clock_mhz}_mhz": clock_mhz * 1e6 / one.each,
        "binds": one.binds,
        **resource_figures(one.resources, device),
    }


def _cells(one: MapProposal, device: Device, in_flight: bool) -> list[str]:
    engine, total, family = one.engine, one.cycles.total, FAMILIES[device.family]
    return [
        f"{engine.clusters} × {engine.stages}, {engine.streams}",
        f"{engine.lanes:,}",
        f"{one.each:,.0f}",
        *([f"{total:,}"] if in_flight else []),
        f"{family.clock_mhz * 1e6 / one.each:,.0f}",
        f"{one.cycles.adds / total:.0%}",
        *resource_cells(one.resources, device),
        family.names.get(one.binds, one.binds),
    ]
