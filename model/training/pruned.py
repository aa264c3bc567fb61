"""Pruned weights in training: what is 0 stays 0."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpnet.model.compression.groups import wide
from dpnet.model.compression.weights import Weight
from dpnet.model.quantizer.quantized import Quantized
from dpnet.model.training.tracked import Tracked, TrainingWarning


class Pruned:
    """Which values of the weights are held at 0: `zeros`, a boolean tensor by name.

    `keep` True: all that are 0 now; None: those in rows that look pruned, that is with a 0 and at
    least two other magnitudes (an identity, or a layer that starts at 0, does not); False: none.
    """

    def __init__(self, weights: Tracked, keep: bool | None) -> None:
        self.zeros: dict[str, Tensor] = {}
        if keep is False:
            return
        for name, weight in weights.items():
            if weight.mask is None and not weight.tensor.is_meta:
                zeros = weight.values == 0
                if keep is None:
                    zeros &= weight.from_rows(_look_pruned(weight))
                if zeros.any():
                    self.zeros[name] = zeros
        if keep is None and self.zeros:
            _tell(self.zeros)

    def of(self, weight: Weight) -> Tensor | None:
        """Where this weight is held at 0, in its shape; None where nowhere.

        A pruning mask that it has now says so alone."""
        if weight.mask is not None:
            return weight.mask == 0
        zeros = self.zeros.get(weight.name)
        return None if zeros is None else zeros.to(weight.tensor.device)

    @torch.no_grad()
    def put(self, weights: Tracked) -> None:
        """Put at 0 what is held there."""
        for name in self.zeros:
            weight = weights[name]
            if weight.mask is None and weight.tensor.requires_grad:
                zeros = self.zeros[name].to(weight.tensor.device)
                if bool((weight.tensor[zeros] != 0).any()):
                    weight.tensor.masked_fill_(zeros, 0.0)

    @torch.no_grad()
    def hold(self, weights: Tracked) -> None:
        """Take what is held at 0 out of the gradients, between ``backward`` and the step."""
        for name in self.zeros:
            weight = weights[name]
            zeros = self.of(weight)
            if weight.tensor.grad is not None and weight.mask is None and zeros is not None:
                weight.tensor.grad.masked_fill_(zeros, 0.0)


def put_zero(
    quantized: Quantized, rows: NDArray[np.floating[Any]], keep: NDArray[np.bool_]
) -> Quantized:
    """The same with the centroid next to 0 at 0 in the rows of `keep`.

    For solvers that have no option `zero` themselves."""
    if not keep.any():
        return quantized
    book = np.array(quantized.codebook)
    nearest = np.abs(book).argmin(axis=1)
    book[keep, nearest[keep]] = 0.0
    order = np.argsort(book, axis=1, kind="stable")
    book = np.take_along_axis(book, order, axis=1)
    middles = book[:, 1:] / 2 + book[:, :-1] / 2
    indices = np.stack(
        [np.searchsorted(m, row) for m, row in zip(middles, rows.astype(np.float64), strict=True)]
    )
    used = np.take_along_axis(book, indices, axis=1)
    cost = np.square(rows - used).sum(axis=1)
    width = quantized.indices.dtype
    k_eff = np.array([len(np.unique(row)) for row in book], np.int64)
    return replace(quantized, codebook=book, indices=indices.astype(width), cost=cost, k_eff=k_eff)


def _look_pruned(weight: Weight) -> Tensor:
    """(rows, n), the same along each row: whether it has a 0 and at least two other magnitudes."""
    rows = weight.to_rows(wide(weight.values)).abs()
    largest = rows.max(dim=1, keepdim=True).values
    others = (rows > 0) & (rows < largest)
    pruned = (rows == 0).any(dim=1, keepdim=True) & others.any(dim=1, keepdim=True)
    return pruned.expand_as(rows)


def _tell(zeros: Mapping[str, Tensor]) -> None:
    counts = ", ".join(f"{int(held.sum()):,} of {name}" for name, held in zeros.items())
    warnings.warn(
        f"weights that are exactly 0 are taken for pruned and held at 0: {counts}; "
        "keep_zeros=True says that this is meant, keep_zeros=False lets them train",
        TrainingWarning,
        stacklevel=4,
    )
