"""Training on exact centroids: codebooks and indices are solved anew at every step.

The net computes with the weights on their centroids, and the gradients go straight through to the
weights behind (the straight-through estimator of Bengio et al. 2013). So assignments move with the
weights, batch norms see the net as it will be, and nothing is left to quantize in the end. An exact
solver that takes milliseconds for a net makes it affordable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dpnet.model.compression.solver import quantize_keeping
from dpnet.model.compression.weights import Weight
from dpnet.model.experiments.nets.parametrized import parametrized
from dpnet.model.quantizer.quantized import Quantized

__all__ = ["straight_through"]


class _Through(torch.autograd.Function):
    """What is on centroids forward, the weight behind backward; `zeros` get no gradient."""

    @staticmethod
    def forward(ctx: Any, behind: Tensor, on: Tensor, zeros: Tensor | None) -> Tensor:
        ctx.zeros = zeros
        return on.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        if ctx.zeros is not None:
            gradient = gradient.masked_fill(ctx.zeros, 0.0)
        return gradient, None, None


class OnCentroids(nn.Module):
    """A weight whose rows are on their `k` exact centroids, whatever the weight behind is.

    With `keep_zeros` what is exactly 0 now stays 0: what is pruned.
    """

    zeros: Tensor | None

    def __init__(self, weight: Weight, k: int, keep_zeros: bool) -> None:
        super().__init__()
        self.k, self.form = k, weight.form
        found = (weight.values.detach() == 0) if keep_zeros else None
        self.register_buffer("zeros", found, persistent=False)
        self._solved: Quantized | None = None  # where the next solution starts
        self._on: Tensor | None = None
        self._of: tuple[int, int] | None = None

    def forward(self, behind: Tensor) -> Tensor:
        """The weight; it is solved once for each state of the one behind."""
        of = (behind.data_ptr(), behind._version)
        if self._on is None or self._of != of:
            self._on, self._of = self._solve(behind.detach()), of
        found: Tensor = _Through.apply(behind, self._on, self.zeros)  # type: ignore[no-untyped-call]
        return found

    def _solve(self, behind: Tensor) -> Tensor:
        if self.zeros is not None:
            behind = behind.masked_fill(self.zeros, 0.0)
        rows = self.form.to_rows(behind).cpu().numpy()
        keep = np.zeros(len(rows), np.bool_)
        if self.zeros is not None:
            keep = self.form.to_rows(self.zeros).any(dim=1).cpu().numpy()
        self._solved = quantize_keeping(rows, self.k, keep, start=self._solved)
        on = torch.from_numpy(self._solved.dequantized)
        return torch.empty_like(behind).copy_(self.form.from_rows(on))  # as it lies in memory


@contextmanager
def straight_through(net: nn.Module, k: int, *, keep_zeros: bool = False) -> Iterator[None]:
    """Inside, `net` computes with its compressible weights on `k` exact centroids a row, and
    whatever optimizer is made there trains the weights behind them.  Afterwards the weights on
    centroids are plain parameters.

    Raises `QuantizeError` (where the net is used) for weights that are not finite.
    """
    with parametrized(net, lambda weight: OnCentroids(weight, k, keep_zeros)):
        yield
