"""What may come after what runs on the host."""

from __future__ import annotations

from dpnet.model.graph.nodes import Graph, GraphError, HostOperator, Reshape
from dpnet.model.graph.reading.advice import refusal

__all__ = ["check_last"]


def check_last(graph: Graph) -> None:
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
