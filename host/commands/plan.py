"""`dpnet plan`: engines for a network and a board, before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from dpnet.host.arguments import OneOf, whole
from dpnet.host.commands import FILE, FINE, InputError, command
from dpnet.host.report import Progress, emit, table
from dpnet.model.engine.devices import BOARDS, KINDS, LIMITS, Device
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.plan import (
    ACTIVATIONS,
    LARGEST_COLUMNS,
    LARGEST_ROWS,
    Layer,
    Proposal,
    index_blocks,
    plan,
)
from dpnet.model.image import Image, read_image

EXAMPLE = (
    "dpnet plan digits-4bit.dpnet --board arty-z7-20\n"
    "dpnet plan --matrix 1000x1024 --k 16 --activation fp32"
)
CLOCK_MHZ = 100
LARGEST_SIMULATED = 256
"""Lanes that are built as a simulated board in about a minute."""

NAMES = {"lut": "LUT", "lutram": "LUT-RAM", "ff": "FF", "dsp": "DSP", "bram36": "BRAM"}


def _shape(text: str) -> tuple[int, int]:
    rows, cross, columns = text.partition("x")
    try:
        return whole(1, LARGEST_ROWS)(rows), whole(1, LARGEST_COLUMNS)(columns if cross else "")
    except click.BadParameter:
        raise click.BadParameter(
            f"must be ROWSxCOLUMNS, at most {LARGEST_ROWS}x{LARGEST_COLUMNS}, not {text!r}"
        ) from None


def _chip(function: Callable[..., int]) -> Callable[..., int]:
    """A decorator: an option for each size of a chip."""
    for kind in reversed(KINDS):
        option = click.option(
            f"--{kind}", type=whole(1, 10**8), metavar="N", help=f"{NAMES[kind]}s of another chip"
        )
        function = option(function)
    return function


@command("plan", EXAMPLE)
@click.argument("file", type=FILE, metavar="[IMAGE]", required=False, help="an image file")
@click.option(
    "--matrix",
    type=_shape,
    multiple=True,
    metavar="RxC",
    help="instead of an image: a matrix of R rows and C columns; again for each further layer",
)
@click.option("--k", type=whole(1, 16), metavar="K", help="values a row of --matrix (default 16)")
@click.option(
    "--activation", type=OneOf(ACTIVATIONS), help="activations of --matrix (default fp32)"
)
@click.option("--board", type=OneOf(list(BOARDS)), default="zc706", help="default zc706")
@_chip
@click.option(
    "--repeated",
    is_flag=True,
    help="one layer, vector after vector: fewest cycles from one to the next",
)
@click.option("--count", type=whole(1, 20), default=5, metavar="N", help="proposals (default 5)")
def run(
    file: Path | None,
    matrix: tuple[tuple[int, int], ...],
    k: int | None,
    activation: str | None,
    board: str,
    repeated: bool,
    count: int,
    as_json: bool,
    **sizes: int | None,
) -> int:
    """Search and show the proposals."""
    if (file is None) == (not matrix):
        raise InputError(
            "an IMAGE or a --matrix must be given, and not both; see dpnet plan --help"
        )
    if file is None:
        layers = [Layer(rows, columns, k or 16) for rows, columns in matrix]
        chosen, widths = activation or "fp32", dict[str, int]()
    elif k or activation:
        raise InputError("--k and --activation are for --matrix; an image has its own")
    else:
        layers, chosen, widths = _network(read_image(file))
    device = _device(board, {kind: size for kind, size in sizes.items() if size})
    if repeated and len(layers) > 1:
        raise InputError(f"--repeated takes a network of one layer, not of {len(layers)}")
    with Progress(f"searching engines for the {device.name}"):
        found = plan(
            layers, device, activation=chosen, repeated=repeated, widths=widths, count=count
        )
    if not found:
        raise InputError(_too_large(layers, device))
    document = _document(found, device, layers, chosen, repeated)
    emit(document, _text(found, device, layers, chosen, repeated), as_json)
    return FINE


def _network(image: Image) -> tuple[list[Layer], str, dict[str, int]]:
    """Layers, activation and the widths of its integers."""
    if long := [layer for layer in image.layers if layer.columns > LARGEST_COLUMNS]:
        raise InputError(
            f"layer {long[0].name} has {long[0].columns} columns, an engine at most "
            f"{LARGEST_COLUMNS}: split it"
        )
    layers = [Layer(layer.rows, layer.columns, layer.k) for layer in image.layers]
    return (layers, "fp32", {}) if image.is_fp32 else (layers, "int8", _widths(image))


def _widths(image: Image) -> dict[str, int]:
    """Bits of the activations that a layer takes, and of the entries."""
    taken = [image.input_bits, *(layer.out_bits for layer in image.layers[:-1])]
    largest = max(
        int(np.abs(layer.entries).max()) for layer in image.layers if layer.entries is not None
    )
    return {"activation_bits": max(taken), "entry_bits": max(2, largest.bit_length() + 1)}


def _device(board: str, own: dict[str, int]) -> Device:
    """The board's chip, or one of these sizes."""
    if not own:
        return BOARDS[board]
    if missing := [f"--{kind}" for kind in KINDS if kind not in own]:
        raise InputError(f"another chip needs all of its sizes: {', '.join(missing)} missing")
    return Device("chip", own)


