"""The networks of the experiments and of the engine's measurements, by name.

find("resnet-20").make()          # a net with initial weights
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from dpnet.model.data.preparation import HALVES, IMAGENET, RAW, UNIT, Preparation
from dpnet.model.networks.chains import FreshNet, LeNet5, SmallCnn, TtConv
from dpnet.model.networks.googlenet import GoogLeNet
from dpnet.model.networks.residual import CifarResNet, ResNet18
from dpnet.model.networks.tiny import Autoencoder, DsCnn, MobileNetVww, ResNet8
from dpnet.model.networks.wide_resnet import WideResNet

Dataset = Literal[
    "mnist", "cifar-10", "speech-commands", "wake-words", "machine-sounds", "imagenet"
]


@dataclass(frozen=True)
class Architecture:
    """A network: `make()` builds it, its initial weights from torch's random numbers; `shape` is
    that of one input, without a batch; `dataset` what it is for; `preparation` what it wants done
    to pixels, None where its inputs are no pixels."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    dataset: Dataset
    preparation: Preparation | None


_CIFAR = (3, 32, 32)
_DIGIT = (1, 28, 28)

ARCHITECTURES = {
    entry.name: entry
    for entry in (
        Architecture("tt-conv", TtConv, _CIFAR, "cifar-10", IMAGENET),
        Architecture("fresh-net", FreshNet, _CIFAR, "cifar-10", IMAGENET),
        Architecture("wrn-16-4", WideResNet, _CIFAR, "cifar-10", IMAGENET),
        Architecture("small-cnn", SmallCnn, _DIGIT, "mnist", UNIT),
        Architecture("lenet-5", LeNet5, _DIGIT, "mnist", UNIT),
        # Attacks are bounded in pixels of 0 to 1.
        Architecture("resnet-18", ResNet18, _CIFAR, "cifar-10", UNIT),
        Architecture("resnet-20", partial(CifarResNet, 20), _CIFAR, "cifar-10", IMAGENET),
        Architecture("resnet-32", partial(CifarResNet, 32), _CIFAR, "cifar-10", IMAGENET),
        Architecture("resnet-56", partial(CifarResNet, 56), _CIFAR, "cifar-10", IMAGENET),
        Architecture("resnet-8", ResNet8, _CIFAR, "cifar-10", RAW),
        Architecture("ds-cnn", DsCnn, (1, 49, 10), "speech-commands", None),
        Architecture("mobilenet-vww", MobileNetVww, (3, 96, 96), "wake-words", UNIT),
        Architecture("autoencoder", Autoencoder, (640,), "machine-sounds", None),
        Architecture("googlenet", GoogLeNet, (3, 224, 224), "imagenet", HALVES),
    )
}
"""All of them by name."""


def find(name: str) -> Architecture:
    """The network of this name; ValueError with all names for any other."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise ValueError(f"name must be one of {', '.join(ARCHITECTURES)}, not {name!r}") from None
