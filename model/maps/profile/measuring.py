"""A profile, measured: every layer's error over a sample of the calibration, and accuracies.

found = profile(compiled, calibration, labeled=(pictures, labels))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.maps.accuracy import accuracy
from dpnet.model.maps.calibration.pictures import (
    PictureError,
    check_labels,
    check_pictures,
    to_integers,
)
from dpnet.model.maps.compile import Compiled
from dpnet.model.maps.floats.evaluate import batches, evaluate
from dpnet.model.maps.floats.network import FloatNetwork
from dpnet.model.maps.golden import MapGolden
from dpnet.model.maps.profile.alone import computed, following, in_integers, place_of, real
from dpnet.model.maps.profile.fields import six_digits
from dpnet.model.maps.profile.histograms import histogram, weights_profile
from dpnet.model.maps.profile.records import (
    Accuracies,
    LayerProfile,
    Noise,
    Profile,
    TensorProfile,
)

__all__ = ["profile"]

Floats = NDArray[np.float64]
Progress = Callable[[int, int], None]

SAMPLE = 64
"""Pictures of the calibration that layers are compared over."""
SAMPLE_OF_RESULTS = 8
"""Of those the ones for which each layer's part in the result's error is measured, which takes
half of the network for every layer."""
SAMPLE_VALUES = 1 << 23
"""Values of all tensors of the sample: 64 MiB for each of three networks."""


def profile(
    compiled: Compiled,
    calibration: object,
    *,
    labeled: tuple[object, object] | None = None,
    progress: Progress | None = None,
) -> Profile:
    """The profile of a network that `compile_maps` made of these `calibration` pictures, of which
    a sample is taken from all over them; with `labeled`, pictures and their labels, accuracies.
    `progress` is called with the layers, and of labeled pictures the passes, that are done, and
    all.  Raises `PictureError` for pictures or labels that do not fit."""
    pictures = check_pictures("the calibration", calibration, compiled.network.picture)
    given = _Labeled.of(compiled, *labeled) if labeled is not None else None
    count = len(compiled.network.layers)
    done = _Done(progress, count + (3 * len(given.pictures) if given else 0))
    seen = _Seen.of(compiled, _sample(compiled, pictures))
    layers = []
    for n in range(count):
        layers.append(_layer(compiled, seen, n))
        done.more(1)
    return Profile(
        pictures=seen.count,
        result=six_digits(_power(seen.floats[compiled.network.output])),
        layers=tuple(layers),
        tensors=tuple(_tensor(compiled, seen, t.name) for t in compiled.network.tensors),
        accuracy=None if given is None else _accuracies(compiled, given, done),
    )


@dataclass
class _Done:
    """Steps that are done, of `total`."""

    progress: Progress | None
    total: int
    count: int = 0

    def more(self, steps: int) -> None:
        self.count += steps
        if self.progress is not None:
            self.progress(self.count, self.total)


@dataclass(frozen=True)
class _Labeled:
    """Pictures with a class each, checked before anything takes its time."""

    pictures: NDArray[Any]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, compiled: Compiled, pictures: object, labels: object) -> _Labeled:
        network = compiled.network
        array = check_pictures("the pictures", pictures, network.picture)
        channels, height, width = network.tensor(network.output).shape
        if (height, width) != (1, 1):
            raise PictureError("labels are for networks that give a vector; this one gives maps")
        return cls(array, check_labels(labels, len(array), channels))


@dataclass(frozen=True)
class _Seen:
    """The tensors of `count` pictures in float, with codebooks, and the real values of integers;
    of each tensor the integers that saturated."""

    count: int
    floats: Mapping[str, Floats]
    clustered: Mapping[str, Floats]
    integers: Mapping[str, Floats]
    saturated: Mapping[str, int]

    @classmethod
    def of(cls, compiled: Compiled, pictures: NDArray[Any]) -> _Seen:
        network, saturated = compiled.network, {t.name: 0 for t in compiled.network.tensors}
        given = np.asarray(pictures, np.float64)
        integers, saturated[network.input.name] = to_integers(given, network)
        made = MapGolden(network).compute(integers, saturated)
        values = {t.name: real(made[t.name], t) for t in network.tensors}
        floats, clustered = evaluate(compiled.floats, given), evaluate(compiled.clustered, given)
        return cls(len(given), floats, clustered, values, saturated)


def _sample(compiled: Compiled, pictures: NDArray[Any]) -> NDArray[Any]:
    each = sum(int(np.prod(tensor.shape)) for tensor in compiled.network.tensors)
    count = min(len(pictures), SAMPLE, max(1, SAMPLE_VALUES // each))
    found: NDArray[Any] = pictures[np.linspace(0, len(pictures) - 1, count).round().astype(int)]
    return found


def _layer(compiled: Compiled, seen: _Seen, n: int) -> LayerProfile:
    layer, codebook = (
        compiled.floats.layers[n],
        compiled.codebooks.get(compiled.floats.layers[n].name),
    )
    weights = None
    if layer.learned and codebook is not None and layer.weight is not None:
        weights = weights_profile(layer.weight, codebook)
    return LayerProfile(
        layer.name, compiled.bits.get(layer.name), weights, _noise(compiled, seen, n)
    )


def _noise(compiled: Compiled, seen: _Seen, n: int) -> Noise:
    network, layer = compiled.floats, compiled.floats.layers[n]
    place = place_of(layer, network)
    wanted = seen.floats[layer.output][place]
    alone = in_integers(compiled, n, seen.floats)
    few = {name: values[:SAMPLE_OF_RESULTS] for name, values in seen.floats.items()}
    result = following(network, few, n, alone[:SAMPLE_OF_RESULTS])
    clustered = computed(compiled.clustered.layers[n], network, seen.floats)
    found = {
        "signal": _power(wanted),
        "alone_codebooks": _power(clustered - wanted),
        "alone": _power(alone - wanted),
        "codebooks": _power(seen.clustered[layer.output][place] - wanted),
        "integers": _power(seen.integers[layer.output][place] - wanted),
        "output": _power(result - few[network.output]),
    }
    return Noise(**{name: six_digits(value) for name, value in found.items()})


def _power(values: Floats) -> float:
    """The mean square."""
    return float((values**2).mean())


def _tensor(compiled: Compiled, seen: _Seen, name: str) -> TensorProfile:
    scale, values = compiled.scales[name], seen.clustered[name]
    share = seen.saturated[name] / values.size
    return TensorProfile(name, histogram(values, scale.low, scale.high), six_digits(share))


def _accuracies(compiled: Compiled, given: _Labeled, done: _Done) -> Accuracies:
    before = done.count

    def on_the_way(pictures: int, _: int) -> None:
        done.more(before + pictures - done.count)

    found = accuracy(compiled.network, given.pictures, given.labels, on_the_way)
    floats, codebooks = (_right(one, given, done) for one in (compiled.floats, compiled.clustered))
    return Accuracies(len(given.pictures), floats, codebooks, found.right)


def _right(network: FloatNetwork, given: _Labeled, done: _Done) -> int:
    right = 0
    for part in batches(network, len(given.pictures)):
        pictures = np.asarray(given.pictures[part], np.float64)
        made = evaluate(network, pictures)[network.output]
        right += int((made[:, :, 0, 0].argmax(axis=1) == given.labels[part]).sum())
        done.more(len(pictures))
    return right
