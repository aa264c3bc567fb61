"""The weights of layers on codebooks: solved, or kept where they already are.

A row (an output channel) has at most 2^bits values, the best ones, and an index for each weight.
Rows that have no more already keep exactly these, with the codebooks that they share; so do short
ones (the 9 weights of a depthwise layer): entries of 18 bits make even these smaller than in fp32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpnet.model.compression.allocate import rows_per_codebook
from dpnet.model.graph.nodes import GraphError
from dpnet.model.maps.floats.network import FloatLayer, FloatNetwork
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import QuantizeError

__all__ = ["Codebook", "clustered", "find_codebook"]

Floats = NDArray[np.float64]

LARGEST_BITS = 4
WITH_ZERO = 15
"""Values of a row in grouped layers: the engine puts a 0 beside them, for channels of other
groups that the same pass reads."""


@dataclass(frozen=True, eq=False)
class Codebook:
    """`values` (R, K) ascending, those of a row with fewer repeat the last; `indices` (R, n) uint8.
    `every` consecutive rows share one; `kept`: the weights are exactly these values."""

    values: Floats
    indices: NDArray[np.uint8]
    every: int = 1
    kept: bool = False

    @property
    def weights(self) -> Floats:
        """(R, n)."""
        return np.take_along_axis(self.values, self.indices.astype(np.intp), axis=1)


def find_codebook(layer: FloatLayer, bits: int, counts: Floats | None = None) -> Codebook:
    """The codebook of a layer that sums; `counts` (C / groups · kh · kw or R of these) is how much
    each weight counts, 0 or more.  Raises `GraphError` with the layer's source where its weights
    cannot be clustered."""
    assert layer.weight is not None
    rows = layer.weight.reshape(layer.rows, -1)
    most = 1 << bits if layer.learned else WITH_ZERO
    kept = _kept(rows, most)
    if kept is not None:
        return kept
    k = min(most, WITH_ZERO) if layer.groups > 1 else most
    try:
        return _solved(rows, k, None if counts is None else np.broadcast_to(counts, rows.shape))
    except QuantizeError as error:
        raise GraphError(f"{layer.source}: its weights cannot be clustered: {error}") from error


def clustered(network: FloatNetwork, codebooks: dict[str, Codebook]) -> FloatNetwork:
    """The network with the weights that its codebooks give."""
    layers = [
        layer
        if layer.weight is None
        else replace(layer, weight=codebooks[layer.name].weights.reshape(layer.weight.shape))
        for layer in network.layers
    ]
    return replace(network, layers=tuple(layers))


def _kept(rows: Floats, most: int) -> Codebook | None:
    """The rows as they are, if none has more than `most` values."""
    every = rows_per_codebook(rows, most)
    if every is None:
        return None
    groups = rows.reshape(len(rows) // every, -1)
    books = [np.unique(group) for group in groups]
    width = max(len(book) for book in books)
    indices = [np.searchsorted(book, group) for book, group in zip(books, groups, strict=True)]
    values = np.array([np.pad(book, (0, width - len(book)), "edge") for book in books])
    places = np.array(indices, np.uint8).reshape(rows.shape)
    return Codebook(values.repeat(every, axis=0), places, every, kept=True)


def _solved(rows: Floats, k: int, counts: Floats | None) -> Codebook:
    heavy = None if counts is None else _comparable(counts)
    zeros = (rows == 0).any(axis=1)
    values, indices = np.empty((len(rows), k)), np.empty(rows.shape, np.uint8)
    for zero in (False, True):
        mask = zeros == zero
        if mask.any():
            weights = None if heavy is None else heavy[mask]
            found = quantize(rows[mask], k, zero=zero, weights=weights)
            values[mask], indices[mask] = found.codebook, found.indices
    return Codebook(values[:, : int(indices.max()) + 1], indices)


def _comparable(counts: Floats) -> Floats:
    """At most 1 in each row; alike in rows of which nothing counts."""
    largest = counts.max(axis=1, keepdims=True)
    scaled: Floats = counts / np.where(largest == 0, 1.0, largest)
    return np.where(largest == 0, 1.0, scaled)
