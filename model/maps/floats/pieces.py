"""The layers that an operator becomes, before it is known which tensor they write to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from dpnet.model.graph.nodes import AveragePool, Clamp, Convolution, GraphError, MaxPool, Node
from dpnet.model.maps.floats.network import FloatLayer
from dpnet.model.maps.floats.views import Triple, View, shape_of
from dpnet.model.maps.layers import Window
from dpnet.model.maps.windows import Floats, maxima, output_size

Pieces: TypeAlias = tuple[FloatLayer, ...]
"""Layers that together write all of one tensor, or will."""


def convolution(node: Node, operator: Convolution, tensor: str, of: Triple) -> Pieces:
    """A layer for a convolution of the tensor, whose shape is `of`."""
    rows, inner = operator.weight.shape[:2]
    divides = operator.groups > 0 and rows % operator.groups == 0
    if not divides or inner * operator.groups != of[0] or len(operator.bias) != rows:
        raise GraphError(
            f"{node.source}: weights {operator.weight.shape} in {operator.groups} groups and "
            f"{len(operator.bias)} biases do not fit {of[0]} channels"
        )
    finite = np.isfinite(operator.weight).all() and np.isfinite(operator.bias).all()
    if not finite:
        raise GraphError(f"{node.source}: its weights hold a NaN or an infinity")
    layer = FloatLayer(
        name=layer_name(node),
        source=node.source,
        input=tensor,
        output="",
        kernel=(operator.weight.shape[2], operator.weight.shape[3]),
        stride=operator.stride,
        dilation=operator.dilation,
        padding=operator.padding,
        groups=operator.groups,
        weight=operator.weight,
        bias=operator.bias,
        learned=True,
        names=_names(node, operator.parameter),
    )
    return (_sized(node, layer, of),)


def maximum(node: Node, operator: MaxPool, tensor: str, of: Triple) -> Pieces:
    """A layer for a maximum of windows."""
    layer = replace(
        _plain(node, tensor, of[0], None),
        kernel=operator.kernel,
        stride=operator.stride,
        dilation=operator.dilation,
        padding=operator.padding,
    )
    if not np.isfinite(maxima(np.zeros((1, 1, *of[1:])), layer)).all():
        raise GraphError(
            f"{node.source}: a window holds nothing but padding, whose maximum is -inf"
        )
    return (_sized(node, layer, of),)


def average(node: Node, operator: AveragePool, tensor: str, of: Triple) -> Pieces:
    """Layers for an average of windows, one for each rectangle of positions with one divisor."""
    size = shape_of(node)[1:]
    divisor = np.broadcast_to(operator.divisor, size)
    if not (np.isfinite(divisor).all() and divisor.all()):
        raise GraphError(f"{node.source}: it divides by 0, or by what is no number")
    layers = []
    parts = list(_rectangles(divisor))
    for window in parts:
        share = 1.0 / divisor[window.top, window.left]
        layer = replace(
            _plain(node, tensor, of[0], np.full((of[0], 1, *operator.kernel), share)),
            kernel=operator.kernel,
            stride=operator.stride,
            padding=operator.padding,
            window=window if len(parts) > 1 else None,
        )
        layers.append(_sized(node, layer, of))
    return tuple(layers)


def copied(node: Node, tensor: str, of: Triple, factor: float = 1.0) -> Pieces:
    """A layer that copies a tensor of shape `of`, times a factor."""
    return (_plain(node, tensor, of[0], np.full((of[0], 1, 1, 1), factor)),)


def selection(node: Node, view: View) -> Pieces:
    """A layer that copies a part of a tensor."""
    weight, kernel, stride, padding = view.convolution()
    layer = replace(
        _plain(node, view.tensor, view.shape[0], weight),
        kernel=kernel,
        stride=stride,
        padding=padding,
        groups=1,
    )
    return (_sized(node, layer, view.of),)


def clamped(pieces: Pieces, clamp: Clamp) -> Pieces:
    """The same with a clamp behind what they have."""

    def within(value: float) -> float:
        return min(max(value, clamp.low), clamp.high)

    return tuple(replace(p, low=within(p.low), high=within(p.high)) for p in pieces)


def joined(parts: Sequence[Pieces], channels: Sequence[int]) -> Pieces:
    """One after the other in one tensor; `channels` are the numbers of theirs."""
    starts = np.cumsum([0, *channels[:-1]])
    return tuple(
        replace(piece, output_channel=piece.output_channel + int(start))
        for pieces, start in zip(parts, starts, strict=True)
        for piece in pieces
    )


def layer_name(node: Node) -> str:
    """The module's path, if there is one."""
    return node.source.path or node.name


def _names(node: Node, parameter: str) -> tuple[str, ...]:
    owner = parameter.rpartition(".")[0]
    every = (node.source.path, parameter, owner, node.name)
    return tuple(dict.fromkeys(filter(None, every)))


def _plain(node: Node, tensor: str, channels: int, weight: Floats | None) -> FloatLayer:
    """A layer in which each channel is on its own."""
    return FloatLayer(
        name=layer_name(node),
        source=node.source,
        input=tensor,
        output="",
        groups=channels,
        weight=weight,
        bias=np.zeros(channels),
    )


def _sized(node: Node, layer: FloatLayer, of: Triple) -> FloatLayer:
    made = (layer.rows, *output_size(layer, *of[1:]))
    if made != shape_of(node):
        raise GraphError(f"{node.source}: it makes {made} of {of}, not {shape_of(node)}")
    return layer


def _rectangles(values: Floats) -> Iterator[Window]:
    """Rectangles that cover all positions, each of one value."""
    left = np.ones(values.shape, bool)
    while left.any():
        top, start = (int(place) for place in np.argwhere(left)[0])
        same = (values == values[top, start]) & left
        across = int(np.argmin(np.append(same[top, start:], False)))
        rows = same[top:, start : start + across].all(axis=1)
        down = int(np.argmin(np.append(rows, False)))
        window = Window(top, top + down, start, start + across)
        left[window.top : window.bottom, window.left : window.right] = False
        yield window
