"""Wide residual networks for CIFAR (Zagoruyko and Komodakis 2016), as Deep K-means has them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.networks.initial import he_normal

DROPOUT = 0.3


class WideBlock(nn.Module):
    """shortcut(x) + conv2(relu(bn2(dropout(conv1(relu(bn1(x))))))), the stride in `conv2`; the
    shortcut is a 1 x 1 convolution where channels or size change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(DROPOUT)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.shortcut: nn.Module = nn.Identity()
        if not same:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, h, w) to (batch, outputs, ceil(h / stride), ceil(w / stride))."""
        y = self.dropout(self.conv1(functional.relu(self.bn1(x))))
        y = self.conv2(functional.relu(self.bn2(y)))
        total: Tensor = y + self.shortcut(x)
        return total


class WideResNet(nn.Module):
    """WRN-`depth`-`widen` for 3 x 32 x 32: three groups of n blocks, `depth` = 6 n + 4.

    WRN-16-4 has 2,742,704 convolution weights and is the network of the paper's Table III.
    """

    def __init__(self, depth: int = 16, widen: int = 4) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6 n + 4 with n at least 1, not {depth!r}")
        if widen < 1:
            raise ValueError(f"widen must be at least 1, not {widen!r}")
        widths = [16, *(width * widen for width in (16, 32, 64))]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.group1 = _group(widths[0], widths[1], 1, depth // 6)
        self.group2 = _group(widths[1], widths[2], 2, depth // 6)
        self.group3 = _group(widths[2], widths[3], 2, depth // 6)
        self.bn = nn.BatchNorm2d(widths[3])
        self.fc = nn.Linear(widths[3], 10)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = self.group3(self.group2(self.group1(self.conv1(x))))
        x = functional.avg_pool2d(functional.relu(self.bn(x)), 8)
        logits: Tensor = self.fc(x.flatten(1))
        return logits


def _group(inputs: int, outputs: int, stride: int, count: int) -> nn.Sequential:
    others = (WideBlock(outputs, outputs, 1) for _ in range(count - 1))
    return nn.Sequential(WideBlock(inputs, outputs, stride), *others)
