"""The codebooks of a network's weights: with and without a 0, with one K or several."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpnet.model.compression.groups import wide
from dpnet.model.compression.layout import Layout
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.compression.search import Weight
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import Quantized, QuantizeError

Rows = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Solved:
    """A weight's codebooks, `relative_error`, and how many codebooks keep a 0.

    `quantized` has a row for each codebook, `by_row` one for each row of the weight.
    """

    quantized: Quantized
    by_row: Quantized
    relative_error: float
    zeros: int


class Solver:
    """Solves weights; what was solved for a budget is not solved again."""

    def __init__(self, config: CompressConfig, executor: Executor | None = None) -> None:
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
        found = merged([(mask, some(part, mask)) for mask, part in parts], sizes[-1])
        self._known = {key: part for key, part in self._known.items() if key[0] != weight.name}
        rows = rows_of(weight, weight.values, every)
        zeros = int(self._zeros(weight, rows, every).sum())
        by_row = per_row(found, rows_of(weight, weight.values), self.config.norm)
        return Solved(found, by_row, relative_error(rows, found), zeros)

    def _solve(self, weight: Weight, k: int, every: int) -> Quantized:
        rows = rows_of(weight, weight.values, every)
        zeros = self._zeros(weight, rows, every)
        return quantize_keeping(
            rows,
            k,
            zeros,
            self.config.norm,
            weights=self._sensitivity(weight, every),
            executor=self.executor,
        )

    def _zeros(self, weight: Weight, rows: Rows, every: int) -> NDArray[np.bool_]:
        """Which codebooks must have a 0: as configured, and wherever a mask has one."""
        chosen = np.full(len(rows), self.config.zero is True)
        if self.config.zero == "auto":
            chosen = np.asarray((rows == 0).any(axis=1))
        if weight.mask is not None:
            chosen |= (rows_of(weight, weight.mask, every) == 0).any(axis=1)
        return chosen

    def _sensitivity(self, weight: Weight, every: int) -> Rows | None:
        """How much each weight counts, (codebooks, n); 1 where a codebook's are all 0."""
        given = self.config.sensitivity or {}
        name = next((name for name in weight.names if name in given), None)
        if name is None:
            return None
        values, shape = torch.as_tensor(given[name]).detach(), weight.form.shape
        try:
            whole = values.broadcast_to(shape)
        except RuntimeError:
            raise ValueError(
                f"sensitivity of {name} must broadcast to {shape}, not {tuple(values.shape)}"
            ) from None
        counts = rows_of(weight, whole, every)
        return np.where(counts.any(axis=1, keepdims=True), counts, 1.0)


def rows_of(weight: Weight, values: Tensor, every: int = 1) -> Rows:
    """(codebooks, n) of a tensor in the weight's shape, in the type that is solved in."""
    if values.is_meta:
        raise ValueError(f"{weight.name} must hold values, not be on the meta device")
    rows = weight.to_rows(wide(values)).cpu().numpy()
    return np.ascontiguousarray(rows.reshape(weight.rows // every, -1))


def quantize_keeping(
    rows: Rows,
    k: int,
    zeros: NDArray[np.bool_],
    norm: int = 2,
    *,
    weights: Rows | None = None,
    start: Quantized | None = None,
    executor: Executor | None = None,
) -> Quantized:
    """`quantize` of rows of which those in the mask `zeros` keep a 0 in their codebook."""
    parts = []
    for zero in (False, True):
        mask = zeros == zero
        if mask.any():
            found = quantize(
                rows[mask],
                k,
                norm,
                zero=zero,
                weights=None if weights is None else weights[mask],
                start=None if start is None else some(start, mask),
                executor=executor,
            )
            parts.append((mask, found))
    return merged(parts, k)


def per_row(quantized: Quantized, rows: Rows, norm: int = 2) -> Quantized:
    """The same centroids with a codebook for each of `rows`, where several shared one."""
    every = len(rows) // len(quantized.codebook)
    if every == 1:
        return quantized
    book = quantized.codebook.repeat(every, axis=0)
    indices = quantized.indices.reshape(rows.shape)
    lost = np.abs(rows - np.take_along_axis(book, indices.astype(np.intp), axis=1))
    cost = np.asarray((lost**norm).sum(axis=1), np.float64)
    return Quantized(book, indices, cost, quantized.k_eff.repeat(every))


def relative_error(rows: Rows, quantized: Quantized) -> float:
    """``|W - Q| / |W|``, in float64, whatever the size of the values."""
    unit = float(np.abs(rows).max(initial=0.0)) or 1.0
    scaled = rows.astype(np.float64) / unit
    lost = float(np.linalg.norm(scaled - quantized.dequantized / unit))
    return lost / (float(np.linalg.norm(scaled)) or 1.0)


def some(quantized: Quantized, mask: NDArray[np.bool_]) -> Quantized:
    """The codebooks of the mask."""
    return Quantized(
        quantized.codebook[mask],
        quantized.indices[mask],
        quantized.cost[mask],
        quantized.k_eff[mask],
        price=None if quantized.price is None else quantized.price[mask],
    )


def merged(parts: Sequence[tuple[NDArray[np.bool_], Quantized]], k: int) -> Quantized:
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
        price=np.zeros(count),
    )
    for where, part in parts:
        out.codebook[where] = np.pad(part.codebook, ((0, 0), (0, k - part.k)), "edge")
        out.indices[where], out.cost[where] = part.indices, part.cost
        out.k_eff[where] = part.k_eff
        if part.price is not None and out.price is not None:
            out.price[where] = part.price
    return out