def _document(
    found: list[Proposal], device: Device, layers: list[Layer], activation: str, repeated: bool
) -> dict[str, Any]:
    return {
        "device": {"name": device.name, **device.sizes},
        "limits": {kind: float(limit) for kind, limit in LIMITS.items()},
        "layers": [asdict(layer) for layer in layers],
        "activation": activation,
        "repeated": repeated,
        "proposals": [_row(one, device) for one in found],
    }


def _too_large(layers: list[Layer], device: Device) -> str:
    needed, there = index_blocks(layers), device.sizes["bram36"]
    return (
        f"no engine for this network fits the {device.name}: its indices alone take at least "
        f"{needed:,} of {there:,} block RAMs; use a larger chip, fewer layers at a time, or fewer "
        "values per row"
    )


def _row(one: Proposal, device: Device) -> dict[str, Any]:
    return {
        "engine": asdict(one.engine),
        "lanes": one.engine.lanes,
        "cycles": one.cycles,
        "latency_cycles": one.latency,
        "work_cycles": one.work,
        "drain_cycles": one.drain,
        "us_at_100_mhz": one.cycles / CLOCK_MHZ,
        "binds": one.binds,
        **{kind: getattr(one.resources, kind) for kind in KINDS},
        "share": {kind: getattr(one.resources, kind) / device.sizes[kind] for kind in KINDS},
    }


def _text(
    found: list[Proposal], device: Device, layers: list[Layer], activation: str, repeated: bool
) -> str:
    shapes = ", ".join(f"{x.rows} × {x.columns} (K = {x.k})" for x in layers[:4])
    limits = ", ".join(
        f"{NAMES[kind]} {float(limit):.0%}" for kind, limit in LIMITS.items() if limit < 1
    )
    what = "to the next vector" if repeated else "one vector"
    best = found[0].engine
    lines = [
        f"{device.name}, {activation}: {shapes}{', …' if len(layers) > 4 else ''}",
        "",
        table(
            (
                "stages × columns × segments",
                "lanes",
                f"cycles, {what}",
                "µs",
                *(NAMES[kind] for kind in KINDS),
                "binds",
            ),
            [_cells(one, device) for one in found],
        ),
        "",
        f"cycles are exact, µs at {CLOCK_MHZ} MHz; resources estimated within 10 % of Yosys, for "
        f"the engine without a link; a design may take at most {limits}",
        "the first one: " + ", ".join(f"{k}={v}" for k, v in _sizes(best).items()),
    ]
    if small := next((one.engine for one in found if one.engine.lanes <= LARGEST_SIMULATED), None):
        lines.append(f"simulate it: --port '{_url(small)}'")
    return "\n".join(lines)


def _cells(one: Proposal, device: Device) -> list[str]:
    engine = one.engine
    parts = [(getattr(one.resources, kind), device.sizes[kind]) for kind in KINDS]
    return [
        f"{engine.stages} × {engine.columns} × {engine.segments}",
        f"{engine.lanes:,}",
        f"{one.cycles:,}",
        f"{one.cycles / CLOCK_MHZ:.2f}",
        *(f"{taken:,} {taken / there:4.0%}" for taken, there in parts),
        NAMES.get(one.binds, one.binds),
    ]


def _sizes(engine: EngineParameters) -> dict[str, object]:
    """The parameters that differ from an engine's defaults."""
    usual = asdict(EngineParameters())
    return {name: value for name, value in asdict(engine).items() if value != usual[name]}


def _url(engine: EngineParameters) -> str:
    return "sim://array?" + "&".join(
        f"{name}={int(value) if isinstance(value, bool) else value}"
        for name, value in _sizes(engine).items()
    )
