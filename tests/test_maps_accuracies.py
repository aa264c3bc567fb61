"""Published networks in integers at 4 bits, calibrated as `make networks` does: how good they are.

    DPNET_DATA=… DPNET_WEIGHTS=… pytest tests/test_maps_accuracies.py     # some seconds
    … pytest -m long tests/test_maps_accuracies.py                        # pictures of CIFAR, words

Without the data they are skipped, and say what is missing.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dpnet.model.data.tiny_samples import machine_sounds
from dpnet.model.graph.reading import from_module
from dpnet.model.graph.simplify import simplify
from dpnet.model.maps.accuracy import results
from dpnet.model.maps.compile import compile_maps
from dpnet.model.maps.outputs import real
from dpnet.sim.measure.networks.judging import judge
from dpnet.sim.measure.networks.kept import Accuracies
from dpnet.sim.measure.networks.sources import NETWORKS, missing

pytestmark = pytest.mark.usefixtures("one_thread")


def judged(name: str, samples: int) -> Accuracies:
    """Accuracies of the first samples; the test is skipped where data are missing."""
    source, found = NETWORKS[name], Accuracies()
    if lacks := missing(source):
        pytest.skip(lacks[0])
    material = source.make(0)
    simple = simplify(from_module(material.net, torch.from_numpy(material.x[:1])))
    calibration = material.calibration.reshape(-1, *simple.input.shape)
    judge(compile_maps(simple, calibration), material, samples, found, lambda done, total: None)
    assert found.samples == samples
    return found


def test_mobilenet_sees_who_is_there() -> None:
    assert judged("mobilenet-vww", 4).integers == 4


def test_the_autoencoder_restores_sounds_as_in_float() -> None:
    source = NETWORKS["autoencoder"]
    found = judged("autoencoder", 240)
    assert source.bound == 0.05
    assert 0 < math.sqrt(found.noise / found.signal) <= source.bound


def test_broken_machines_are_told_from_sound_ones_in_integers() -> None:
    """By the mean squared error of what is restored, as in float."""
    source = NETWORKS["autoencoder"]
    if lacks := missing(source):
        pytest.skip(lacks[0])
    sounds, material = machine_sounds(), source.make(0)
    simple = simplify(from_module(material.net, torch.from_numpy(material.x[:1])))
    made = compile_maps(simple, material.calibration.reshape(-1, *simple.input.shape))
    x = sounds.x.reshape(-1, 640)
    maps = x.reshape(len(x), *made.network.picture)
    restored = real(made.network, results(made.network, maps).values)
    scores = ((restored - x) ** 2).mean(axis=1).reshape(6, -1).mean(axis=1)
    with torch.inference_mode():
        floats = material.net(torch.from_numpy(x)).numpy()
    wanted = ((floats - x) ** 2).mean(axis=1).reshape(6, -1).mean(axis=1)
    assert np.abs(scores / wanted - 1).max() < 0.05
    broken = sounds.y.astype(bool)
    assert scores[broken].mean() > scores[~broken].mean()


@pytest.mark.long
def test_words_that_are_known() -> None:
    found = judged("ds-cnn", 1000)
    assert found.floats == 901 and found.integers >= 895


@pytest.mark.long
@pytest.mark.parametrize("name, least", [("resnet-8", 86.0), ("resnet-20", 91.3)])
def test_pictures_of_cifar(name: str, least: float) -> None:
    """Of 2,000 pictures, which float networks know as well as all 10,000; integers cost at most
    half a point on top of the codebooks."""
    found = judged(name, 2000)
    assert found.codebooks - found.integers <= 10
    assert 100 * found.integers / 2000 >= least - 0.5
