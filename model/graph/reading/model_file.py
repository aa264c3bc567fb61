"""ONNX files as graphs: one operator after the other, each refused or written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from dpnet.model.graph.builder import Builder
from dpnet.model.graph.nodes import Graph, GraphError, Shape, Source
from dpnet.model.graph.reading.advice import refusal
from dpnet.model.graph.reading.calls import Constant, Value
from dpnet.model.graph.reading.last import check_last
from dpnet.model.graph.reading.onnx_operators import OPERATORS, Operation

__all__ = ["from_file", "from_model", "refusals"]


def from_file(path: Path) -> Graph:
    """The graph of an ONNX file; see `dpnet.model.graph.reading`."""
    return from_model(_loaded(path), path.stem)


def refusals(path: Path, _: object = None) -> list[GraphError]:
    """See `dpnet.model.graph.reading`; what is behind an operation whose shape ONNX cannot tell is
    not looked at."""
    return list(_Reader(onnx.shape_inference.infer_shapes(_loaded(path)), "").refusals())


def _loaded(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise GraphError(f"{path}: there is no such file")
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:  # of many kinds
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise GraphError(f"{path}: it is no ONNX file, or damaged ({said})") from error
    return model


def from_model(model: onnx.ModelProto, name: str = "") -> Graph:
    """The graph of an ONNX model with float operators, of one input and one output.

    The first axis is the batch, of any size; other sizes must be fixed.
    """
    return _Reader(model, name).graph()


@dataclass(frozen=True)
class _Fixed:
    """A tensor that does not depend on the picture."""

    value: NDArray[Any]
    names: frozenset[str] = frozenset()


class _Reader:
    """What the tensors of a model are, by their names."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.model = model
        self.builder = Builder(name)
        self.fixed: dict[str, _Fixed] = {}
        self.values: dict[str, Value] = {}
        self.batch = 1
        own = [one for one in model.opset_import if one.domain in ("", "ai.onnx")]
        self.version = own[0].version if own else 1
        for held in model.graph.initializer:
            weight = _Fixed(onnx.numpy_helper.to_array(held), frozenset([held.name]))
            self.fixed[held.name] = weight
        self._read_input()

    def graph(self) -> Graph:
        """Everything read; the output last."""
        outputs = self.model.graph.output
        if len(outputs) != 1:
            raise GraphError(f"the network gives {len(outputs)} results; the engine gives one")
        for node, source in self._nodes(outputs[0].name):
            self._read(node, source)
        return self._finished()

    def refusals(self) -> Iterator[GraphError]:
        """What is refused, node by node; a stand-in of its shape takes the place of each."""
        for node, source in self._nodes(self.model.graph.output[0].name):
            try:
                self._read(node, source)
            except GraphError as error:
                yield error
                if not all([self._stand_in(name, source) for name in node.output]):
                    return
        try:
            self._finished()
        except GraphError as error:
            yield error

    def _nodes(self, output: str) -> Iterator[tuple[onnx.NodeProto, Source]]:
        """The nodes that an output needs, with their sources."""
        needed = _needed(self.model.graph, output)
        for place, node in enumerate(self.model.graph.node):
            if needed.intersection(node.output):
                yield node, Source(node.name or f"{node.op_type}_{place}", _path(node))

    def _stand_in(self, name: str, source: Source) -> bool:
        """Something of the shape that ONNX infers for a tensor; False where it infers none."""
        graph = self.model.graph
        infos = [one for one in (*graph.value_info, *graph.output) if one.name == name]
        if not infos or not infos[0].type.tensor_type.HasField("shape"):
            return False
        _, *sizes = [dim.dim_value for dim in infos[0].type.tensor_type.shape.dim] or [0]
        if not all(sizes):
            return False
        self.values[name] = Value(self.builder.input(tuple(sizes), source), True)
        return True

    def _finished(self) -> Graph:
        outputs = self.model.graph.output
        value = self.values.get(outputs[0].name)
        if value is None:
            raise GraphError("the network's result does not depend on its input")
        graph = self.builder.graph(value.node)
        check_last(graph)
        return graph

    def _read_input(self) -> None:
        inputs = [one for one in self.model.graph.input if one.name not in self.fixed]
        if len(inputs) != 1:
            listed = ", ".join(one.name for one in inputs) or "none"
            raise GraphError(
                f"the network takes {len(inputs)} inputs ({listed}); the engine takes one picture"
            )
        tensor = inputs[0].type.tensor_type
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type)
        if kind not in ("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16"):
            raise GraphError(
                f"the network's input must be real floating point numbers, not {kind}; give "
                "pictures as float32"
            )
        batch, *sizes = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim] or [0]
        if not sizes or not all(isinstance(size, int) for size in sizes):
            raise GraphError(
                f"the input {inputs[0].name} has the shape {[batch, *sizes]}; all sizes but the "
                "batch's must be fixed"
            )
        self.batch = batch if isinstance(batch, int) and batch > 0 else 1
        shape = tuple(int(size) for size in sizes)
        name = self.builder.input(shape, Source(inputs[0].name))
        self.values[inputs[0].name] = Value(name, True)

    def _read(self, node: onnx.NodeProto, source: Source) -> None:
        given = [name for name in node.input if name]
        if not any(name in self.values for name in given):
            self._compute(node, source)
        elif node.op_type == "Shape":
            value = self.values[node.input[0]]
            full = self._full(value)
            self.fixed[node.output[0]] = _Fixed(np.array(full, np.int64))
        else:
            self._write(node, source)

    def _compute(self, node: onnx.NodeProto, source: Source) -> None:
        """What does not depend on the picture, by ONNX's own definition."""
        if node.op_type.startswith("Random"):
            raise GraphError(f"{source}: it is drawn at random; make it an initializer")
        feeds = {name: self.fixed[name].value for name in node.input if name}
        names = frozenset[str]().union(*(self.fixed[name].names for name in feeds))
        infos = [onnx.helper.make_empty_tensor_value_info(name) for name in feeds]
        outs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output]
        graph = onnx.helper.make_graph([node], "one", infos, outs)
        model = onnx.helper.make_model(graph, opset_imports=self.model.opset_import)
        for name, value in zip(
            node.output, ReferenceEvaluator(model).run(None, feeds), strict=True
        ):
            self.fixed[name] = _Fixed(np.asarray(value), names)

    def _write(self, node: onnx.NodeProto, source: Source) -> None:
        write = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if write is None:
            raise GraphError(f"{source}: {refusal(node.op_type)}")
        operation = Operation(
            self.builder,
            source,
            node.op_type,
            tuple(self._look(name) for name in node.input),
            _attributes(node),
            self.batch,
            self.version,
            len(node.output),
        )
        for name, value in zip(node.output, write(operation), strict=False):
            self.values[name] = value

    def _look(self, name: str) -> Value | Constant | None:
        if not name:
            return None
        if name in self.values:
            return self.values[name]
        held = self.fixed[name]
        return Constant(np.asarray(held.value, dtype=np.float64), held.names)

    def _full(self, value: Value) -> Shape:
        shape = self.builder.shape(value.node)
        return (self.batch, *shape) if value.batched else shape


def _attributes(node: onnx.NodeProto) -> Mapping[str, Any]:
    found = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    return {
        name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()
    }


def _needed(graph: onnx.GraphProto, output: str) -> set[str]:
    """The names of the tensors that the output needs."""
    needed = {output}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed


def _path(node: onnx.NodeProto) -> str:
    """The module's path in a name such as /layer1/conv/Conv."""
    return ".".join(part for part in node.name.split("/")[:-1] if part)
