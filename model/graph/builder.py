"""A graph written node by node, every shape checked (NumPy only)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

from dpnet.model.graph.nodes import (
    Graph,
    GraphError,
    Input,
    Node,
    Operator,
    Permute,
    Reshape,
    Shape,
    Source,
)
from dpnet.model.graph.shapes import result_shape

__all__ = ["Builder", "reaching", "sourced"]


class Builder:
    """Nodes in the order in which they are added; every error names the source it was given."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._nodes: dict[str, Node] = {}

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    def shape(self, name: str) -> Shape:
        """The shape of a node's result."""
        return self._nodes[name].shape

    def input(self, shape: Shape, source: Source) -> str:
        """Add the input; its name."""
        return self._keep(Input(), (), shape, source)

    def add(self, operator: Operator, inputs: Sequence[str], source: Source) -> str:
        """Add an operation; the name of its node, which is the source's or that with a number."""
        with sourced(source):
            shape = result_shape(operator, [self.shape(name) for name in inputs])
        return self._keep(operator, tuple(inputs), shape, source)

    def reshape(self, name: str, shape: Shape, source: Source) -> str:
        """The values of a node in the shape `shape`; the node itself if it has it already."""
        if shape == self.shape(name):
            return name
        if prod(shape) != prod(self.shape(name)):
            raise GraphError(f"{source}: the shape {self.shape(name)} cannot be read as {shape}")
        return self._keep(Reshape(), (name,), shape, source)

    def permute(self, name: str, axes: Sequence[int], source: Source) -> str:
        """The axes of a node in another order; the node itself if that is no other."""
        if list(axes) == sorted(axes):
            return name
        return self.add(Permute(tuple(axes)), (name,), source)

    def graph(self, output: str) -> Graph:
        """The graph of what `output` needs, and the input."""
        return Graph(reaching(tuple(self._nodes.values()), output), self.name)

    def _keep(
        self, operator: Operator, inputs: tuple[str, ...], shape: Shape, source: Source
    ) -> str:
        name, count = source.node, 1
        while name in self._nodes:
            count += 1
            name = f"{source.node}#{count}"
        self._nodes[name] = Node(name, operator, inputs, shape, source)
        return name


@contextmanager
def sourced(source: Source) -> Iterator[None]:
    """Errors of what is inside, which know no source, with this one before them."""
    try:
        yield
    except GraphError as error:
        raise GraphError(f"{source}: {error}") from None


def reaching(nodes: Sequence[Node], output: str) -> tuple[Node, ...]:
    """The first node and those that lead to `output`, in their order; `output` is the last."""
    needed = {output, nodes[0].name}
    for node in reversed(nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return tuple(node for node in nodes if node.name in needed)
