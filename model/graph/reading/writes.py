"""Operations in place: whether what they change is read afterwards by another name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import fx

from dpnet.model.graph.nodes import GraphError
from dpnet.model.graph.reading.sources import source_of

__all__ = ["check_writes"]

_KEPT = ("aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default")
"""Operations that may hand on the tensor itself without saying so in their schema."""


def check_writes(graph: fx.Graph, states: set[str]) -> None:
    """`GraphError` where an operation in place changes something that a later operation reads by
    the name of before: a view of it, or what it is a view of.

    An exported graph has names and no memory: `y = x[:, 0]; y.zero_(); x` reads as if x stayed.
    `states` are the names of parameters and buffers, which no operation may change.
    """
    groups: dict[str, set[str]] = {}
    stale: dict[str, fx.Node] = {}
    for node in graph.nodes:
        for read in node.all_input_nodes:
            if read.name in stale and not is_assertion(node):
                raise GraphError(
                    f"{source_of(stale[read.name])}: it changes in place what is read again "
                    f"afterwards by another name (node {node.name}); use the form that is not in "
                    "place"
                )
        written = {name for one in _aliases(node, write=True) for name in groups.get(one, {one})}
        if held := written & states:
            raise GraphError(
                f"{source_of(node)}: it changes {sorted(held)[0]}, which the next picture would "
                "see; the engine keeps nothing from picture to picture"
            )
        stale |= dict.fromkeys(written, node)
        group = {node.name}.union(*(groups.get(one, {one}) for one in _aliases(node)))
        for name in group:
            groups[name] = group


def is_assertion(node: fx.Node) -> bool:
    """Whether a node only checks something."""
    return "assert" in str(node.target) and not node.users


def _aliases(node: fx.Node, *, write: bool = False) -> Iterator[str]:
    """The names of the arguments whose memory a node hands on, or changes."""
    if node.op != "call_function":
        return
    schema = getattr(node.target, "_schema", None)
    if schema is None or str(node.target) in _KEPT:
        # getitem of a list, an operation of higher order, or one that may hand on its argument
        yield from (one.name for one in node.all_input_nodes if not write)
        return
    given = {**dict(zip((one.name for one in schema.arguments), node.args, strict=False))}
    for argument in schema.arguments:
        alias: Any = argument.alias_info
        value = {**given, **node.kwargs}.get(argument.name)
        if alias is not None and (alias.is_write or not write) and isinstance(value, fx.Node):
            yield value.name
