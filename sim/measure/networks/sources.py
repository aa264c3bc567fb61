"""What each network is measured with: its weights, inputs to calibrate with, inputs to compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from torch import nn

from dpnet.host.report import Progress
from dpnet.model.data.cifar import cifar10
from dpnet.model.data.labeled import Labeled
from dpnet.model.data.mnist import mnist
from dpnet.model.data.places import DataError
from dpnet.model.data.tiny_samples import machine_sounds, spoken_words, wake_words
from dpnet.model.experiments.pretrain import RECIPES, as_pictures, pretrain
from dpnet.model.experiments.schedules import OneCycle
from dpnet.model.experiments.settings import FitSettings
from dpnet.model.networks.catalog import find
from dpnet.model.networks.published import WeightsError, trained

__all__ = ["NETWORKS", "Material", "Source", "missing"]

Floats = NDArray[np.float32]

CALIBRATION = 500
"""Pictures of the training part, by chance from the seed: tensors' scales are chosen with them."""

WORDS = 300
"""Spoken words that the keyword spotter is calibrated with."""

PUBLISHED = "published"

SHORT = replace(RECIPES["tt-conv"], epochs=1, schedule=OneCycle(0.1), average=0.0)
"""TT-Conv has 115 million additions a picture: an epoch of its 30 takes minutes of a core."""
TRAINED: Mapping[str, FitSettings] = {"lenet-5": RECIPES["lenet-5"], "tt-conv": SHORT}


@dataclass(frozen=True, eq=False)
class Material:
    """A `net` in evaluation mode, and in words where its `weights` and its calibration are from;
    inputs as the net takes them, `calibration` and `x` (n, …); `labels` (n,) of these, None where
    the results are no classes."""

    net: nn.Module
    weights: str
    calibrated: str
    calibration: Floats
    x: Floats
    labels: NDArray[np.int64] | None


@dataclass(frozen=True)
class Source:
    """A network: so many of its `pictures` are computed in RTL, and accuracies measured on the
    first `samples` (None: on all), unless something else is said.  At 4 bits the results may differ
    from the float network's by `bound`, relative to these, where it has no labels.

    `needs` are read first: what is missing or damaged is a `DataError` or `WeightsError` of theirs.
    `make(seed)` then gives the material.
    """

    name: str
    pictures: int
    needs: tuple[Callable[[], object], ...]
    make: Callable[[int], Material]
    samples: int | None = None
    bound: float | None = None


def missing(source: Source) -> list[str]:
    """All that a network lacks, a line each."""
    found: dict[str, None] = {}
    for need in source.needs:
        try:
            need()
        except (DataError, WeightsError) as error:
            found[str(error)] = None
    return list(found)


_cifar, _mnist = cache(cifar10), cache(mnist)
"""Read once: each serves two or three networks."""


def _classified(name: str, data: Callable[[], Labeled], seed: int) -> Material:
    """A network whose data set has pictures to train with: it is calibrated with some of them."""
    pixels, preparation = data(), find(name).preparation
    assert preparation is not None
    chosen = np.random.default_rng(seed).permutation(len(pixels.train_x))[:CALIBRATION]
    net, weights = _trained_here(name, pixels, seed) if name in TRAINED else _published(name)
    return Material(
        net,
        weights,
        f"{CALIBRATION} pictures of the training part",
        preparation.compute(pixels.train_x[np.sort(chosen)]),
        preparation.compute(pixels.test_x),
        pixels.test_y,
    )


def _published(name: str) -> tuple[nn.Module, str]:
    return trained(name), PUBLISHED


def _trained_here(name: str, data: Labeled, seed: int) -> tuple[nn.Module, str]:
    """The net from its checkpoint, trained first where there is none."""
    settings = replace(TRAINED[name], seed=seed)
    with Progress(f"{name}: training") as progress:
        net = pretrain(find(name), as_pictures(data), settings, on_progress=progress)
    epochs = f"{settings.epochs} epoch" + ("s" if settings.epochs > 1 else "")
    return net, f"trained here, {epochs}"


def _words(seed: int) -> Material:
    """Only the official samples are there, and nothing else to calibrate with."""
    words, said = spoken_words(), f"the first {WORDS} samples"
    return Material(trained("ds-cnn"), PUBLISHED, said, words.x[:WORDS], words.x, words.y)


def _wakes(seed: int) -> Material:
    wakes = wake_words()
    return Material(trained("mobilenet-vww"), PUBLISHED, "the samples", wakes.x, wakes.x, wakes.y)


def _sounds(seed: int) -> Material:
    """Frames of all sounds in turn, so that the first ones are of all."""
    x = np.ascontiguousarray(machine_sounds().x.swapaxes(0, 1)).reshape(-1, 640)
    return Material(trained("autoencoder"), PUBLISHED, "the samples", x, x, None)


def _of_cifar(name: str, pictures: int, samples: int | None = None) -> Source:
    weights = () if name in TRAINED else (partial(trained, name),)
    return Source(name, pictures, (_cifar, *weights), partial(_classified, name, _cifar), samples)


NETWORKS: Mapping[str, Source] = {
    source.name: source
    for source in (
        _of_cifar("resnet-8", 20),
        Source("lenet-5", 100, (_mnist,), partial(_classified, "lenet-5", _mnist)),
        Source("mobilenet-vww", 4, (wake_words, partial(trained, "mobilenet-vww")), _wakes),
        Source(
            "autoencoder",
            20,
            (machine_sounds, partial(trained, "autoencoder")),
            _sounds,
            bound=0.05,
        ),
        _of_cifar("resnet-20", 20),
        _of_cifar("tt-conv", 4, 1000),
        Source("ds-cnn", 1000, (spoken_words, partial(trained, "ds-cnn")), _words),
    )
}
"""All of them, those of few cycles first."""
