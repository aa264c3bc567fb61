"""What a graph computes, in float64: the meaning of every operator (NumPy only)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray

from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    BatchNorm,
    Clamp,
    Concatenate,
    Convolution,
    Graph,
    GraphError,
    HostOperator,
    Linear,
    MaxPool,
    Node,
    Operator,
    Pad,
    Padding,
    Pair,
    Permute,
    Reshape,
    Select,
)

__all__ = ["evaluate", "evaluated", "windows"]

Floats = NDArray[np.float64]

_BLOCK = 1 << 22
"""Values of windows that are laid out at a time (32 MB)."""


def evaluate(graph: Graph, pictures: ArrayLike) -> dict[str, Floats]:
    """What every node makes of N pictures, by its name: (N, *shape of the node), float64.

    `pictures` (N, …) hold the input's values in its order, in any shape: (N, 784) is taken for an
    input (1, 28, 28).  A graph of `simplify` has maps only, so there all results are (N, C, H, W).
    Raises `GraphError` for pictures of another size.
    """
    given = np.asarray(pictures, dtype=np.float64)
    shape = graph.input.shape
    if given.ndim < 1 or given.size != len(given) * int(np.prod(shape)):
        raise GraphError(f"pictures must have the shape (N, {_list(shape)}), not {given.shape}")
    found = {graph.input.name: given.reshape(len(given), *shape)}
    for node in graph.nodes[1:]:
        found[node.name] = evaluated(node, [found[name] for name in node.inputs])
    return found


def evaluated(node: Node, inputs: list[Floats]) -> Floats:
    """What one node makes of its inputs (N, *shape), each a batch."""
    result = _computed(node.operator, inputs, node)
    assert result.shape[1:] == node.shape, (node.name, result.shape, node.shape)
    return result


def windows(maps: Floats, kernel: Pair, stride: Pair, dilation: Pair = (1, 1)) -> Floats:
    """A view (N, C, oh, ow, kh, kw) of all windows of maps (N, C, H, W)."""
    reach = [spread * (size - 1) + 1 for size, spread in zip(kernel, dilation, strict=True)]
    found = sliding_window_view(maps, reach, axis=(2, 3))
    found = found[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return found


def _computed(operator: Operator, inputs: list[Floats], node: Node) -> Floats:
    x = inputs[0]
    match operator:
        case Convolution():
            return _convolution(operator, x)
        case Linear():
            return x @ operator.weight.T + operator.bias
        case BatchNorm():
            shape = (-1, *[1] * (x.ndim - 2))
            return x * operator.scale.reshape(shape) + operator.offset.reshape(shape)
        case Clamp():
            return np.minimum(np.maximum(x, operator.low), operator.high)
        case MaxPool():
            padded = _padded(x, operator.padding, -np.inf)
            found = windows(padded, operator.kernel, operator.stride, operator.dilation)
            return np.asarray(found.max(axis=(4, 5)))
        case AveragePool():
            padded = _padded(x, operator.padding, 0.0)
            sums = windows(padded, operator.kernel, operator.stride).sum(axis=(4, 5))
            return np.asarray(sums / operator.divisor)
        case Add():
            return x + inputs[1]
        case Concatenate():
            return np.concatenate(inputs, axis=1)
        case HostOperator():
            return _on_the_host(operator, x)
        case _:
            return _rearranged(operator, x, node)


def _rearranged(operator: Operator, x: Floats, node: Node) -> Floats:
    match operator:
        case Pad():
            padded = _padded(x, operator.padding, 0.0)
            return np.pad(padded, ((0, 0), operator.channels, (0, 0), (0, 0)))
        case Select():
            limits = zip(operator.start, operator.stop, operator.step, strict=True)
            return x[:, *[slice(*limit) for limit in limits]]
        case Permute():
            return x.transpose(0, *[axis + 1 for axis in operator.axes])
        case Reshape():
            return x.reshape(len(x), *node.shape)
        case _:
            raise GraphError(f"{node.source}: {type(operator).__name__} is no operation")


def _padded(maps: Floats, padding: Padding, value: float) -> Floats:
    if not any(padding):
        return maps
    top, bottom, left, right = padding
    sides = ((0, 0), (0, 0), (top, bottom), (left, right))
    return np.pad(maps, sides, constant_values=value)


def _convolution(operator: Convolution, maps: Floats) -> Floats:
    """Windows as columns, a matrix product for each group."""
    groups, (rows, _, height, width) = operator.groups, operator.weight.shape
    matrices = operator.weight.reshape(groups, rows // groups, -1)
    padded = _padded(maps, operator.padding, 0.0)
    found = windows(padded, (height, width), operator.stride, operator.dilation)
    places = found.shape[2:4]
    result = np.empty((len(maps), rows, *places))
    for part in _parts(len(maps), found[0].size if len(maps) else 1):
        columns = found[part].transpose(0, 1, 4, 5, 2, 3)
        columns = columns.reshape(len(columns), groups, matrices.shape[2], -1)
        result[part] = np.matmul(matrices, columns).reshape(len(columns), rows, *places)
    return result + operator.bias[:, None, None]


def _parts(count: int, size: int) -> Iterator[slice]:
    """Slices of `count` pictures with `size` values each, a block of memory at a time."""
    step = max(1, _BLOCK // max(size, 1))
    for start in range(0, count, step):
        yield slice(start, start + step)


def _on_the_host(operator: HostOperator, x: Floats) -> Floats:
    axis = operator.axis + 1
    if operator.kind == "argmax":
        return np.asarray(np.argmax(x, axis=axis), dtype=np.float64)
    if operator.kind == "sigmoid":
        # Each half where it cannot overflow.
        small = np.exp(-np.abs(x))
        return np.asarray(np.where(x >= 0, 1.0, small) / (1.0 + small))
    shifted = x - x.max(axis=axis, keepdims=True)
    sums = np.exp(shifted).sum(axis=axis, keepdims=True)
    if operator.kind == "log_softmax":
        return np.asarray(shifted - np.log(sums))
    return np.asarray(np.exp(shifted) / sums)


def _list(shape: tuple[int, ...]) -> str:
    return ", ".join(map(str, shape))
