"""Networks of PyTorch as graphs: exported, read, and compared with what they compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn.parameter import UninitializedParameter

from dpnet.model.evaluating import evaluating
from dpnet.model.graph.evaluate import evaluate
from dpnet.model.graph.nodes import Graph, GraphError, HostOperator
from dpnet.model.graph.reading.reader import read_program, refusals_of
from dpnet.model.graph.reading.sources import where

__all__ = ["from_file", "from_module", "from_program", "refusals"]

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Of results, relative to the largest one; of other types:"""
_NARROW_TOLERANCE = 0.2


def from_module(net: nn.Module, example_inputs: Any) -> Graph:
    """See `dpnet.model.graph.reading`."""
    _check_net(net)
    example = _example(example_inputs, net)
    with evaluating(net), torch.no_grad():
        program = _export(net, example)
    return from_program(program, type(net).__name__)


def refusals(net: nn.Module | ExportedProgram | Path, example_inputs: Any) -> list[GraphError]:
    """See `dpnet.model.graph.reading`."""
    if isinstance(net, Path):
        return list(refusals_of(_loaded(net)))
    if isinstance(net, ExportedProgram):
        return list(refusals_of(net))
    _check_net(net)
    example = _example(example_inputs, net)
    with evaluating(net), torch.no_grad():
        program = _export(net, example)
    return list(refusals_of(program))


def from_program(program: ExportedProgram, name: str = "") -> Graph:
    """See `dpnet.model.graph.reading`."""
    if not isinstance(program, ExportedProgram):
        raise GraphError(
            f"the program must be what torch.export.export gives, not {type(program).__name__}"
        )
    graph = read_program(program, name)
    _check_results(program, graph)
    return graph


def from_file(path: Path) -> Graph:
    """The graph of a `.pt2` file."""
    return from_program(_loaded(path), path.stem)


def _loaded(path: Path) -> ExportedProgram:
    if not path.is_file():
        raise GraphError(f"{path}: there is no such file")
    try:
        return torch.export.load(path)
    except Exception as error:  # of many kinds
        raise GraphError(
            f"{path}: it is no file of torch.export.save, or damaged ({_line(error)})"
        ) from error


def _check_net(net: object) -> None:
    if not isinstance(net, nn.Module):
        raise GraphError(f"the network must be a torch.nn.Module, not {type(net).__name__}")
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if isinstance(tensor, UninitializedParameter):
            raise GraphError(f"{name} has no shape yet: run the network once before")
        if tensor.is_meta:
            raise GraphError(f"{name} is on the meta device and has no values: load them first")


def _example(given: Any, net: nn.Module) -> Tensor:
    """The one input, on the device of the net."""
    inputs = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    if len(inputs) != 1:
        raise GraphError(f"the engine takes one picture; there are {len(inputs)} example inputs")
    first = next((one for one in net.parameters() if one.is_floating_point()), None)
    if isinstance(inputs[0], np.ndarray):
        tensor = torch.from_numpy(inputs[0])
        tensor = tensor.to(first.dtype) if first is not None else tensor
    elif isinstance(inputs[0], Tensor):
        tensor = inputs[0].detach()
    else:
        kind = type(inputs[0]).__name__
        raise GraphError(f"the example input must be a tensor, not {kind}")
    return tensor if first is None else tensor.to(first.device)


def _export(net: nn.Module, example: Tensor) -> ExportedProgram:
    try:
        return torch.export.export(net, (example,), strict=False)
    except Exception as error:  # of many kinds: control flow, shapes, what the net raises itself
        place = where(error)
        said = _line(error)
        if "data-dependent" in said or "data dependent" in said:
            said = (
                "what runs here depends on the picture's values; the engine does the same for "
                "every picture"
            )
        else:
            said = f"torch.export cannot read the network: {said}"
        raise GraphError(f"{place}: {said}" if place else said) from error


def _line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _check_results(program: ExportedProgram, graph: Graph) -> None:
    """`GraphError` unless the graph computes what the program does, for random pictures.

    This guards against mistakes of the reading itself; where the last operation is argmax, small
    roundings decide, and nothing is compared.
    """
    if any(isinstance(n.operator, HostOperator) and n.operator.kind == "argmax" for n in graph):
        return
    node = next(node for node in program.graph.nodes if node.name == graph.input.source.node)
    like = node.meta["val"]
    pictures = np.random.default_rng(0).standard_normal(tuple(like.shape))
    device = next((one.device for one in program.state_dict.values()), "cpu")
    given = torch.from_numpy(pictures).to(like.dtype).to(device)
    with torch.no_grad():
        result = program.module()(given.clone())
    while isinstance(result, (tuple, list, dict)):
        result = next(iter(result.values() if isinstance(result, dict) else result))
    wanted = result.double().cpu().numpy()
    found = evaluate(graph, given.double().cpu().numpy())[graph.output.name]
    limit = _TOLERANCE.get(like.dtype, _NARROW_TOLERANCE)
    worst = float(np.abs(found.reshape(wanted.shape) - wanted).max(initial=0.0))
    if not worst <= limit * max(float(np.abs(wanted).max(initial=0.0)), 1e-6):
        raise GraphError(
            f"the network was read as something else than PyTorch computes (results differ by "
            f"{worst:.3g}); this is a mistake of dpnet, please report it"
        )
