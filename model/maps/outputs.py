"""From a network's integers to what the user's network gives: real numbers, and the host's part."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.graph.evaluate import evaluated
from dpnet.model.graph.nodes import HostOperator, Node, Source
from dpnet.model.maps.layers import MapNetwork

__all__ = ["finished", "predicted", "real"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def real(network: MapNetwork, values: NDArray[Any]) -> Floats:
    """Integers of the output tensor (N, C, H, W) as real numbers: (N, C) of vectors."""
    tensor = network.tensor(network.output)
    found = tensor.scale * (np.asarray(values, np.float64) - tensor.zero)
    return found[:, :, 0, 0] if tensor.shape[1:] == (1, 1) else found


def finished(network: MapNetwork, reals: Floats) -> Floats:
    """What the user's network gives: `real` results after what is left to the host, in float64,
    over the channels."""
    for kind in network.host:
        shape = reals.shape[1:]
        left = shape[1:] if kind == "argmax" else shape
        node = Node(kind, HostOperator(kind), (), left, Source(kind))
        reals = evaluated(node, [reals])
    return reals


def predicted(reals: Floats) -> Integers:
    """The channel of the largest of each picture's `real` results, the first of several."""
    return np.asarray(reals.argmax(axis=1), np.int64)
