"""`dpnet train`: the digits network, from nothing to an image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import click

from dpnet.host.arguments import OneOf, number, whole
from dpnet.host.commands import (
    FILE,
    FINE,
    InputError,
    check_output,
    command,
    going_on,
)
from dpnet.host.report import Progress, emit
from dpnet.model.compression.ratios import fp32_bytes
from dpnet.model.networks.digits import DigitsMlp
from dpnet.model.networks.digits_training import (
    DIGITS_SETTINGS,
    DigitsResult,
    pretrain_digits,
    remove_checkpoints,
    train_digits,
)
from dpnet.model.networks.handwritten import TEST_PICTURES
from dpnet.model.training.recipe import CheckpointError, DivergedError, TrainSettings
from dpnet.model.training.regularizer import Reading

EXAMPLE = "dpnet train --bits 4 --out digits-4bit.dpnet"

_D = DIGITS_SETTINGS


@command("train", EXAMPLE)
@click.option(
    "--bits",
    type=whole(1, 4),
    default=4,
    metavar="N",
    help="bits of an index: 2^N values per row, 1 to 4 (default 4)",
)
@click.option("--out", type=FILE, metavar="FILE", help="the image (default digits-Nbit.dpnet)")
@click.option(
    "--seed", type=whole(0, 2**31), default=_D.seed, metavar="N", help=f"default {_D.seed}"
)
@click.option(
    "--epochs-float",
    type=whole(0, 100_000),
    default=_D.epochs_float,
    metavar="N",
    help=f"epochs before clustering (default {_D.epochs_float})",
)
@click.option(
    "--epochs-cluster",
    type=whole(0, 100_000),
    default=_D.epochs_cluster,
    metavar="N",
    help=f"epochs with the clustering-friendly term (default {_D.epochs_cluster})",
)
@click.option(
    "--lam",
    type=number,
    default=_D.lam,
    metavar="X",
    help=f"lambda of Eq. (3) (default {_D.lam:g})",
)
@click.option(
    "--period",
    type=whole(1, 100_000),
    default=_D.period,
    metavar="N",
    help=f"epochs between exact solutions of the codebooks (default {_D.period})",
)
@click.option(
    "--reading",
    type=OneOf(get_args(Reading)),
    default=_D.reading,
    help=f"what the sum of Eq. (3) is divided by (default {_D.reading})",
)
def run(bits: int, out: Path | None, as_json: bool, **settings: Any) -> int:
    """Train, compile, write and report."""
    path = out or Path(f"digits-{bits}bit.dpnet")
    check_output(path)
    checkpoint = path.with_name(path.name + ".training")
    checked = _checked(replace(_D, **settings))
    kept = f"the finished epochs are in {checkpoint}; run the same command again to go on"
    with going_on(kept), Progress(f"training, {bits} bits") as progress:
        result = _train(bits, path, checked, checkpoint, progress)
    remove_checkpoints(checkpoint)
    emit(_document(result), _text(result), as_json)
    return FINE


def _checked(settings: TrainSettings) -> TrainSettings:
    try:
        # No epochs: only the checks.
        pretrain_digits(replace(settings, epochs_float=0))
    except ValueError as error:
        raise InputError(f"these settings cannot train: {error}") from error
    return settings


def _train(
    bits: int, path: Path, settings: TrainSettings, checkpoint: Path, progress: Progress
) -> DigitsResult:
    try:
        return train_digits(
            bits, path, settings=settings, checkpoint=checkpoint, on_progress=progress
        )
    except DivergedError as error:
        raise InputError(f"training failed: {error}; lower --lam") from error
    except CheckpointError as error:
        raise InputError(f"{error}, or train to another --out") from error


def _document(result: DigitsResult) -> dict[str, object]:
    return {
        "bits": result.bits,
        "seed": result.seed,
        "accuracy_float": result.accuracy_float,
        "accuracy_quantized": result.accuracy_quantized,
        "accuracy_engine": result.accuracy_engine,
        "test_pictures": TEST_PICTURES,
        "ratio_eq1": result.ratio_eq1,
        "ratio_bytes": result.ratio_bytes,
        "file": str(result.path),
        "file_bytes": result.file_bytes,
        "fp32_bytes": fp32_bytes(DigitsMlp()),
    }


def _text(r: DigitsResult) -> str:
    return "\n".join(
        [
            f"digits network 64-256-128-10, {r.bits} bits: {1 << r.bits} values per row, "
            f"seed {r.seed}",
            f"accuracy on {TEST_PICTURES} test pictures",
            f"  float network                {r.accuracy_float:6.2f} %",
            f"  quantized network            {r.accuracy_quantized:6.2f} %",
            f"  integer golden model         {r.accuracy_engine:6.2f} %   what the engine computes",
            "compression of fp32",
            f"  by Eq. (1)                   {r.ratio_eq1:6.2f} ×   weights only",
            f"  by bytes on disk             {r.ratio_bytes:6.2f} ×   everything: "
            f"{fp32_bytes(DigitsMlp()):,} to {r.file_bytes:,} bytes",
            f"image in {r.path}; next: dpnet run {r.path} --port sim://array",
        ]
    )
