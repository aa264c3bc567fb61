"""How good a network is: in float, with its weights on codebooks, in integers; picture by picture
in parts of bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dpnet.model.maps.accuracy import results
from dpnet.model.maps.compile import Compiled
from dpnet.model.maps.floats.evaluate import batches, evaluate
from dpnet.model.maps.outputs import finished, predicted, real
from dpnet.sim.measure.networks.kept import Accuracies
from dpnet.sim.measure.networks.sources import Material

__all__ = ["judge"]

Floats = NDArray[np.float64]
Step = Callable[[int, int], None]


def judge(
    made: Compiled, material: Material, samples: int, found: Accuracies, on_step: Step
) -> None:
    """Judge the material's first `samples` inputs, from those on that `found` has already; after
    each part `found` is up to date, and `on_step` is called with the samples that are done, and
    all."""
    count = min(samples, len(material.x))
    start = found.samples
    for part in batches(made.clustered, count - start):
        _add(made, material, slice(start + part.start, start + part.stop), found)
        on_step(found.samples, count)


def _add(made: Compiled, material: Material, part: slice, found: Accuracies) -> None:
    x, labels = material.x[part], material.labels
    picture = made.network.picture
    floats = _floats(material.net, x)
    maps = x.reshape(len(x), *picture)
    integers = finished(made.network, real(made.network, results(made.network, maps).values))
    integers = integers.reshape(floats.shape)
    if labels is not None:
        books = evaluate(made.clustered, maps.astype(np.float64))[made.clustered.output]
        right = [
            int((predicted(values.reshape(floats.shape)) == labels[part]).sum())
            for values in (floats, books, integers)
        ]
        found.floats += right[0]
        found.codebooks += right[1]
        found.integers += right[2]
    found.signal += float((floats**2).sum())
    found.noise += float(((integers - floats) ** 2).sum())
    found.samples += len(x)


@torch.inference_mode()
def _floats(net: nn.Module, x: NDArray[np.float32]) -> Floats:
    made: Floats = net(torch.from_numpy(x)).numpy().astype(np.float64)
    return made.reshape(len(x), -1)
