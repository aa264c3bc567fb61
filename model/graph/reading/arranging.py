"""ATen's operations that only arrange values: shapes, orders, parts, padding, concatenation."""

from __future__ import annotations

import math

from dpnet.model.graph import compounds
from dpnet.model.graph.nodes import Shape
from dpnet.model.graph.reading.calls import Call, Handler, Value

__all__ = ["ARRANGING"]


def _reshape(call: Call) -> str:
    """Whatever keeps the order of the values; a batch that stays in front keeps its pictures."""
    return call.builder.reshape(call.value("self").node, call.result(), call.source)


def _permute(call: Call) -> str:
    value = call.value("self")
    rank = len(call.shape(value)) + value.batched
    order = [place % rank for place in _order(call, rank)]
    if value.batched and order[0] == 0:
        axes = [place - 1 for place in order[1:]]
        return call.builder.permute(value.node, axes, call.source)
    result = call.result()
    full = ((1,) if value.batched else ()) + call.shape(value)
    name = call.builder.reshape(value.node, full, call.source)
    name = call.builder.permute(name, order, call.source)
    return call.builder.reshape(name, result, call.source)


def _order(call: Call, rank: int) -> list[int]:
    name = call.operation.partition(".")[0].rstrip("_")
    if name == "permute":
        return list(call["dims"])
    order = list(range(rank))
    if name in ("t", "numpy_T"):
        return order[::-1]
    if name in ("movedim", "moveaxis"):
        return _moved(order, call["source"], call["destination"])
    ends = ("dim0", "dim1") if "dim0" in call.arguments else ("axis0", "axis1")
    first, second = call[ends[0]], call[ends[1]]
    order[first], order[second] = order[second], order[first]
    return order


def _moved(order: list[int], source: int | list[int], target: int | list[int]) -> list[int]:
    rank = len(order)
    sources = [one % rank for one in ([source] if isinstance(source, int) else source)]
    targets = [one % rank for one in ([target] if isinstance(target, int) else target)]
    left = [place for place in order if place not in sources]
    for place, one in sorted(zip(targets, sources, strict=True)):
        left.insert(place, one)
    return left


def _slice(call: Call) -> str:
    value = call.value("self")
    axis, size = _axis_and_size(call, value)
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(size)
    return compounds.slice_axis(call.builder, value.node, axis, start, stop, step, call.source)


def _narrow(call: Call) -> str:
    value = call.value("self")
    axis, size = _axis_and_size(call, value)
    start = call["start"] % size
    stop = start + call["length"]
    return compounds.slice_axis(call.builder, value.node, axis, start, stop, 1, call.source)


def _select(call: Call) -> str:
    value = call.value("self")
    if value.batched and call["dim"] in (0, -len(call.shape(value)) - 1) and call.batch == 1:
        return value.node
    axis, size = _axis_and_size(call, value)
    start = call["index"] % size
    name = compounds.slice_axis(call.builder, value.node, axis, start, start + 1, 1, call.source)
    return call.builder.reshape(name, _without(call.shape(value), axis), call.source)


def _parts(call: Call) -> list[str | None]:
    """chunk, split and unbind: as many values along the axis as each result has."""
    value = call.value("self")
    axis, size = _axis_and_size(call, value)
    each = call.operation.startswith("unbind")
    place = axis + value.batched
    lengths = [1 if each else result[place] for result in call.results]
    names: list[str | None] = []
    start = 0
    for length in lengths:
        stop = start + length
        name = compounds.slice_axis(call.builder, value.node, axis, start, stop, 1, call.source)
        if each:
            name = call.builder.reshape(name, _without(call.shape(value), axis), call.source)
        names.append(name)
        start = stop
    assert start == size
    return names


def _axis_and_size(call: Call, value: Value) -> tuple[int, int]:
    axis = call.axis(call["dim"] or 0, value)
    return axis, call.shape(value)[axis]


def _without(shape: Shape, axis: int) -> Shape:
    return (*shape[:axis], *shape[axis + 1 :])


def _concatenate(call: Call) -> str:
    values = call["tensors"]
    if any(not isinstance(value, Value) for value in values):
        raise call.refuse("the engine concatenates maps, and no constants")
    axes = {call.axis(call["dim"] or 0, value) for value in values}
    if len(axes) > 1:
        raise call.refuse("the tensors have different ranks")
    names = [value.node for value in values]
    return compounds.concatenate(call.builder, names, axes.pop(), call.source)


