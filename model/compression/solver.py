"""The codebooks of a network's weights: with and without a 0, with one K or several."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpnet.model.compression.layers import Weight
from dpnet.model.compression.layout import Layout
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import Quantized, QuantizeError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Solved:
    """A weight's codebooks, `relative_error`, and how many codebooks keep a 0."""

    quantized: Quantized
    relative_error: float
    zeros: int


class Solver:
    """Solves weights; what was solved for a budget is not solved again."""

    def __init__(self, config: CompressConfig, executor: Executor | None) -> None:
        self.config, self.executor = config, executor
        self._known: dict[tuple[str, int, int], Quantized] = {}

    def uniform(self, weight: Weight, k: int, every: int) -> Quantized:
        """With the same K for all of its codebooks."""
        key = weight.name, k, every
        if key not in self._known:
            try:
                self._known[key] = self._solve(weight, k, every)
            except QuantizeError as error:
                raise type(error)(f"{weight.name}: {error}") from error
        return self._known[key]

    def solve(self, layout: Layout) -> Solved:
        """With the K of the layout."""
        every, weight = layout.every, layout.weight
        sizes = sorted(set(layout.k.tolist()))
        parts = [(layout.k == k, self.uniform(weight, k, every)) for k in sizes]
        found = _merged([(mask, _some(part, mask)) for mask, part in parts], sizes[-1])
        self._known = {key: part for key, part in self._known.items() if key[0] != weight.name}
        rows = _rows(weight, weight.parameter.detach(), every)
        whole = float(np.linalg.norm(rows))
        lost = float(np.linalg.norm(rows - found.dequantized))
        return Solved(found, lost / whole if whole else 0.0, int(self._zeros(rows).sum()))

    def _solve(self, weight: Weight, k: int, every: int) -> Quantized:
        rows = _rows(weight, weight.parameter.detach(), every)
        counts = self._sensitivity(weight, every)
        zeros = self._zeros(rows)
        parts = []
        for zero in (False, True):
            mask = zeros == zero
            if mask.any():
                found = quantize(
                    rows[mask],
                    k,
                    self.config.norm,
                    zero=zero,
                    executor=self.executor,
                    weights=None if counts is None else counts[mask],
                )
                parts.append((mask, found))
        return _merged(parts, k)

    def _zeros(self, rows: Floats) -> NDArray[np.bool_]:
        """Which codebooks must have a 0."""
        if self.config.zero == "auto":
            return (rows == 0).any(axis=1)
        return np.full(len(rows), self.config.zero)

    def _sensitivity(self, weight: Weight, every: int) -> Floats | None:
        """How much each weight counts, (codebooks, n); 1 where a codebook's are all 0."""
        given = self.config.sensitivity or {}
        name = next((name for name in weight.names if name in given), None)
        if name is None:
            return None
        values, shape = torch.as_tensor(given[name]).detach(), weight.parameter.shape
        try:
            whole = values.broadcast_to(shape)
        except RuntimeError:
            raise ValueError(
                f"sensitivity of {name} must broadcast to {tuple(shape)}, not {tuple(values.shape)}"
            ) from None
        counts = _rows(weight, whole, every)
        return np.where(counts.any(axis=1, keepdims=True), counts, 1.0)


def _rows(weight: Weight, values: Tensor, every: int) -> Floats:
    """(codebooks, n) float64 of a tensor in the weight's shape."""
    if weight.parameter.is_meta:
        raise ValueError(f"{weight.name} must hold values, not be on the meta device")
    rows = weight.to_rows(values.double()).cpu().numpy()
    return np.ascontiguousarray(rows.reshape(weight.rows // every, -1))


def _some(quantized: Quantized, mask: NDArray[np.bool_]) -> Quantized:
    """The codebooks of the mask."""
    return Quantized(
        quantized.codebook[mask],
        quantized.indices[mask],
        quantized.cost[mask],
        quantized.k_eff[mask],
    )


def _merged(parts: Sequence[tuple[NDArray[np.bool_], Quantized]], k: int) -> Quantized:
    """Codebooks of several solutions, each at the rows of its mask, `k` wide."""
    (mask, first) = parts[0]
    if len(parts) == 1 and first.k == k:
        return first
    count = len(mask)
    out = Quantized(
        np.empty((count, k)),
        np.empty((count, first.indices.shape[1]), np.uint8 if k <= 256 else np.uint16),
        np.empty(count),
        np.empty(count, np.int64),
    )
    for where, part in parts:
        out.codebook[where] = np.pad(part.codebook, ((0, 0), (0, k - part.k)), "edge")
        out.indices[where], out.cost[where] = part.indices, part.cost
        out.k_eff[where] = part.k_eff
    return out
