"""A graph without reshapes and permutations: every value found in a map (NumPy only).

Reshapes, permutations, selections and padding move values and compute nothing, so they are kept as
views (which value of which map stands where) until an operation needs them: a matrix gets its
columns in the map's order, a convolution the zeros around it as padding, an addition the
selection, and everything else a convolution with weights 0 and 1 where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dpnet.model.graph.builder import Builder
from dpnet.model.graph.nodes import (
    Add,
    AveragePool,
    BatchNorm,
    Clamp,
    Concatenate,
    Convolution,
    Graph,
    GraphError,
    HostOperator,
    Input,
    Linear,
    MaxPool,
    Node,
    Operator,
    Pad,
    Permute,
    Reshape,
    Select,
    Shape,
)
from dpnet.model.graph.views import Lattice, View, lattice, own

__all__ = ["without_layouts"]

_CURE = (
    "the engine stores maps channel by channel; arrange values where a Linear reads them, or keep "
    "the maps as they are"
)


def without_layouts(graph: Graph) -> Graph:
    """The graph with maps (C, H, W) only, and without Reshape, Permute and Linear.

    Select and Pad are left where an addition reads them.  The input is a map of the same values in
    the same order.  Raises `GraphError` where the values come in an order that no map has.
    """
    failed: GraphError | None = None
    for shape in _input_shapes(graph):
        try:
            return _Layouts(graph, shape).graph()
        except GraphError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _input_shapes(graph: Graph) -> list[Shape]:
    """The maps that the input may be: as it is, or as a reshape makes it at once."""
    shape = graph.input.shape
    if len(shape) > 3:
        raise GraphError(f"the input must be a map (channels, height, width), not {shape}")
    shapes = [_three(shape)]
    values = {graph.input.name: np.arange(int(np.prod(shape))).reshape(shape)}
    for node in graph.nodes[1:]:
        if isinstance(node.operator, (Reshape, Permute)) and node.inputs[0] in values:
            given = values[node.inputs[0]]
            index = _moved(node, given)
            values[node.name] = index
            if index.ndim <= 3 and (np.diff(index.reshape(-1)) == 1).all():
                shapes.append(_three(index.shape))
    return list(dict.fromkeys(shapes))


def _three(shape: Shape) -> Shape:
    """A shape as a map's: a vector has one position, a signal one row."""
    return (*shape[:1], *([1] * (3 - len(shape))), *shape[1:]) if shape else (1, 1, 1)


def _moved(node: Node, index: np.ndarray) -> np.ndarray:
    if isinstance(node.operator, Permute):
        return index.transpose(node.operator.axes)
    return index.reshape(node.shape)


