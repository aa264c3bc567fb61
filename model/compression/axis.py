"""Which axis of a weight is its outputs, as far as its neighbors and its values tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dpnet.model.compression.groups import RowForm

FEW = 16  # values of a row that the engine can hold
RANKS = range(2, 6)  # of a matrix, up to a convolution's weight in three dimensions

_NUMBERED = re.compile(r"((?:.*\.)?)(\d+)\.([^.]+)")


@dataclass(frozen=True)
class Outputs:
    """Where the outputs are: `groups` as in `RowForm`.

    `note` says what told it, and is "" where nothing had to be told. `open` is whether a
    transposed convolution would look the same.
    """

    groups: int = 0
    note: str = ""
    open: bool = False


def outputs_of(base: str, shape: tuple[int, ...], tensors: Mapping[str, Tensor]) -> Outputs | str:
    """The outputs of the weight `base` among `tensors`, or why it is no layer's weight.

    A bias has a value for each output. In an `nn.Sequential` the norm that follows has one too.
    """
    owner = base.rpartition(".")[0]
    bias = _bias(owner, tensors)
    if bias is not None and len(bias) > 1 and bias == shape:
        return "the scale of a norm"
    if bias is not None and len(bias) == 1:
        groups = _groups(shape, bias[0])
        if groups is None:
            return f"its bias has {bias[0]} values, which fits no axis of {shape}"
        told = f"outputs along axis 1, as its bias of {bias[0]} tells"
        square = len(shape) > 2 and shape[1] > 1 and _divides(shape[1], bias[0])
        return Outputs(groups, told) if groups else Outputs(open=square)
    sizes = _norms_after(base, tensors) if len(shape) > 2 else []
    if sizes and shape[0] not in sizes and shape[1] == sizes[0]:
        return Outputs(1, f"outputs along axis 1, as the norm of {sizes[0]} after it tells")
    return Outputs(open=len(shape) > 2 and not (sizes and shape[1] not in sizes))


def outputs_by_values(values: Tensor) -> Outputs | None:
    """The axis along which rows of many values hold only few different ones, if not axis 0.

    A weight that was compressed as a transposed convolution tells so itself.
    """
    shape = tuple(values.shape)
    if has_few_values(RowForm(shape).to_rows(values)):
        return None
    for groups in (g for g in range(1, shape[0] + 1) if shape[0] % g == 0):
        form = RowForm(shape, groups)
        if form.n <= FEW:
            break
        if has_few_values(form.to_rows(values)):
            return Outputs(groups, "outputs along axis 1, as its few values tell")
    return None


def has_few_values(rows: Tensor, most: int = FEW) -> bool:
    """Whether no row of (rows, n) has more than `most` different values."""
    for part in torch.split(rows.detach(), max(1, (1 << 20) // max(rows.shape[1], 1))):
        ordered = part.sort(dim=1).values
        if int((ordered[:, 1:] != ordered[:, :-1]).sum(dim=1).max()) >= most:
            return False
    return True


def _bias(owner: str, tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """The shape of a layer's bias, also of one that is pruned."""
    prefix = f"{owner}." if owner else ""
    names = (f"{prefix}bias", f"{prefix}bias_orig")
    return next((tuple(tensors[name].shape) for name in names if name in tensors), None)


def _groups(shape: tuple[int, ...], outputs: int) -> int | None:
    """`groups` of a weight with so many outputs: axis 0 where it fits, None where none does."""
    if shape[0] == outputs:
        return 0
    if len(shape) == 2:
        return 1 if shape[1] == outputs else None
    fits = _divides(shape[1], outputs) and _divides(outputs // max(shape[1], 1), shape[0])
    return outputs // shape[1] if fits else None


def _divides(one: int, other: int) -> bool:
    return one > 0 and other > 0 and other % one == 0


def _norms_after(base: str, tensors: Mapping[str, Tensor]) -> list[int]:
    """How many channels the norms have that follow in the same `nn.Sequential`."""
    match = _NUMBERED.fullmatch(base)
    if match is None:
        return []
    scales: dict[int, tuple[int, ...]] = {}
    norms: set[int] = set()
    for name, tensor in tensors.items():
        other = _NUMBERED.fullmatch(name) if name.startswith(match[1]) else None
        if other and other[1] == match[1]:
            if other[3] in ("weight", "running_mean"):
                scales[int(other[2])] = tuple(tensor.shape)
            if other[3] in ("bias", "running_mean"):
                norms.add(int(other[2]))
    sizes = []
    for place in sorted(place for place in scales if place > int(match[2])):
        if len(scales[place]) != 1:
            break
        sizes += list(scales[place]) if place in norms else []
    return sizes
