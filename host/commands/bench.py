"""`dpnet bench`: one matrix-vector product on an array and on a baseline, over any port."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np

from dpnet.host.bench import BenchRow, bench_layer, bench_table, phase_table
from dpnet.host.commands import FINE, DifferenceError, InputError, engine, figures, going_on, whole
from dpnet.host.report import Progress, emit
from dpnet.model.compile import compile_fp32
from dpnet.model.image import ImageLayer, read_image
from dpnet.model.image.header import LARGEST_COLUMNS, LARGEST_ROWS

EXAMPLE = (
    "  dpnet bench --rows 1000 --columns 1024 --bits 4\n"
    "  dpnet bench --image resnet18.dpnet --layer fc.weight --port /dev/ttyUSB0 --baseline none"
)
AGAIN = "run the same command again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `dpnet bench`."""
    add = parser.add_argument
    add("--port", default="sim://array", metavar="URL", help="the array (default sim://array)")
    add(
        "--baseline",
        default="sim://baseline",
        metavar="URL",
        help="a baseline (default sim://baseline, the paper's), or none",
    )
    add("--image", type=Path, metavar="IMAGE", help="an fp32 image, instead of random weights")
    add("--layer", metavar="NAME", help="the image's layer, if there are several")
    add("--rows", type=whole(1, LARGEST_ROWS), default=1000, metavar="R", help="default 1000")
    add("--columns", type=whole(1, LARGEST_COLUMNS), default=1024, metavar="C", help="default 1024")
    add("--bits", type=whole(1, 4), default=4, metavar="N", help="bits of an index (default 4)")
    add(
        "--seed",
        type=whole(0, 2**31),
        default=0,
        help="of the vector, and of random weights (default 0)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run on both, compare and report."""
    layer = _layer(arguments)
    x = np.random.default_rng([arguments.seed, 1]).standard_normal(layer.columns, np.float32)
    urls = [arguments.baseline] if arguments.baseline != "none" else []
    rows = [_bench(url, layer, x) for url in [*urls, arguments.port]]
    ports = [*urls, arguments.port]
    emit(
        {"results": [figures(vars(row)) for row in rows], "ports": ports},
        _text(rows, ports),
        arguments.json,
    )
    wrong, compared = sum(row.mismatches for row in rows), sum(row.compared for row in rows)
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
            "chip ms: the engine's own count, at 100 MHz.  paper ms: its Table VI, the product "
            "alone (behavioral simulation).",
        ]
    )


def _bench(url: str, layer: ImageLayer, x: np.ndarray) -> BenchRow:
    with going_on(AGAIN), engine(url) as driver, Progress(url) as progress:
        return bench_layer(driver, layer, x, progress=progress)


def _layer(arguments: argparse.Namespace) -> ImageLayer:
    if arguments.image is None:
        if arguments.layer is not None:
            raise InputError("--layer names a layer of an image; give it with --image")
        return _random((arguments.rows, arguments.columns), arguments.bits, arguments.seed)
    image = read_image(arguments.image)
    if not image.is_fp32:
        raise InputError(
            f"{arguments.image} is of integers; bench takes fp32 images (dpnet compress); "
            "use dpnet run"
        )
    names = [layer.name for layer in image.layers]
    if arguments.layer is None and len(names) == 1:
        return image.layers[0]
    if arguments.layer not in names:
        listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        raise InputError(f"--layer must name a layer of {arguments.image}: {listed}")
    return image.layers[names.index(arguments.layer)]


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
