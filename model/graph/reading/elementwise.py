"""ATen's operations on values one by one: clamps, sums, constants, types, and the last ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph import compounds
from dpnet.model.graph.nodes import HostOperator
from dpnet.model.graph.reading.calls import Call, Constant, Handler, Value

__all__ = ["ELEMENTWISE"]

Floats = NDArray[np.float64]


def _relu(call: Call) -> str:
    return compounds.clamp(call.builder, call.value("self").node, 0.0, math.inf, call.source)


def _relu6(call: Call) -> str:
    return compounds.clamp(call.builder, call.value("self").node, 0.0, 6.0, call.source)


def _hardtanh(call: Call) -> str:
    low, high = call["min_val"], call["max_val"]
    return compounds.clamp(call.builder, call.value("self").node, low, high, call.source)


def _clamp(call: Call) -> str:
    low, high = _bound(call, "min"), _bound(call, "max")
    name = call.value("self").node
    return compounds.clamp(
        call.builder,
        name,
        -math.inf if low is None else low,
        math.inf if high is None else high,
        call.source,
    )


def _bound(call: Call, name: str) -> float | None:
    """A bound that is one number, or the same for all values."""
    given = call[name]
    if given is None or isinstance(given, (int, float)):
        return None if given is None else float(given)
    numbers = call.constant(name)
    if numbers is None or not numbers.size or numbers.min() != numbers.max():
        raise call.refuse("the engine clamps all values to one range; its bounds differ")
    return float(numbers.flat[0])


def _maximum(call: Call) -> str:
    value, other = _operands(call)
    bound = _uniform(call, other)
    bounds = (bound, math.inf) if call.operation.startswith("maximum") else (-math.inf, bound)
    return compounds.clamp(call.builder, value.node, *bounds, call.source)


def _uniform(call: Call, other: Any) -> float:
    numbers = _numbers(call, other)
    if numbers is None or not numbers.size or numbers.min() != numbers.max():
        raise call.refuse(
            "the engine takes no maximum or minimum of two maps; a clamp to constants runs on it"
        )
    return float(numbers.flat[0])


def _operands(call: Call) -> tuple[Value, Any]:
    """The operand that depends on the picture, and the other one."""
    first, second = call["self"], call["other"]
    if isinstance(first, Value):
        return first, second
    return call.value("other"), first


def _numbers(call: Call, other: Any) -> Floats | None:
    """A constant operand, without an axis for the batch; None if it depends on the picture."""
    if isinstance(other, Value):
        return None
    if not isinstance(other, Constant):
        if isinstance(other, complex):
            raise call.refuse("a constant is complex; the engine has real numbers")
        return np.asarray(float(other))
    numbers = call.constant("other" if other is call["other"] else "self")
    assert numbers is not None
    value = _operands(call)[0]
    if value.batched and numbers.ndim == len(call.shape(value)) + 1:
        if len(numbers) != 1:
            raise call.refuse("its constants differ from picture to picture of the batch")
        return np.asarray(numbers[0])
    return numbers


def _sum(call: Call) -> str:
    """add and sub: with another map, or with a constant."""
    value, other = _operands(call)
    numbers = _numbers(call, other)
    sign = -1.0 if call.operation.startswith(("sub", "rsub")) else 1.0
    factor = sign * float(1 if call["alpha"] is None else call["alpha"])
    one, zero = np.asarray(1.0), np.asarray(0.0)
    builder, source = call.builder, call.source
    reverse = call.operation.startswith("rsub")
    if numbers is None:
        first, second = (other.node, value.node) if reverse else (value.node, other.node)
        if factor != 1:
            second = compounds.affine(builder, second, np.asarray(factor), zero, source)
        return compounds.add(builder, first, second, source)
    # `self` is the minuend, unless the operation is reversed.
    minuend = (call["self"] is value) != reverse
    scale, weight = (one, factor) if minuend else (np.asarray(factor), 1.0)
    return compounds.affine(builder, value.node, scale, numbers * weight, source)


def _product(call: Call) -> str:
    """mul and div by a constant."""
    value, other = _operands(call)
    numbers = _numbers(call, other)
    if numbers is None:
        raise call.refuse("the engine multiplies no two maps; factors that are constants run on it")
    if call.operation.startswith("div"):
        if call["self"] is not value or call["rounding_mode"] is not None or not numbers.all():
            raise call.refuse("the engine divides by constants other than 0, and does not round")
        numbers = 1.0 / numbers
    zero = np.asarray(0.0)
    return compounds.affine(call.builder, value.node, numbers, zero, call.source)


def _negative(call: Call) -> str:
    one, zero = np.asarray(-1.0), np.asarray(0.0)
    return compounds.affine(call.builder, call.value("self").node, one, zero, call.source)


def _nothing(call: Call) -> str:
    return call.value("input" if call["self"] is None else "self").node


def _dropout(call: Call) -> str:
    if call["train"] is not False and call["p"] != 0:
        raise call.refuse(
            "it drops values at random in evaluation too; use nn.Dropout, or F.dropout with "
            "training=self.training"
        )
    return call.value("input").node


def _native_dropout(call: Call) -> list[str | None]:
    return [_dropout(call), None]


def _same_shape(call: Call) -> str:
    value = call.value("self")
    if call.result() != call.shape(value):
        raise call.refuse(
            "it repeats values; the engine has no expand; concatenation of channels runs on it"
        )
    return value.node


def _last(call: Call) -> str:
    """What the host does at the end."""
    kind = call.operation.partition(".")[0].strip("_")
    value = call.value("self")
    dim = call["dim"]
    if kind == "argmax" and dim is None:
        raise call.refuse("it looks at all pictures of a batch at once; name the axis: dim=1")
    shape = call.shape(value)
    axis = 0 if kind == "sigmoid" else call.axis(dim, value)
    if not shape:
        raise call.refuse("the network gives one number without an axis")
    name = call.builder.add(HostOperator(kind, axis), (value.node,), call.source)
    if kind == "argmax" and call["keepdim"]:
        kept = (*shape[:axis], 1, *shape[axis + 1 :])
        return call.builder.reshape(name, kept, call.source)
    return name


_PLAIN: dict[str, Handler] = {
    "relu": _relu,
    "relu6": _relu6,
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "neg": _negative,
}
_BINARY: dict[str, Handler] = {
    "add": _sum,
    "sub": _sum,
    "rsub": _sum,
    "mul": _product,
    "multiply": _product,
    "div": _product,
    "divide": _product,
    "true_divide": _product,
    "subtract": _sum,
}

ELEMENTWISE: dict[str, Handler] = {
    **{
        f"{name}{place}.{overload}": handler
        for name, handler in _PLAIN.items()
        for place in ("", "_")
        for overload in ("default", "Tensor")
    },
    **{
        f"{name}{place}.{overload}": handler
        for name, handler in _BINARY.items()
        for place in ("", "_")
        for overload in ("Tensor", "Scalar", "Tensor_mode", "Scalar_mode")
    },
    "maximum.default": _maximum,
    "minimum.default": _maximum,
    **dict.fromkeys(
        (
            "clone.default",
            "contiguous.default",
            "detach.default",
            "detach_.default",
            "alias.default",
            "lift_fresh_copy.default",
            "positive.default",
            "to.dtype",
            "to.device",
            "to.dtype_layout",
            "to.other",
            "type_as.default",
            "_to_copy.default",
        ),
        _nothing,
    ),
    **dict.fromkeys(
        (
            f"{name}{place}.default"
            for name in ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
            for place in ("", "_")
        ),
        _dropout,
    ),
    "native_dropout.default": _native_dropout,
    "expand.default": _same_shape,
    "expand_as.default": _same_shape,
    "softmax.int": _last,
    "_softmax.default": _last,
    "log_softmax.int": _last,
    "_log_softmax.default": _last,
    "sigmoid.default": _last,
    "sigmoid_.default": _last,
    "argmax.default": _last,
}
"""The handlers of the operators of ATen, by their names with overloads."""