class _Layouts:
    """Views of the nodes of a graph, by their names, in a graph that is written anew."""

    def __init__(self, graph: Graph, shape: Shape) -> None:
        self.old = graph
        self.builder = Builder(graph.name)
        name = self.builder.input(shape, replace(graph.input.source, node=graph.input.name))
        view = own(name, shape, graph.input.source)
        first = view.arranged(view.index.reshape(graph.input.shape), graph.input.source)
        self.views = {graph.input.name: first}
        self.made: dict[tuple[str, bytes, Shape, bool], str] = {}

    def graph(self) -> Graph:
        """The new graph."""
        for node in self.old.nodes[1:]:
            self.views[node.name] = self._view(node, [self.views[name] for name in node.inputs])
        result = self.views[self.old.output.name]
        if not result.in_order:
            result = self._as_map(result, self.old.output)
        return self.builder.graph(result.base)

    def _view(self, node: Node, views: list[View]) -> View:
        view = views[0]
        match node.operator:
            case Reshape() | Permute():
                return view.arranged(_moved(node, view.index), node.source)
            case Select():
                return view.arranged(_selected(node.operator, view), node.source)
            case Pad():
                return self._pad(node, node.operator, view)
            case Linear():
                return self._linear(node, node.operator, view)
            case Convolution():
                return self._convolution(node, node.operator, view)
            case AveragePool() | MaxPool():
                return self._pool(node, node.operator, view)
            case Clamp():
                return self._clamp(node, node.operator, view)
            case BatchNorm():
                return self._batch_norm(node, node.operator, view)
            case Add():
                return self._add(node, views)
            case Concatenate():
                return self._concatenate(node, views)
            case HostOperator():
                return self._host(node, node.operator, view)
            case Input():
                raise GraphError(f"{node.source}: the engine takes one input")

    def _write(self, node: Node, operator: Operator, *inputs: str) -> View:
        """An operation of the new graph with the name of `node`."""
        name = self.builder.add(operator, inputs, replace(node.source, node=node.name))
        return own(name, self.builder.shape(name), node.source)

    def _pad(self, node: Node, operator: Pad, view: View) -> View:
        padded = view.arranged(_padded(operator, view), node.source)
        if not view.whole and lattice(padded) is None and lattice(view) is not None:
            # Zeros where values were cut off: the part must be a map before.
            view = self._as_map(view, node)
            return view.arranged(_padded(operator, view), node.source)
        return padded

    def _linear(self, node: Node, operator: Linear, view: View) -> View:
        """A convolution whose kernel is the whole map, its columns in the map's order."""
        size = int(np.prod(view.shape))
        held = view.index >= 0
        weight = np.zeros((size, len(operator.weight)))
        np.add.at(weight, view.index[held], operator.weight.T[held])
        kernel = np.ascontiguousarray(weight.T).reshape(-1, *view.shape)
        found = self._write(
            node, Convolution(kernel, operator.bias, parameter=operator.parameter), view.base
        )
        return found.arranged(found.index.reshape(-1), node.source)

    def _convolution(self, node: Node, operator: Convolution, view: View) -> View:
        border = self._border(view)
        if border is not None:
            padding = _sum(operator.padding, border)
            return self._write(node, replace(operator, padding=padding), view.base)
        pointwise = (operator.weight.shape[2:], operator.stride, operator.padding)
        if pointwise == ((1, 1), (1, 1), (0, 0, 0, 0)) and _same_places(view):
            found = self._write(node, operator, view.base)
            rows = np.arange(len(operator.weight)) * int(np.prod(view.shape[1:]))
            return found.arranged(rows[:, None, None] + view.index[:1], node.source)
        return self._write(node, operator, self._as_map(view, node).base)

    def _pool(self, node: Node, operator: AveragePool | MaxPool, view: View) -> View:
        if isinstance(operator, AveragePool) and (border := self._border(view)) is not None:
            padding = _sum(operator.padding, border)
            return self._write(node, replace(operator, padding=padding), view.base)
        everything = operator.kernel == view.index.shape[1:] and not any(operator.padding)
        if everything and not view.whole and _own_channels(view):
            kernel = (view.shape[1], view.shape[2])
            return self._write(node, replace(operator, kernel=kernel, stride=kernel), view.base)
        return self._write(node, operator, self._as_map(view, node).base)

    def _border(self, view: View) -> tuple[int, int, int, int] | None:
        if view.whole:
            return (0, 0, 0, 0)
        found = lattice(view) if view.padded else None
        return found.border if found is not None else None

    def _clamp(self, node: Node, operator: Clamp, view: View) -> View:
        zero = min(max(0.0, operator.low), operator.high)
        if view.padded and zero != 0:
            view = self._as_map(view, node)
        found = self._write(node, operator, view.base)
        return found.arranged(view.index, view.source)

    def _batch_norm(self, node: Node, operator: BatchNorm, view: View) -> View:
        shape = (-1, *[1] * (view.index.ndim - 1))
        values = np.stack([operator.scale, operator.offset])
        spread = np.broadcast_to(values.reshape(2, *shape), (2, *view.index.shape))
        held = view.index >= 0
        whole = np.stack([np.ones(view.shape[0]), np.zeros(view.shape[0])])
        whole[:, view.channels[held]] = spread[:, held]
        same = (whole[:, view.channels] == spread)[:, held].all()
        if not same or spread[1][~held].any():
            place = self._as_map(view, node)
            return self._write(node, operator, place.base).arranged(place.index, node.source)
        found = self._write(node, BatchNorm(whole[0], whole[1]), view.base)
        return found.arranged(view.index, view.source)

    def _add(self, node: Node, views: list[View]) -> View:
        first, second = views
        if first.shape == second.shape and np.array_equal(first.index, second.index):
            found = self._write(node, Add(), first.base, second.base)
            return found.arranged(first.index, first.source)
        names = [self._operand(view, node) for view in views]
        found = self._write(node, Add(), *names)
        return found.arranged(found.index.reshape(node.shape), node.source)

    def _concatenate(self, node: Node, views: list[View]) -> View:
        places = {view.shape[1:] for view in views}
        if len(places) > 1 or not all(view.complete for view in views):
            views = [self._as_map(view, node) for view in views]
        found = self._write(node, Concatenate(), *[view.base for view in views])
        ends = np.cumsum([0, *[int(np.prod(view.shape)) for view in views]])
        parts = [view.index + start for view, start in zip(views, ends[:-1], strict=True)]
        return found.arranged(np.concatenate(parts).reshape(node.shape), node.source)

    def _host(self, node: Node, operator: HostOperator, view: View) -> View:
        if operator.kind == "sigmoid":
            if view.padded:
                view = self._as_map(view, node)
            return self._write(node, operator, view.base).arranged(view.index, view.source)
        axis = _axis(view, operator.axis)
        if axis is None:
            raise GraphError(
                f"{node.source}: it looks along an axis that is none of the map's {view.shape}; "
                "apply it to the channels"
            )
        if operator.kind != "argmax":
            found = self._write(node, HostOperator(operator.kind, axis), view.base)
            return found.arranged(view.index, view.source)
        order = view.index.reshape(-1)
        if (np.diff(order) < 0).any():
            raise GraphError(f"{node.source}: argmax of values in another order; {_CURE}")
        found = self._write(node, HostOperator("argmax", axis), view.base)
        return found.arranged(found.index.reshape(node.shape), node.source)

    def _operand(self, view: View, node: Node) -> str:
        """What an addition reads: the map itself, or a part of it with channels of zeros."""
        three = view.arranged(view.index.reshape(_three(view.index.shape)), view.source)
        if three.whole:
            return view.base
        found = lattice(three)
        parts = found.selection() if found is not None else None
        if parts is None:
            return self._as_map(three, node).base
        select, pad = parts
        return self._once(three, True, lambda: self._selected(three, select, pad))

    def _selected(self, view: View, select: Select, pad: Pad | None) -> str:
        name, source = view.base, view.source
        whole = Select((0, 0, 0), (view.shape[0], view.shape[1], view.shape[2]), (1, 1, 1))
        if select != whole:
            name = self.builder.add(select, (name,), source)
        return name if pad is None else self.builder.add(pad, (name,), source)

    def _as_map(self, view: View, node: Node) -> View:
        """The view as a map of its own, by a convolution with weights 0 and 1 if it is none."""
        three = view.arranged(view.index.reshape(_three(view.index.shape)), view.source)
        if three.whole:
            return view
        found = lattice(three)
        if found is None:
            reader = (
                "" if str(node.source) == str(view.source) else f", and {node.source} reads them so"
            )
            raise GraphError(
                f"{view.source}: the values come in an order that no map has{reader}; {_CURE}"
            )
        name = self._once(three, False, lambda: self._convolved(found, view))
        made = own(name, self.builder.shape(name), view.source)
        return made.arranged(made.index.reshape(view.index.shape), view.source)

    def _convolved(self, found: Lattice, view: View) -> str:
        return self.builder.add(found.convolution(), (view.base,), view.source)

    def _once(self, view: View, part: bool, make: Callable[[], str]) -> str:
        """What `make` gives, the same node if it was made before."""
        key = (view.base, view.index.tobytes(), view.index.shape, part)
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]


