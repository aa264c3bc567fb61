"""The search for weights among named tensors, the same for a net and for a state dict."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from dpnet.model.compression.axis import RANKS, Outputs, outputs_by_values, outputs_of
from dpnet.model.compression.groups import RowForm, wide
from dpnet.model.compression.parts import (
    WEIGHT,
    Parts,
    adapted,
    cure,
    output_axis,
    parts_of,
    product,
    refusal,
)
from dpnet.model.compression.values import rank_of, shape_of, unfit

UNKNOWN = "no weight of a layer that is known"
MERGE = (
    "changed by an adapter, by a factor that is not among the tensors: merge it into the net first "
    "(PEFT: net.merge_and_unload())"
)
OPEN = "taken for a convolution's: a transposed one looks the same"


@dataclass(frozen=True, eq=False)
class Weight:
    """A weight that can be compressed.

    `name` is the first by which ``net.named_parameters()`` or the state dict knows it (pruned ones
    without the ``_orig``); `names` are all by which it can be called: of every layer that shares
    it, of every place where the layer is registered, and of the layers themselves. `places` are
    those of its names that are the weight in its modules. `tensor` is the
    parameter or the values that a state dict has for it, `mask` the pruning mask that a parameter
    is multiplied by. `note` says in words what was concluded, "" where nothing had to be.
    """

    name: str
    names: tuple[str, ...]
    tensor: Tensor
    form: RowForm
    mask: Tensor | None = None
    note: str = ""
    places: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Outputs, or output channels."""
        return self.form.rows

    @property
    def n(self) -> int:
        """Weights per row."""
        return self.form.n

    @property
    def values(self) -> Tensor:
        """What the layer multiplies by, in `tensor`'s shape and type, without a gradient."""
        values = self.tensor.detach()
        return values if self.mask is None else values * self.mask

    def to_rows(self, values: Tensor) -> Tensor:
        """(rows, n) of a tensor in the weight's shape."""
        return self.form.to_rows(values)

    def from_rows(self, rows: Tensor) -> Tensor:
        """The inverse of `to_rows`."""
        return self.form.from_rows(rows)

    def describe(self) -> str:
        """What was concluded, and the other weights' names where layers share it."""
        others = [place for place in self.places if place != self.name]
        shared = f"shared with {', '.join(others)}" if others else ""
        return "; ".join(filter(None, (self.note, shared)))


@dataclass(frozen=True)
class LeftOut:
    """A tensor that is not compressed, and why.

    `refused`: it is a weight, or a part of one, and would have to be; the reason names the cure.
    """

    name: str
    shape: tuple[int, ...]
    reason: str
    refused: bool = False


