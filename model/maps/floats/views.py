"""Channels and positions picked out of a tensor: read as skip values, or copied by a layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dpnet.model.graph.nodes import GraphError, Node, Pad, Select
from dpnet.model.maps.floats.network import FloatSkip
from dpnet.model.maps.windows import Floats, Padding, Pair

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class View:
    """`shape` values of a tensor of shape `of`: channel `before` + n is its channel
    start[0] + n · step[0] for n < `count`, other channels are 0; positions from start[1:] on in
    steps of step[1:], with `padding` of zeros around them."""

    tensor: str
    of: Triple
    shape: Triple
    start: Triple = (0, 0, 0)
    step: Triple = (1, 1, 1)
    count: int = 0
    before: int = 0
    padding: Padding = (0, 0, 0, 0)

    def selected(self, node: Node, operator: Select) -> View | None:
        """The view of `node`, which selects of this one; None where one view cannot say it."""
        if min(operator.step) < 1:
            raise GraphError(f"{node.source}: steps must be 1 or more, not {operator.step}")
        if self.before or self.count < self.shape[0] or any(self.padding):
            return None
        start = [s + t * n for s, t, n in zip(self.start, self.step, operator.start, strict=True)]
        step = [s * t for s, t in zip(self.step, operator.step, strict=True)]
        shape = shape_of(node)
        return replace(self, shape=shape, start=_triple(start), step=_triple(step), count=shape[0])

    def padded(self, node: Node, operator: Pad) -> View | None:
        """The view of `node`, which pads this one; None where one view cannot say it."""
        if min((*operator.padding, *operator.channels)) < 0:
            raise GraphError(f"{node.source}: padding must be 0 or more; select values instead")
        around = [one + other for one, other in zip(self.padding, operator.padding, strict=True)]
        positions = self.shape[1] - sum(self.padding[:2]), self.shape[2] - sum(self.padding[2:])
        if any(operator.padding) and positions != self.of[1:]:
            return None
        return replace(
            self,
            shape=shape_of(node),
            before=self.before + operator.channels[0],
            padding=(around[0], around[1], around[2], around[3]),
        )

    @property
    def skip(self) -> FloatSkip | None:
        """The view as skip values; None where it needs a layer."""
        channel = self.before - self.start[0]
        if any(self.start[1:]) or self.step[0] != 1 or any(self.padding) or channel < 0:
            return None
        factor = np.zeros(self.shape[0])
        factor[self.before : self.before + self.count] = 1.0
        return FloatSkip(self.tensor, factor, (self.step[1], self.step[2]), channel)

    def convolution(self) -> tuple[Floats, Pair, Pair, Padding]:
        """(weight, kernel, stride, padding) of a convolution that copies the values."""
        padding = self.padding
        inner = (
            self.shape[1] - padding[0] - padding[1],
            self.shape[2] - padding[2] - padding[3],
        )
        # The smallest kernel that has the tap, and no position behind the last one.
        kernel = [
            max(start + 1, size - count * step + 1)
            for start, size, count, step in zip(
                self.start[1:], self.of[1:], inner, self.step[1:], strict=True
            )
        ]
        weight = np.zeros((self.shape[0], self.of[0], *kernel))
        rows = np.arange(self.count)
        channels = self.start[0] + rows * self.step[0]
        weight[self.before + rows, channels, self.start[1], self.start[2]] = 1.0
        return weight, (kernel[0], kernel[1]), (self.step[1], self.step[2]), padding


def shape_of(node: Node) -> Triple:
    """A node's shape as a map's; a vector has one position."""
    if len(node.shape) == 1:
        return node.shape[0], 1, 1
    if len(node.shape) != 3:
        raise GraphError(f"{node.source}: a map must have the shape (C, H, W), not {node.shape}")
    return node.shape[0], node.shape[1], node.shape[2]


def _triple(values: list[int]) -> Triple:
    return values[0], values[1], values[2]
