"""The graph of a network: operators with their numbers, nodes with shapes and sources (NumPy only).

Shapes are those of one picture, without a batch: (C, H, W) of a map, (C,) of a vector.  A vector is
a map of one position wherever a map is expected.  Padding is (top, bottom, left, right), and need
not be symmetric; pairs are (vertical, horizontal).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Add",
    "AveragePool",
    "BatchNorm",
    "Clamp",
    "Concatenate",
    "Convolution",
    "Graph",
    "GraphError",
    "HostOperator",
    "Input",
    "Linear",
    "MaxPool",
    "Node",
    "Operator",
    "Pad",
    "Permute",
    "Reshape",
    "Select",
    "Shape",
    "Source",
]

Floats = NDArray[np.float64]
Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = tuple[int, int, int, int]
Shape: TypeAlias = tuple[int, ...]


class GraphError(ValueError):
    """What cannot be run exactly as it was meant; the message says which node, where in the user's
    source, and what would do instead."""


@dataclass(frozen=True)
class Source:
    """Where a node comes from: `node`, its name in the exported graph; `path`, the module's
    ("layer1.0.conv1", empty for operations of `forward` itself); `file`, `line` and `text` of the
    user's source (empty and 0 where nothing is known)."""

    node: str
    path: str = ""
    file: str = ""
    line: int = 0
    text: str = ""

    def __str__(self) -> str:
        """`mynets.py:41, "F.silu(x)" (block.act)`, as much of it as is known; else the node."""
        place = f"{self.file}:{self.line}" if self.file else f"node {self.node}"
        said = f"{place}, `{self.text}`" if self.text else place
        return f"{said} ({self.path})" if self.path else said


@dataclass(frozen=True)
class Input:
    """The network's one input."""


@dataclass(frozen=True)
class Convolution:
    """Weights (R, C / groups, kh, kw) and a bias (R,), as `torch.nn.functional.conv2d` has them."""

    weight: Floats
    bias: Floats
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)
    groups: int = 1
    parameter: str = ""
    """The weight's name in the network's state dict (its canonical one, if there are several)."""


@dataclass(frozen=True)
class Linear:
    """A matrix (R, C) and a bias (R,), for a vector (C,)."""

    weight: Floats
    bias: Floats
    parameter: str = ""


@dataclass(frozen=True)
class BatchNorm:
    """y[c] = scale[c] · x[c] + offset[c]: the statistics of evaluation, multiplied out."""

    scale: Floats
    offset: Floats


@dataclass(frozen=True)
class Clamp:
    """min(max(x, low), high): ReLU is (0, inf), ReLU6 (0, 6), Hardtanh (-1, 1)."""

    low: float
    high: float


@dataclass(frozen=True)
class MaxPool:
    """Maxima of windows; what padding adds is below every number.  A partial last window
    (ceil_mode) is written as more padding."""

    kernel: Pair
    stride: Pair
    dilation: Pair = (1, 1)
    padding: Padding = (0, 0, 0, 0)


@dataclass(frozen=True)
class AveragePool:
    """Sums of windows, padding being 0, each divided by `divisor` (oh, ow) of its position: how
    many values PyTorch counts there (`count_include_pad`, `ceil_mode`, `divisor_override`)."""

    kernel: Pair
    stride: Pair
    divisor: Floats
    padding: Padding = (0, 0, 0, 0)


@dataclass(frozen=True)
class Add:
    """The sum of its two inputs, of the same shape (one node may be both)."""


@dataclass(frozen=True)
class Concatenate:
    """The channels of its inputs, one after the other."""


@dataclass(frozen=True)
class Pad:
    """Zeros around a map: `padding` in space, `channels` (before, after) in depth."""

    padding: Padding = (0, 0, 0, 0)
    channels: Pair = (0, 0)


@dataclass(frozen=True)
class Select:
    """Every `step`-th value from `start` up to before `stop`, an axis each of (C, H, W)."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    step: tuple[int, int, int]


@dataclass(frozen=True)
class Reshape:
    """The same values in the same order (C slowest, W fastest), in another shape."""


@dataclass(frozen=True)
class Permute:
    """Axes in another order, as `torch.permute` without the batch."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class HostOperator:
    """What runs on the host, in float, after everything else: softmax, log_softmax, sigmoid or
    argmax, over the axis `axis` of the result."""

    kind: str
    axis: int = 0


Operator: TypeAlias = (
    Input
    | Convolution
    | Linear
    | BatchNorm
    | Clamp
    | MaxPool
    | AveragePool
    | Add
    | Concatenate
    | Pad
    | Select
    | Reshape
    | Permute
    | HostOperator
)


@dataclass(frozen=True)
class Node:
    """One operation: its unique `name`, the names of the nodes that it reads, the `shape` of what
    it makes, and where it was written."""

    name: str
    operator: Operator
    inputs: tuple[str, ...]
    shape: Shape
    source: Source


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be computed, the `Input` first, the result last."""

    nodes: tuple[Node, ...]
    name: str = ""
    _places: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for place, node in enumerate(self.nodes):
            missing = [name for name in node.inputs if name not in self._places]
            if missing or node.name in self._places:
                what = f"reads {missing[0]!r} before it" if missing else "is there twice"
                raise GraphError(f"node {node.name!r} {what}")
            self._places[node.name] = place
        if not self.nodes or not isinstance(self.nodes[0].operator, Input):
            raise GraphError("a graph must begin with its input")

    def __getitem__(self, name: str) -> Node:
        return self.nodes[self._places[name]]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def input(self) -> Node:
        return self.nodes[0]

    @property
    def output(self) -> Node:
        return self.nodes[-1]

    def consumers(self, name: str) -> list[Node]:
        """The nodes that read `name`, once for each time that they do."""
        return [node for node in self.nodes for read in node.inputs if read == name]
