"""Many pictures through the golden model: results, accuracy, and what saturates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.maps.calibration.pictures import check_labels, check_pictures, to_integers
from dpnet.model.maps.golden import MapGolden
from dpnet.model.maps.layers import MapNetwork

__all__ = ["Accuracy", "Results", "accuracy", "results"]

Integers = NDArray[np.int64]
Progress = Callable[[int, int], None]

BATCH_VALUES = 1 << 21
"""Values of all tensors that are held at once: 16 MiB, which stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class Results:
    """`values` (N, C, H, W) of the output tensor; of each tensor the share of `saturated` values,
    which its range, and no clamp of the network, has cut off."""

    values: Integers
    saturated: dict[str, float]


@dataclass(frozen=True)
class Accuracy:
    """`right` of `pictures` have their label's channel as the largest one, the first of several."""

    right: int
    pictures: int
    saturated: dict[str, float]

    @property
    def percent(self) -> float:
        return 100.0 * self.right / self.pictures

    def __str__(self) -> str:
        return f"{self.percent:.2f} % ({self.right:,} of {self.pictures:,})"


def results(network: MapNetwork, pictures: object, progress: Progress | None = None) -> Results:
    """The golden results of real `pictures` (N, C, H, W), in batches of bounded memory.  Pictures
    are rounded to the first tensor's scale.  `progress` is called with the pictures that are done,
    and all.  Raises `PictureError` for pictures that are none."""
    array = check_pictures("the pictures", pictures, network.picture)
    golden, saturated = MapGolden(network), {tensor.name: 0 for tensor in network.tensors}
    output = network.tensor(network.output)
    values = np.empty((len(array), *output.shape), np.int64)
    each = sum(int(np.prod(tensor.shape)) for tensor in network.tensors)
    step = min(256, max(1, BATCH_VALUES // each))
    for start in range(0, len(array), step):
        part = slice(start, min(start + step, len(array)))
        integers, beyond = to_integers(array[part], network)
        saturated[network.input.name] += beyond
        values[part] = golden.compute(integers, saturated)[network.output]
        if progress is not None:
            progress(part.stop, len(array))
    return Results(values, _shares(network, saturated, len(array)))


def accuracy(
    network: MapNetwork, pictures: object, labels: Any, progress: Progress | None = None
) -> Accuracy:
    """How many of the pictures the golden model gives their labels.  Raises `PictureError` for
    pictures or labels that do not fit the network."""
    output = network.tensor(network.output)
    count = len(check_pictures("the pictures", pictures, network.picture))
    if output.shape[1:] != (1, 1):
        raise ValueError(f"the network must give one vector, not {output.shape}, to be labelled")
    wanted = check_labels(labels, count, output.shape[0])
    found = results(network, pictures, progress)
    right = int((found.values[:, :, 0, 0].argmax(axis=1) == wanted).sum())
    return Accuracy(right, count, found.saturated)


def _shares(network: MapNetwork, saturated: dict[str, int], count: int) -> dict[str, float]:
    return {
        tensor.name: saturated[tensor.name] / (count * int(np.prod(tensor.shape)))
        for tensor in network.tensors
    }
