"""`dpnet bench`: one matrix-vector product on an array and on a baseline, over any port."""

from __future__ import annotations

import importlib
from pathlib import Path

import click
import numpy as np

from dpnet.host.arguments import whole
from dpnet.host.bench import BenchRow, bench_layer, bench_table, phase_table
from dpnet.host.commands import (
    FILE,
    FINE,
    DifferenceError,
    InputError,
    command,
    engine,
    figures,
    going_on,
)
from dpnet.host.report import Progress, emit
from dpnet.model.compile import compile_fp32
from dpnet.model.image import ImageLayer, read_image
from dpnet.model.image.header import LARGEST_COLUMNS, LARGEST_ROWS

EXAMPLE = (
    "dpnet bench --rows 1000 --columns 1024 --bits 4\n"
    "dpnet bench --image resnet18.dpnet --layer fc.weight --port /dev/ttyUSB0 --baseline none"
)
AGAIN = "run the same command again"


@command("bench", EXAMPLE)
@click.option(
    "--port", default="sim://array", metavar="URL", help="the array (default sim://array)"
)
@click.option(
    "--baseline",
    default="sim://baseline",
    metavar="URL",
    help="a baseline (default sim://baseline, the paper's), or none",
)
@click.option(
    "--image", type=FILE, metavar="IMAGE", help="an fp32 image, instead of random weights"
)
@click.option("--layer", metavar="NAME", help="the image's layer, if there are several")
@click.option("--rows", type=whole(1, LARGEST_ROWS), default=1000, metavar="R", help="default 1000")
@click.option(
    "--columns", type=whole(1, LARGEST_COLUMNS), default=1024, metavar="C", help="default 1024"
)
@click.option(
    "--bits", type=whole(1, 4), default=4, metavar="N", help="bits of an index (default 4)"
)
@click.option(
    "--seed",
    type=whole(0, 2**31),
    default=0,
    metavar="N",
    help="of the vector, and of random weights (default 0)",
)
def run(
    port: str,
    baseline: str,
    image: Path | None,
    layer: str | None,
    rows: int,
    columns: int,
    bits: int,
    seed: int,
    as_json: bool,
) -> int:
    """Run on both, compare and report."""
    if image is None and layer is not None:
        raise InputError("--layer names a layer of an image; give it with --image")
    matrix = _random((rows, columns), bits, seed) if image is None else _layer(image, layer)
    x = np.random.default_rng([seed, 1]).standard_normal(matrix.columns, np.float32)
    ports = [*([baseline] if baseline != "none" else []), port]
    results = [_bench(url, matrix, x) for url in ports]
    emit(
        {"results": [figures(vars(row)) for row in results], "ports": ports},
        _text(results, ports),
        as_json,
    )
    wrong, compared = sum(row.mismatches for row in results), sum(row.compared for row in results)
    if wrong:
        raise DifferenceError(
            f"{wrong:,} of {compared:,} results differ from the golden model; the "
            "engine or its bitstream is faulty: run again, and compare with sim://array"
        )
    return FINE


def _text(rows: list[BenchRow], ports: list[str]) -> str:
    return "\n".join(
        [
            bench_table(rows),
            "",
            phase_table(rows, ports),
            "chip ms: the engine's own count, at its own clock.  paper ms: its Table VI, the "
            "product alone (behavioral simulation, 100 MHz).",
        ]
    )


def _bench(url: str, layer: ImageLayer, x: np.ndarray) -> BenchRow:
    with going_on(AGAIN), engine(url) as driver, Progress(url) as progress:
        return bench_layer(driver, layer, x, progress=progress)


def _layer(path: Path, name: str | None) -> ImageLayer:
    image = read_image(path)
    if not image.is_fp32:
        raise InputError(
            f"{path} is of integers; bench takes fp32 images (dpnet compress); use dpnet run"
        )
    names = [layer.name for layer in image.layers]
    if name is None and len(names) == 1:
        return image.layers[0]
    if name not in names:
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise InputError(f"--layer must name a layer of {path}: {listed}")
    return image.layers[names.index(name)]


def _random(shape: tuple[int, int], bits: int, seed: int) -> ImageLayer:
    try:
        # A board's own Linux may lack numba; an image needs no quantizer.
        quantize = importlib.import_module("dpnet.model.quantizer.exact").quantize
    except ImportError as error:
        raise InputError(
            f"random weights cannot be quantized here: {error}; give an image with --image"
        ) from error
    weights = np.random.default_rng([seed, 0]).standard_normal(shape, np.float32)
    return compile_fp32({"random": (quantize(weights, 1 << bits), shape)}).layers[0]
