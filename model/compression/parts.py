"""Weights that are kept in parts: weight norm, spectral norm, pruning, adapters, scales.

What a layer multiplies by is then a product of several tensors. It is formed where the tensors
alone define it, exactly as PyTorch forms it; everything else is refused with the cure. A part is
never taken for the weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

WEIGHT = r"weight|weight_(?:ih|hh|hr)(?:_l\d+(?:_reverse)?)?|(?:in|q|k|v)_proj_weight"
"""The names, in their module, of the weights of PyTorch's layers."""

_PARAMETRIZED = re.compile(r"((?:.*\.)?)parametrizations\.([^.]+)\.(.+)")
_PART = re.compile(rf"((?:.*\.)?(?:{WEIGHT}))_(orig|mask|g|u|v|scale|scale_inv)")
_ADAPTER = re.compile(r"(?:lora|hada|lokr|ia3|vera|oft|boft)(?:_\w+)?")

_MASKED = "masked by {} in a way that only its layer knows: multiply it in and drop the mask"
_REMOVE = "torch.nn.utils.parametrize.remove_parametrizations(layer, {!r})"
_PRODUCTS = {
    frozenset({"g", "v"}): "weight norm",
    frozenset({"original0", "original1"}): "weight norm",
    frozenset({"orig", "mask"}): "pruning mask",
    frozenset({"orig", "u", "v"}): "spectral norm",
    frozenset({"original", "0._u", "0._v"}): "spectral norm",
}


@dataclass(frozen=True)
class Parts:
    """The tensors of one weight: their full names by what they are in it, ``""`` for all of it."""

    base: str
    names: dict[str, str]

    @property
    def attribute(self) -> str:
        """The weight's name in its module."""
        return self.base.rpartition(".")[2]

    @property
    def convention(self) -> str:
        """How the parts make the weight, "" for a weight in one piece or an unknown way."""
        return _PRODUCTS.get(frozenset(self.names), "")


def parts_of(names: Iterable[str]) -> list[Parts]:
    """The weights that tensors of these names are, or are parts of; other tensors, each alone."""
    found: dict[str, Parts] = {}
    for name in names:
        base, part = _split(name)
        found.setdefault(base, Parts(base, {})).names[part] = name
    return list(found.values())


def _split(name: str) -> tuple[str, str]:
    """(name of the weight, what of it this is)."""
    if match := _PARAMETRIZED.fullmatch(name):
        return match[1] + match[2], match[3]
    if match := _PART.fullmatch(name):
        return match[1], match[2]
    return name, ""


def adapted(names: Iterable[str]) -> dict[str, list[str]]:
    """The tensors of low-rank and like adapters, by the name of the layer that they change."""
    found: dict[str, list[str]] = {}
    for name in names:
        components = name.split(".")
        places = [n for n, part in enumerate(components) if _ADAPTER.fullmatch(part)]
        if places:
            found.setdefault(".".join(components[: places[-1]]), []).append(name)
    return found


def refusal(parts: Parts, tensors: Mapping[str, Tensor], beside: Iterable[str] = ()) -> str:
    """Why these parts define no weight, with the cure; "" if they do, or are one whole tensor.

    `beside` are the module's other tensors.
    """
    have = set(parts.names)
    if have == {""}:
        return _masked(parts, tensors, beside)
    if have & {"scale", "scale_inv"}:
        return "its scale is a tensor of its own: save it dequantized"
    if have == {"", "mask"}:
        return _MASKED.format(parts.names["mask"])
    if parts.convention == "weight norm":
        g, v = (tensors[parts.names[part]] for part in sorted(have))
        if _norm_axis(g.shape, v.shape) is not None:
            return ""
    elif parts.convention == "spectral norm":
        whole, u, v = _spectral(parts, tensors)
        if _matrix_axes(whole.shape, u.shape, v.shape):
            return ""
    elif parts.convention:
        masks = [tensors[name].shape for name in parts.names.values()]
        if masks[0] == masks[1]:
            return ""
    listed = ", ".join(sorted(parts.names.values()))
    return f"not defined by {listed} alone: make it one tensor, with {cure(parts)}"


