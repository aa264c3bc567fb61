"""ONNX's operators, in the words of ATen's: the same handlers write both (NumPy only)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

from dpnet.model.graph import compounds
from dpnet.model.graph.builder import Builder, sourced
from dpnet.model.graph.nodes import AveragePool, GraphError, MaxPool, Shape, Source
from dpnet.model.graph.pooling import Windows, average_pool, max_pool
from dpnet.model.graph.reading.arranging import ARRANGING
from dpnet.model.graph.reading.calls import Call, Constant, Handler, Value
from dpnet.model.graph.reading.elementwise import ELEMENTWISE
from dpnet.model.graph.reading.layers import LAYERS

__all__ = ["OPERATORS", "Operation"]

_HANDLERS: dict[str, Handler] = {**LAYERS, **ELEMENTWISE, **ARRANGING}


@dataclass(frozen=True)
class Operation:
    """A node of an ONNX model: its inputs in their order, and its attributes by name.

    `batch` is the size of the batch in the model, `version` that of the operators' set.
    """

    builder: Builder
    source: Source
    kind: str
    inputs: Sequence[Value | Constant | None]
    attributes: Mapping[str, Any]
    batch: int
    version: int
    outputs: int

    def refuse(self, why: str) -> GraphError:
        """The error to raise: `why`, with the source."""
        return GraphError(f"{self.source}: {why}")

    def __getitem__(self, name: str) -> Any:
        return self.attributes.get(name)

    def input(self, place: int) -> Value | Constant | None:
        """An input; None where none is given."""
        return self.inputs[place] if place < len(self.inputs) else None

    def first(self) -> Value:
        """The first input, which must depend on the picture."""
        found = self.input(0)
        if not isinstance(found, Value):
            raise self.refuse("its first input does not depend on the picture")
        return found

    def full(self, value: Value) -> Shape:
        """A value's shape with the batch."""
        shape = self.builder.shape(value.node)
        return (self.batch, *shape) if value.batched else shape

    def whole(self, name: str, place: int) -> list[int] | None:
        """Whole numbers that an attribute or, in later versions, a constant input has."""
        found = self[name]
        if found is None:
            given = self.input(place)
            if isinstance(given, Value):
                raise self.refuse(f"{name} depends on the picture")
            found = None if given is None else given.numbers.reshape(-1).tolist()
        if found is None:
            return None
        return [int(one) for one in ([found] if isinstance(found, int) else found)]

    def run(self, operation: str, shape: Shape | None = None, /, **arguments: Any) -> list[Value]:
        """What ATen's `operation` makes of these arguments; `shape` is the result's, with the
        batch, where it is arranged anew."""
        shapes = [] if shape is None else [shape]
        call = Call(self.builder, self.source, operation, arguments, shapes, self.batch)
        name = _HANDLERS[operation](call)
        assert isinstance(name, str)
        return [self.value(name, shape)]

    def value(self, name: str, shape: Shape | None = None) -> Value:
        """A node as a tensor of this shape; with a batch like the input's if none is given."""
        own = self.builder.shape(name)
        if shape is None:
            inputs = [one for one in self.inputs if isinstance(one, Value)]
            return Value(name, inputs[0].batched)
        if shape == (self.batch, *own):
            return Value(name, True)
        if self.batch == 1 and shape == own:
            return Value(name, False)
        raise self.refuse(f"it makes {shape} of a batch of {self.batch} and mixes its pictures")


Writer: TypeAlias = Callable[[Operation], list[Value]]


def _conv(one: Operation) -> list[Value]:
    weight = one.input(1)
    if not isinstance(weight, Constant):
        raise one.refuse("its weight depends on the picture; the engine's are always the same")
    kernel = weight.numbers.shape[2:]
    strides = one["strides"] or [1] * len(kernel)
    dilations = one["dilations"] or [1] * len(kernel)
    sizes = one.full(one.first())[2:]
    return one.run(
        "convolution.default",
        input=one.first(),
        weight=weight,
        bias=one.input(2),
        stride=strides,
        dilation=dilations,
        padding=_pads(one, sizes, kernel, strides, dilations),
        groups=one["group"],
    )