def _selected(operator: Select, view: View) -> np.ndarray:
    limits = zip(operator.start, operator.stop, operator.step, strict=True)
    return view.index[tuple(slice(*limit) for limit in limits)]


def _padded(operator: Pad, view: View) -> np.ndarray:
    top, bottom, left, right = operator.padding
    sides = (operator.channels, (top, bottom), (left, right))
    return np.pad(view.index, sides, constant_values=-1)


def _sum(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int]
) -> tuple[int, int, int, int]:
    top, bottom, left, right = (a + b for a, b in zip(first, second, strict=True))
    return top, bottom, left, right


def _same_places(view: View) -> bool:
    """Whether every channel has the map's positions in one and the same order."""
    if view.index.ndim != 3 or len(view.index) != view.shape[0] or not view.complete:
        return False
    starts = np.arange(view.shape[0])[:, None, None] * (view.shape[1] * view.shape[2])
    return bool((view.index == view.index[:1] + starts).all())


def _own_channels(view: View) -> bool:
    """Whether every channel has the values of the map's own, in some order."""
    if len(view.index) != view.shape[0] or not view.complete:
        return False
    return bool((view.channels == np.arange(view.shape[0])[:, None, None]).all())


def _axis(view: View, axis: int) -> int | None:
    """The axis of the map along which an axis of the view goes, all of it; None for none."""
    if not view.complete:
        return None
    lines = np.moveaxis(view.index, axis, 0).reshape(view.index.shape[axis], -1)
    for place in range(3):
        step = int(np.prod(view.shape[place + 1 :]))
        along = lines // step % view.shape[place]
        count = np.arange(len(lines))[:, None]
        same = len(lines) == view.shape[place] and bool((along == count).all())
        if same and (lines - lines[:1] == count * step).all():
            return place
    return None
