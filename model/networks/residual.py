"""Residual networks for CIFAR: ResNet-20, -32, -56 and their kin, ResNet-18 (He et al. 2016)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.networks.initial import he_normal


class ChannelShortcut(nn.Module):
    """Option A of the paper: every `stride`-th value, and zeros for the channels that come new, as
    many before those of the input as behind them.  No weights."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        before = (outputs - inputs) // 2
        self.around = (0, 0, 0, 0, before, outputs - inputs - before)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, outputs, ceil(h / stride), ceil(w / stride))."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], self.around)


def projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Option B of the paper: a 1 x 1 convolution with batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)), 3 x 3, the first one with the stride."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, outputs, ceil(h / stride), ceil(w / stride))."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """The CIFAR networks of the paper for 3 x 32 x 32: `depth` is 6 n + 2 layers, 20, 32, 44, 56 …

    Three groups of n blocks of 16, 32 and 64 channels, the last two with stride 2 at first and
    option-A shortcuts.  Names as in Idelbayev's published weights (`layer1.0.conv1`, `linear`).
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6 n + 2 with n at least 1, not {depth!r}")
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _option_a(16, 16, 1, depth // 6)
        self.layer2 = _option_a(16, 32, 2, depth // 6)
        self.layer3 = _option_a(32, 64, 2, depth // 6)
        self.linear = nn.Linear(64, 10)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def _option_a(inputs: int, outputs: int, stride: int, count: int) -> nn.Sequential:
    first = nn.Identity() if inputs == outputs else ChannelShortcut(inputs, outputs, stride)
    others = (Block(outputs, outputs, 1, nn.Identity()) for _ in range(count - 1))
    return nn.Sequential(Block(inputs, outputs, stride, first), *others)


class ResNet18(nn.Module):
    """ResNet-18 for 3 x 32 x 32, 11,164,352 weights, of the paper's Table V: a 3 x 3 stem without
    a pool, four groups of two blocks of 64, 128, 256 and 512 channels, projections."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _projected(64, 64, 1)
        self.layer2 = _projected(64, 128, 2)
        self.layer3 = _projected(128, 256, 2)
        self.layer4 = _projected(256, 512, 2)
        self.linear = nn.Linear(512, 10)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def _projected(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = nn.Identity() if inputs == outputs else projection(inputs, outputs, stride)
    return nn.Sequential(
        Block(inputs, outputs, stride, first), Block(outputs, outputs, 1, nn.Identity())
    )
