"""`dpnet plan`: engines for a network and a board, before anything is built."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dpnet.host.commands import FINE, InputError, whole
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
    "  dpnet plan digits-4bit.dpnet --board arty-z7-20\n"
    "  dpnet plan --matrix 1000x1024 --k 16 --activation fp32"
)
CLOCK_MHZ = 100
LARGEST_SIMULATED = 256
"""Lanes that are built as a simulated board in about a minute."""

NAMES = {"lut": "LUT", "lutram": "LUT-RAM", "ff": "FF", "dsp": "DSP", "bram36": "BRAM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dpnet plan`."""
    add = parser.add_argument
    add("image", type=Path, nargs="?", metavar="IMAGE", help="an image file")
    add(
        "--matrix",
        type=_shape,
        action="append",
        metavar="RxC",
        help="instead of an image: a matrix of R rows and C columns; again for each further layer",
    )
    add("--k", type=whole(1, 16), metavar="K", help="values a row of --matrix (default 16)")
    add("--activation", choices=ACTIVATIONS, help="activations of --matrix (default fp32)")
    add("--board", choices=BOARDS, default="zc706", help="default zc706")
    for kind in KINDS:
        add(f"--{kind}", type=whole(1, 10**8), metavar="N", help=f"{NAMES[kind]}s of another chip")
    add(
        "--repeated",
        action="store_true",
        help="one layer, vector after vector: fewest cycles from one to the next",
    )
    add("--count", type=whole(1, 20), default=5, metavar="N", help="proposals (default 5)")


def run(arguments: argparse.Namespace) -> int:
    """Search and show the proposals."""
    layers, activation, widths = _network(arguments)
    device = _device(arguments)
    if arguments.repeated and len(layers) > 1:
        raise InputError(f"--repeated takes a network of one layer, not of {len(layers)}")
    with Progress(f"searching engines for the {device.name}"):
        found = plan(
            layers,
            device,
            activation=activation,
            repeated=arguments.repeated,
            widths=widths,
            count=arguments.count,
        )
    if not found:
        raise InputError(_too_large(layers, device))
    document = {
        "device": {"name": device.name, **device.sizes},
        "limits": {kind: float(limit) for kind, limit in LIMITS.items()},
        "layers": [asdict(layer) for layer in layers],
        "activation": activation,
        "repeated": arguments.repeated,
        "proposals": [_row(one, device) for one in found],
    }
    emit(document, _text(found, device, layers, activation, arguments.repeated), arguments.json)
    return FINE


def _network(arguments: argparse.Namespace) -> tuple[list[Layer], str, dict[str, int]]:
    """Layers, activation and, from an image, the widths of its integers."""
    if (arguments.image is None) == (arguments.matrix is None):
        raise InputError(
            "an IMAGE or a --matrix must be given, and not both; see dpnet plan --help"
        )
    if arguments.image is None:
        k = arguments.k or 16
        layers = [Layer(rows, columns, k) for rows, columns in arguments.matrix]
        return layers, arguments.activation or "fp32", {}
    if arguments.k or arguments.activation:
        raise InputError("--k and --activation are for --matrix; an image has its own")
    image = read_image(arguments.image)
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


def _device(arguments: argparse.Namespace) -> Device:
    board = BOARDS[arguments.board]
    own = {kind: getattr(arguments, kind) for kind in KINDS if getattr(arguments, kind)}
    if not own:
        return board
    if missing := [f"--{kind}" for kind in KINDS if kind not in own]:
        raise InputError(f"another chip needs all of its sizes: {', '.join(missing)} missing")
    return Device("chip", own)


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


def _shape(text: str) -> tuple[int, int]:
    rows, cross, columns = text.partition("x")
    try:
        return whole(1, LARGEST_ROWS)(rows), whole(1, LARGEST_COLUMNS)(columns if cross else "")
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"must be ROWSxCOLUMNS, at most {LARGEST_ROWS}x{LARGEST_COLUMNS}, not {text!r}"
        ) from None
