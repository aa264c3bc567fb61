"""The published weights on the data sets themselves: accuracies as they were measured elsewhere.

    DPNET_DATA=… DPNET_WEIGHTS=… pytest tests/test_model_accuracies.py      # about 2 minutes
    … pytest -m long tests/test_model_accuracies.py                         # ResNet-32 and -56

Without the data they are skipped, and say what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from dpnet.model.data.cifar import cifar10_test
from dpnet.model.data.mnist import mnist
from dpnet.model.data.places import MissingDataError
from dpnet.model.data.tiny_samples import machine_sounds, spoken_words, wake_words
from dpnet.model.networks.catalog import find
from dpnet.model.networks.published import trained

pytestmark = pytest.mark.usefixtures("one_thread")


Read = TypeVar("Read")


def read(reader: Callable[..., Read], *arguments: Any) -> Read:
    """What a reader finds; the test is skipped where the data are not there, not where they are
    damaged."""
    try:
        return reader(*arguments)
    except MissingDataError as error:
        pytest.skip(str(error))


@torch.inference_mode()
def classes(name: str, x: np.ndarray) -> np.ndarray:
    net = read(trained, name)
    parts = torch.split(torch.from_numpy(x), 250)
    return torch.cat([net(part) for part in parts]).argmax(1).numpy()


@pytest.mark.parametrize(
    "name, percent",
    [
        ("resnet-8", 87.21),
        ("resnet-20", 91.73),
        pytest.param("resnet-32", 92.63, marks=pytest.mark.long),
        pytest.param("resnet-56", 93.39, marks=pytest.mark.long),
    ],
)
def test_cifar_networks(name: str, percent: float) -> None:
    pixels, labels = read(cifar10_test)
    preparation = find(name).preparation
    assert preparation is not None
    right = classes(name, preparation.compute(pixels)) == labels
    assert abs(100.0 * right.mean() - percent) <= 0.05


def test_ds_cnn_knows_the_official_words() -> None:
    words = read(spoken_words)
    assert 100.0 * (classes("ds-cnn", words.x) == words.y).mean() == pytest.approx(90.1)


def test_mobilenet_sees_who_is_there() -> None:
    pictures = read(wake_words)
    assert classes("mobilenet-vww", pictures.x).tolist() == pictures.y.tolist()


@torch.inference_mode()
def test_the_autoencoder_restores_sounds_of_sound_machines_better() -> None:
    sounds = read(machine_sounds)
    net, x = read(trained, "autoencoder"), torch.from_numpy(sounds.x)
    errors = (net(x.flatten(0, 1)) - x.flatten(0, 1)).square().mean(1).reshape(6, -1).mean(1)
    broken = torch.from_numpy(sounds.y).bool()
    assert errors[broken].mean() > errors[~broken].mean()


def test_mnist_is_what_its_authors_say() -> None:
    data = read(mnist)
    assert data.train_x.shape == (60_000, 1, 28, 28) and data.test_x.shape == (10_000, 1, 28, 28)
    assert np.bincount(data.test_y).tolist() == [
        *(980, 1135, 1032, 1010, 982),
        *(892, 958, 1028, 974, 1009),
    ]
    assert data.train_x.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
