"""`dpnet plan`: engines for a network and a board, before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dpnet.host.arguments import OneOf, whole
from dpnet.host.commands import FILE, FINE, InputError, command
from dpnet.host.fitting import activation_bits, engine_url, entry_bits
from dpnet.host.maps.engines import parse_engine
from dpnet.host.maps.proposals import (
    CLOCK_MHZ,
    NAMES,
    document_of,
    resource_cells,
    resource_figures,
    text_of,
)
from dpnet.host.maps.roofs import roofs_document, roofs_text
from dpnet.host.report import Progress, emit, table
from dpnet.model.engine.devices import BOARDS, KINDS, LIMITS, Device
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import NetworkTooLarge, place
from dpnet.model.engine.maps.sizing.roofs import layer_roofs
from dpnet.model.engine.maps.sizing.search import propose
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.plan import (
    ACTIVATIONS,
    LARGEST_COLUMNS,
    LARGEST_POSITIONS,
    LARGEST_ROWS,
    Layer,
    Proposal,
    index_blocks,
    plan,
)
from dpnet.model.image import Image, ImageLayer
from dpnet.model.image.either import read_image
from dpnet.model.image.maps.network import MapImage

EXAMPLE = (
    "dpnet plan digits-4bit.dpnet --board arty-z7-20\n"
    "dpnet plan --matrix 1000x1024 --k 16 --activation fp32\n"
    "dpnet plan resnet20.dpnet --positions 1024 --positions layer2.0.conv1.weight=256"
)
LARGEST_SIMULATED = 256
"""Lanes that are built as a simulated board in about a minute."""


def _shape(text: str) -> tuple[int, int, int]:
    """Rows, columns and positions."""
    matrix, at, positions = text.partition("@")
    rows, cross, columns = matrix.partition("x")
    try:
        return (
            whole(1, LARGEST_ROWS)(rows),
            whole(1, LARGEST_COLUMNS)(columns if cross else ""),
            whole(1, LARGEST_POSITIONS)(positions if at else "1"),
        )
    except click.BadParameter:
        raise click.BadParameter(
            f"must be ROWSxCOLUMNS, at most {LARGEST_ROWS}x{LARGEST_COLUMNS}, not {text!r}"
        ) from None


def _positions(text: str) -> tuple[str, int]:
    """A layer's name, "" for all convolutions, and its positions."""
    name, _, count = text.rpartition("=")
    try:
        return name, whole(1, LARGEST_POSITIONS)(count)
    except click.BadParameter:
        raise click.BadParameter(
            f"must be LAYER=N or N, N from 1 to {LARGEST_POSITIONS}, not {text!r}"
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
    metavar="RxC[@N]",
    help="instead of an image: a matrix of R rows and C columns, of a convolution with N output "
    "positions; again for each further layer",
)
@click.option(
    "--positions",
    type=_positions,
    multiple=True,
    metavar="[LAYER=]N",
    help="output positions (height × width) of an image's convolution, or of all of them",
)
@click.option("--k", type=whole(1, 16), metavar="K", help="values a row of --matrix (default 16)")
@click.option(
    "--activation", type=OneOf(ACTIVATIONS), help="activations of --matrix (default fp32)"
)
@click.option(
    "--board",
    type=OneOf(list(BOARDS)),
    default="zc706",
    metavar="BOARD",
    help=f"{', '.join(BOARDS)} (default zc706)",
)
@_chip
@click.option(
    "--repeated",
    is_flag=True,
    help="one layer, vector after vector: fewest cycles from one to the next",
)
@click.option(
    "--in-flight", is_flag=True, help="a whole network: a picture in each stage of a map engine"
)
@click.option(
    "--layers",
    "by_layer",
    is_flag=True,
    help="a whole network: also what limits each layer on the first engine",
)
@click.option(
    "--engine",
    metavar="ENGINE",
    help="a whole network: no search, but what limits its layers on a map engine of yours, such "
    "as 'maps?clusters=4'",
)
@click.option("--count", type=whole(1, 20), default=5, metavar="N", help="proposals (default 5)")
def run(
    file: Path | None,
    matrix: tuple[tuple[int, int, int], ...],
    positions: tuple[tuple[str, int], ...],
    k: int | None,
    activation: str | None,
    board: str,
    repeated: bool,
    in_flight: bool,
    by_layer: bool,
    engine: str | None,
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
        if positions:
            raise InputError("--positions are those of an image's layers; --matrix takes RxC@N")
        layers = [Layer(rows, columns, k or 16, count) for rows, columns, count in matrix]
        chosen, widths = activation or "fp32", dict[str, int]()
    elif k or activation:
        raise InputError("--k and --activation are for --matrix; an image has its own")
    else:
        image = read_image(file)
        if isinstance(image, MapImage):
            if positions or repeated:
                raise InputError("--positions and --repeated are for images of the array")
            if engine is not None:
                return _show_layers(image, engine, in_flight, as_json)
            device = _device(board, _given(sizes))
            return _plan_maps(image, device, in_flight, by_layer, count, as_json)
        layers, chosen, widths = _network(image, dict(positions))
    device = _device(board, _given(sizes))
    for option, given in (
        ("--in-flight", in_flight),
        ("--layers", by_layer),
        ("--engine", engine is not None),
    ):
        if given:
            raise InputError(f"{option} is for whole networks on a map engine")
    if repeated and len(layers) > 1:
        raise InputError(f"--repeated takes a network of one layer, not of {len(layers)}")
    if chosen != "fp32" and len(layers) > 1 and any(layer.positions > 1 for layer in layers):
        raise InputError(
            "a chain of integer layers runs one vector at a time, so its layers have one position "
            "each; plan one layer of a convolution alone, or with --activation fp32"
        )
    with Progress(f"searching engines for the {device.name}"):
        found = plan(
            layers, device, activation=chosen, repeated=repeated, widths=widths, count=count
        )
    if not found:
        raise InputError(_too_large(layers, device))
    document = _document(found, device, layers, chosen, repeated)
    emit(document, _text(found, device, layers, chosen, repeated), as_json)
    return FINE


def _plan_maps(
    image: MapImage, device: Device, in_flight: bool, by_layer: bool, count: int, as_json: bool
) -> int:
    """Map engines for a whole network."""
    with Progress(f"searching map engines for the {device.name}"):
        found = propose(image.network, device, count=count, apart=in_flight)
    if not found:
        raise InputError(
            f"no map engine for this network fits the {device.name}: its stores alone are larger; "
            "use a larger chip, or fewer bits"
        )
    document, text = document_of(found, device), text_of(found, device, in_flight)
    if by_layer:
        made = place(found[0].engine, image.network, in_flight).plan
        layers = layer_roofs(made)
        document["layers"] = roofs_document(layers)
        text = "\n\n".join([text, "its layers:", roofs_text(layers, made.pictures)])
    emit(document, text, as_json)
    return FINE


def _show_layers(image: MapImage, engine: str, in_flight: bool, as_json: bool) -> int:
    """What limits a whole network's layers on an engine that is there."""
    try:
        params = parse_engine(engine)
        if not isinstance(params, MapEngineParameters):
            raise ValueError(f"maps or maps?NAME=N&NAME=N, not {engine!r}")
    except ValueError as error:
        raise InputError(f"--engine must be {error}") from None
    try:
        made = place(params, image.network, in_flight).plan
    except NetworkTooLarge as error:
        raise InputError(str(error)) from None
    layers = layer_roofs(made)
    document = {
        "engine": asdict(params),
        "lanes": params.lanes,
        "cycles": made.cycles,
        "in_flight": made.pictures,
        "cycles_per_picture": made.cycles / made.pictures,
        "layers": roofs_document(layers),
    }
    head = f"{params.clusters} × {params.stages}, {params.lanes:,} lanes: {made.cycles:,} cycles"
    head += " a picture" if made.pictures == 1 else f" of {made.pictures} pictures in flight"
    emit(document, "\n\n".join([head, roofs_text(layers, made.pictures)]), as_json)
    return FINE


def _given(sizes: dict[str, int | None]) -> dict[str, int]:
    return {kind: size for kind, size in sizes.items() if size}


def _network(image: Image, positions: dict[str, int]) -> tuple[list[Layer], str, dict[str, int]]:
    """Layers, activation and the widths of its integers."""
    names = [layer.name for layer in image.layers]
    if unknown := sorted(set(positions) - set(names) - {""}):
        raise InputError(
            f"the image has no layer {unknown[0]!r}; there are {', '.join(names[:8])}"
            + (", …" if len(names) > 8 else "")
        )
    if long := [layer for layer in image.layers if layer.columns > LARGEST_COLUMNS]:
        raise InputError(
            f"layer {long[0].name} has {long[0].columns} columns, an engine at most "
            f"{LARGEST_COLUMNS}: split it"
        )
    layers = [
        Layer(layer.rows, layer.columns, layer.k, _positions_of(layer, positions))
        for layer in image.layers
    ]
    return (layers, "fp32", {}) if image.is_fp32 else (layers, "int8", _widths(image))


def _widths(image: Image) -> dict[str, int]:
    """Bits of the activations that a layer takes, and of the entries."""
    return {
        "activation_bits": max(activation_bits(image)),
        "entry_bits": max(entry_bits(layer) for layer in image.layers),
    }


def _positions_of(layer: ImageLayer, positions: dict[str, int]) -> int:
    """How often a layer is computed for one input.  An image has matrices: it does not say."""
    convolution = len(layer.shape) > 2
    found = positions.get(layer.name, positions.get("") if convolution else 1)
    if found is None:
        shape = " × ".join(map(str, layer.shape))
        raise InputError(
            f"layer {layer.name} is a convolution, {shape}, which is computed at every position of "
            f"its output: give height × width of that with --positions {layer.name}=N, or "
            "--positions N for all convolutions"
        )
    return found


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
        **resource_figures(one.resources, device),
    }