@dataclass
class Search:
    """Looks through tensors by name.

    `known` has `RowForm.groups` of weights, or the reason why it is none. Tensors of equal `key`
    are the same. `in_net`: they are a net's parameters and buffers.
    """

    tensors: dict[str, Tensor]
    known: dict[str, int | str]
    key: Callable[[Tensor], Hashable]
    in_net: bool

    def run(self) -> tuple[list[Weight], list[LeftOut]]:
        """All weights and all else."""
        self.found: dict[Hashable, Weight] = {}
        self.open: set[Hashable] = set()
        self.others: dict[str, LeftOut] = {}
        done = self._adapters()
        for parts in parts_of(name for name in self.tensors if name not in done):
            self._look(parts)
        self._other_names()
        self._doubts()
        return list(self.found.values()), list(self.others.values())

    def _adapters(self) -> set[str]:
        """Leaves out what an adapter changes; the tensors that this concerns."""
        done: set[str] = set()
        everything = parts_of(self.tensors)
        for layer, names in adapted(self.tensors).items():
            prefix = f"{layer}." if layer else ""
            base = [f"{prefix}weight", f"{prefix}base_layer.weight"]
            whole = [n for parts in everything if parts.base in base for n in parts.names.values()]
            self._leave(base[0], MERGE, [*whole, *names][:1], refused=True)
            done.update(names, whole)
        return done

    def _look(self, parts: Parts) -> None:
        """Files one weight, or what it is instead."""
        names = list(parts.names.values())
        if not re.fullmatch(WEIGHT, parts.attribute) and parts.base not in self.known:
            for name in names:
                flat = rank_of(self.tensors[name]) < 2
                reason = "fewer than 2 dimensions" if flat else UNKNOWN
                self._leave(name, self._unfit(name) or reason, [name])
            return
        unfit = next(filter(None, map(self._unfit, names)), "")
        if unfit:
            self._leave(parts.base, unfit, names)
        elif refused := refusal(parts, self.tensors, self.tensors) or self._computed(parts):
            self._leave(parts.base, refused, names, refused=True)
        else:
            self._take(parts)

    def _unfit(self, name: str) -> str:
        """Why a tensor is none to compress, "" if it may be one."""
        tensor = self.tensors[name]
        if self.in_net:
            trained = isinstance(tensor, nn.Parameter) or _split_off(name)
            return unfit(tensor) or ("" if trained else "a buffer, which is not trained")
        return unfit(tensor) or ("on the meta device, without values" if tensor.is_meta else "")

    def _computed(self, parts: Parts) -> str:
        """Why a weight of a net cannot be written to, "" if it can be."""
        if not self.in_net or parts.convention in ("", "pruning mask"):
            return ""
        made = ", ".join(sorted(parts.names.values()))
        return (
            f"computed from other tensors ({parts.convention}: {made}): make it permanent, with "
            f"{cure(parts)}"
        )

    def _take(self, parts: Parts) -> None:
        """Files a weight whose parts define it."""
        key = tuple(self.key(self.tensors[name]) for name in parts.names.values())
        layer = parts.base.rpartition(".")[0]
        names = tuple(filter(None, (parts.base, *parts.names.values(), layer)))
        if (first := self.found.get(key)) is not None:
            every = tuple(dict.fromkeys((*first.names, *names)))
            self.found[key] = replace(first, names=every, places=(*first.places, parts.base))
            return
        masked = self.in_net and parts.convention == "pruning mask"
        tensor, mask = (
            (self.tensors[parts.names[part]] for part in ("orig", "mask"))
            if masked
            else (product(parts, self.tensors), None)
        )
        outputs = self._outputs(parts, tensor)
        if isinstance(outputs, str):
            self._leave(parts.base, outputs, list(parts.names.values()))
            return
        made = f"multiplied out ({parts.convention})"
        note = [made if parts.convention and not self.in_net else "", outputs.note]
        shape = tuple(tensor.shape)
        depthwise = shape[:2] == (outputs.groups, 1)  # then the axes are the same
        form = RowForm(shape, 0 if depthwise else outputs.groups)
        every = tuple(dict.fromkeys(names))
        text = "; ".join(filter(None, note))
        self.found[key] = Weight(parts.base, every, tensor, form, mask, text, (parts.base,))
        if outputs.open:
            self.open.add(key)

    def _outputs(self, parts: Parts, tensor: Tensor) -> Outputs | str:
        """Where the outputs are, or why it is no weight."""
        known = self.known.get(parts.base)
        if isinstance(known, str):
            return known
        if tensor.ndim not in RANKS:
            return "fewer than 2 dimensions" if tensor.ndim < 2 else "more than 5 dimensions"
        if known is not None and (self.in_net or not known):
            return Outputs(known)
        own = parts.attribute == "weight"
        shape = tuple(tensor.shape)
        told = outputs_of(parts.base, shape, self.tensors) if own else Outputs()
        if known:  # the groups of a transposed convolution are only in its bias
            return told if isinstance(told, Outputs) and told.groups else Outputs(known)
        if isinstance(told, str) or not told.open:
            return told
        if output_axis(parts, self.tensors):
            return Outputs(1, "outputs along axis 1, as spectral norm tells")
        return told if self.in_net else outputs_by_values(wide(tensor)) or told

    def _leave(self, name: str, reason: str, names: list[str], *, refused: bool = False) -> None:
        """Files what is left out; `names` are its tensors."""
        shapes = [shape_of(self.tensors[other]) for other in names]
        shape = max(shapes, key=math.prod)
        self.others[name] = LeftOut(name, shape, reason, refused)

    def _other_names(self) -> None:
        """A tensor of an unknown layer that is a known one's weight is that weight."""
        order = {name: place for place, name in enumerate(self.tensors)}
        for name in [other.name for other in self.others.values() if other.reason == UNKNOWN]:
            key = (self.key(self.tensors[name]),)
            if (weight := self.found.get(key)) is not None:
                del self.others[name]
                first = weight.name
                if order[name] < order.get(first, len(order)):
                    first = name
                names = tuple(dict.fromkeys((first, *weight.names, name)))
                places = (*weight.places, name)
                self.found[key] = replace(weight, name=first, names=names, places=places)

    def _doubts(self) -> None:
        """Where some layers of a state dict are transposed, others may be that nothing tells."""
        if not self.in_net and any(weight.form.groups for weight in self.found.values()):
            for key in self.open:
                weight = self.found[key]
                note = "; ".join(filter(None, (weight.note, OPEN)))
                self.found[key] = replace(weight, note=note)


def _split_off(name: str) -> bool:
    """Whether a buffer of this name is a part of a weight."""
    return next(iter(parts_of([name]))).base != name
