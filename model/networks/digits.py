"""Networks for scikit-learn's handwritten digits (8 x 8 pixels, bundled, no download)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.compression.groups import to_rows
from dpnet.model.networks.handwritten import handwritten
from dpnet.model.pictures import Pictures
from dpnet.model.training.settings import TrainSettings


def digits() -> Pictures:
    """The handwritten digits as tensors."""
    return Pictures(*(torch.from_numpy(part) for part in handwritten()))


class DigitsMlp(nn.Module):
    """64-256-128-10 with ReLU and biases; input (batch, 64) in 0..1, output logits."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(64, 256)
        self.fc2 = nn.Linear(256, 128)
        self.fc3 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.relu(self.fc1(x))
        logits: Tensor = self.fc3(functional.relu(self.fc2(x)))
        return logits


@dataclass(frozen=True, eq=False)
class MatrixCase:
    """A matrix-vector product of a real net: `weight` (rows, columns) times `activation`."""

    name: str
    weight: NDArray[np.float32]
    activation: NDArray[np.float32]


class TableSixNet(nn.Module):
    """A digits net that contains both matrices of the paper's Table VI, at full size.

    `fc` is 1000 x 1024, `conv` is 384 x 1728 (192 channels of 3 x 3). Input (batch, 64) in 0..1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 192, 3, padding=1)
        self.conv = nn.Conv2d(192, 384, 3, padding=1)
        self.expand = nn.Linear(384 * 2 * 2, 1024)
        self.fc = nn.Linear(1024, 1000)
        self.head = nn.Linear(1000, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.max_pool2d(functional.relu(self.conv(self.conv_input(x))), 2)
        x = functional.relu(self.expand(x.flatten(1)))
        logits: Tensor = self.head(functional.relu(self.fc(x)))
        return logits

    def conv_input(self, x: Tensor) -> Tensor:
        """What `conv` sees, (batch, 192, 4, 4)."""
        return functional.max_pool2d(functional.relu(self.stem(x.reshape(-1, 1, 8, 8))), 2)


# About 15 s on two free cores, a third of it in the two exact solutions.
TABLE_SIX_SETTINGS = TrainSettings(
    k=16, epochs_float=8, epochs_cluster=4, period=4, lr_float=0.1, lr_cluster=0.05
)


@torch.no_grad()
def table_six_case(net: TableSixNet, picture: Tensor) -> tuple[MatrixCase, MatrixCase]:
    """The products (`fc`, `conv`) that the net computes for one picture of 64 pixels.

    Weights as they are in the net (on their centroids after training), activations as they reach
    the layer: all 1024 inputs of `fc`; for `conv` the 1728 inputs of the output position (1, 1),
    one of the four in the middle, in the order of `torch.nn.functional.unfold`. Without biases.
    """
    seen = net.conv_input(picture.reshape(1, 64))
    patch = functional.unfold(seen, 3, padding=1)[0, :, 1 * 4 + 1]
    x = functional.max_pool2d(functional.relu(net.conv(seen)), 2)
    hidden = functional.relu(net.expand(x.flatten(1)))[0]
    return (
        MatrixCase("fc", to_rows(net.fc.weight).numpy().copy(), hidden.numpy()),
        MatrixCase("conv", to_rows(net.conv.weight).numpy().copy(), patch.numpy()),
    )
