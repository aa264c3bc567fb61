"""ATen's convolutions, matrices, batch norms and poolings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph import compounds
from dpnet.model.graph.builder import sourced
from dpnet.model.graph.nodes import AveragePool, Convolution, MaxPool, Padding, Pair
from dpnet.model.graph.pooling import Windows, adaptive, average_pool, max_pool
from dpnet.model.graph.reading.calls import Call, Handler

__all__ = ["LAYERS"]

Floats = NDArray[np.float64]


def _convolution(call: Call) -> str:
    if call["transposed"]:
        raise call.refuse("the engine has no transposed convolution; convolutions run on it")
    weight, parameter = call.weight("weight")
    if weight.ndim not in (3, 4):
        raise call.refuse(
            f"the engine has no convolution in {weight.ndim - 2} dimensions; those in one and two "
            "run on it"
        )
    signal = weight.ndim == 3
    kernel = weight[:, :, None, :] if signal else weight
    dilation = call.pair("dilation", 1, signal=signal)
    bias = call.constant("bias")
    operator = Convolution(
        kernel,
        np.zeros(len(kernel)) if bias is None else bias,
        call.pair("stride", 1, signal=signal),
        dilation,
        _padding(call, kernel.shape[2:], dilation, signal),
        call["groups"] or 1,
        parameter,
    )
    name = call.batched("input")
    if len(call.builder.shape(name)) != weight.ndim - 1:
        raise call.refuse(
            f"it takes the shape {call.builder.shape(name)} without the batch; give pictures with "
            "a batch in front"
        )
    return compounds.convolve(call.builder, name, operator, call.source)


def _padding(call: Call, kernel: tuple[int, ...], dilation: Pair, signal: bool) -> Padding:
    given = call["padding"]
    if given == "valid":
        return (0, 0, 0, 0)
    if given == "same":
        # What cannot be shared evenly comes after the map.
        totals = [spread * (size - 1) for size, spread in zip(kernel, dilation, strict=True)]
        (top, bottom), (left, right) = [(total // 2, total - total // 2) for total in totals]
        return (top, bottom, left, right)
    if isinstance(given, list) and given and isinstance(given[0], tuple):
        # ONNX has another padding before than behind.
        (top, bottom), (left, right) = [(0, 0), *given][-2:]
        return (top, bottom, left, right)
    rows, columns = call.pair("padding", 0, signal=signal)
    return (rows, rows, columns, columns)


def _linear(call: Call) -> str:
    weight, parameter = call.weight("weight")
    return _matrix(call, "input", weight, call.constant("bias"), parameter)


def _matmul(call: Call) -> str:
    weight, parameter = call.weight("other" if "other" in call.arguments else "mat2")
    return _matrix(call, "self" if call["mat1"] is None else "mat1", weight.T, None, parameter)


def _addmm(call: Call) -> str:
    if call["alpha"] != 1 or call["beta"] != 1:
        raise call.refuse("alpha and beta must be 1")
    weight, parameter = call.weight("mat2")
    return _matrix(call, "mat1", weight.T, call.constant("self"), parameter)


def _matrix(call: Call, name: str, weight: Floats, bias: Floats | None, parameter: str) -> str:
    if weight.ndim != 2:
        raise call.refuse(f"the weight must be a matrix, not of shape {weight.shape}")
    value = call.value(name)
    if not call.shape(value):
        raise call.refuse("it works across the pictures of a batch; the engine computes each alone")
    offset = np.zeros(len(weight)) if bias is None else np.broadcast_to(bias, (len(weight),)).copy()
    return compounds.linear(call.builder, value.node, weight, offset, parameter, call.source)


def _batch_norm(call: Call) -> str:
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if call["training"] or mean is None or variance is None:
        raise call.refuse(
            "it takes mean and variance from the batch, not from training; the engine needs "
            "track_running_stats=True and evaluation mode"
        )
    scale = 1 / np.sqrt(variance + call["eps"])
    weight, bias = call.constant("weight"), call.constant("bias")
    scale = scale if weight is None else scale * weight
    offset = (0.0 if bias is None else bias) - mean * scale
    name = call.batched("input")
    shape = (-1, *[1] * (len(call.builder.shape(name)) - 1))
    return compounds.affine(
        call.builder, name, scale.reshape(shape), offset.reshape(shape), call.source
    )


def _batch_norm_and_statistics(call: Call) -> list[str | None]:
    return [_batch_norm(call), None, None]


def _max_pool(call: Call) -> str:
    rows, columns = _windows(call)
    with sourced(call.source):
        operator = max_pool(rows, columns)
    return _pooled(call, operator)


def _max_pool_and_indices(call: Call) -> list[str | None]:
    return [_max_pool(call), None]


def _average_pool(call: Call) -> str:
    counted = call["count_include_pad"]
    override = call["divisor_override"]
    rows, columns = _windows(call)
    with sourced(call.source):
        operator = average_pool(rows, columns, with_padding=counted, override=override)
    return _pooled(call, operator)


def _windows(call: Call) -> tuple[Windows, Windows]:
    """The windows in height and width; of a signal's height, one of one value."""
    rank = len(call.builder.shape(call.batched("self")))
    signal = rank == 2
    kernel = call.pair("kernel_size", signal=signal)
    stride = call.pair("stride", list(kernel[signal:]), signal=signal)
    padding = call.pair("padding", 0, signal=signal)
    dilation = call.pair("dilation", 1, signal=signal)
    sizes = (1, *call.builder.shape(call.batched("self"))[1:])[-2:]
    ceil = bool(call["ceil_mode"])
    rows, columns = (
        Windows(size, reach, step, before, spread, ceil)
        for size, reach, step, before, spread in zip(
            sizes, kernel, stride, padding, dilation, strict=True
        )
    )
    return rows, columns


