"""Networks without branches: TT-Conv, FreshNet and SmallCNN of the paper's tables, and a LeNet-5.

Convolutions, batch norms and linear layers are attributes of the net, numbered from the input on:
`conv1`, `bn1`, `fc`.  Inputs are (batch, channels, height, width), outputs logits (batch, classes).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.networks.initial import he_normal


def _conv(inputs: int, outputs: int, kernel: int, *, bias: bool, same: bool = True) -> nn.Conv2d:
    """Stride 1; `same` leaves the map's size as it is (odd kernels)."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2 if same else 0, bias=bias)


class TtConv(nn.Module):
    """TT-Conv for 3 x 32 x 32, 555,968 weights, of the paper's Table I (Garipov et al. 2016).

    Six 3 x 3 convolutions with batch norm and ReLU, the last two without padding.  Its two 3 x 3
    pools by 2 are TensorFlow's "SAME": the map's last row and column have a window of their own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = _conv(64, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = _conv(64, 128, 3, bias=False)
        self.bn3 = nn.BatchNorm2d(128)
        self.conv4 = _conv(128, 128, 3, bias=False)
        self.bn4 = nn.BatchNorm2d(128)
        self.conv5 = _conv(128, 128, 3, bias=False, same=False)
        self.bn5 = nn.BatchNorm2d(128)
        self.conv6 = _conv(128, 128, 3, bias=False, same=False)
        self.bn6 = nn.BatchNorm2d(128)
        self.fc = nn.Linear(128, 10, bias=False)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        x = functional.relu(self.bn3(self.conv3(x)))
        x = functional.relu(self.bn4(self.conv4(x)))
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        x = functional.relu(self.bn5(self.conv5(x)))
        x = functional.relu(self.bn6(self.conv6(x)))
        logits: Tensor = self.fc(functional.avg_pool2d(x, 4).flatten(1))
        return logits


class FreshNet(nn.Module):
    """FreshNet for 3 x 32 x 32, 1,220,960 weights, of the paper's Table II (Chen et al. 2016).

    Five 5 x 5 convolutions with biases and ReLU, and no batch norm; dropout of a quarter behind
    each of its three pools.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(3, 32, 5, bias=True)
        self.conv2 = _conv(32, 64, 5, bias=True)
        self.conv3 = _conv(64, 64, 5, bias=True)
        self.conv4 = _conv(64, 128, 5, bias=True)
        self.conv5 = _conv(128, 256, 5, bias=True)
        self.fc = nn.Linear(4096, 10)
        self.dropout = nn.Dropout(0.25)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.relu(self.conv1(x))
        x = functional.relu(self.conv2(x))
        x = self.dropout(functional.max_pool2d(x, 2))
        x = functional.relu(self.conv3(x))
        x = functional.relu(self.conv4(x))
        x = self.dropout(functional.max_pool2d(x, 2))
        x = functional.relu(self.conv5(x))
        x = self.dropout(functional.max_pool2d(x, 2))
        logits: Tensor = self.fc(x.flatten(1))
        return logits


class SmallCnn(nn.Module):
    """SmallCNN for 1 x 28 x 28, 311,600 weights, of the paper's Table V (Zhang et al. 2019).
    Its last layer starts at 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(1, 32, 3, bias=True, same=False)
        self.conv2 = _conv(32, 32, 3, bias=True, same=False)
        self.conv3 = _conv(32, 64, 3, bias=True, same=False)
        self.conv4 = _conv(64, 64, 3, bias=True, same=False)
        self.fc1 = nn.Linear(1024, 200)
        self.dropout = nn.Dropout(0.5)
        self.fc2 = nn.Linear(200, 200)
        self.fc3 = nn.Linear(200, 10)
        he_normal(self)
        nn.init.zeros_(self.fc3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        x = functional.max_pool2d(x, 2)
        x = functional.relu(self.conv4(functional.relu(self.conv3(x))))
        x = functional.max_pool2d(x, 2)
        x = self.dropout(functional.relu(self.fc1(x.flatten(1))))
        logits: Tensor = self.fc3(functional.relu(self.fc2(x)))
        return logits


class LeNet5(nn.Module):
    """A LeNet-5 for 1 x 28 x 28, 61,470 weights: ReLU and maxima where the one of 1998 has
    sigmoids and averages, and all channels connected."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(1, 6, 5, bias=True)
        self.conv2 = _conv(6, 16, 5, bias=True, same=False)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10)."""
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc3(functional.relu(self.fc2(x)))
        return logits
