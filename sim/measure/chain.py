"""Parts 1 and 2 of `make sim`: networks trained, compiled, loaded and run picture by picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpnet.host.driver import Driver
from dpnet.host.report import Progress, table
from dpnet.host.session import Session
from dpnet.model.golden.network import integer_network
from dpnet.model.networks.digits import digits
from dpnet.model.networks.digits_training import (
    DIGITS_SETTINGS,
    DigitsResult,
    pretrain_digits,
    remove_checkpoints,
    train_digits,
)
from dpnet.model.training.recipe import TrainSettings
from dpnet.sim.board.bytes_board import SimTransport

BITS = (4, 3, 2)


@dataclass(frozen=True, kw_only=True)
class NetworkRow:
    """One network on the engine; accuracies in percent, cycles as the engine counted them.  Float
    and quantized: on all test pictures; the golden model and the engine: on those that ran.

    `mismatches` counts outputs of any layer that differ from the golden model, over all pictures.
    """

    bits: int
    accuracy_float: float
    accuracy_quantized: float
    accuracy_golden: float
    accuracy_engine: float
    ratio_eq1: float
    ratio_bytes: float
    file_bytes: int
    pictures: int
    outputs: int
    mismatches: int
    cycles_per_picture: int
    predicted_cycles: int


def train_networks(folder: Path, settings: TrainSettings) -> Iterator[DigitsResult]:
    """The digits network at 4, 3 and 2 bits, one after the other, from one float network; resumes
    what was interrupted.
    """
    with Progress("training the float network") as progress:
        start = pretrain_digits(
            settings, checkpoint=folder / "digits-float.checkpoint", on_progress=progress
        )
    for bits in BITS:
        path = folder / f"digits-{bits}bit.dpnet"
        with Progress(f"training with DP-Net at {bits} bits") as progress:
            result = train_digits(
                bits,
                path,
                settings=settings,
                start=start,
                checkpoint=path.with_suffix(".checkpoint"),
                on_progress=progress,
            )
        yield result


def forget_checkpoints(folder: Path) -> None:
    """After a whole run: the next one trains afresh."""
    (folder / "digits-float.checkpoint").unlink(missing_ok=True)
    (folder / "digits-cnn.checkpoint").unlink(missing_ok=True)
    for bits in BITS:
        remove_checkpoints(folder / f"digits-{bits}bit.checkpoint")


def run_network(
    driver: Driver,
    result: DigitsResult,
    *,
    pictures: int | None = None,
    trace: SimTransport | None = None,
) -> tuple[NetworkRow, NDArray[np.int64]]:
    """Load the image and run test pictures (default: all 360) through every layer on the engine.

    Returns the figures and the engine's predictions.  `trace` has its first picture in the
    waveform.
    """
    data = digits()
    inputs = result.image.quantize_input(data.test_x.numpy()[:pictures])
    labels = data.test_y.numpy()[:pictures]
    session = Session(driver, result.image)
    with Progress(f"loading {result.path.name}") as progress:
        session.load(progress)
    predictions, expected, cycles, mismatches, outputs = [], [], set(), 0, 0
    with Progress(f"running {len(inputs)} pictures at {result.bits} bits") as progress:
        for n, x in enumerate(inputs):
            if trace is not None:
                trace.tracing = n == 0
            got, count = session.run_network(x)
            golden = integer_network(result.image, x)
            for mine, right in zip(got, golden, strict=True):
                mismatches += int((mine != right).sum())
                outputs += len(right)
            expected.append(int(np.argmax(golden[-1])))
            cycles.add(count)
            predictions.append(int(np.argmax(got[-1])))
            progress(n + 1, len(inputs), f"picture {n + 1}")
    if len(cycles) != 1:
        raise AssertionError(f"cycles must not depend on the picture, but are {sorted(cycles)}")
    guessed = np.array(predictions)
    row = NetworkRow(
        bits=result.bits,
        accuracy_float=result.accuracy_float,
        accuracy_quantized=result.accuracy_quantized,
        accuracy_golden=_percent(np.array(expected) == labels),
        accuracy_engine=_percent(guessed == labels),
        ratio_eq1=result.ratio_eq1,
        ratio_bytes=result.ratio_bytes,
        file_bytes=result.file_bytes,
        pictures=len(inputs),
        outputs=outputs,
        mismatches=mismatches,
        cycles_per_picture=cycles.pop(),
        predicted_cycles=session.predicted_cycles(0, len(result.image.layers) - 1),
    )
    return row, guessed


def _percent(right: NDArray[np.bool_]) -> float:
    return 100.0 * int(right.sum()) / len(right)


def network_table(rows: list[NetworkRow]) -> str:
    """The rows for the terminal."""
    head = (
        "bits",
        "float",
        "quantized",
        "golden",
        "engine",
        "Eq. (1)",
        "on disk",
        "bytes",
        "pictures",
        "outputs",
        "differ",
        "cycles a picture",
    )
    return table(
        head,
        [
            (
                r.bits,
                f"{r.accuracy_float:.2f} %",
                f"{r.accuracy_quantized:.2f} %",
                f"{r.accuracy_golden:.2f} %",
                f"{r.accuracy_engine:.2f} %",
                f"{r.ratio_eq1:.2f} ×",
                f"{r.ratio_bytes:.2f} ×",
                f"{r.file_bytes:,}",
                r.pictures,
                f"{r.outputs:,}",
                r.mismatches,
                f"{r.cycles_per_picture:,}",
            )
            for r in rows
        ],
    )


def settings_for(seed: int) -> TrainSettings:
    """The settings of the demonstration with another seed."""
    return replace(DIGITS_SETTINGS, seed=seed)
