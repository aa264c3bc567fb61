"""`dpnet compress`: the weights of any network to an image of fp32 matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import click
from torch import Tensor

from dpnet.host.arguments import OneOf, whole
from dpnet.host.commands import (
    FILE,
    FINE,
    InputError,
    check_output,
    command,
    going_on,
)
from dpnet.host.commands.weights import finite_fp32, read_weights
from dpnet.host.report import Progress, emit, table
from dpnet.model.compile import compile_fp32
from dpnet.model.compression.matrices import Matrix, kept_rows, matrix_of
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.compression.ratios import ratio_eq1
from dpnet.model.compression.weights import Weight, weights_in
from dpnet.model.image import write_image
from dpnet.model.image.header import LARGEST_COLUMNS, LARGEST_LAYERS, LARGEST_ROWS

EXAMPLE = "dpnet compress resnet18.safetensors --bits 4 --include 'conv|fc'"

USUAL = ("fewer than 2 dimensions", "the scale of a norm", "not included", "excluded")


@command("compress", EXAMPLE)
@click.argument("file", type=FILE, help="weights: .safetensors, or a state dict in .pt, .pth, .th")
@click.option(
    "--bits",
    type=whole(1, 4),
    metavar="N",
    help="bits of an index: 2^N values per row, 1 to 4 (default 4)",
)
@click.option(
    "--k", type=whole(1, 16), metavar="K", help="values per row, 1 to 16, instead of --bits"
)
@click.option(
    "--out",
    type=FILE,
    metavar="FILE",
    help="the image (default: FILE-4bit.dpnet, with the bits, or -k5)",
)
@click.option(
    "--include", default="", metavar="REGEX", help="only tensors whose name has a match of this"
)
@click.option("--exclude", metavar="REGEX", help="no tensors whose name has a match of this")
@click.option(
    "--matrix",
    metavar="REGEX",
    help="tensors whose outputs are along axis 0, also where no layer of this name is known",
)
@click.option(
    "--transposed",
    metavar="REGEX",
    help="tensors whose outputs are along axis 1: transposed convolutions that nothing tells of",
)
@click.option(
    "--norm",
    type=OneOf([1, 2]),
    default=2,
    help="minimize absolute (1) or squared (2) errors (default 2)",
)
@click.option("--all", "everything", is_flag=True, help="also tensors that get larger")
def run(
    file: Path,
    bits: int | None,
    k: int | None,
    out: Path | None,
    include: str,
    exclude: str | None,
    matrix: str | None,
    transposed: str | None,
    norm: int,
    everything: bool,
    as_json: bool,
) -> int:
    """Read, quantize, write and report."""
    k = _values(bits, k)
    out = out or file.with_name(f"{file.stem}-{_size(k)}.dpnet")
    for option, pattern in (
        ("include", include), ("exclude", exclude), ("matrix", matrix), ("transposed", transposed),
    ):  # fmt: skip
        _check_pattern(option, pattern)
    found = read_weights(file)
    check_output(out, file)
    named = _named(found.tensors, include, exclude, matrix, transposed)
    chosen, left_out = _choose(*named, k, everything)
    left_out = {**found.left_out, **left_out}
    if not chosen:
        raise InputError(
            f"{file} has nothing to compress to {k} values per row: {_reasons(left_out)}; choose "
            "other tensors with --include, a smaller --k, or --all"
        )
    with going_on(f"{out} was not written; run it again"), Progress("quantizing") as progress:
        layers = _quantize(chosen, k, norm, progress)
    image = compile_fp32(
        {layer.name: (layer.quantized, layer.shape) for layer in layers},
        {"source": file.name, "norm": norm},
    )
    size = write_image(image, out)
    document = _document(layers, left_out, k, out, size)
    emit(document, _text(layers, document), as_json)
    return FINE


def _values(bits: int | None, k: int | None) -> int:
    """Values per row."""
    if bits is not None and k is not None:
        raise InputError("--bits or --k must be given, not both; see dpnet compress --help")
    return k or 1 << (bits or 4)


def _size(k: int) -> str:
    """K in the name of a file: images of one network are told apart by it."""
    bits = (k - 1).bit_length()
    return f"{bits}bit" if bits and k == 1 << bits else f"k{k}"


def _check_pattern(option: str, pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise InputError(
            f"--{option} must be a regular expression: {error} in {pattern!r}"
        ) from error


def _named(
    tensors: Mapping[str, Tensor],
    include: str,
    exclude: str | None,
    matrix: str | None,
    transposed: str | None,
) -> tuple[list[Weight], dict[str, str]]:
    """The weights of a file that are asked for, and why each other tensor is left out."""
    weights, others = weights_in(tensors, rows=matrix, transposed=transposed)

    def unwanted(*names: str) -> str:
        if not any(re.search(include, name) for name in names):
            return "not included"
        no = exclude is not None and any(re.search(exclude, name) for name in names)
        return "excluded" if no else ""

    left_out = {other.name: unwanted(other.name) or other.reason for other in others}
    for other in others:
        if other.refused and not unwanted(other.name):
            raise InputError(f"{other.name} is {other.reason}; or leave it out with --exclude")
    left_out |= {w.name: reason for w in weights if (reason := unwanted(*w.names))}
    return [weight for weight in weights if weight.name not in left_out], left_out


def _choose(
    weights: list[Weight], left_out: dict[str, str], k: int, everything: bool
) -> tuple[list[Weight], dict[str, str]]:
    """The weights to quantize, and why each other tensor is left out."""
    chosen = []
    for weight in weights:
        reason = _too_large(weight)
        if not reason:
            finite_fp32(weight.name, weight.values)
            reason = "" if everything else _larger(weight, k)
        if reason:
            left_out[weight.name] = reason
        else:
            chosen.append(weight)
    if len(chosen) > LARGEST_LAYERS:
        raise InputError(
            f"an image holds {LARGEST_LAYERS} layers, not {len(chosen)}; choose with --include"
        )
    return chosen, left_out


def _too_large(weight: Weight) -> str:
    """Why an image cannot hold a weight, "" if it can."""
    fits = weight.rows <= LARGEST_ROWS and weight.n <= LARGEST_COLUMNS
    return "" if fits else f"more than {LARGEST_ROWS} rows or {LARGEST_COLUMNS} values per row"


def _larger(weight: Weight, k: int) -> str:
    """Why a weight is not worth it, "" if it is: counted with the values that it has already,
    where these are few."""
    groups, values = (weight.rows, weight.n), k
    if (found := kept_rows(weight, k)) is not None:
        quantized, every = found
        if every > 1 or quantized.k < weight.n:
            groups, values = (weight.rows // every, weight.n * every), quantized.k
    ratio = ratio_eq1([groups], values)
    return "" if ratio > 1 else f"would get larger, ratio {ratio:.2f}"


def _quantize(chosen: list[Weight], k: int, norm: int, progress: Progress) -> list[Matrix]:
    total = sum(weight.rows * weight.n for weight in chosen)
    config = CompressConfig(norm=norm)
    done = 0
    layers = []
    for weight in chosen:
        progress(done, total, weight.name)
        layers.append(matrix_of(weight, k, config))
        done += weight.rows * weight.n
    return layers


def _document(
    layers: list[Matrix], left_out: Mapping[str, str], k: int, out: Path, size: int
) -> dict[str, object]:
    weights = sum(layer.values for layer in layers)
    return {
        "file": str(out),
        "file_bytes": size,
        "k": k,
        "weights": weights,
        "fp32_bytes": 4 * weights,
        "ratio_eq1": ratio_eq1(
            [layer.groups for layer in layers], [layer.quantized.k for layer in layers]
        ),
        "ratio_bytes": 4 * weights / size,
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "k": layer.quantized.k,
                "kept": layer.kept,
                "ratio_eq1": layer.ratio,
                "relative_error": layer.relative_error,
                "note": layer.note,
            }
            for layer in layers
        ],
        "left_out": dict(left_out),
    }


def _text(layers: list[Matrix], document: Mapping[str, object]) -> str:
    rows = [
        (
            layer.name,
            " × ".join(map(str, layer.shape)),
            str(layer.quantized.k),
            f"{layer.ratio:.2f}",
            f"{layer.relative_error:.2e}",
        )
        for layer in layers
    ]
    left_out = document["left_out"]
    assert isinstance(left_out, dict)
    lines = [table(("layer", "shape", "K", "Eq. (1)", "relative error"), rows), ""]
    lines += [f"{layer.name}: {layer.note}" for layer in layers if layer.note]
    lines += [
        f"left out: {name} ({reason})" for name, reason in left_out.items() if reason not in USUAL
    ]
    return "\n".join(
        [
            *lines,
            f"{document['weights']:,} weights, {document['k']} values per row: ratio "
            f"{document['ratio_eq1']:.2f} by Eq. (1), "
            f"{document['ratio_bytes']:.2f} by bytes on disk",
            f"image in {document['file']}, {document['file_bytes']:,} bytes; biases, other tensors "
            "of 1 dimension and all that is left out are not in it",
        ]
    )


def _reasons(left_out: Mapping[str, str]) -> str:
    first = [f"{name} ({reason})" for name, reason in list(left_out.items())[:3]]
    more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
    return (
        ", ".join(first) + more + (" are" if len(left_out) > 1 else " is") + " left out"
        if first
        else "it holds no tensors"
    )
