"""GoogLeNet with batch norm (Szegedy et al. 2015), its layers called as torchvision calls them.

Torchvision's published state dict loads as it is.  Its pictures are scaled by mean 0.5 and standard
deviation 0.5 in each channel: what its option `transform_input` makes of ImageNet's usual scaling.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 0.001
SPREAD = 0.01  # standard deviation of initial weights


class Logits(NamedTuple):
    """What the net gives in training: its own logits, and those of the two heads on the way."""

    logits: Tensor
    aux2: Tensor
    aux1: Tensor


class ConvNorm(nn.Module):
    """Convolution without a bias, batch norm and ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, outputs, h', w')."""
        return functional.relu(self.bn(self.conv(x)))


class Widths(NamedTuple):
    """Channels of an inception module's branches; `narrow3` and `narrow5` are before the two that
    are called 3 x 3 and 5 x 5."""

    one: int
    narrow3: int
    three: int
    narrow5: int
    five: int
    pool: int

    @property
    def total(self) -> int:
        """Channels of the module's output."""
        return self.one + self.three + self.five + self.pool


class Inception(nn.Module):
    """Four branches side by side, their channels one after the other.

    The third, 5 x 5 in the article, has 3 x 3 kernels, as in the published weights.
    """

    def __init__(self, inputs: int, widths: Widths) -> None:
        super().__init__()
        self.branch1 = ConvNorm(inputs, widths.one, 1)
        self.branch2 = nn.Sequential(
            ConvNorm(inputs, widths.narrow3, 1),
            ConvNorm(widths.narrow3, widths.three, 3, padding=1),
        )
        self.branch3 = nn.Sequential(
            ConvNorm(inputs, widths.narrow5, 1),
            ConvNorm(widths.narrow5, widths.five, 3, padding=1),
        )
        self.branch4 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True),
            ConvNorm(inputs, widths.pool, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, widths.total, h, w)."""
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], dim=1)


class Head(nn.Module):
    """A classifier on the way, for training only."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.conv = ConvNorm(inputs, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.fc2 = nn.Linear(1024, classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        x = self.conv(functional.adaptive_avg_pool2d(x, 4)).flatten(1)
        logits: Tensor = self.fc2(self.dropout(functional.relu(self.fc1(x))))
        return logits


class GoogLeNet(nn.Module):
    """GoogLeNet for 3 x 224 x 224 and 1,000 classes, of the paper's Tables IV and VI.

    `heads`: with the two classifiers on the way, without which it has 6,624,904 parameters and
    trains as it runs.  A state dict that has them loads into a net without them by
    `load_state_dict(…, strict=False)`; its keys `aux1…` and `aux2…` are then left over.
    """

    def __init__(self, classes: int = 1000, *, heads: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, stride=2, padding=3)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3, padding=1)
        self.inception3a = Inception(192, Widths(64, 96, 128, 16, 32, 32))
        self.inception3b = Inception(256, Widths(128, 128, 192, 32, 96, 64))
        self.inception4a = Inception(480, Widths(192, 96, 208, 16, 48, 64))
        self.inception4b = Inception(512, Widths(160, 112, 224, 24, 64, 64))
        self.inception4c = Inception(512, Widths(128, 128, 256, 24, 64, 64))
        self.inception4d = Inception(512, Widths(112, 144, 288, 32, 64, 64))
        self.inception4e = Inception(528, Widths(256, 160, 320, 32, 128, 128))
        self.inception5a = Inception(832, Widths(256, 160, 320, 32, 128, 128))
        self.inception5b = Inception(832, Widths(384, 192, 384, 48, 128, 128))
        self.aux1 = Head(512, classes) if heads else None
        self.aux2 = Head(528, classes) if heads else None
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1024, classes)
        self._initialize()

    def forward(self, x: Tensor) -> Tensor | Logits:
        """Logits (batch, classes); in training, of a net with heads, `Logits`."""
        x = functional.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = functional.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        x = self.inception3b(self.inception3a(x))
        first = self.inception4a(functional.max_pool2d(x, 3, 2, ceil_mode=True))
        second = self.inception4d(self.inception4c(self.inception4b(first)))
        x = functional.max_pool2d(self.inception4e(second), 2, 2, ceil_mode=True)
        x = self.inception5b(self.inception5a(x))
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        logits: Tensor = self.fc(self.dropout(x))
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return Logits(logits, self.aux2(second), self.aux1(first))
        return logits

    def _initialize(self) -> None:
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=SPREAD, a=-2.0, b=2.0)
