"""The weights of a net that is being trained: by name, whatever objects the net has for them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from dpnet.model.compression.weights import Weight, rebuild, weights_of

ANEW = "make a new ClusterRegularizer after layers were replaced"


Value = TypeVar("Value")


class TrainingWarning(UserWarning):
    """Training that runs, but not to where its user wants it to."""


class Tracked(Mapping[str, Weight]):
    """The compressible weights of a net by their canonical name, as the net has them now.

    Every look goes to the net's modules, so that ``load_state_dict(assign=True)``, a replaced
    layer of the same shape, a pruning mask put on or taken off are followed. What cannot be
    followed raises ValueError: a weight that is gone, has another shape or is shared no longer.
    """

    def __init__(self, net: nn.Module, skip: Collection[str] = ()) -> None:
        weights, others = weights_of(net)
        names = {name for weight in weights for name in weight.names}
        names |= {name for other in others for name in (other.name, other.name.rpartition(".")[0])}
        unknown = sorted(set(skip) - names)
        if unknown:
            raise ValueError(f"skip must name layers of the net, not {unknown!r}")
        for other in others:
            left = {other.name, other.name.rpartition(".")[0]} & set(skip)
            if other.refused and not left:
                raise ValueError(f"{other.name} is {other.reason}; or name it in skip")
        self.net = net
        self.skip = frozenset(skip)
        self.others = frozenset(other.name for other in others)
        self.first = {w.name: w for w in weights if not self.skip & set(w.names)}
        self._canonical = {name: w.name for w in self.first.values() for name in w.names}
        self._warned = False

    def name_of(self, name: str) -> str:
        """The canonical name of a weight that is called by any of its names."""
        try:
            return self._canonical[name.removesuffix("_orig")]
        except KeyError:
            raise ValueError(
                f"name must be one of {list(self.first)!r} or of their layers, not {name!r}"
            ) from None

    def by_name(self, given: Mapping[str, Value], what: str) -> dict[str, Value]:
        """`given` by canonical names; ValueError unless it has one answer for each weight."""
        found: dict[str, Value] = {}
        for name, weight in self.first.items():
            answers = [given[n] for n in weight.names if n in given]
            if not answers or any(answer != answers[0] for answer in answers):
                raise ValueError(
                    f"{what} must have an entry for each of {list(self.first)!r}, "
                    f"not for {sorted(given)!r}"
                )
            found[name] = answers[0]
        unknown = sorted(set(given) - set(self._canonical))
        if unknown:
            raise ValueError(
                f"{what} must have an entry for each of {list(self.first)!r}, "
                f"not for {sorted(given)!r}"
            )
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.first)

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, name: str) -> Weight:
        """The weight as the net has it now."""
        first = self.first[self.name_of(name)]
        found: Weight | None = None
        for place in first.places:
            tensor, mask = self._held(place, first)
            if found is not None and found.tensor is not tensor:
                raise ValueError(
                    f"{place} must be the same parameter as {first.name}, as it was: {ANEW}"
                )
            found = replace(first, tensor=tensor, mask=mask)
        assert found is not None, "a weight has its own name"
        return found

    def _held(self, place: str, first: Weight) -> tuple[Tensor, Tensor | None]:
        """The parameter at a place of the net, and its pruning mask."""
        layer, _, attribute = place.rpartition(".")
        try:
            module = self.net.get_submodule(layer)
        except AttributeError:
            raise ValueError(f"{place} must stay in the net, it is gone: {ANEW}") from None
        parameters, buffers = module._parameters, module._buffers
        tensor, mask = parameters.get(attribute), None
        if tensor is None:
            tensor, mask = parameters.get(f"{attribute}_orig"), buffers.get(f"{attribute}_mask")
            if tensor is None or mask is None:
                raise ValueError(f"{place} must stay in the net, it is gone: {ANEW}")
        if tuple(tensor.shape) != first.form.shape:
            raise ValueError(
                f"{place} must keep its shape {first.form.shape}, not be "
                f"{tuple(tensor.shape)}: {ANEW}"
            )
        return tensor, mask

    def check_net(self) -> None:
        """Raise where a weight cannot be followed; warn once of new ones."""
        for name in self:
            self[name]
        weights, _ = weights_of(self.net)
        known = set(self._canonical) | self.others | self.skip
        new = [w.name for w in weights if not known & set(w.names)]
        if new and not self._warned:
            self._warned = True
            warnings.warn(
                f"the net has weights that it did not have before, {new!r}, and these are not "
                f"clustered: {ANEW}",
                TrainingWarning,
                stacklevel=4,
            )

    @torch.no_grad()
    def put(self, name: str, values: Tensor) -> None:
        """Write a weight in place, in its own type; masked layers see it at once."""
        weight = self[name]
        weight.tensor.copy_(values)
        rebuild(self.net, weight)
