"""`dpnet compile`: a PyTorch network in a Python file to an integer image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dpnet.host.arguments import whole
from dpnet.host.commands import (
    FILE,
    FINE,
    InputError,
    check_output,
    command,
    going_on,
    read_array,
)
from dpnet.host.commands.user_module import load_weights, network
from dpnet.host.commands.weights import read_weights
from dpnet.host.report import Progress, emit, table
from dpnet.model.compile import compile_net
from dpnet.model.image import Image

EXAMPLE = (
    "dpnet compile nets.py:Net --weights net.pt --calibration x.npy --bits 4 --out net.dpnet\n"
    "dpnet compile nets.py:net --calibration x.npy --bits 4 --bits-of fc3=2"
)
BITS = whole(1, 4)


def _bits_of(text: str) -> tuple[str, int]:
    name, equals, bits = text.rpartition("=")
    try:
        return name, BITS(bits if equals and name else "")
    except click.BadParameter:
        raise click.BadParameter(f"must be LAYER=N, N from 1 to 4, not {text!r}") from None


@command("compile", EXAMPLE)
@click.argument(
    "place", metavar="FILE.py:NAME", help="a network, or a class or function that makes one"
)
@click.option(
    "--calibration",
    type=FILE,
    required=True,
    metavar="FILE.npy",
    help="rows (n, features) of real inputs such as the network will see",
)
@click.option("--weights", type=FILE, metavar="FILE", help="its weights: .safetensors, state dict")
@click.option(
    "--bits", type=BITS, default=4, metavar="N", help="of an index: 2^N values a row (default 4)"
)
@click.option(
    "--bits-of",
    type=_bits_of,
    multiple=True,
    metavar="LAYER=N",
    help="bits of one layer; again for each further one",
)
@click.option("--activation-bits", type=whole(2, 25), default=8, metavar="N", help="default 8")
@click.option("--out", type=FILE, metavar="FILE", help="the image (default NAME-4bit.dpnet)")
def run(
    place: str,
    calibration: Path,
    weights: Path | None,
    bits: int,
    bits_of: tuple[tuple[str, int], ...],
    activation_bits: int,
    out: Path | None,
    as_json: bool,
) -> int:
    """Import, load, compile, write and report."""
    out = out or Path(f"{place.rpartition(':')[2]}-{bits}bit.dpnet")
    check_output(out, calibration, weights, Path(place.rpartition(":")[0]))
    rows = read_array(calibration)
    left_out: Mapping[str, str] = {}
    with going_on(f"{out} was not written; run it again"), network(place) as net:
        if weights is not None:
            found = read_weights(weights)
            load_weights(net, found.tensors, weights)
            left_out = found.left_out
        with Progress("compiling"):
            image = compile_net(
                net, rows, bits=bits, bits_of=dict(bits_of), activation_bits=activation_bits
            )
    try:
        size = image.save(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error
    document = _document(image, out, size, left_out)
    emit(document, _text(image, document), as_json)
    return FINE


def _document(image: Image, out: Path, size: int, left_out: Mapping[str, str]) -> dict[str, Any]:
    return {
        "file": str(out),
        "file_bytes": size,
        "weights": sum(layer.weights for layer in image.layers),
        "layers": [
            {"name": layer.name, "rows": layer.rows, "columns": layer.columns, "k": layer.k,
             "relu": layer.relu, "out_bits": layer.out_bits}
            for layer in image.layers
        ],
        "input_bits": image.input_bits,
        "largest_input": image.largest_input,
        "left_out": dict(left_out),
    }  # fmt: skip


def _text(image: Image, document: Mapping[str, Any]) -> str:
    rows = [
        (x.name, f"{x.rows} × {x.columns}", x.k, f"{x.out_bits} bits{', ReLU' * x.relu}")
        for x in image.layers
    ]
    lines = [table(("layer", "shape", "K", "results"), rows), ""]
    lines += [f"left out: {name} ({reason})" for name, reason in document["left_out"].items()]
    return "\n".join(
        [
            *lines,
            f"{document['weights']:,} weights; inputs of {image.input_bits} bits up to "
            f"{image.largest_input:g} in magnitude, as in the calibration",
            f"image in {document['file']}, {document['file_bytes']:,} bytes; next: dpnet run "
            f"{document['file']} --port sim://array --input FILE.npy",
        ]
    )
