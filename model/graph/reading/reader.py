"""An exported program as a graph: one operation after the other, each refused or written."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from dpnet.model.graph.builder import Builder
from dpnet.model.graph.nodes import Graph, GraphError, Shape
from dpnet.model.graph.reading.advice import refusal
from dpnet.model.graph.reading.arranging import ARRANGING
from dpnet.model.graph.reading.calls import Call, Constant, Handler, Value
from dpnet.model.graph.reading.elementwise import ELEMENTWISE
from dpnet.model.graph.reading.last import check_last
from dpnet.model.graph.reading.layers import LAYERS
from dpnet.model.graph.reading.sources import source_of
from dpnet.model.graph.reading.writes import check_writes, is_assertion

__all__ = ["read_program", "refusals_of"]

_CONTROL = ("cond", "while_loop", "scan", "map_impl", "associative_scan")
"""Operations whose arguments are graphs of their own."""

_HANDLERS: dict[str, Handler] = {**LAYERS, **ELEMENTWISE, **ARRANGING}


def read_program(program: ExportedProgram, name: str) -> Graph:
    """The graph of a program in evaluation mode; `GraphError` names the source of what it
    refuses."""
    reader = _Reader(program, name)
    for node in program.graph.nodes:
        _check_mode(node)
    check_writes(program.graph, set(reader.states))
    return reader.graph()


def refusals_of(program: ExportedProgram) -> Iterator[GraphError]:
    """Everything that `read_program` would refuse, in order, as far as the rest can be read without
    it."""
    reader = _Reader(program, "")
    try:
        check_writes(program.graph, set(reader.states))
    except GraphError as error:
        yield error
    yield from reader.refusals()


@dataclass(frozen=True)
class _State:
    """What a tensor is that does not depend on the picture, and what it is made of."""

    value: Any
    parameters: frozenset[str] = frozenset()
    random: bool = False

    def constant(self) -> Constant | None:
        """Its numbers, if it is a tensor."""
        if not isinstance(self.value, Tensor):
            return None
        tensor = self.value.detach().cpu()
        tensor = tensor if tensor.is_complex() else tensor.double()
        return Constant(tensor.numpy(), self.parameters, self.random)


class _Reader:
    """What the nodes of a program are, by their names: `values` of the graph, or `states`."""

    def __init__(self, program: ExportedProgram, name: str) -> None:
        self.program = program
        self.builder = Builder(name)
        self.values: dict[str, Value | list[Value | None]] = {}
        self.states: dict[str, _State] = {}
        self.batch = 0
        self._read_inputs()
        self.live = _needed(program.graph)

    def graph(self) -> Graph:
        """Everything read; the output last."""
        for node in self.program.graph.nodes:
            if node.op == "call_function" and not is_assertion(node):
                self._read(node)
        return self._finished()

    def refusals(self) -> Iterator[GraphError]:
        """What is refused, node by node; a stand-in of its shape takes the place of each."""
        for node in self.program.graph.nodes:
            try:
                _check_mode(node)
                if node.op == "call_function" and not is_assertion(node):
                    self._read(node)
            except GraphError as error:
                yield error
                if not self._stand_in(node):
                    return
        try:
            self._finished()
        except GraphError as error:
            yield error

    def _stand_in(self, node: fx.Node) -> bool:
        """Something of the node's shape for those that read it; False where it has none."""
        given: Any = node.meta.get("val")
        several = isinstance(given, (list, tuple))
        tensors = list(given) if several else [given]
        if not all(isinstance(one, Tensor) for one in tensors):
            return False
        values: list[Value | None] = []
        for tensor in tensors:
            shape = tuple(int(size) for size in tensor.shape)
            batched = shape[:1] == (self.batch,)
            name = self.builder.input(shape[1:] if batched else shape, source_of(node))
            values.append(Value(name, batched))
        self.values[node.name] = values if several else Value(name, batched)
        return True

    def _read_inputs(self) -> None:
        held = {**self.program.constants, **self.program.state_dict}
        nodes = {node.name: node for node in self.program.graph.nodes}
        given = []
        for spec in self.program.graph_signature.input_specs:
            if spec.target is None:
                given.append(nodes[spec.arg.name])
                continue
            value = held.get(spec.target)
            value = value.detach().clone() if isinstance(value, Tensor) else value
            names = frozenset([spec.target] if spec.kind.name == "PARAMETER" else [])
            self.states[spec.arg.name] = _State(value, names)
        if len(given) != 1:
            listed = ", ".join(node.name for node in given) or "none"
            raise GraphError(
                f"the network takes {len(given)} inputs ({listed}); the engine takes one picture"
            )
        self._read_input(given[0])

    def _read_input(self, node: fx.Node) -> None:
        example = node.meta["val"]
        if not isinstance(example, Tensor):
            raise GraphError(f"the network's input must be a tensor, not {type(example).__name__}")
        if not example.is_floating_point():
            kind = str(example.dtype).removeprefix("torch.")
            raise GraphError(
                f"the network's input must be real floating point numbers, not {kind}; give "
                "pictures as float32"
            )
        shape = _shapes(node)[0]
        if len(shape) < 2:
            raise GraphError(f"the example input must have a batch in front, not the shape {shape}")
        self.batch = shape[0]
        self.values[node.name] = Value(self.builder.input(shape[1:], source_of(node)), True)

    def _read(self, node: fx.Node) -> None:
        if all(one.name in self.states for one in node.all_input_nodes):
            self.states[node.name] = self._computed(node)
        elif node.name in self.live:
            self.values[node.name] = self._written(node)

    def _computed(self, node: fx.Node) -> _State:
        """What does not depend on the picture, computed by PyTorch as the net would."""
        found = [self.states[one.name] for one in node.all_input_nodes]
        random = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
        with torch.no_grad():
            args, kwargs = fx.map_arg(
                (node.args, node.kwargs), lambda one: self.states[one.name].value
            )
            kwargs = {name: "cpu" if name == "device" else one for name, one in kwargs.items()}
            value = node.target(*args, **kwargs)  # type: ignore[operator]
        names = frozenset[str]().union(*(one.parameters for one in found))
        return _State(value, names, random or any(one.random for one in found))

    def _written(self, node: fx.Node) -> Value | list[Value | None]:
        if node.target is operator.getitem:
            return self._part(node)
        operation = str(node.target).removeprefix("aten.")
        handler = _HANDLERS.get(operation)
        call = self._call(node, operation)
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

    def _call(self, node: fx.Node, operation: str) -> Call:
        known = fx.map_arg(_bound(node), self._look)
        return Call(self.builder, source_of(node), operation, known, _shapes(node), self.batch)

    def _look(self, node: fx.Node) -> Any:
        """A node as a handler takes it."""
        if node.name in self.states:
            return self.states[node.name].constant()
        return self.values.get(node.name)

    def _part(self, node: fx.Node) -> Value:
        whole, place = node.args
        assert isinstance(whole, fx.Node) and isinstance(place, int)
        parts = self.values[whole.name]
        assert isinstance(parts, list)
        found = parts[place]
        if found is None:
            raise GraphError(f"{source_of(node)}: the engine gives no indices of maxima")
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
        users = [spec.arg for spec in outputs if spec.kind.name == "USER_OUTPUT"]
        if len(users) != 1:
            raise GraphError(
                f"the network gives {len(users)} results; the engine gives one: return a single "
                "tensor in evaluation mode"
            )
        value = self.values.get(str(getattr(users[0], "name", "")))
        if not isinstance(value, Value):
            raise GraphError("the network's result does not depend on its input")
        graph = self.builder.graph(value.node)
        check_last(graph)
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


def _check_mode(node: fx.Node) -> None:
    """`GraphError` for control flow, and for a batch norm in training mode."""
    if getattr(node.target, "__name__", "") in _CONTROL:
        raise GraphError(
            f"{source_of(node)}: what runs here depends on the picture; the engine does the same "
            "for every picture: leave the control flow out of forward"
        )
    if str(node.target) == "aten.batch_norm.default" and node.args[5] and node.args[3] is not None:
        raise GraphError(
            f"{source_of(node)}: the network was exported in training mode; export net.eval()"
        )


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


def _higher(node: fx.Node) -> str:
    """What to say of an operation that is none of ATen's; empty for others."""
    name = getattr(node.target, "__name__", str(node.target))
    if name.startswith("wrap_with"):
        return refusal(name)
    if not hasattr(node.target, "_schema"):
        return (
            f"it computes {name} with a number that depends on the picture; the engine's constants "
            "are the same for every picture"
        )
    return ""
