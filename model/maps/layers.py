"""The layers of a network in integers: what the map engine computes (NumPy only).

A *tensor* is a map (C, H, W) of 8-bit integers with one scale: value = scale · integer.  (Of the
picture alone the integers may count from another one than 0, which engines need not know.)  A layer
reads one tensor, perhaps a second one as skip values, and writes one tensor or some channels or a
rectangle of one.  Nothing rounds but the last step, once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["MapLayer", "MapNetwork", "MapTensor", "NamedMap", "Network", "Skip", "Window"]

Integers = NDArray[np.int64]
Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class NamedMap:
    """A map's name and shape (C, H, W)."""

    name: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class MapTensor(NamedMap):
    """A map with its scale and range: -128…127 if `signed`, else 0…255.

    `zero` is the integer of the value 0: value = scale · (integer - zero).  It is 0 but for a
    picture whose values lie unevenly around 0; layers that read such a picture pad it nowhere, and
    have the difference in their biases.
    """

    scale: float
    signed: bool
    zero: int = 0

    @property
    def low(self) -> int:
        return -128 if self.signed else 0

    @property
    def high(self) -> int:
        return 127 if self.signed else 255


@dataclass(frozen=True)
class Skip:
    """A second operand of the sum: `factor`[r] · tensor[r - `channel`, stride · position], a signed
    18-bit integer for each row (0 where the tensor has no such channel)."""

    tensor: str
    factor: Integers
    stride: Pair = (1, 1)
    channel: int = 0


@dataclass(frozen=True)
class Window:
    """The output positions top ≤ y < bottom, left ≤ x < right that a layer writes."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True, kw_only=True)
class MapLayer:
    """One pass of the engine over a map.

    With `indices`, a sum: for each row (output channel) r and position p

        acc = Σ_j entries[r, indices[r, j]] · x[j at p] + bias[r] + factor[r] · skip[r at p]
        y = clamp(acc · multiplier[r] / 2**shift[r], to nearest even, `low`, `high`)

    `entries` (R, K), K ≤ 16, signed 18 bits; `indices` (R, C / groups · kh · kw), integers of any
    type, the weights of `torch.nn.functional.conv2d` row by row; `bias` (R,) signed 40 bits,
    `multiplier` (R,) unsigned 16 bits, `shift` (R,) 0…63.  Every acc fits 40 bits.  Padding counts
    as the integer 0.

    With `indices` None, the maximum of the window, each channel on its own (R = C); padding counts
    as less than every number; multiplier, shift, bias and clamp as above.

    `output` is the tensor written, from channel `output_channel` on; `window` restricts it to a
    rectangle of positions.  `low` and `high` lie within the output's range.
    """

    name: str
    input: str
    output: str
    output_channel: int = 0
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    entries: Integers | None = None
    indices: NDArray[np.integer[Any]] | None = None
    bias: Integers
    multiplier: Integers
    shift: Integers
    low: int
    high: int
    skip: Skip | None = None
    window: Window | None = None

    @property
    def rows(self) -> int:
        """R, the output channels."""
        return len(self.bias)


TensorT = TypeVar("TensorT", bound=NamedMap)
LayerT = TypeVar("LayerT")


@dataclass(frozen=True, eq=False)
class Network(Generic[TensorT, LayerT]):
    """Tensors, the first one the picture, and the layers that compute the others, in order.

    `output` names the result; `host` what is left to do with it in float on the host ("softmax",
    "argmax", …; empty for nothing).  `padding` is what the host puts around a picture, whose
    value is 0, before it is the first tensor.
    """

    tensors: tuple[TensorT, ...]
    layers: tuple[LayerT, ...]
    output: str
    host: tuple[str, ...] = ()
    padding: Padding = (0, 0, 0, 0)

    def tensor(self, name: str) -> TensorT:
        """The tensor of this name; raises `KeyError`."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(name)

    @property
    def input(self) -> TensorT:
        return self.tensors[0]

    @property
    def picture(self) -> tuple[int, int, int]:
        """The shape of a picture as the user has it."""
        channels, height, width = self.input.shape
        top, bottom, left, right = self.padding
        return channels, height - top - bottom, width - left - right


@dataclass(frozen=True, eq=False)
class MapNetwork(Network[MapTensor, MapLayer]):
    """A network in integers; what it is padded with is the first tensor's `zero`."""
