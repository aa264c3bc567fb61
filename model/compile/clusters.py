"""Stages of float weights to layers of shared values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpnet.model.compile.errors import CompileError
from dpnet.model.compile.integer import DenseLayer
from dpnet.model.compile.steps import Stage
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import Quantized

Floats = NDArray[np.float64]


def shared_values(rows: Floats, k: int) -> Quantized:
    """The best codebook of at most `k` values for each row (R, C), as narrow as the widest row
    needs.  Rows of at most `k` different values keep them exactly, and a row with zeros in it
    (pruned weights) keeps a 0."""
    zeros = (rows == 0).any(axis=1)
    parts = [
        (mask, quantize(rows[mask], k, zero=zero))
        for zero, mask in ((False, ~zeros), (True, zeros))
        if mask.any()
    ]
    width = max(int(part.k_eff.max()) for _, part in parts)
    found = Quantized(
        codebook=np.empty((len(rows), width)),
        indices=np.empty(rows.shape, np.uint8),
        cost=np.empty(len(rows)),
        k_eff=np.empty(len(rows), np.int64),
    )
    for mask, part in parts:
        book = part.codebook[:, :width]
        found.codebook[mask] = np.pad(book, ((0, 0), (0, width - book.shape[1])), "edge")
        found.indices[mask], found.cost[mask] = part.indices, part.cost
        found.k_eff[mask] = part.k_eff
    return found


def different_values(rows: Floats) -> int:
    """How many the row with the most of them has."""
    return int((np.diff(np.sort(rows, axis=1), axis=1) != 0).sum(axis=1).max(initial=0)) + 1


def dense_layers(chain: Sequence[Stage], ks: Sequence[int]) -> list[DenseLayer]:
    """The stages with at most K values a row each, and their batch norms folded.

    Factors of a row scale its codebook, so that its indices stay; those behind a ReLU scale the
    row's results.  Only where they cannot (in front of the first layer, or negative ones behind a
    ReLU) do they change the weights of the next layer, before these are solved.
    """
    layers: list[DenseLayer] = []
    factors, shifts = chain[0].in_scale, chain[0].in_shift
    for stage, k in zip(chain, ks, strict=True):
        weight = _scaled(stage, factors, k)
        found = shared_values(weight, k)
        # Shifts in front of the layer: of the weights as they will be, unless factors are in them.
        seen = stage.linear.weight if (factors != 1).any() else found.dequantized
        bias = stage.bias + stage.scale * (seen @ shifts)
        found = replace(found, codebook=found.codebook * stage.scale[:, None])
        fits = bool((stage.gain >= 0).all())
        gain = stage.gain if fits else np.ones_like(stage.gain)
        layers.append(DenseLayer(stage.linear.name, found, bias, stage.relu, gain))
        factors, shifts = (np.ones_like(gain) if fits else stage.gain), stage.offset
    return layers


def _scaled(stage: Stage, factors: Floats, k: int) -> Floats:
    """The weight with factors of its columns; `CompileError` where it was clustered and would not
    be any more."""
    weight = stage.linear.weight
    if (factors == 1).all():
        return weight
    scaled = weight * factors
    if different_values(weight) <= k < different_values(scaled):
        raise CompileError(
            f"layer {stage.linear.name} is clustered, and the BatchNorm1d in front of it has other "
            "factors for each column: put the BatchNorm1d behind the Linear, or cluster the "
            "product of both"
        )
    return scaled
