"""How the values of a weight form the rows that share a codebook: one for each output."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowForm:
    """The rows of a weight of `shape`: a row is what one output, or output channel, is made of.

    `groups` is 0 where axis 0 is the outputs: (out, in, *kernel), the layout of linear layers,
    convolutions, recurrent layers, attention and embeddings. A transposed convolution has
    (in, out / groups, *kernel): `groups` is then 1 or more, and the rows run along axis 1.
    """

    shape: tuple[int, ...]
    groups: int = 0

    @property
    def rows(self) -> int:
        """Outputs, or output channels."""
        return self.shape[1] * self.groups if self.groups else self.shape[0]

    @property
    def n(self) -> int:
        """Values per row."""
        return math.prod(self.shape) // self.rows if self.rows else 0

    @property
    def outputs_first(self) -> tuple[int, ...]:
        """The shape with the outputs on axis 0: what an image says of the weight."""
        if not self.groups:
            return self.shape
        return (self.rows, self.shape[0] // self.groups, *self.shape[2:])

    def to_rows(self, values: Tensor) -> Tensor:
        """(rows, n) of a tensor of `shape`."""
        if not self.groups:
            return to_rows(values)
        split = values.reshape(self.groups, -1, *self.shape[1:]).transpose(1, 2)
        return split.reshape(self.rows, -1)

    def from_rows(self, rows: Tensor) -> Tensor:
        """The inverse of `to_rows`."""
        if not self.groups:
            return from_rows(rows, torch.Size(self.shape))
        split = rows.reshape(
            self.groups, self.shape[1], self.shape[0] // self.groups, *self.shape[2:]
        )
        return split.transpose(1, 2).reshape(self.shape)


def to_rows(weight: Tensor) -> Tensor:
    """The weight as (rows, n), a view where possible: one row per output or output channel.

    (out, in) stays as it is; (out, in, *kernel) becomes (out, in * kernel) in the order of memory,
    which is also the order of `torch.nn.functional.unfold`'s patches.
    """
    if weight.ndim < 2:
        raise ValueError(f"weight must have at least 2 dimensions, not shape {tuple(weight.shape)}")
    return weight.reshape(weight.shape[0], -1)


def from_rows(rows: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `to_rows`: rows back in the shape of their weight."""
    if len(shape) < 2 or rows.ndim != 2 or rows.shape[0] != shape[0]:
        raise ValueError(f"rows must come from {tuple(shape)}, not have {tuple(rows.shape)}")
    return rows.reshape(shape)


def wide(values: Tensor) -> Tensor:
    """`values` in the type that they are solved in: float64 as it is, all else as float32.

    Centroids of half types, which are no half-precision numbers, keep their place; float64
    weights keep their digits and their range.
    """
    return values if values.dtype == torch.float64 else values.float()