def cure(parts: Parts) -> str:
    """The call that makes one tensor of a weight in parts."""
    attribute, have = parts.attribute, set(parts.names)
    if any(part.startswith("original") for part in have):
        return _REMOVE.format(attribute)
    name = f"torch.nn.utils.prune.remove(layer, {attribute!r})"
    if have & {"u", "v", "g"}:
        kind = "weight" if "g" in have else "spectral"
        name = f"torch.nn.utils.remove_{kind}_norm(layer, {attribute!r})"
    return name


def product(parts: Parts, tensors: Mapping[str, Tensor]) -> Tensor:
    """The weight, by PyTorch's own operations in the type of its parts; the parts must define it
    (`refusal`)."""
    with torch.no_grad():
        if parts.convention == "weight norm":
            g, v = (tensors[parts.names[part]] for part in sorted(parts.names))
            axis = _norm_axis(g.shape, v.shape)
            return torch._weight_norm(v, g, -1 if axis is None else axis)
        if parts.convention == "spectral norm":
            whole, u, v = _spectral(parts, tensors)
            axis = spectral_axis(whole, u, v)
            matrix = whole.movedim(axis, 0).reshape(len(u), -1)
            return whole / torch.dot(u, torch.mv(matrix, v))
        if parts.convention == "pruning mask":
            return tensors[parts.names["orig"]] * tensors[parts.names["mask"]]
        return tensors[parts.names[""]]


def output_axis(parts: Parts, tensors: Mapping[str, Tensor]) -> int | None:
    """The axis of the outputs, where spectral norm tells it: PyTorch takes that of the layer."""
    if parts.convention != "spectral norm":
        return None
    whole, u, v = _spectral(parts, tensors)
    return spectral_axis(whole, u, v)


def _spectral(parts: Parts, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(weight, left and right singular vector) of spectral norm, old or new."""
    new = "original" in parts.names
    keys = ("original", "0._u", "0._v") if new else ("orig", "u", "v")
    whole, u, v = (tensors[parts.names[key]].detach() for key in keys)
    return whole, u, v


def spectral_axis(whole: Tensor, u: Tensor, v: Tensor) -> int:
    """The axis that was the rows of the matrix whose singular vectors these are.

    Where the shape allows several it is the one for which v is closest to the product with u, as
    the power iteration leaves it.
    """

    def distance(axis: int) -> float:
        matrix = whole.movedim(axis, 0).reshape(len(u), -1).double()
        back = torch.nn.functional.normalize(matrix.T @ u.double(), dim=0)
        return float((back - v.double()).norm())

    axes = _matrix_axes(whole.shape, u.shape, v.shape)
    return axes[0] if len(axes) == 1 else min(axes, key=distance)


def _matrix_axes(whole: torch.Size, u: torch.Size, v: torch.Size) -> list[int]:
    """The axes, 0 or 1, whose length is that of u while the others make that of v."""
    fit = len(u) == len(v) == 1 and len(whole) > 1 and u[0] * v[0] == whole.numel()
    return [axis for axis in range(2) if fit and whole[axis] == u[0]]


def _norm_axis(g: torch.Size, v: torch.Size) -> int | None:
    """The axis that has lengths of its own in weight norm; -1 for one length, None for no fit."""
    if g.numel() == 1 and len(g) in (0, len(v)):
        return next((axis for axis, side in enumerate(v) if side == 1 and len(g)), -1)
    long = [axis for axis, side in enumerate(g) if side != 1]
    return long[0] if len(g) == len(v) and len(long) == 1 and g[long[0]] == v[long[0]] else None


def _masked(parts: Parts, tensors: Mapping[str, Tensor], beside: Iterable[str]) -> str:
    """A whole weight with a mask of its shape in the same module is multiplied by it, or not."""
    owner = parts.base.rpartition(".")[0]
    name = f"{owner}.mask" if owner else "mask"
    if name in beside and tensors[name].shape == tensors[parts.names[""]].shape:
        return _MASKED.format(name)
    return ""
