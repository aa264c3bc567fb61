"""The four reference networks of MLPerf Tiny, their batch norms folded into weights and biases.

Layers are called as in the published graphs, whose convolutions pad the side that comes last by one
more where the stride is 2 (TensorFlow's "SAME").  The softmax behind the first three is left out.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.networks.initial import he_normal

LATER = (0, 1, 0, 1)
"""Padding of 3 x 3 kernels by 2 on maps of even size: none left and above, 1 right and below."""


class ResNet8(nn.Module):
    """ResNet-8 for pictures 3 x 32 x 32 of pixels 0 to 255; three blocks of 16, 32, 64 channels,
    the last two with a 1 x 1 convolution by 2 as their shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv3 = nn.Conv2d(16, 16, 3, padding=1)
        self.conv4 = nn.Conv2d(16, 32, 3, 2)
        self.conv5 = nn.Conv2d(32, 32, 3, padding=1)
        self.conv6 = nn.Conv2d(16, 32, 1, 2)
        self.conv7 = nn.Conv2d(32, 64, 3, 2)
        self.conv8 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv9 = nn.Conv2d(32, 64, 1, 2)
        self.linear1 = nn.Linear(64, 10)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.relu(self.conv1(x))
        y = self.conv3(functional.relu(self.conv2(x)))
        x = functional.relu(x + y)
        y = self.conv5(functional.relu(self.conv4(functional.pad(x, LATER))))
        x = functional.relu(self.conv6(x) + y)
        y = self.conv8(functional.relu(self.conv7(functional.pad(x, LATER))))
        x = functional.relu(self.conv9(x) + y)
        logits: Tensor = self.linear1(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def _depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    padding = 1 if stride == 1 else 0
    return nn.Conv2d(channels, channels, 3, stride, padding=padding, groups=channels)


class DsCnn(nn.Module):
    """DS-CNN for keyword spotting: features 1 x 49 x 10 (time, coefficient), 12 words.

    A 10 x 4 convolution by 2, then four pairs of a depthwise 3 x 3 and a 1 x 1 convolution.
    """

    PAIRS = 4

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, (10, 4), 2)
        for pair in range(1, self.PAIRS + 1):
            self.add_module(f"depthwise{pair}", _depthwise(64))
            self.add_module(f"conv{pair + 1}", nn.Conv2d(64, 64, 1))
        self.linear1 = nn.Linear(64, 12)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 12)."""
        x = functional.relu(self.conv1(functional.pad(x, (1, 1, 4, 5))))
        for pair in range(1, self.PAIRS + 1):
            x = functional.relu(self.get_submodule(f"depthwise{pair}")(x))
            x = functional.relu(self.get_submodule(f"conv{pair + 1}")(x))
        logits: Tensor = self.linear1(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class MobileNetVww(nn.Module):
    """MobileNetV1, a quarter as wide, for visual wake words: 3 x 96 x 96 in 0..1, two classes.

    A 3 x 3 convolution by 2, then thirteen pairs of a depthwise 3 x 3 and a 1 x 1 convolution.
    """

    WIDTHS = (16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
    STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 2)
        inputs = 8
        for pair, (outputs, stride) in enumerate(zip(self.WIDTHS, self.STRIDES, strict=True), 1):
            self.add_module(f"depthwise{pair}", _depthwise(inputs, stride))
            self.add_module(f"conv{pair + 1}", nn.Conv2d(inputs, outputs, 1))
            inputs = outputs
        self.linear1 = nn.Linear(inputs, 2)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 2)."""
        x = functional.relu(self.conv1(functional.pad(x, LATER)))
        for pair, stride in enumerate(self.STRIDES, 1):
            x = functional.pad(x, LATER) if stride == 2 else x
            x = functional.relu(self.get_submodule(f"depthwise{pair}")(x))
            x = functional.relu(self.get_submodule(f"conv{pair + 1}")(x))
        logits: Tensor = self.linear1(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


class Autoencoder(nn.Module):
    """The deep autoencoder for sounds of machines: 640 values in and out, 8 in the middle."""

    WIDTHS = (640, 128, 128, 128, 128, 8, 128, 128, 128, 128, 640)

    def __init__(self) -> None:
        super().__init__()
        for layer, (inputs, outputs) in enumerate(pairwise(self.WIDTHS), 1):
            self.add_module(f"linear{layer}", nn.Linear(inputs, outputs))
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 640) to (batch, 640)."""
        last = len(self.WIDTHS) - 1
        for layer in range(1, last):
            x = functional.relu(self.get_submodule(f"linear{layer}")(x))
        restored: Tensor = self.get_submodule(f"linear{last}")(x)
        return restored
