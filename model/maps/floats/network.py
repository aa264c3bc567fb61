"""Layers as `dpnet.model.maps.layers` has them, in real numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.nodes import Source
from dpnet.model.maps.layers import Window
from dpnet.model.maps.windows import Padding, Pair

Floats = NDArray[np.float64]

__all__ = ["FloatLayer", "FloatNetwork", "FloatSkip", "FloatTensor"]


@dataclass(frozen=True)
class FloatTensor:
    """A map's name, which is that of the graph's node that it holds, and its shape (C, H, W)."""

    name: str
    shape: tuple[int, int, int]


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
class FloatNetwork:
    """Tensors, the first one the picture, and the layers that compute the others, in order.

    `output` names the result, `host` what the host does with it, `padding` the zeros that it puts
    around a picture before that is the first tensor.
    """

    tensors: tuple[FloatTensor, ...]
    layers: tuple[FloatLayer, ...]
    output: str
    host: tuple[str, ...] = ()
    padding: Padding = (0, 0, 0, 0)

    def tensor(self, name: str) -> FloatTensor:
        """The tensor of this name; raises `KeyError`."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(name)

    @property
    def input(self) -> FloatTensor:
        return self.tensors[0]

    @property
    def picture(self) -> tuple[int, int, int]:
        """The shape of a picture as the user has it."""
        channels, height, width = self.input.shape
        top, bottom, left, right = self.padding
        return channels, height - top - bottom, width - left - right

    def writers(self, name: str) -> list[FloatLayer]:
        """The layers that write a tensor, in order."""
        return [layer for layer in self.layers if layer.output == name]
