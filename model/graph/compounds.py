"""Operations on values of any rank, written as operations on maps and layouts (NumPy only).

A graph's convolutions and poolings take maps (C, H, W); here a signal (C, L) becomes a map of one
row for them and a signal again afterwards, and an axis that is not in front is brought there and
back.  Reshapes and permutations are exact, and `simplify` makes nothing of them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.builder import Builder
from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    BatchNorm,
    Clamp,
    Concatenate,
    Convolution,
    GraphError,
    Linear,
    MaxPool,
    Pad,
    Select,
    Shape,
    Source,
)

__all__ = [
    "add",
    "affine",
    "average",
    "clamp",
    "concatenate",
    "convolve",
    "linear",
    "pad",
    "pool",
    "slice_axis",
]

Floats = NDArray[np.float64]


def add(builder: Builder, first: str, second: str, source: Source) -> str:
    """The sum of two values of one shape."""
    shapes = builder.shape(first), builder.shape(second)
    if shapes[0] != shapes[1]:
        raise GraphError(
            f"{source}: the shapes {shapes[0]} and {shapes[1]} differ; the engine adds maps of one "
            "shape, and constants"
        )
    return builder.add(Add(), (first, second), source)


def clamp(builder: Builder, name: str, low: float, high: float, source: Source) -> str:
    """min(max(x, low), high), for any shape."""
    if np.isnan(low) or np.isnan(high):
        raise GraphError(f"{source}: a bound of the clamp is no number")
    return builder.add(Clamp(float(low), float(high)), (name,), source)


def affine(builder: Builder, name: str, scale: Floats, offset: Floats, source: Source) -> str:
    """x · scale + offset, each a constant of PyTorch's shape without the batch, that differs along
    one axis at most."""
    shape = builder.shape(name)
    axes = {axis for axis in (_axis_of(scale, shape, source), _axis_of(offset, shape, source))}
    axes.discard(None)
    if len(axes) > 1:
        raise GraphError(f"{source}: its constants differ along more than one axis")
    axis = next(iter(axes), 0) or 0
    size = shape[axis] if shape else 1
    values = [np.broadcast_to(_along(value, shape, axis), (size,)) for value in (scale, offset)]
    norm = BatchNorm(values[0].copy(), values[1].copy())
    return _in_front(builder, name, axis, source, lambda front: builder.add(norm, (front,), source))


def _axis_of(value: Floats, shape: Shape, source: Source) -> int | None:
    """The axis of `shape` along which a constant differs, None for one number."""
    if value.ndim > len(shape) or not shape:
        raise GraphError(f"{source}: a constant {value.shape} makes more of the shape {shape}")
    aligned = (1,) * (len(shape) - value.ndim) + value.shape
    long = [axis for axis, size in enumerate(aligned) if size != 1]
    if any(aligned[axis] != shape[axis] for axis in long):
        raise GraphError(f"{source}: a constant {value.shape} makes more of the shape {shape}")
    if len(long) > 1:
        raise GraphError(
            f"{source}: a constant that differs from position to position; the engine has one "
            "factor and one offset for each channel"
        )
    return long[0] if long else None


def _along(value: Floats, shape: Shape, axis: int) -> Floats:
    aligned = value.reshape((1,) * (len(shape) - value.ndim) + value.shape)
    return aligned.reshape(-1) if aligned.size > 1 else aligned.reshape(1)


def convolve(builder: Builder, name: str, operator: Convolution, source: Source) -> str:
    """A convolution of a map, or of a signal (C, L) with a kernel (1, k)."""
    return _as_map(builder, name, source, lambda one: builder.add(operator, (one,), source))


def pool(builder: Builder, name: str, operator: MaxPool | AveragePool, source: Source) -> str:
    """A pooling of a map, or of a signal (C, L) with a kernel (1, k)."""
    return _as_map(builder, name, source, lambda one: builder.add(operator, (one,), source))


def pad(builder: Builder, name: str, sides: Sequence[tuple[int, int]], source: Source) -> str:
    """Zeros before and after along every axis of a map, a signal or a vector; negative numbers cut
    off."""
    shape = builder.shape(name)
    if len(shape) > 3:
        raise GraphError(f"{source}: only maps can be padded, not the shape {shape}")
    for axis, (before, after) in enumerate(sides):
        start, stop = max(0, -before), shape[axis] - max(0, -after)
        name = slice_axis(builder, name, axis, start, stop, 1, source)
    three = [(max(0, before), max(0, after)) for before, after in sides]
    if not any(map(any, three)):
        return name
    missing = [(0, 0)] * (3 - len(three))
    channels, rows, columns = (*three[:1], *missing, *three[1:])
    operator = Pad((*rows, *columns), channels)
    return _as_map(builder, name, source, lambda one: builder.add(operator, (one,), source))


def slice_axis(
    builder: Builder, name: str, axis: int, start: int, stop: int, step: int, source: Source
) -> str:
    """Every `step`-th value from `start` up to before `stop` along one axis of any shape."""
    shape = builder.shape(name)
    if (start, step) == (0, 1) and stop >= shape[axis]:
        return name
    if not range(start, stop, step):
        raise GraphError(f"{source}: nothing is left of the shape {shape}")
    kept = (*shape[:axis], len(range(start, stop, step)), *shape[axis + 1 :])
    if len(shape) == 3:
        merged, place = shape, axis
    else:
        merged = (int(np.prod(shape[:axis])), shape[axis], int(np.prod(shape[axis + 1 :])))
        place = 1
    limits = [(0, size, 1) for size in merged]
    limits[place] = (start, stop, step)
    starts, stops, steps = zip(*limits, strict=True)
    chosen = Select(starts, stops, steps)
    found = builder.add(chosen, (builder.reshape(name, merged, source),), source)
    return builder.reshape(found, kept, source)


def concatenate(builder: Builder, names: Sequence[str], axis: int, source: Source) -> str:
    """Values one after the other along one axis."""
    if len(names) == 1:
        return names[0]
    shapes = [builder.shape(name) for name in names]
    order = (axis, *[other for other in range(len(shapes[0])) if other != axis])
    if any(len(shape) != len(order) for shape in shapes):
        raise GraphError(f"{source}: values of different rank, {shapes}, cannot be concatenated")
    fronts = [builder.permute(name, order, source) for name in names]
    found = builder.add(Concatenate(), fronts, source)
    return builder.permute(found, np.argsort(order).tolist(), source)


def linear(
    builder: Builder, name: str, weight: Floats, bias: Floats, parameter: str, source: Source
) -> str:
    """A matrix for the last axis: of a vector, or of every position of the axes before it, for
    which it is a convolution of one tap."""
    shape = builder.shape(name)
    if len(shape) == 1:
        return builder.add(Linear(weight, bias, parameter), (name,), source)
    if shape[-1] != weight.shape[1]:
        raise GraphError(f"{source}: a matrix {weight.shape} for the shape {shape}")
    operator = Convolution(weight[:, :, None, None], bias, parameter=parameter)

    def apply(front: str) -> str:
        channels, *rest = builder.shape(front)
        flat = builder.reshape(front, (channels, 1, int(np.prod(rest))), source)
        found = builder.add(operator, (flat,), source)
        return builder.reshape(found, (len(weight), *rest), source)

    return _in_front(builder, name, len(shape) - 1, source, apply)


def average(
    builder: Builder, name: str, axes: Sequence[int], *, keep: bool, total: bool, source: Source
) -> str:
    """The mean (or, with `total`, the sum) over some of the last two axes of a map or one of a
    signal; `keep` leaves them with one value."""
    shape = builder.shape(name)
    if len(shape) == 2 and list(axes) == [0]:
        # Positions may be in front of channels, after a transposition.
        turned = builder.permute(name, (1, 0), source)
        found = average(builder, turned, [1], keep=keep, total=total, source=source)
        return builder.permute(found, (1, 0), source) if keep else found
    if not axes or min(axes) < 1 or max(axes) >= len(shape) or len(shape) > 3:
        raise GraphError(
            f"{source}: the engine averages over height and width of a map, not over "
            f"the axes {tuple(axes)} of {shape} (counted without the batch)"
        )
    rows, columns = (1, *shape[1:])[-2:]
    window = (
        rows if len(shape) == 3 and 1 in axes else 1,
        columns if len(shape) - 1 in axes else 1,
    )
    places = (rows // window[0], columns // window[1])
    divisor = np.full(places, 1.0 if total else float(window[0] * window[1]))
    found = pool(builder, name, AveragePool(window, window, divisor), source)
    if keep:
        return found
    left = tuple(size for axis, size in enumerate(shape) if axis not in axes)
    return builder.reshape(found, left, source)


def _as_map(builder: Builder, name: str, source: Source, apply: Callable[[str], str]) -> str:
    """`apply` to a value as a map: a signal (C, L) as (C, 1, L), a vector as (C, 1, 1)."""
    shape = builder.shape(name)
    if len(shape) == 3:
        return apply(name)
    if len(shape) not in (1, 2):
        raise GraphError(f"{source}: a map (channels, height, width) is needed, not {shape}")
    channels, *rest = shape
    found = apply(builder.reshape(name, (channels, 1, *rest, 1)[:3], source))
    after = builder.shape(found)
    return builder.reshape(found, (after[0], *after[2:])[: len(shape)], source)


def _in_front(
    builder: Builder, name: str, axis: int, source: Source, apply: Callable[[str], str]
) -> str:
    """`apply` to a value whose axis `axis` is brought to the front, and back afterwards."""
    order = (axis, *[other for other in range(len(builder.shape(name))) if other != axis])
    found = apply(builder.permute(name, order, source))
    return builder.permute(found, np.argsort(order).tolist(), source)