def _pads(
    one: Operation,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """The padding before and behind along each axis."""
    kind = one["auto_pad"] or "NOTSET"
    if kind == "NOTSET":
        given = one["pads"] or [0] * (2 * len(kernel))
        return list(zip(given[: len(kernel)], given[len(kernel) :], strict=True))
    found = []
    for size, reach, stride, spread in zip(sizes, kernel, strides, dilations, strict=True):
        needed = (-(-size // stride) - 1) * stride + spread * (reach - 1) + 1 - size
        total = 0 if kind == "VALID" else max(0, needed)
        small = total // 2
        found.append((small, total - small) if kind != "SAME_LOWER" else (total - small, small))
    return found


def _gemm(one: Operation) -> list[Value]:
    weight = one.input(1)
    if not isinstance(weight, Constant) or one["transA"]:
        raise one.refuse("the engine multiplies vectors by constant matrices only")
    numbers = weight.numbers if one["transB"] else weight.numbers.T
    alpha, beta = (1.0 if one[name] is None else one[name] for name in ("alpha", "beta"))
    bias = one.input(2)
    if isinstance(bias, Value):
        raise one.refuse("its bias depends on the picture")
    scaled = None if bias is None else Constant((bias.numbers * beta).reshape(-1))
    matrix = Constant(numbers * alpha, weight.parameters)
    return one.run("linear.default", input=one.first(), weight=matrix, bias=scaled)


def _matmul(one: Operation) -> list[Value]:
    return one.run("matmul.default", self=one.input(0), other=one.input(1))


def _batch_norm(one: Operation) -> list[Value]:
    return one.run(
        "batch_norm.default",
        input=one.first(),
        weight=one.input(1),
        bias=one.input(2),
        running_mean=one.input(3),
        running_var=one.input(4),
        training=bool(one["training_mode"]),
        eps=1e-5 if one["epsilon"] is None else one["epsilon"],
    )


def _clip(one: Operation) -> list[Value]:
    low = one.input(1) if one["min"] is None else one["min"]
    high = one.input(2) if one["max"] is None else one["max"]
    return one.run("clamp.default", self=one.first(), min=low, max=high)


def _pool_windows(one: Operation) -> tuple[Windows, Windows]:
    kernel = one["kernel_shape"]
    strides, dilations = (one[name] or [1] * len(kernel) for name in ("strides", "dilations"))
    sizes = one.full(one.first())[2:]
    pads = _pads(one, sizes, kernel, strides, dilations)
    ceil = bool(one["ceil_mode"])
    found = [
        Windows(size, reach, stride, before, spread, ceil, behind)
        for size, reach, stride, spread, (before, behind) in zip(
            sizes, kernel, strides, dilations, pads, strict=True
        )
    ]
    if len(found) > 2:
        raise one.refuse("the engine pools maps and signals only")
    rows, columns = [Windows(1, 1, 1), *found][-2:]
    return rows, columns


def _pooled(one: Operation, operator: MaxPool | AveragePool) -> list[Value]:
    value = one.first()
    if not value.batched:
        raise one.refuse("it takes a tensor without the batch in front; keep the batch axis")
    return [one.value(compounds.pool(one.builder, value.node, operator, one.source))]


def _max_pool(one: Operation) -> list[Value]:
    rows, columns = _pool_windows(one)
    with sourced(one.source):
        operator = max_pool(rows, columns)
    return _pooled(one, operator)


def _average_pool(one: Operation) -> list[Value]:
    windows, counted = _pool_windows(one), bool(one["count_include_pad"])
    if any(window.dilation != 1 for window in windows):
        raise one.refuse("the engine has no average pooling with dilation; max pooling has it")
    with sourced(one.source):
        operator = average_pool(*windows, with_padding=counted)
    if counted and any(window.sides[1] > window.after for window in windows):
        raise one.refuse(
            "ceil_mode with count_include_pad and a partial window is not the same everywhere; "
            "the engine takes count_include_pad=0"
        )
    return _pooled(one, operator)


def _global_average(one: Operation) -> list[Value]:
    axes = list(range(2, len(one.full(one.first()))))
    return one.run("mean.dim", self=one.first(), dim=axes, keepdim=True)


def _global_max(one: Operation) -> list[Value]:
    sizes = (1, *one.full(one.first())[2:])[-2:]
    rows, columns = (Windows(size, size, size) for size in sizes)
    return _pooled(one, max_pool(rows, columns))


def _mean(one: Operation) -> list[Value]:
    kind = "mean.dim" if one.kind == "ReduceMean" else "sum.dim_IntList"
    keep = one["keepdims"] is None or bool(one["keepdims"])
    return one.run(kind, self=one.first(), dim=one.whole("axes", 1), keepdim=keep)


def _binary(operation: str) -> Writer:
    def write(one: Operation) -> list[Value]:
        return one.run(operation, self=one.input(0), other=one.input(1))

    return write


def _unary(operation: str) -> Writer:
    def write(one: Operation) -> list[Value]:
        return one.run(operation, self=one.first())

    return write


def _nothing(one: Operation) -> list[Value]:
    training = one.input(2) if one.kind == "Dropout" else None
    if isinstance(training, Constant) and training.numbers.any():
        raise one.refuse("it drops values at random; export the network in evaluation mode")
    return [one.first()]


def _cast(one: Operation) -> list[Value]:
    # FLOAT, FLOAT16, DOUBLE and BFLOAT16 of ONNX's types.
    if one["to"] not in (1, 10, 11, 16):
        raise one.refuse("it makes integers of floating point; the engine's maps are real")
    return [one.first()]


def _concat(one: Operation) -> list[Value]:
    return one.run("cat.default", tensors=list(one.inputs), dim=one["axis"])


def _arranged(one: Operation, shape: Sequence[int]) -> list[Value]:
    return one.run("reshape.default", tuple(shape), self=one.first())


def _reshape(one: Operation) -> list[Value]:
    full = one.full(one.first())
    wanted = one.whole("shape", 1) or []
    if not one["allowzero"]:
        wanted = [full[place] if size == 0 else size for place, size in enumerate(wanted)]
    known = math.prod(size for size in wanted if size >= 0)
    total = math.prod(full)
    return _arranged(one, [total // max(known, 1) if size < 0 else size for size in wanted])


def _flatten(one: Operation) -> list[Value]:
    full = one.full(one.first())
    axis = 1 if one["axis"] is None else one["axis"] % len(full)
    return _arranged(one, (math.prod(full[:axis]), math.prod(full[axis:])))


def _squeeze(one: Operation) -> list[Value]:
    full, axes = one.full(one.first()), one.whole("axes", 1)
    gone = {axis % len(full) for axis in axes} if axes is not None else set(range(len(full)))
    return _arranged(one, [size for axis, size in enumerate(full) if size != 1 or axis not in gone])


def _unsqueeze(one: Operation) -> list[Value]:
    full, axes = one.full(one.first()), one.whole("axes", 1) or []
    rank = len(full) + len(axes)
    new = {axis % rank for axis in axes}
    left = iter(full)
    return _arranged(one, [1 if axis in new else next(left) for axis in range(rank)])


def _transpose(one: Operation) -> list[Value]:
    full = one.full(one.first())
    order = one["perm"] or list(range(len(full)))[::-1]
    shape = tuple(full[axis] for axis in order)
    return one.run("permute.default", shape, self=one.first(), dims=order)


def _pad(one: Operation) -> list[Value]:
    given, axes = one.whole("pads", 1) or [], one.whole("axes", 3)
    rank = len(one.full(one.first()))
    sides = [(0, 0)] * rank
    chosen = range(rank) if axes is None else [axis % rank for axis in axes]
    half = len(given) // 2
    for axis, before, behind in zip(chosen, given[:half], given[half:], strict=True):
        sides[axis] = before, behind
    value = one["value"] or 0.0
    constant = one.input(2)
    if isinstance(constant, Constant):
        value = float(constant.numbers)
    flat = [number for pair in reversed(sides) for number in pair]
    return one.run(
        "pad.default", self=one.first(), pad=flat, mode=one["mode"] or "constant", value=value
    )


def _slice(one: Operation) -> list[Value]:
    starts, ends = one.whole("starts", 1) or [], one.whole("ends", 2) or []
    axes = one.whole("axes", 3) or list(range(len(starts)))
    steps = one.whole("steps", 4) or [1] * len(starts)
    value = one.first()
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise one.refuse("the engine turns no map around")
        (value,) = one.run("slice.Tensor", self=value, dim=axis, start=start, end=end, step=step)
    return [value]


def _split(one: Operation) -> list[Value]:
    axis, full = one["axis"] or 0, one.full(one.first())
    lengths = one.whole("split", 1)
    if lengths is None:
        each = -(-full[axis] // one.outputs)
        lengths = [min(each, full[axis] - each * part) for part in range(one.outputs)]
    ends = np.cumsum([0, *lengths]).tolist()
    parts = []
    for start, end in pairwise(ends):
        parts += one.run("slice.Tensor", self=one.first(), dim=axis, start=start, end=end, step=1)
    return parts


def _softmax(one: Operation) -> list[Value]:
    full = one.full(one.first())
    old = one.version < 13
    axis = (1 if old else -1) if one["axis"] is None else one["axis"]
    if old and math.prod(full[axis:]) != full[axis]:
        raise one.refuse("it normalizes several axes together; flatten the map before it")
    kind = {"Softmax": "softmax.int", "LogSoftmax": "log_softmax.int"}[one.kind]
    return one.run(kind, self=one.first(), dim=axis)


def _argmax(one: Operation) -> list[Value]:
    if one["select_last_index"]:
        raise one.refuse("the engine's host takes the first of equal maxima")
    keep = one["keepdims"] is None or bool(one["keepdims"])
    return one.run("argmax.default", self=one.first(), dim=one["axis"] or 0, keepdim=keep)


OPERATORS: dict[str, Writer] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Relu": _unary("relu.default"),
    "Clip": _clip,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "ReduceMean": _mean,
    "ReduceSum": _mean,
    "Add": _binary("add.Tensor"),
    "Sub": _binary("sub.Tensor"),
    "Mul": _binary("mul.Tensor"),
    "Div": _binary("div.Tensor"),
    "Max": _binary("maximum.default"),
    "Min": _binary("minimum.default"),
    "Neg": _unary("neg.default"),
    "Identity": _nothing,
    "Dropout": _nothing,
    "Cast": _cast,
    "Concat": _concat,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Transpose": _transpose,
    "Pad": _pad,
    "Slice": _slice,
    "Split": _split,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Sigmoid": _unary("sigmoid.default"),
    "ArgMax": _argmax,
}
"""How each operator is written, by its name."""
