"""Networks of PyTorch and ONNX as graphs; each function imports its package with its first call.

`program` reads what `torch.export` makes, one ATen operator after the other; `model_file` reads
ONNX.  What they cannot read exactly as it is meant they refuse with `GraphError`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpnet.extras import cure
from dpnet.model.graph.nodes import Graph, GraphError

if TYPE_CHECKING:
    from torch import nn
    from torch.export import ExportedProgram

__all__ = ["from_file", "from_module", "from_program", "refusals"]


def from_module(net: nn.Module, example_inputs: Any) -> Graph:
    """The graph of `net` as it is in evaluation mode; the net itself stays as it is.

    example_inputs : a tensor, or a tuple of one, with a batch in front (of any size); pictures of
        this shape, without the batch, are what the graph takes

    The graph gives what the net gives for these inputs and for random ones, which is looked at.
    Raises `GraphError`, with the user's source line, for everything that cannot be run exactly as
    it is meant, and `ImportError` with its cure where PyTorch is missing.
    """
    graph: Graph = _module("program", "a PyTorch network").from_module(net, example_inputs)
    return graph


def from_program(program: ExportedProgram, name: str = "") -> Graph:
    """As `from_module`, for what `torch.export.export` made of a net in evaluation mode."""
    graph: Graph = _module("program", "a PyTorch network").from_program(program, name)
    return graph


def from_file(path: str | Path) -> Graph:
    """The graph in a file: `.pt2` of `torch.export.save`, or `.onnx` with float operators.

    Raises `GraphError` for a file of another kind, or one that cannot be read, and as above.
    """
    kind = "model_file" if Path(path).suffix.lower() == ".onnx" else "program"
    what = "an ONNX file" if kind == "model_file" else "a PyTorch network"
    graph: Graph = _module(kind, what).from_file(Path(path))
    return graph


def refusals(net: Any, example_inputs: Any = None) -> list[GraphError]:
    """Everything in a network (what the functions above take) that they would refuse, each with its
    source, as far as the rest can be read without it; empty for one that is read.

    Raises `GraphError` where nothing can be read at all.
    """
    path = Path(net) if isinstance(net, (str, Path)) else None
    kind = "model_file" if path is not None and path.suffix.lower() == ".onnx" else "program"
    what = "an ONNX file" if kind == "model_file" else "a PyTorch network"
    found: list[GraphError] = _module(kind, what).refusals(path or net, example_inputs)
    return found


def _module(name: str, what: str) -> Any:
    """A module beside this one; `ImportError` says which extra it lacks."""
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if lacking := cure(error, f"reading {what}"):
            raise ImportError(lacking, name=error.name) from None
        raise