def _adaptive_average(call: Call) -> str:
    return _pooled(call, average_pool(*_adaptive_windows(call)))


def _adaptive_max(call: Call) -> list[str | None]:
    return [_pooled(call, max_pool(*_adaptive_windows(call))), None]


def _adaptive_windows(call: Call) -> tuple[Windows, Windows]:
    shape = call.builder.shape(call.batched("self"))
    sizes = (1, *shape[1:])[-2:]
    wanted = call.results[0][2:]
    counts = (1, *wanted)[-2:]
    with sourced(call.source):
        rows, columns = (adaptive(size, count) for size, count in zip(sizes, counts, strict=True))
    return rows, columns


def _pooled(call: Call, operator: MaxPool | AveragePool) -> str:
    return compounds.pool(call.builder, call.batched("self"), operator, call.source)


def _mean(call: Call) -> str:
    value = call.value("self")
    if call["dim"] is None or call["dim"] == []:
        raise call.refuse("it averages over the batch too; name the axes: dim=(2, 3)")
    dims = [call["dim"]] if isinstance(call["dim"], int) else call["dim"]
    axes = [call.axis(dim, value) for dim in dims]
    total = call.operation.startswith("sum")
    return compounds.average(
        call.builder, value.node, axes, keep=bool(call["keepdim"]), total=total, source=call.source
    )


LAYERS: dict[str, Handler] = {
    "conv1d.default": _convolution,
    "conv1d.padding": _convolution,
    "conv2d.default": _convolution,
    "conv2d.padding": _convolution,
    "convolution.default": _convolution,
    "linear.default": _linear,
    "matmul.default": _matmul,
    "mm.default": _matmul,
    "addmm.default": _addmm,
    "batch_norm.default": _batch_norm,
    "_native_batch_norm_legit_no_training.default": _batch_norm_and_statistics,
    "max_pool1d.default": _max_pool,
    "max_pool2d.default": _max_pool,
    "max_pool1d_with_indices.default": _max_pool_and_indices,
    "max_pool2d_with_indices.default": _max_pool_and_indices,
    "avg_pool1d.default": _average_pool,
    "avg_pool2d.default": _average_pool,
    "adaptive_avg_pool1d.default": _adaptive_average,
    "adaptive_avg_pool2d.default": _adaptive_average,
    "_adaptive_avg_pool2d.default": _adaptive_average,
    "adaptive_max_pool1d.default": _adaptive_max,
    "adaptive_max_pool2d.default": _adaptive_max,
    "mean.dim": _mean,
    "mean.default": _mean,
    "sum.dim_IntList": _mean,
    "sum.default": _mean,
}
"""The handlers of the operators of ATen, by their names with overloads."""
