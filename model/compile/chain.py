"""A PyTorch net read as a chain of Linear, BatchNorm1d and ReLU, from what `torch.export` sees.

The graph is taken as exported, so that it has the user's words (`batch_norm`, `relu`); what does
not depend on the input (weights under parametrizations and masks) is computed, not interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.nn.parameter import UninitializedParameter

from dpnet.model.compile.errors import CompileError
from dpnet.model.compile.steps import Affine, Linear, Relu, Step
from dpnet.model.compression.weights import weights_of
from dpnet.model.evaluating import evaluating

SUPPORTED = "a network here is a chain of Linear, BatchNorm1d and ReLU, on rows of values"


class NoChainError(CompileError):
    """A network that is no such chain."""


_RELU = ("aten.relu.default", "aten.relu_.default")
_NOTHING = (
    "aten.flatten.using_ints",
    "aten.view.default",
    "aten.reshape.default",
    "aten.contiguous.default",
    "aten.clone.default",
    "aten.alias.default",
    "aten.detach.default",
    "aten.to.dtype",
    "aten._to_copy.default",
    "aten.dropout.default",
    "aten.squeeze.default",
)
"""Operations that change nothing where what they give is what they take, which is looked at."""
_SHAPES = ("aten.sym_size.int", "aten.size.int")


def read_chain(net: nn.Module, rows: Tensor) -> tuple[list[Step], Tensor]:
    """The steps of `net`, and what it gives for `rows` (n, C), both in evaluation mode.

    The net stays as it is.  Raises `CompileError` for everything that is no such chain, with the
    name and the class of the module at fault.
    """
    _check_net(net)
    example = rows[: min(2, len(rows))].repeat(2 if len(rows) == 1 else 1, 1)
    with evaluating(net), torch.no_grad():
        output = _run(net, rows)
        program = _export(net, example)
        values = _Values(program, example)
    return list(_Reader(net, program, values).steps()), output


def _check_net(net: object) -> None:
    if not isinstance(net, nn.Module):
        raise CompileError(f"the network must be a torch.nn.Module, not {type(net).__name__}")
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        if isinstance(tensor, UninitializedParameter):
            raise CompileError(f"{name} has no shape yet: run the network once before")
        if tensor.is_meta:
            raise CompileError(f"{name} is on the meta device and has no values: load them first")
        if not tensor.numel():
            raise CompileError(
                f"{name} must hold at least one value, not shape {tuple(tensor.shape)}"
            )


def _run(net: nn.Module, rows: Tensor) -> Tensor:
    try:
        output = net(rows)
    except Exception as error:
        raise NoChainError(
            f"the network does not take rows of {rows.shape[1]} values: {_line(error)}"
        ) from error
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(rows):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise NoChainError(
            f"the network must give a row of values for each of {len(rows)}, not {shape}; "
            f"{SUPPORTED}"
        )
    return output


def _export(net: nn.Module, example: Tensor) -> ExportedProgram:
    try:
        return torch.export.export(net, (example,), dynamic_shapes=({0: Dim.AUTO},))
    except Exception as error:  # many kinds: control flow that depends on data, types, …
        raise NoChainError(
            f"torch.export cannot read the network: {_line(error)}; {SUPPORTED}"
        ) from error


class _Values(fx.Interpreter):
    """What every node of a program is for an example, by its name."""

    def __init__(self, program: ExportedProgram, example: Tensor) -> None:
        super().__init__(program.graph_module, garbage_collect_values=False)
        self.found: dict[str, Any] = {}
        held = {**program.constants, **program.state_dict}
        self.targets: dict[str, str] = {}
        inputs: list[Any] = []
        for spec in program.graph_signature.input_specs:
            if spec.target is None:
                inputs.append(example)
            else:
                self.targets[spec.arg.name] = spec.target
                value = held[spec.target]
                inputs.append(value.detach().clone() if isinstance(value, Tensor) else value)
        try:
            self.run(*inputs)
        except Exception as error:
            raise CompileError(f"the network cannot be read: {_line(error)}") from error

    def run_node(self, node: fx.Node) -> Any:
        """As the base class; what it gives is kept."""
        value = super().run_node(node)
        # In-place operations may change it later.
        self.found[node.name] = value.clone() if isinstance(value, Tensor) else value
        return value


class _Reader:
    """Goes through a program's nodes and makes steps of those that the input reaches."""

    def __init__(self, net: nn.Module, program: ExportedProgram, values: _Values) -> None:
        self.net, self.program, self.values = net, program, values
        self.names = Names(net)
        self.live: set[str] = set()
        self.now = ""
        self.makers: dict[str, Callable[[fx.Node], Step | None]] = {
            "aten.linear.default": self._linear,
            "aten.batch_norm.default": self._batch_norm,
            **dict.fromkeys(_RELU, self._relu),
            **dict.fromkeys(_NOTHING, self._nothing),
        }

    def steps(self) -> Iterator[Step]:
        """The steps in order."""
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                if node.name not in self.values.targets:
                    self.live, self.now = {node.name}, node.name
            elif node.op == "output":
                self._check_output(node)
            elif (step := self._step(node)) is not None:
                yield step

    def _step(self, node: fx.Node) -> Step | None:
        """The step that a node is, None where it does nothing, or not to the input."""
        touched = [one.name for one in node.all_input_nodes if one.name in self.live]
        if not touched:
            return None
        operation = str(node.target)
        if operation in _SHAPES or ("assert" in operation and not node.users):
            return None
        maker = self.makers.get(operation)
        if maker is None:
            raise NoChainError(f"{self._where(node)}: {_plain(operation)} cannot run; {SUPPORTED}")
        given = node.args[0]
        if touched != [self.now] or not isinstance(given, fx.Node) or given.name != self.now:
            raise NoChainError(
                f"{self._where(node)}: {_plain(operation)} takes something else than the result "
                f"of the step before it; {SUPPORTED}, without branches"
            )
        step = maker(node)
        self.live.add(node.name)
        self.now = node.name
        return step

    def _linear(self, node: fx.Node) -> Step:
        weight = self._constant(node.args[1])
        bias = self._constant(node.args[2]) if len(node.args) > 2 else None
        if weight is None:
            raise CompileError(f"{self._where(node)}: linear without a weight")
        target = self._target(node.args[1])
        name, names = self.names.of(_path(node), target)
        found = weight.double().cpu().numpy()
        zeros = torch.zeros(len(weight), dtype=torch.float64)
        shift = zeros if bias is None else bias.double().cpu()
        return Linear(name, found, shift.numpy(), names)

    def _batch_norm(self, node: fx.Node) -> Step:
        weight, bias, mean, variance = (self._constant(arg) for arg in node.args[1:5])
        training, eps = node.args[5], node.args[7]
        if training or mean is None or variance is None:
            raise CompileError(
                f"{self._where(node)}: it takes mean and variance from the batch, not from "
                "training (track_running_stats=False); such a network has no fixed result"
            )
        scale = 1 / torch.sqrt(variance.double() + float(str(eps)))
        scale = scale if weight is None else scale * weight.double()
        shift = -mean.double() * scale
        shift = shift if bias is None else shift + bias.double()
        name = _path(node) or node.name
        return Affine(name, scale.cpu().numpy(), shift.cpu().numpy())

    def _relu(self, node: fx.Node) -> Step:
        return Relu(_path(node) or node.name)

    def _nothing(self, node: fx.Node) -> None:
        before, after = self.values.found[self.now], self.values.found[node.name]
        same = before.shape == after.shape and torch.equal(before.double(), after.double())
        if not same or (str(node.target) == "aten.dropout.default" and node.args[2]):
            raise NoChainError(
                f"{self._where(node)}: {_plain(str(node.target))} changes the values or their "
                f"shape; {SUPPORTED}"
            )

    def _constant(self, arg: Any) -> Tensor | None:
        """The tensor that a node is for every input."""
        if arg is None:
            return None
        if arg.name in self.live:
            raise NoChainError(f"the network multiplies its input by itself; {SUPPORTED}")
        found: Tensor = self.values.found[arg.name]
        return found

    def _target(self, arg: Any) -> str:
        return self.values.targets.get(arg.name, "") if isinstance(arg, fx.Node) else ""

    def _check_output(self, node: fx.Node) -> None:
        given = node.args[0]
        names = [one.name for one in node.all_input_nodes]
        if names != [self.now] or not isinstance(given, (tuple, list)) or len(given) != 1:
            raise NoChainError(f"the network must give the result of its last layer; {SUPPORTED}")

    def _where(self, node: fx.Node) -> str:
        """The module that a node is of, with its class, and the line that calls it."""
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        path, kind = stack[-1] if stack else ("", type(self.net))
        kind = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
        module = f"{path} ({kind})" if path else f"the network ({kind})"
        return f"{module}{_source(node)}"


