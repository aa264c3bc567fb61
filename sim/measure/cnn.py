"""Part 4 of `make sim`: a convolutional network on the map engine, results and maps between."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpnet.host.driver import Driver
from dpnet.host.maps.comparing import compare
from dpnet.host.maps.session import MapSession, map_parameters
from dpnet.host.report import Progress, table
from dpnet.model.engine.maps.figures import network_figures
from dpnet.model.maps.accuracy import results
from dpnet.model.maps.calibration.pictures import to_integers
from dpnet.model.networks.digits_cnn import CNN_SETTINGS, CnnResult, digit_maps, train_cnn

LAYERED = 24
"""Pictures of which every layer's map is read back; of the others the results are."""


@dataclass(frozen=True, kw_only=True)
class CnnRow:
    """The network on the engine; accuracies in percent, cycles as the engine counted them.  Float
    and quantized: on all test pictures; the golden model and the engine: on those that ran.

    `outputs` that were compared: the results of all pictures, and of the first `layered` every map
    and the results once more; `mismatches`, how many differ from the golden model, and runs that
    took other cycles than the formula has.  `utilization`, the share of lanes
    and cycles that add a weight.
    """

    lanes: int
    bits: int
    accuracy_float: float
    accuracy_quantized: float
    accuracy_golden: float
    accuracy_engine: float
    ratio_eq1: float
    file_bytes: int
    pictures: int
    layered: int
    outputs: int
    mismatches: int
    cycles_per_picture: int
    predicted_cycles: int
    utilization: float


def train_cnn_network(folder: Path, seed: int) -> CnnResult:
    """The network of this part and its image."""
    with Progress("training a convolutional network") as progress:
        return train_cnn(
            folder / "digits-cnn.dpnet",
            settings=replace(CNN_SETTINGS, seed=seed),
            checkpoint=folder / "digits-cnn.checkpoint",
            on_progress=progress,
        )


def run_cnn(driver: Driver, trained: CnnResult, pictures: int | None = None) -> CnnRow:
    """Load the image and run test pictures (default: all 360) through the engine."""
    image, data = trained.image, digit_maps()
    network = image.network
    x, y = data.test_x.numpy()[:pictures], data.test_y.numpy()[:pictures]
    session = MapSession(driver, image, map_parameters(driver, image))
    with Progress(f"loading {trained.path.name}") as progress:
        session.load(progress)
    integers, _ = to_integers(x, network)
    with Progress(f"running {len(x)} pictures") as progress:
        values, cycles = session.run_batch(integers, progress)
    expected = results(network, x).values
    mismatches = int((values != expected).sum())
    with Progress("reading every map") as progress:
        maps = compare(session, integers[:LAYERED], progress)
    if len(set(cycles.tolist())) != 1:
        raise AssertionError(f"cycles must not depend on the picture, but are {set(cycles)}")
    return CnnRow(
        lanes=session.engine.lanes,
        bits=trained.bits,
        accuracy_float=trained.accuracy_float,
        accuracy_quantized=trained.accuracy_quantized,
        accuracy_golden=_percent_right(expected, y),
        accuracy_engine=_percent_right(values, y),
        ratio_eq1=trained.ratio_eq1,
        file_bytes=trained.file_bytes,
        pictures=len(x),
        layered=maps.pictures,
        outputs=values.size + maps.values,
        mismatches=mismatches + maps.mismatches + maps.late,
        cycles_per_picture=int(cycles[0]),
        predicted_cycles=session.cycles,
        utilization=network_figures(session.engine, network).utilization,
    )


def _percent_right(values: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    return 100.0 * float((values[:, :, 0, 0].argmax(1) == labels).mean())


def cnn_table(row: CnnRow) -> str:
    """The row for the terminal."""
    head = (
        "lanes",
        "bits",
        "float",
        "quantized",
        "golden",
        "engine",
        "Eq. (1)",
        "bytes",
        "pictures",
        "outputs",
        "differ",
        "cycles a picture",
        "lanes at work",
    )
    cells = (
        row.lanes,
        row.bits,
        f"{row.accuracy_float:.2f} %",
        f"{row.accuracy_quantized:.2f} %",
        f"{row.accuracy_golden:.2f} %",
        f"{row.accuracy_engine:.2f} %",
        f"{row.ratio_eq1:.2f} ×",
        f"{row.file_bytes:,}",
        row.pictures,
        f"{row.outputs:,}",
        row.mismatches,
        f"{row.cycles_per_picture:,}",
        f"{row.utilization:.0%}",
    )
    return table(head, [cells])
