"""A simplified graph to layers: what a layer takes together, and which tensors there are.

    network = fuse(graph)

A clamp joins the layer that makes its operand; an addition joins a convolution that nothing else
reads, the other operand becoming its skip values; the operands of a concatenation write their
channels of one tensor.  Where an operand is read elsewhere too, a layer copies it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    Clamp,
    Concatenate,
    Convolution,
    Graph,
    GraphError,
    HostOperator,
    MaxPool,
    Node,
    Pad,
    Select,
)
from dpnet.model.maps.floats.network import FloatLayer, FloatNetwork, FloatSkip, FloatTensor
from dpnet.model.maps.floats.pieces import (
    Pieces,
    average,
    clamped,
    convolution,
    copied,
    joined,
    maximum,
    selection,
)
from dpnet.model.maps.floats.views import View, shape_of

__all__ = ["fuse"]

Value: TypeAlias = str | Pieces | View
"""What a node is: a tensor's name, layers that wait for one to write to, or a part of a tensor."""


def fuse(graph: Graph) -> FloatNetwork:
    """The layers of a graph that `simplify` has made.  Raises `GraphError` with the node's source
    for operators that no layer has, and for shapes that do not follow from the operators."""
    return _Fuser(graph).network()


class _Fuser:
    """Goes through the nodes in order; a layer is placed where the last of what joins it stands."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.host = _host(graph)
        last = len(graph) - len(self.host) - 1
        self.nodes, self.output = graph.nodes[: last + 1], graph.nodes[last].name
        self.values: dict[str, Value] = {}
        self.tensors: list[FloatTensor] = []
        self.layers: list[FloatLayer] = []
        self.used: dict[str, int] = {}
        self.makers: dict[type, Callable[[Node, Any], Value]] = {
            Convolution: self._convolution,
            MaxPool: self._maximum,
            AveragePool: self._average,
            Clamp: self._clamp,
            Add: self._add,
            Concatenate: self._concatenate,
            Select: self._select,
            Pad: self._pad,
        }

    def network(self) -> FloatNetwork:
        """All of it."""
        first = self.nodes[0]
        self.tensors.append(FloatTensor(first.name, shape_of(first)))
        self.values[first.name] = first.name
        for node in self.nodes[1:]:
            maker = self.makers.get(type(node.operator))
            if maker is None:
                kind = type(node.operator).__name__
                raise GraphError(f"{node.source}: the map engine has no layer for {kind}")
            self.values[node.name] = maker(node, node.operator)
        if self.output == first.name:
            raise GraphError(f"{first.source}: there is nothing for the engine to compute")
        output = self._tensor(self.output)
        return FloatNetwork(tuple(self.tensors), tuple(self.layers), output, self.host)

    def _tensor(self, name: str) -> str:
        """The tensor that holds a node's values; written now if it is not there yet."""
        value, node = self.values[name], self.graph[name]
        if isinstance(value, str):
            return value
        pieces = selection(node, value) if isinstance(value, View) else value
        self.tensors.append(FloatTensor(name, shape_of(node)))
        self.layers += [replace(p, name=self._unused(p.name), output=name) for p in pieces]
        self.values[name] = name
        return name

    def _unused(self, name: str) -> str:
        count = self.used[name] = self.used.get(name, 0) + 1
        return name if count == 1 else f"{name}#{count}"

    def _waiting(self, name: str) -> Pieces | None:
        """The layers of a node that nothing has read yet, and nothing else will."""
        value = self.values[name]
        alone = isinstance(value, tuple) and len(self.graph.consumers(name)) == 1
        return value if alone and isinstance(value, tuple) else None

    def _convolution(self, node: Node, operator: Convolution) -> Value:
        return convolution(node, operator, self._tensor(node.inputs[0]), self._shape(node, 0))

    def _maximum(self, node: Node, operator: MaxPool) -> Value:
        return maximum(node, operator, self._tensor(node.inputs[0]), self._shape(node, 0))

    def _average(self, node: Node, operator: AveragePool) -> Value:
        return average(node, operator, self._tensor(node.inputs[0]), self._shape(node, 0))

    def _shape(self, node: Node, place: int) -> tuple[int, int, int]:
        return shape_of(self.graph[node.inputs[place]])

    def _clamp(self, node: Node, operator: Clamp) -> Value:
        waiting = self._waiting(node.inputs[0])
        if waiting is None:
            waiting = copied(node, self._tensor(node.inputs[0]), shape_of(node))
        return clamped(waiting, operator)

    def _add(self, node: Node, operator: Add) -> Value:
        one, other = node.inputs
        shapes = {shape_of(self.graph[name]) for name in node.inputs} | {shape_of(node)}
        if len(shapes) > 1:
            raise GraphError(f"{node.source}: an addition must be of one shape, not {shapes}")
        if one == other:
            return copied(node, self._tensor(one), shape_of(node), 2.0)
        host = self._host(node)
        skip = self._skip(other if host == one else one)
        pieces = self._waiting(host)
        if pieces is None or not _takes_skip(pieces):
            value = self.values[host]
            if isinstance(value, View):
                pieces = selection(node, value)
            else:
                pieces = copied(node, self._tensor(host), shape_of(node))
        return tuple(replace(piece, skip=skip) for piece in pieces)

    def _host(self, node: Node) -> str:
        """The operand whose layer adds the other one: the last convolution that nothing else
        reads; else what a layer must copy anyway; else the first that is a tensor."""
        waits = {name: self._waiting(name) for name in node.inputs}
        takes = [name for name, pieces in waits.items() if pieces and _takes_skip(pieces)]
        if takes:
            return max(takes, key=[n.name for n in self.nodes].index)
        values = {name: self.values[name] for name in node.inputs}
        views = [name for name, value in values.items() if isinstance(value, View)]
        needed = [name for name in views if _skip_of(values[name]) is None]
        plain = [name for name in node.inputs if name not in views]
        return (needed or plain or views)[0]

    def _skip(self, name: str) -> FloatSkip:
        found = _skip_of(self.values[name])
        if found is None:
            found = FloatSkip(self._tensor(name), np.ones(shape_of(self.graph[name])[0]))
        return found

    def _concatenate(self, node: Node, operator: Concatenate) -> Value:
        shapes = [shape_of(self.graph[name]) for name in node.inputs]
        whole = (sum(shape[0] for shape in shapes), *shapes[0][1:])
        if shape_of(node) != whole or len({shape[1:] for shape in shapes}) > 1:
            raise GraphError(f"{node.source}: channels of {shapes} do not make {node.shape}")
        parts = [
            self._waiting(name) or copied(node, self._tensor(name), shape)
            for name, shape in zip(node.inputs, shapes, strict=True)
        ]
        return joined(parts, [shape[0] for shape in shapes])

    def _select(self, node: Node, operator: Select) -> Value:
        view = self._view(node.inputs[0]).selected(node, operator)
        return view or self._plain(node.inputs[0]).selected(node, operator) or self._never(node)

    def _pad(self, node: Node, operator: Pad) -> Value:
        view = self._view(node.inputs[0]).padded(node, operator)
        return view or self._plain(node.inputs[0]).padded(node, operator) or self._never(node)

    def _view(self, name: str) -> View:
        value = self.values[name]
        return value if isinstance(value, View) else self._plain(name)

    def _plain(self, name: str) -> View:
        """All of a node's tensor."""
        shape = shape_of(self.graph[name])
        return View(self._tensor(name), shape, shape, count=shape[0])

    @staticmethod
    def _never(node: Node) -> View:
        raise GraphError(f"{node.source}: these values cannot be picked out of a tensor")


def _host(graph: Graph) -> tuple[str, ...]:
    """What the host does at the end, in order."""
    kinds: list[str] = []
    for node in graph:
        if isinstance(node.operator, HostOperator):
            if node.operator.axis != 0:
                raise GraphError(
                    f"{node.source}: {node.operator.kind} must be over the channels, axis 0 of one "
                    f"picture's result, not {node.operator.axis}"
                )
            kinds.append(node.operator.kind)
        elif kinds:
            raise GraphError(f"{node.source}: nothing can follow {kinds[-1]}, which the host does")
    return tuple(kinds)


def _takes_skip(pieces: Pieces) -> bool:
    """Whether skip values may still join: all are plain sums of all channels, without a clamp."""
    return all(
        piece.weight is not None
        and piece.skip is None
        and piece.low == -np.inf
        and piece.high == np.inf
        and (len(pieces) == 1 or piece.window is not None)
        and piece.output_channel == 0
        for piece in pieces
    )


def _skip_of(value: Value) -> FloatSkip | None:
    return value.skip if isinstance(value, View) else None
