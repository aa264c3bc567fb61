"""Batch norms, averages and clamps folded into what is before them (NumPy only)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dpnet.model.graph.builder import reaching
from dpnet.model.graph.nodes import (
    AveragePool,
    BatchNorm,
    Clamp,
    Convolution,
    Graph,
    Node,
    Operator,
)

__all__ = ["fold_averages", "fold_batch_norms", "fold_clamps"]


def fold_averages(graph: Graph) -> Graph:
    """Average poolings with one divisor as depthwise convolutions of equal weights 1 / divisor."""

    def convolution(node: Node) -> Node:
        operator = node.operator
        if (
            not isinstance(operator, AveragePool)
            or operator.divisor.min() != operator.divisor.max()
        ):
            return node
        channels = node.shape[0]
        weight = np.full((channels, 1, *operator.kernel), 1.0 / operator.divisor.flat[0])
        folded = Convolution(
            weight,
            np.zeros(channels),
            operator.stride,
            padding=operator.padding,
            groups=channels,
        )
        return replace(node, operator=folded)

    return Graph(tuple(map(convolution, graph)), graph.name)


def fold_batch_norms(graph: Graph) -> Graph:
    """Batch norms multiplied into the convolution before them where nothing else reads it; each
    other one as a depthwise convolution of one tap."""
    return _convolutions(_folded(graph, _scaled))


def fold_clamps(graph: Graph) -> Graph:
    """Clamps of clamps that nothing else reads as one, and none that change nothing."""
    graph = _folded(graph, _both)
    return _folded(graph, _nothing, alone=False)


def _folded(
    graph: Graph, join: Callable[[Operator, Operator], Operator | None], *, alone: bool = True
) -> Graph:
    """Every node joined with the one that it reads, where `join` makes one operator of the two.

    `alone`: only where no other node reads that one.
    """
    nodes: dict[str, Node] = {}
    new: dict[str, str] = {}
    for node in graph:
        inputs = tuple(new[name] for name in node.inputs)
        before = nodes[inputs[0]] if len(inputs) == 1 else None
        joined = None
        if before is not None and (not alone or len(graph.consumers(node.inputs[0])) == 1):
            joined = join(before.operator, node.operator)
        if before is None or joined is None:
            new[node.name] = node.name
            nodes[node.name] = replace(node, inputs=inputs)
        else:
            new[node.name] = before.name
            nodes[before.name] = replace(before, operator=joined)
    return Graph(reaching(tuple(nodes.values()), new[graph.output.name]), graph.name)


def _scaled(before: Operator, norm: Operator) -> Operator | None:
    if not isinstance(norm, BatchNorm):
        return None
    if isinstance(before, BatchNorm):
        return BatchNorm(before.scale * norm.scale, before.offset * norm.scale + norm.offset)
    if isinstance(before, Convolution):
        weight = before.weight * norm.scale[:, None, None, None]
        return replace(before, weight=weight, bias=before.bias * norm.scale + norm.offset)
    return None


def _both(before: Operator, clamp: Operator) -> Operator | None:
    if not isinstance(before, Clamp) or not isinstance(clamp, Clamp):
        return None
    low, high = (min(max(bound, clamp.low), clamp.high) for bound in (before.low, before.high))
    return Clamp(low, high)


def _nothing(before: Operator, clamp: Operator) -> Operator | None:
    idle = isinstance(clamp, Clamp) and clamp.low == -np.inf and clamp.high == np.inf
    return before if idle else None


def _convolutions(graph: Graph) -> Graph:
    def convolution(node: Node) -> Node:
        norm = node.operator
        if not isinstance(norm, BatchNorm):
            return node
        weight = norm.scale.reshape(-1, 1, 1, 1)
        return replace(node, operator=Convolution(weight, norm.offset, groups=len(norm.scale)))

    return Graph(tuple(map(convolution, graph)), graph.name)
