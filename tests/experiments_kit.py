"""A small CIFAR-10 and MNIST in their own layouts, and weights to start from, made by chance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dpnet.model.data import cifar, mnist
from dpnet.model.data.augmentation import Augmentation
from dpnet.model.experiments.plans import Plan
from dpnet.model.networks.residual import CifarResNet
from dpnet.model.training.recipe import build_net

if TYPE_CHECKING:
    import pytest

DIGITS = Plan(
    name="digits",
    network="lenet-5",
    bits=(2,),
    epochs=2,
    full=3,
    rate=0.02,
    rho=0.5,
    period=1,
    augmentation=Augmentation(crop=2),
    published=False,
    epochs_float=1,
    full_float=2,
)
"""LeNet-5 on the small MNIST."""

CIFAR_PART = 20
"""Pictures of each of the six files."""
MNIST_PARTS = {"train": 100, "t10k": 40}


def write_data(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets, and weights of a ResNet-8 as if it were ResNet-20, in `folder`, which the
    environment names: the reader of these files takes the depth from them."""
    generator = np.random.default_rng(1)
    _write_cifar(folder / "cifar-10-batches-bin", generator)
    _write_mnist(folder / "MNIST" / "raw", generator)
    weights = folder / "resnet-cifar10"
    weights.mkdir()
    net = build_net(lambda: CifarResNet(8), 2)
    torch.save({"state_dict": net.state_dict()}, weights / "resnet20-0.th")
    monkeypatch.setattr(cifar, "PICTURES", CIFAR_PART)
    monkeypatch.setattr(mnist, "COUNTS", MNIST_PARTS)
    monkeypatch.setenv("DPNET_DATA", str(folder))
    monkeypatch.delenv("DPNET_WEIGHTS", raising=False)


def _write_cifar(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for name in (*cifar.TRAIN, cifar.TEST):
        rows = generator.integers(0, 256, (CIFAR_PART, cifar.ROW), np.uint8)
        rows[:, 0] = np.arange(CIFAR_PART) % 10
        (folder / name).write_bytes(rows.tobytes())


def _write_mnist(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for part, count in MNIST_PARTS.items():
        shape = (count, mnist.SIDE, mnist.SIDE)
        pixels = generator.integers(0, 256, shape, np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        _write_idx(folder / f"{part}-images-idx3-ubyte", mnist.IMAGES, pixels)
        _write_idx(folder / f"{part}-labels-idx1-ubyte", mnist.LABELS, labels)


def _write_idx(path: Path, magic: int, array: np.ndarray) -> None:
    header = b"".join(number.to_bytes(4, "big") for number in (magic, *array.shape))
    path.write_bytes(header + array.tobytes())
