"""An exported program as a graph: one operation after the other, each refused or written."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from dpnet.model.graph.builder import Builder
from dpnet.model.graph.nodes import Graph, GraphError, HostOperator, Reshape, Shape
from dpnet.model.graph.reading.advice import refusal
from dpnet.model.graph.reading.arranging import ARRANGING
from dpnet.model.graph.reading.calls import Call, Constant, Handler, Value
from dpnet.model.graph.reading.elementwise import ELEMENTWISE
from dpnet.model.graph.reading.layers import LAYERS
from dpnet.model.graph.reading.sources import source_of
from dpnet.model.graph.reading.writes import check_writes, is_assertion

__all__ = ["read_program"]

_HANDLERS: dict[str, Handler] = {**LAYERS, **ELEMENTWISE, **ARRANGING}
_TRAINING = {"batch_norm": "training", "dropout": "train", "feature_dropout": "train"}


def read_program(program: ExportedProgram, name: str) -> Graph:
    """The graph of a program in evaluation mode; `GraphError` names the source of what it
    refuses."""
    reader = _Reader(program, name)
    check_writes(program.graph, reader.states)
    return reader.graph()


class _Reader:
    """Values of a program's nodes by their names: nodes of the graph, or constants."""

    def __init__(self, program: ExportedProgram, name: str) -> None:
        self.program = program
        self.builder = Builder(name)
        self.values: dict[str, Any] = {}
        self.states: set[str] = set()
        self.batch = 0
        self._read_inputs()
        self.live = _needed(program.graph)

    def graph(self) -> Graph:
        """Everything read; the output last."""
        for node in self.program.graph.nodes:
            if node.op == "call_function" and not is_assertion(node):
                self._read(node)
            elif node.op == "get_attr":
                raise GraphError(f"{source_of(node)}: {_higher(node)}")
        return self._finished()

    def _read_inputs(self) -> None:
        held = {**self.program.constants, **self.program.state_dict}
        examples = {node.name: node for node in self.program.graph.nodes}
        given = []
        for spec in self.program.graph_signature.input_specs:
            argument = spec.arg.name
            if spec.target is None:
                given.append(examples[argument])
                continue
            self.states.add(argument)
            parameter = spec.kind.name == "PARAMETER"
            value = held.get(spec.target)
            if isinstance(value, Tensor):
                names = frozenset([spec.target] if parameter else [])
                self.values[argument] = Constant(value.detach().clone(), names)
        if len(given) != 1:
            raise GraphError(
                f"the network takes {len(given)} inputs ({_listed(given)}); the engine takes one "
                "picture"
            )
        self._read_input(given[0])

    def _read_input(self, node: fx.Node) -> None:
        example = node.meta["val"]
        if not isinstance(example, Tensor):
            raise GraphError(f"the network's input must be a tensor, not {type(example).__name__}")
        if example.is_complex() or not example.is_floating_point():
            kind = str(example.dtype).removeprefix("torch.")
            raise GraphError(
                f"the network's input must be real floating point numbers, not {kind}; give "
                "pictures as float32"
            )
        shape = _shape(node)
        if len(shape) < 2:
            raise GraphError(f"the example input must have a batch in front, not the shape {shape}")
        self.batch = shape[0]
        name = self.builder.input(shape[1:], source_of(node))
        self.values[node.name] = Value(name, True)

    def _read(self, node: fx.Node) -> None:
        arguments = _bound(node)
        inputs = [self.values.get(one.name) for one in node.all_input_nodes]
        depends = any(isinstance(value, (Value, list)) for value in inputs)
        if not depends and None not in inputs:
            self.values[node.name] = self._computed(node, arguments)
        elif node.name in self.live:
            self.values[node.name] = self._written(node, arguments)

    def _computed(self, node: fx.Node, arguments: Mapping[str, Any]) -> Any:
        """A constant, computed by PyTorch as the net would."""
        found = [value for value in map(self._look, node.all_input_nodes)]
        random = any(one.random for one in found if isinstance(one, Constant))
        tags = getattr(node.target, "tags", ())
        random = random or torch.Tag.nondeterministic_seeded in tags
        names = frozenset[str]().union(*(one.parameters for one in found))
        with torch.no_grad():
            args, kwargs = fx.map_arg((node.args, node.kwargs), lambda one: self._look(one).value)
            value = node.target(*args, **_on_the_cpu(kwargs))  # type: ignore[operator]
        return Constant(value, names, random)

    def _look(self, node: fx.Node) -> Any:
        return self.values[node.name]

    def _written(self, node: fx.Node, arguments: Mapping[str, Any]) -> Any:
        if node.target is operator.getitem:
            return self._part(node)
        operation = str(node.target).removeprefix("aten.")
        handler = _HANDLERS.get(operation)
        call = self._call(node, operation, arguments)
        if handler is None:
            raise call.refuse(_higher(node) or refusal(operation))
        _check_type(node, operation, call)
        found = handler(call)
        if isinstance(found, str):
            return self._value(node, found, call.results[0])
        return [
            None if name is None else self._value(node, name, shape)
            for name, shape in zip(found, call.results, strict=False)
        ]

    def _call(self, node: fx.Node, operation: str, arguments: Mapping[str, Any]) -> Call:
        known = fx.map_arg(dict(arguments), lambda one: self.values.get(one.name, one))
        return Call(self.builder, source_of(node), operation, known, _shapes(node), self.batch)

    def _part(self, node: fx.Node) -> Value:
        whole, place = node.args
        assert isinstance(whole, fx.Node) and isinstance(place, int)
        found = self.values[whole.name][place]
        if found is None:
            raise GraphError(f"{source_of(node)}: the engine gives no indices of maxima")
        assert isinstance(found, Value)
        return found

    def _value(self, node: fx.Node, name: str, shape: Shape) -> Value:
        """A node as PyTorch's tensor of this shape."""
        own = self.builder.shape(name)
        if shape == (self.batch, *own):
            return Value(name, True)
        if self.batch == 1 and shape == own:
            return Value(name, False)
        raise GraphError(
            f"{source_of(node)}: it makes the shape {shape}, which was read as {own} without "
            f"a batch of {self.batch}; the engine cannot tell the pictures of the batch apart"
        )

    def _finished(self) -> Graph:
        outputs = self.program.graph_signature.output_specs
        given = next(node for node in self.program.graph.nodes if node.op == "output")
        users = [spec.arg for spec in outputs if spec.kind.name == "USER_OUTPUT"]
        if len(users) != 1:
            raise GraphError(
                f"the network gives {len(users)} results; the engine gives one: return a single "
                "tensor in evaluation mode"
            )
        name = getattr(users[0], "name", None)
        value = self.values.get(name) if name is not None else None
        if not isinstance(value, Value):
            raise GraphError("the network's result does not depend on its input")
        del given
        graph = self.builder.graph(value.node)
        _check_last(graph)
        return graph


