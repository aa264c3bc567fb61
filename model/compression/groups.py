"""Which weights of a net are compressed, and how they form the rows that share a codebook."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

COMPRESSED_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def compressed_parameters(net: nn.Module, skip: Collection[str] = ()) -> dict[str, nn.Parameter]:
    """The weights of all fully connected and convolution layers, by their name in the net.

    Biases and batch norms are never compressed. `skip` names layers (``"fc"``) or weights
    (``"fc.weight"``) to leave out; a name that is neither raises ValueError. A weight that
    several layers share appears once. Transposed convolutions are left alone.
    """
    found: dict[str, nn.Parameter] = {}
    layers = [(name, m) for name, m in net.named_modules() if isinstance(m, COMPRESSED_LAYERS)]
    known = {name for layer, _ in layers for name in (layer, _join(layer))}
    unknown = sorted(set(skip) - known)
    if unknown:
        raise ValueError(f"skip must name layers of the net, not {unknown!r}")
    for layer, module in layers:
        weight = module.weight
        shared = any(weight is other for other in found.values())
        if shared or layer in skip or _join(layer) in skip:
            continue
        if not isinstance(weight, nn.Parameter):
            raise TypeError(f"weight of layer {layer!r} must be a Parameter, not {type(weight)!r}")
        found[_join(layer)] = weight
    return found


def to_rows(weight: Tensor) -> Tensor:
    """The weight as (rows, n), a view where possible: one row per output or output channel.

    (out, in) stays as it is; (out, in, *kernel) becomes (out, in * kernel) in the order of memory,
    which is also the order of `torch.nn.functional.unfold`'s patches.
    """
    if weight.ndim < 2:
        raise ValueError(f"weight must have at least 2 dimensions, not shape {tuple(weight.shape)}")
    return weight.reshape(weight.shape[0], -1)


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `to_rows`: rows back in the shape of their weight."""
    if len(shape) < 2 or rows.ndim != 2 or rows.shape[0] != shape[0]:
        raise ValueError(f"rows must come from {tuple(shape)}, not have {tuple(rows.shape)}")
    return rows.reshape(shape)


def _join(layer: str) -> str:
    """The name of a layer's weight; a net that is itself a layer has the name ''."""
    return f"{layer}.weight" if layer else "weight"
