"""Compressible weights that are computed from other parameters, for as long as a block takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.utils import parametrize

from dpnet.model.compression.weights import Weight, weights_of

__all__ = ["parametrized"]


@contextmanager
def parametrized(net: nn.Module, make: Callable[[Weight], nn.Module]) -> Iterator[None]:
    """Inside, each compressible weight of `net` is what the parametrization that `make` gives for
    it computes; afterwards it is a plain parameter of the last value."""
    places = []
    for weight in weights_of(net)[0]:
        layer, _, attribute = weight.name.rpartition(".")
        places.append((net.get_submodule(layer), attribute, make(weight)))
    try:
        for module, attribute, made in places:
            parametrize.register_parametrization(module, attribute, made)
        yield
    finally:
        for module, attribute, _ in places:
            if parametrize.is_parametrized(module, attribute):
                parametrize.remove_parametrizations(module, attribute)