class Names:
    """The names of a net's layers: those that `weights_of` gives their weights, and their paths."""

    def __init__(self, net: nn.Module) -> None:
        self._weights = {weight.name: weight.names for weight in weights_of(net)[0]}
        self._used: dict[str, int] = {}

    def of(self, path: str, target: str) -> tuple[str, tuple[str, ...]]:
        """The name of a layer at `path` whose weight is the parameter `target`, and all names by
        which it may be called.  A layer that is used again gets a number."""
        found = next((names for names in self._weights.values() if target in names), ())
        layer = path or target.removesuffix(".weight") or "linear"
        count = self._used[layer] = self._used.get(layer, 0) + 1
        name = layer if count == 1 else f"{layer}#{count}"
        every = (name, layer, target, f"{layer}.weight", *found)
        return name, tuple(dict.fromkeys(filter(None, every)))


def _path(node: fx.Node) -> str:
    """The innermost module that a node is of; parametrizations belong to their layer."""
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    return stack[-1].partition(".parametrizations.")[0] if stack else ""


def _source(node: fx.Node) -> str:
    """The user's line, as ", file.py line 41"; "" where PyTorch's own modules call it."""
    lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in lines if "/torch/" not in file]
    return f", {re.split(r'[/]', own[-1][0])[-1]} line {own[-1][1]}" if own else ""


def _plain(operation: str) -> str:
    """aten.relu_.default as relu."""
    return operation.removeprefix("aten.").partition(".")[0].strip("_")


def _line(error: BaseException) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