def _needed(graph: fx.Graph) -> set[str]:
    """The names of the nodes that the output needs."""
    needed: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node.name in needed:
            needed.update(one.name for one in node.all_input_nodes)
    return needed


def _bound(node: fx.Node) -> dict[str, Any]:
    """Arguments by the names of the operator's schema, with its defaults."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {str(place): one for place, one in enumerate(node.args)}
    names = [argument.name for argument in schema.arguments]
    defaults = {one.name: one.default_value for one in schema.arguments if one.has_default_value()}
    return {
        **dict.fromkeys(names),
        **defaults,
        **dict(zip(names, node.args, strict=False)),
        **node.kwargs,
    }


def _shape(node: fx.Node) -> Shape:
    return _shapes(node)[0]


def _shapes(node: fx.Node) -> Sequence[Shape]:
    """The shapes of what a node gives; `GraphError` where they are not known."""
    given = node.meta.get("val")
    found = []
    for one in given if isinstance(given, (list, tuple)) else [given]:
        sizes = one.shape if isinstance(one, Tensor) else ()
        if not all(isinstance(size, int) for size in sizes):
            raise GraphError(
                f"{source_of(node)}: its shape {tuple(map(str, sizes))} is not fixed; export with "
                "fixed shapes (no dynamic_shapes)"
            )
        found.append(tuple(map(int, sizes)))
    return found


def _check_type(node: fx.Node, operation: str, call: Call) -> None:
    """`GraphError` unless what a node gives are real floating point numbers."""
    given = node.meta.get("val")
    first = given[0] if isinstance(given, (list, tuple)) else given
    if not isinstance(first, Tensor):
        raise call.refuse(_higher(node) or refusal(operation))
    if not first.is_floating_point() and not operation.startswith("argmax"):
        before = [one for one in node.all_input_nodes if isinstance(one.meta.get("val"), Tensor)]
        if all(one.meta["val"].is_floating_point() for one in before):
            kind = str(first.dtype).removeprefix("torch.")
            raise call.refuse(f"it makes {kind} of floating point; the engine's maps are real")


def _check_last(graph: Graph) -> None:
    """`GraphError` if something but the host's comes after what the host does."""
    after: set[str] = set()
    for node in graph:
        if after.intersection(node.inputs) and not isinstance(
            node.operator, (HostOperator, Reshape)
        ):
            hosts = [graph[name] for name in node.inputs if name in after]
            while not isinstance(hosts[0].operator, HostOperator):
                hosts = [graph[hosts[0].inputs[0]]]
            kind = hosts[0].operator.kind
            raise GraphError(f"{hosts[0].source}: {refusal(kind)}")
        if isinstance(node.operator, HostOperator) or after.intersection(node.inputs):
            after.add(node.name)


def _higher(node: fx.Node) -> str:
    """What to say of an operation of higher order; empty for others."""
    name = getattr(node.target, "__name__", str(node.target))
    if name in ("cond", "while_loop", "map_impl", "scan") or node.op == "get_attr":
        return (
            "what runs here depends on the picture; the engine does the same for every picture: "
            "leave the control flow out of forward"
        )
    if name.startswith("wrap_with"):
        return refusal(name)
    if not hasattr(node.target, "_schema"):
        return (
            f"it computes {name} with a number that depends on the picture; the engine's constants "
            "are the same for every picture"
        )
    return ""


def _on_the_cpu(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: "cpu" if name == "device" else value for name, value in kwargs.items()}


def _listed(nodes: Iterable[fx.Node]) -> str:
    return ", ".join(node.name for node in nodes) or "none"
