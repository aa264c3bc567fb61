"""The weights of a whole network as rows: also transposed convolutions, shared and frozen ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from dpnet.model.compression.groups import COMPRESSED_LAYERS, from_rows, to_rows

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

COMPUTED = (
    "computed from other tensors (parametrization, weight norm, pruning mask): make it permanent"
)


@dataclass(frozen=True, eq=False)
class Weight:
    """A weight that can be compressed, and how it forms rows.

    `name` is that of ``net.named_parameters()``; `names` are all by which it can be called, those
    of the layers that use it included. A row holds what one output, or output channel, is
    computed from. `groups` are those of a transposed convolution, whose weight is
    (in, out / groups, *kernel); 0 for every other layer.
    """

    name: str
    names: tuple[str, ...]
    parameter: nn.Parameter
    groups: int = 0

    @property
    def rows(self) -> int:
        """Outputs, or output channels."""
        shape = self.parameter.shape
        return shape[1] * self.groups if self.groups else shape[0]

    @property
    def n(self) -> int:
        """Weights per row."""
        return self.parameter.numel() // self.rows

    def to_rows(self, values: Tensor) -> Tensor:
        """(rows, n) of a tensor in the weight's shape."""
        if not self.groups:
            return to_rows(values)
        split = values.reshape(self.groups, -1, *values.shape[1:]).transpose(1, 2)
        return split.reshape(self.rows, -1)

    def from_rows(self, rows: Tensor) -> Tensor:
        """The inverse of `to_rows`."""
        shape = self.parameter.shape
        if not self.groups:
            return from_rows(rows, shape)
        split = rows.reshape(self.groups, shape[1], shape[0] // self.groups, *shape[2:])
        return split.transpose(1, 2).reshape(shape)

    def describe(self) -> str:
        """The other weight names, where layers share it."""
        others = [n for n in self.names if n.endswith("weight") and n != self.name]
        return f"shared with {', '.join(others)}" if others else ""


def layers_of(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Fully connected layers and convolutions, transposed or not, with their names."""
    kinds = (*COMPRESSED_LAYERS, *TRANSPOSED)
    return [(name, module) for name, module in net.named_modules() if isinstance(module, kinds)]


@dataclass(frozen=True)
class LeftOut:
    """A matrix that cannot be compressed, and why."""

    name: str
    shape: tuple[int, ...]
    reason: str


def weights_of(net: nn.Module) -> tuple[list[Weight], list[LeftOut]]:
    """The weights that can be compressed, each once, and the other matrices of the net.

    Raises ValueError for lazy layers that never saw an input.
    """
    for name, parameter in net.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(f"{name} must have a shape: run the net once before")
    named = {id(parameter): name for name, parameter in net.named_parameters()}
    found: dict[int, Weight] = {}
    left_out: list[LeftOut] = []
    seen: list[str] = []
    for layer, module in layers_of(net):
        weight: Any = module.weight
        name = f"{layer}.weight" if layer else "weight"
        reason = _unfit(weight)
        if reason:
            left_out.append(LeftOut(name, tuple(weight.shape), reason))
            seen.append(name.removesuffix("weight"))
            continue
        first = found.get(id(weight))
        before = first.names if first else (named[id(weight)],)
        groups = module.groups if isinstance(module, TRANSPOSED) else 0
        found[id(weight)] = Weight(
            before[0],
            tuple(dict.fromkeys((*before, name, layer))),
            weight,
            first.groups if first else groups,
        )
    for name, parameter in net.named_parameters():
        other = id(parameter) not in found and not name.startswith(tuple(seen))
        if other and parameter.ndim > 1:
            reason = "no weight of a linear layer or a convolution"
            left_out.append(LeftOut(name, tuple(parameter.shape), reason))
    return list(found.values()), left_out


def _unfit(weight: object) -> str:
    """Why a layer's weight cannot be compressed, "" if it can be."""
    if not isinstance(weight, nn.Parameter):
        return COMPUTED
    if not torch.is_floating_point(weight):
        return f"not of real numbers but {weight.dtype}"
    return "" if math.prod(weight.shape) else "empty"
