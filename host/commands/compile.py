"""`dpnet compile`: a network of the user's to an image, for a map engine or the array."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from dpnet.host.arguments import whole
from dpnet.host.commands import (
    FILE,
    FINE,
    InputError,
    check_output,
    command,
    going_on,
    read_array,
    read_labels,
)
from dpnet.host.commands.user_module import load_weights, network_or_file
from dpnet.host.commands.weights import read_weights
from dpnet.host.maps.compiling import Request, dry_run_of, image_of, lacking, reported
from dpnet.host.maps.engines import engine_url, parse_engine
from dpnet.host.report import Progress, emit
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.image import Image

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = (
    "dpnet compile nets.py:Net --weights net.pt --calibration x.npy --out net.dpnet\n"
    "dpnet compile nets.py:Net --input-shape 3x32x32 --dry-run\n"
    "dpnet compile net.onnx --calibration x.npy --bits 4 --bits-of conv1=2:fc=3\n"
    "dpnet compile net.pt2 --calibration x.npy --engine 'maps?clusters=4&stages=8'"
)
BITS = whole(1, 4)
LARGEST_SIDE = 1 << 16


def _bits_of(text: str) -> dict[str, int]:
    found = {}
    for part in text.split(":"):
        name, equals, bits = part.rpartition("=")
        try:
            found[name] = BITS(bits if equals and name else "")
        except click.BadParameter:
            raise click.BadParameter(f"must be LAYER=N, N from 1 to 4, not {part!r}") from None
    return found


def _shape(text: str) -> tuple[int, ...]:
    try:
        return tuple(whole(1, LARGEST_SIDE)(side) for side in text.split("x"))
    except click.BadParameter:
        raise click.BadParameter(
            f"must be the sizes of one input without the batch, as 3x32x32, not {text!r}"
        ) from None


def _engine(text: str) -> str | MapEngineParameters:
    try:
        return parse_engine(text)
    except ValueError as error:
        raise click.BadParameter(f"must be {error}") from None


@command("compile", EXAMPLE)
@click.argument(
    "place",
    metavar="NETWORK",
    help="FILE.py:NAME, a network or a class or function that makes one; FILE.pt2 of "
    "torch.export.save; FILE.onnx",
)
@click.option(
    "--calibration",
    type=FILE,
    metavar="FILE.npy",
    help="real inputs (n, …) such as the network will see",
)
@click.option(
    "--labels",
    type=FILE,
    metavar="FILE.npy",
    help="the calibration's classes (n,): dpnet report then shows accuracies",
)
@click.option(
    "--no-profile",
    "profiled",
    is_flag=True,
    default=True,
    flag_value=False,
    help="measure nothing for dpnet report: sooner done, a smaller image",
)
@click.option("--weights", type=FILE, metavar="FILE", help="its weights: .safetensors, state dict")
@click.option(
    "--input-shape",
    type=_shape,
    metavar="AxBxC",
    help="of one input, without a calibration to show it: 3x32x32",
)
@click.option(
    "--bits", type=BITS, default=4, metavar="N", help="of an index: 2^N values a row (default 4)"
)
@click.option(
    "--bits-of",
    type=_bits_of,
    multiple=True,
    metavar="LAYER=N",
    help="bits of one layer; LAYER=N:LAYER=N for several",
)
@click.option(
    "--engine",
    type=_engine,
    default="auto",
    metavar="ENGINE",
    help="maps, maps?NAME=N&NAME=N, array, or auto (default): the array for a chain of Linear, "
    "BatchNorm1d and ReLU on rows of values, else maps",
)
@click.option(
    "--activation-bits", type=whole(2, 25), metavar="N", help="of the array alone (default 8)"
)
@click.option("--out", type=FILE, metavar="FILE", help="the image (default NAME-4bit.dpnet)")
@click.option(
    "--dry-run",
    is_flag=True,
    help="write nothing: show the layers and all that would be refused",
)
@click.option("--verbose", is_flag=True, help="show how the scale of every tensor was chosen")
def run(
    place: str,
    calibration: Path | None,
    labels: Path | None,
    profiled: bool,
    weights: Path | None,
    input_shape: tuple[int, ...] | None,
    bits: int,
    bits_of: tuple[dict[str, int], ...],
    engine: str | MapEngineParameters,
    activation_bits: int | None,
    out: Path | None,
    dry_run: bool,
    verbose: bool,
    as_json: bool,
) -> int:
    """Import, load, compile, write and report."""
    source = Path(place.rpartition(":")[0] or place)
    out = out or Path(f"{_name(place)}-{bits}bit.dpnet")
    if labels is not None and not profiled:
        raise InputError("--labels are for the profile; leave out --no-profile")
    if not dry_run:
        check_output(out, calibration, labels, weights, source)
    rows = _rows(calibration, input_shape, dry_run)
    request = Request(
        rows=rows,
        labels=_labels(labels, rows),
        profiled=profiled,
        input_shape=input_shape,
        bits=bits,
        bits_of={name: n for part in bits_of for name, n in part.items()},
        engine=engine,
        of_array={} if activation_bits is None else {"activation_bits": activation_bits},
    )
    left_out: Mapping[str, str] = {}
    with going_on(f"{out} was not written; run it again"), network_or_file(place) as net:
        if weights is not None:
            left_out = _load(net, weights)
        if dry_run:
            return _dry(net, request, as_json, verbose)
        with Progress("compiling") as progress:
            image = image_of(net, request, progress)
    try:
        size = image.save(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written: {error.strerror or error}") from error
    written = {"file": str(out), "file_bytes": size, "left_out": dict(left_out)}
    document, lines = reported(image, verbose)
    lines += lacking(image, request)
    lines += [f"left out: {name} ({reason})" for name, reason in left_out.items()]
    url = "sim://array" if isinstance(image, Image) else engine_url(image.engine)
    url = shlex.quote(url)  # what a user copies into a shell, question marks and all
    lines.append(
        f"image in {out}, {size:,} bytes; next: dpnet run {out} --port {url} --input FILE.npy"
    )
    emit(written | document, "\n".join(lines), as_json)
    return FINE


def _name(place: str) -> str:
    """What the image is called."""
    name = place.rpartition(":")[2]
    return Path(name).stem if name == place else name


def _rows(
    calibration: Path | None, shape: tuple[int, ...] | None, dry_run: bool
) -> NDArray[Any] | None:
    """The calibration, of the shape that was said."""
    if calibration is None:
        if not dry_run:
            raise InputError(
                "--calibration must be given: a .npy file of inputs such as the network will see; "
                "only --dry-run does without"
            )
        return None
    rows = read_array(calibration)
    if shape is not None and rows.shape[1:] != shape:
        raise InputError(
            f"{calibration} has the shape {rows.shape}, --input-shape says (n, "
            f"{', '.join(map(str, shape))})"
        )
    return rows


def _labels(path: Path | None, rows: NDArray[Any] | None) -> NDArray[np.int64] | None:
    """The calibration's classes."""
    if path is None:
        return None
    if rows is None:
        raise InputError("--labels are those of a --calibration; give both")
    return read_labels(path, len(rows))


def _load(net: nn.Module | Path, weights: Path) -> Mapping[str, str]:
    """Weights of a file into the network; what of the file was left out."""
    if isinstance(net, Path):
        raise InputError(f"{net} has its weights in it: leave out --weights")
    found = read_weights(weights)
    load_weights(net, found.tensors, weights)
    return found.left_out


def _dry(net: Any, request: Request, as_json: bool, verbose: bool) -> int:
    with Progress("looking at the network"):
        found = dry_run_of(net, request)
    document, lines = found.report(verbose)
    emit(document, "\n".join(lines), as_json)
    if found.refused:
        more = len(found.refused) - 1
        others = f"; and {more} more, see above" if more else ""
        raise InputError(f"this network would be refused: {found.refused[0]}{others}")
    return FINE
