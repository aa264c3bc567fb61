"""Layers as `dpnet.model.maps.layers` has them, in real numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.nodes import Source
from dpnet.model.maps.layers import NamedMap, Network, Window
from dpnet.model.maps.windows import Padding, Pair

Floats = NDArray[np.float64]

__all__ = ["FloatLayer", "FloatNetwork", "FloatSkip", "FloatTensor"]


@dataclass(frozen=True)
class FloatTensor(NamedMap):
    """A map, called as the graph's node that it holds."""


@dataclass(frozen=True, eq=False)
class FloatSkip:
    """`factor`[r] · tensor[r - channel, stride · position] joins the sum."""

    tensor: str
    factor: Floats
    stride: Pair = (1, 1)
    channel: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class FloatLayer:
    """y = clamp(Σ weight · x + bias + skip, low, high), or a window's maximum if `weight` is None.

    `weight` is (R, C / groups, kh, kw); `learned` says whether a codebook is to be found for it:
    an identity, an average and a selection have few values and keep them.  `names` are those by
    which a user may call the layer.
    """

    name: str
    source: Source
    input: str
    output: str
    output_channel: int = 0
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    weight: Floats | None
    bias: Floats
    learned: bool = False
    names: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    skip: FloatSkip | None = None
    window: Window | None = None

    @property
    def rows(self) -> int:
        """R, the output channels."""
        return len(self.bias)


@dataclass(frozen=True, eq=False)
class FloatNetwork(Network[FloatTensor, FloatLayer]):
    """A network in real numbers."""

    def writers(self, name: str) -> list[FloatLayer]:
        """The layers that write a tensor, in order."""
        return [layer for layer in self.layers if layer.output == name]
