"""Initial weights of networks with ReLU."""

from __future__ import annotations

from torch import nn


def he_normal(net: nn.Module) -> None:
    """Convolutions and linear layers from N(0, 2 / fan_in), biases 0 (He et al. 2015)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
