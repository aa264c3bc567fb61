"""What shape an operation gives, and which it takes (NumPy only)."""

from __future__ import annotations

from collections.abc import Sequence

from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    BatchNorm,
    Concatenate,
    Convolution,
    GraphError,
    HostOperator,
    Linear,
    MaxPool,
    Operator,
    Pad,
    Padding,
    Pair,
    Permute,
    Select,
    Shape,
)

__all__ = ["positions", "result_shape"]


def result_shape(operator: Operator, shapes: Sequence[Shape]) -> Shape:
    """The shape of what `operator` makes of inputs with these shapes; `Reshape` and `Input` say
    theirs themselves.  Raises `GraphError`, without a source, for shapes that it does not take."""
    first = shapes[0]
    match operator:
        case Convolution():
            return _convolved(operator, first)
        case MaxPool():
            return (first[0], *positions(first, operator.kernel, operator))
        case AveragePool():
            found = (first[0], *positions(first, operator.kernel, operator))
            if operator.divisor.shape != found[1:]:
                raise GraphError(f"divisors {operator.divisor.shape} for positions {found[1:]}")
            return found
        case Linear():
            if first != operator.weight.shape[1:]:
                raise GraphError(f"a matrix {operator.weight.shape} for the shape {first}")
            return (len(operator.weight),)
        case BatchNorm():
            if first[:1] != operator.scale.shape:
                raise GraphError(f"{len(operator.scale)} channels for the shape {first}")
            return first
        case Add() if any(shape != first for shape in shapes):
            raise GraphError(f"shapes to add must be the same, not {first} and {shapes[1]}")
        case Concatenate():
            return _concatenated(shapes)
        case _:
            return _rearranged(operator, first)


def positions(shape: Shape, kernel: Pair, window: Convolution | MaxPool | AveragePool) -> Pair:
    """The positions (oh, ow) of windows over a map (C, H, W); `GraphError` if there is none."""
    if len(shape) != 3:
        raise GraphError(f"a map (channels, height, width) is needed, not the shape {shape}")
    dilation = (1, 1) if isinstance(window, AveragePool) else window.dilation
    top, bottom, left, right = window.padding
    spans = (
        shape[1] + top + bottom - dilation[0] * (kernel[0] - 1) - 1,
        shape[2] + left + right - dilation[1] * (kernel[1] - 1) - 1,
    )
    if min(spans) < 0:
        raise GraphError(f"a window {kernel} is larger than the map {shape} with its padding")
    return spans[0] // window.stride[0] + 1, spans[1] // window.stride[1] + 1


def _convolved(operator: Convolution, shape: Shape) -> Shape:
    rows, columns, height, width = operator.weight.shape
    found = positions(shape, (height, width), operator)
    if shape[0] != columns * operator.groups or rows % operator.groups:
        raise GraphError(
            f"weights {operator.weight.shape} in {operator.groups} groups for {shape[0]} channels"
        )
    return (rows, *found)


def _concatenated(shapes: Sequence[Shape]) -> Shape:
    first = shapes[0]
    if any(shape[1:] != first[1:] for shape in shapes):
        raise GraphError(
            f"maps to concatenate must have one size, not {', '.join(map(str, shapes))}"
        )
    return (sum(shape[0] for shape in shapes), *first[1:])


def _rearranged(operator: Operator, shape: Shape) -> Shape:
    match operator:
        case Pad():
            return _padded(operator.padding, operator.channels, shape)
        case Select():
            if len(shape) != 3:
                raise GraphError(f"a map is needed, not the shape {shape}")
            limits = zip(operator.start, operator.stop, operator.step, strict=True)
            return tuple(len(range(*limit)) for limit in limits)
        case Permute():
            return tuple(shape[axis] for axis in operator.axes)
        case HostOperator() if operator.kind == "argmax":
            return tuple(size for axis, size in enumerate(shape) if axis != operator.axis)
        case _:
            return shape


def _padded(padding: Padding, channels: Pair, shape: Shape) -> Shape:
    if len(shape) != 3:
        raise GraphError(f"a map is needed, not the shape {shape}")
    top, bottom, left, right = padding
    return (shape[0] + sum(channels), shape[1] + top + bottom, shape[2] + left + right)
