"""The graphs published with MLPerf Tiny's weights: read, and compared with our networks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.files import opened
from dpnet.model.networks.safetensors_file import WeightsError

WEIGHTED = ("conv", "depthwise", "linear")
OPERATORS = (*WEIGHTED, "add", "average_pool", "reshape", "softmax")
LARGEST = 1 << 20
CLOSE = 1e-4  # of the largest value: what float32 leaves of another order of additions


@dataclass(frozen=True)
class Operation:
    """An operation of a graph: `inputs` by name, "input" the network's own; `shape` of the result
    (n, …, channels); `padding` left, right, top, bottom."""

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    relu: bool = False


def read_graph(path: Path) -> tuple[Operation, ...]:
    """The operations in their order; `WeightsError` for a file that is none of these graphs."""
    try:
        with opened(path) as (file, _):
            document = json.loads(file.read(LARGEST))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: no JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(document, list) or not document:
        raise WeightsError(f"{path}: must be a list of operations")
    return tuple(_operation(path, n, entry) for n, entry in enumerate(document))


def _operation(path: Path, number: int, entry: Any) -> Operation:
    try:
        found = Operation(
            name=str(entry["name"]),
            op=str(entry["op"]),
            inputs=tuple(map(str, entry["inputs"])),
            shape=tuple(map(int, entry["output_shape_nhwc"])),
            stride=_integers(entry.get("stride", (1, 1)), 2),
            padding=_integers(entry.get("pad_left_right_top_bottom", (0, 0, 0, 0)), 4),
            relu={"relu": True, None: False}[entry.get("activation")],
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: operation {number} cannot be read: {error!r}") from error
    if found.op not in OPERATORS:
        raise WeightsError(f"{path}: {found.name} must be one of {OPERATORS}, not {found.op!r}")
    return found


def _integers(values: Any, count: int) -> Any:
    numbers = tuple(map(int, values))
    if len(numbers) != count:
        raise ValueError(f"{count} numbers are needed, not {values!r}")
    return numbers


def evaluate(
    operations: tuple[Operation, ...], tensors: Mapping[str, Tensor], x: Tensor
) -> dict[str, Tensor]:
    """What each operation gives for a batch `x` (n, channels, …), before its ReLU, by name.

    A softmax is left out.  `WeightsError` for a result of another shape than the graph says.
    """
    values, raw = {"input": x}, {}
    for operation in operations:
        missing = [name for name in operation.inputs if name not in values]
        if missing:
            raise WeightsError(f"{operation.name} reads {missing[0]!r}, which is not before it")
        inputs = [values[name] for name in operation.inputs]
        try:
            result = _compute(operation, inputs, tensors)
        except (IndexError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(f"{operation.name} cannot be computed: {reason}") from error
        shape = (len(x), *operation.shape[-1:], *operation.shape[1:-1])
        if tuple(result.shape) != shape:
            raise WeightsError(f"{operation.name} must give {shape}, not {tuple(result.shape)}")
        raw[operation.name] = result
        values[operation.name] = functional.relu(result) if operation.relu else result
    return raw


def _compute(operation: Operation, inputs: list[Tensor], tensors: Mapping[str, Tensor]) -> Tensor:
    x = inputs[0]
    if operation.op == "add":
        return x + inputs[1]
    if operation.op == "average_pool":
        return functional.adaptive_avg_pool2d(x, 1)
    if operation.op == "reshape":
        return x.flatten(1)
    if operation.op == "softmax":
        return x
    weight, bias = (tensors[f"{operation.name}.{part}"] for part in ("weight", "bias"))
    if operation.op == "linear":
        return functional.linear(x, weight, bias)
    groups = x.shape[1] if operation.op == "depthwise" else 1
    padded = functional.pad(x, operation.padding)
    return functional.conv2d(padded, weight, bias, operation.stride, groups=groups)


@torch.no_grad()
def check_graph(
    net: nn.Module, operations: tuple[Operation, ...], tensors: Mapping[str, Tensor], x: Tensor
) -> None:
    """`WeightsError` where the graph with `tensors` computes something else for `x` than the net,
    naming the first layer; or where one of the two has a layer with weights that the other lacks.
    """
    weighted = {operation.name for operation in operations if operation.op in WEIGHTED}
    layers = {name.rpartition(".")[0] for name in tensors}
    if weighted != layers:
        raise WeightsError(f"{min(weighted ^ layers)} is in the graph or in the weights alone")
    seen: dict[str, Tensor] = {}
    handles = [
        net.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output})
        )
        for name in layers
    ]
    try:
        seen["output"] = net(x)
    finally:
        for handle in handles:
            handle.remove()
    expected = evaluate(operations, tensors, x)
    expected["output"] = expected[operations[-1].name]
    for name in [n for n in (*expected, "output") if n in seen]:
        _compare(name, seen[name], expected[name])


def _compare(name: str, found: Tensor, expected: Tensor) -> None:
    if found.shape != expected.shape:
        raise WeightsError(
            f"{name} is {tuple(expected.shape)} in the graph and {tuple(found.shape)} in the net"
        )
    if float((found - expected).abs().max()) > CLOSE * float(expected.abs().max()):
        raise WeightsError(
            f"{name} gives other values in the graph than in the net: its inputs, stride, padding "
            "or what comes before it differ"
        )
