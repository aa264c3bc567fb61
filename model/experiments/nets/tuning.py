"""Short tuning of a net that is on its centroids: their values move, the indices stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dpnet.model.compression.weights import Weight
from dpnet.model.experiments.nets.parametrized import parametrized

__all__ = ["shared_values"]


class SharedValues(nn.Module):
    """A weight as the values of its rows' codebooks; the parameter is (rows, K).

    An entry that `m` weights share is kept times the root of m, so that a step of SGD moves it as
    far as the mean of the steps that these weights would make: a learning rate for weights fits.
    Entries that are 0 stay 0: what is pruned.
    """

    indices: Tensor
    roots: Tensor
    shares: Tensor

    def __init__(self, weight: Weight) -> None:
        super().__init__()
        self.form = weight.form
        rows = weight.to_rows(weight.values.detach())
        found = [row.unique(sorted=True, return_inverse=True) for row in rows]
        indices = torch.stack([inverse for _, inverse in found])
        k = int(indices.max()) + 1
        counts = torch.stack([torch.bincount(row, minlength=k) for row in indices])
        self.register_buffer("indices", indices, persistent=False)
        roots = counts.clamp(min=1).to(rows).sqrt()
        book = torch.zeros_like(roots).scatter_(1, indices, rows)
        self.register_buffer("roots", roots, persistent=False)
        self.register_buffer("shares", (book != 0) / roots, persistent=False)

    def forward(self, entries: Tensor) -> Tensor:
        """The weight of these entries."""
        rows = (entries * self.shares).gather(1, self.indices)
        return self.form.from_rows(rows)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The entries of a weight whose rows share values as they did at first."""
        rows = self.form.to_rows(weight)
        book = torch.zeros_like(self.roots).scatter_(1, self.indices, rows)
        return book * self.roots


@contextmanager
def shared_values(net: nn.Module) -> Iterator[None]:
    """Inside, the compressed weights of `net` are trained as shared values: whatever optimizer is
    made there, what shares a value goes on sharing it.  Afterwards they are plain parameters."""
    with parametrized(net, SharedValues):
        yield