def _text(
    found: list[Proposal], device: Device, layers: list[Layer], activation: str, repeated: bool
) -> str:
    shapes = ", ".join(_described(layer) for layer in layers[:4])
    limits = ", ".join(
        f"{NAMES[kind]} {float(limit):.0%}" for kind, limit in LIMITS.items() if limit < 1
    )
    several = any(layer.positions > 1 for layer in layers)
    what = "to the next" if repeated else "one"
    what += " input, all positions" if several else " vector"
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
        lines.append(f"simulate it: --port '{engine_url(small)}'")
    return "\n".join(lines)


def _described(layer: Layer) -> str:
    at = f" at {layer.positions:,} positions" if layer.positions > 1 else ""
    return f"{layer.rows} × {layer.columns} (K = {layer.k}){at}"


def _cells(one: Proposal, device: Device) -> list[str]:
    engine = one.engine
    return [
        f"{engine.stages} × {engine.columns} × {engine.segments}",
        f"{engine.lanes:,}",
        f"{one.cycles:,}",
        f"{one.cycles / CLOCK_MHZ:.2f}",
        *resource_cells(one.resources, device),
        NAMES.get(one.binds, one.binds),
    ]


def _sizes(engine: EngineParameters) -> dict[str, object]:
    """The parameters that differ from an engine's defaults."""
    usual = asdict(EngineParameters())
    return {name: value for name, value in asdict(engine).items() if value != usual[name]}
