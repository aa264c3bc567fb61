"""`dpnet compress`: the weights of any network to an image of fp32 matrices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import torch
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
from dpnet.model.compression.groups import to_rows
from dpnet.model.compression.ratios import ratio_eq1
from dpnet.model.image import write_image
from dpnet.model.image.header import LARGEST_COLUMNS, LARGEST_LAYERS, LARGEST_ROWS
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import Quantized

EXAMPLE = "dpnet compress resnet18.safetensors --bits 4 --include 'conv|fc'"

LARGEST_RANK = 5


@dataclass(frozen=True)
class _Layer:
    """A quantized tensor and what it costs: Eq. (1), and the share of its norm that is lost."""

    name: str
    shape: tuple[int, ...]
    ratio: float
    error: float
    quantized: Quantized

    @property
    def values(self) -> int:
        return self.quantized.indices.size


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
    norm: int,
    everything: bool,
    as_json: bool,
) -> int:
    """Read, quantize, write and report."""
    k = _values(bits, k)
    out = out or file.with_name(f"{file.stem}-{_size(k)}.dpnet")
    found = read_weights(file)
    check_output(out, file)
    chosen, left_out = _choose(found.tensors, include, k, everything)
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


def _choose(
    tensors: Mapping[str, Tensor], include: str, k: int, everything: bool
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Matrices in float32 to quantize, and why each other tensor is left out."""
    try:
        pattern = re.compile(include)
    except re.error as error:
        raise InputError(
            f"--include must be a regular expression: {error} in {include!r}"
        ) from error
    chosen: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    for name, tensor in tensors.items():
        reason = "not included" if not pattern.search(name) else _unfit(tensor, k, everything)
        if reason:
            left_out[name] = reason
        else:
            chosen[name] = finite_fp32(name, tensor)
    if len(chosen) > LARGEST_LAYERS:
        raise InputError(
            f"an image holds {LARGEST_LAYERS} layers, not {len(chosen)}; choose with --include"
        )
    return chosen, left_out


def _unfit(tensor: Tensor, k: int, everything: bool) -> str:
    """Why a tensor is no matrix to compress, "" if it is one."""
    if not torch.is_floating_point(tensor):
        return "not floating point"
    if tensor.ndim < 2:
        return "fewer than 2 dimensions"
    if not tensor.numel():
        return "empty"
    rows, columns = len(tensor), tensor.numel() // len(tensor)
    if tensor.ndim > LARGEST_RANK or rows > LARGEST_ROWS or columns > LARGEST_COLUMNS:
        return (
            f"more than {LARGEST_RANK} dimensions, {LARGEST_ROWS} rows or {LARGEST_COLUMNS} "
            "values per row"
        )
    ratio = ratio_eq1([(rows, columns)], k)
    return "" if everything or ratio > 1 else f"would get larger, ratio {ratio:.2f}"


def _quantize(chosen: Mapping[str, Tensor], k: int, norm: int, progress: Progress) -> list[_Layer]:
    total = sum(tensor.numel() for tensor in chosen.values())
    done = 0
    layers = []
    for name, tensor in chosen.items():
        progress(done, total, name)
        layers.append(_layer(name, tensor, k, norm))
        done += tensor.numel()
    return layers


def _layer(name: str, tensor: Tensor, k: int, norm: int) -> _Layer:
    rows = to_rows(tensor).numpy()
    quantized = quantize(rows, k, norm)
    values = torch.from_numpy(rows).double()
    lost = (values - torch.from_numpy(quantized.dequantized)).norm().item()
    whole_norm = values.norm().item()
    return _Layer(
        name,
        tuple(tensor.shape),
        ratio_eq1([rows.shape], k),
        lost / whole_norm if whole_norm else 0.0,
        quantized,
    )


def _document(
    layers: list[_Layer], left_out: Mapping[str, str], k: int, out: Path, size: int
) -> dict[str, object]:
    weights = sum(layer.values for layer in layers)
    groups = [layer.quantized.indices.shape for layer in layers]
    return {
        "file": str(out),
        "file_bytes": size,
        "k": k,
        "weights": weights,
        "fp32_bytes": 4 * weights,
        "ratio_eq1": ratio_eq1(groups, k),
        "ratio_bytes": 4 * weights / size,
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "ratio_eq1": layer.ratio,
                "relative_error": layer.error,
            }
            for layer in layers
        ],
        "left_out": dict(left_out),
    }


def _text(layers: list[_Layer], document: Mapping[str, object]) -> str:
    rows = [
        (layer.name, " × ".join(map(str, layer.shape)), f"{layer.ratio:.2f}", f"{layer.error:.2e}")
        for layer in layers
    ]
    left_out = document["left_out"]
    assert isinstance(left_out, dict)
    lines = [table(("layer", "shape", "Eq. (1)", "relative error"), rows), ""]
    lines += [
        f"left out: {name} ({reason})"
        for name, reason in left_out.items()
        if "larger" in reason or "more than" in reason
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