def _stack(call: Call) -> str:
    """Concatenation along a new axis."""
    names = []
    values = call["tensors"]
    if any(not isinstance(value, Value) for value in values):
        raise call.refuse("the engine concatenates maps, and no constants")
    value = values[0]
    rank = len(call.shape(value)) + value.batched + 1
    place = (call["dim"] or 0) % rank
    if place == 0 and value.batched:
        raise call.refuse(
            "it works across the pictures of a batch; the engine computes each by itself"
        )
    axis = place - value.batched
    for one in values:
        shape = call.shape(one)
        longer = (*shape[:axis], 1, *shape[axis:])
        names.append(call.builder.reshape(one.node, longer, call.source))
    return compounds.concatenate(call.builder, names, axis, call.source)


def _pad(call: Call) -> str:
    mode = call["mode"] or "constant"
    if mode != "constant":
        raise call.refuse(
            f"the engine pads with zeros, not by {mode}; padding_mode='zeros' runs on it"
        )
    if call["value"] not in (None, 0) and not math.isclose(float(call["value"]), 0, abs_tol=0):
        raise call.refuse(f"the engine pads with zeros, not with {call['value']}")
    value = call.value("self")
    given = list(call["pad"])
    pairs = [(given[place], given[place + 1]) for place in range(0, len(given), 2)][::-1]
    rank = len(call.shape(value))
    if len(pairs) == rank + 1 and value.batched and pairs[0] == (0, 0):
        pairs = pairs[1:]
    if len(pairs) > rank:
        raise call.refuse("it pads the batch")
    sides = [(0, 0)] * (rank - len(pairs)) + pairs
    return compounds.pad(call.builder, value.node, sides, call.source)


def _channel_shuffle(call: Call) -> str:
    name, groups = call.batched("self"), call["groups"]
    channels, *places = shape = call.builder.shape(name)
    name = call.builder.reshape(name, (groups, channels // groups, *places), call.source)
    name = call.builder.permute(name, (1, 0, *range(2, len(places) + 2)), call.source)
    return call.builder.reshape(name, shape, call.source)


def _pixel_unshuffle(call: Call) -> str:
    name, factor = call.batched("self"), call["downscale_factor"]
    channels, height, width = call.builder.shape(name)
    split = (channels, height // factor, factor, width // factor, factor)
    name = call.builder.reshape(name, split, call.source)
    name = call.builder.permute(name, (0, 2, 4, 1, 3), call.source)
    return call.builder.reshape(name, call.result(), call.source)


ARRANGING: dict[str, Handler] = {
    **dict.fromkeys(
        (
            "view.default",
            "_unsafe_view.default",
            "reshape.default",
            "view_as.default",
            "reshape_as.default",
            "flatten.using_ints",
            "unflatten.int",
            "ravel.default",
            "squeeze.default",
            "squeeze.dim",
            "squeeze.dims",
            "squeeze_.default",
            "squeeze_.dim",
            "unsqueeze.default",
            "unsqueeze_.default",
            "atleast_2d.default",
        ),
        _reshape,
    ),
    **dict.fromkeys(
        (
            "permute.default",
            "transpose.int",
            "transpose_.default",
            "swapaxes.default",
            "swapdims.default",
            "t.default",
            "numpy_T.default",
            "movedim.int",
            "movedim.intlist",
            "moveaxis.int",
            "moveaxis.intlist",
        ),
        _permute,
    ),
    "slice.Tensor": _slice,
    "narrow.default": _narrow,
    "select.int": _select,
    "chunk.default": _parts,
    "split.Tensor": _parts,
    "split.sizes": _parts,
    "split_with_sizes.default": _parts,
    "unbind.int": _parts,
    "cat.default": _concatenate,
    "concat.default": _concatenate,
    "concatenate.default": _concatenate,
    "stack.default": _stack,
    "pad.default": _pad,
    "constant_pad_nd.default": _pad,
    "channel_shuffle.default": _channel_shuffle,
    "pixel_unshuffle.default": _pixel_unshuffle,
}
"""The handlers of the operators of ATen, by their names with overloads."""
