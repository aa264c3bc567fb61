"""The term of Eq. (3) on a CPU in one pass over each weight, without a copy of it.

Rows share a codebook whatever the order of their values is, so those of a `channels_last` kernel
are taken in the order of memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpnet.model.compression.weights import Weight
from dpnet.model.quantizer.kernels.nearest import apart_rows, near_rows, pull_rows

__all__ = ["fits", "nearest", "pull", "squares"]

Rows = NDArray[Any]


def fits(weight: Weight) -> bool:
    """Whether the weight is one that is taken here: float32 or float64 on a CPU, without a pruning
    mask, and with rows that lie in one piece."""
    tensor = weight.tensor
    plain = tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)
    return plain and weight.mask is None and not weight.form.groups and _in_rows(tensor)


def nearest(weight: Weight, codebook: Tensor) -> Tensor:
    """The nearest centroid of each value, in the weight's shape and order of memory."""
    values = weight.tensor.detach()
    found = torch.empty_like(values)
    _each(near_rows, values, codebook, _rows(found))
    return found


def squares(weight: Weight, codebook: Tensor, half_rho: float) -> Tensor:
    """`half_rho` times the sum of (W - C)^2, a scalar with its gradient."""
    apart = torch.empty_like(weight.tensor.detach())
    _each(apart_rows, weight.tensor.detach(), codebook, _rows(apart))
    found: Tensor = _Squares.apply(weight.tensor, apart, half_rho)  # type: ignore[no-untyped-call]
    return found


def pull(weight: Weight, codebook: Tensor, share: float) -> None:
    """Move each value by a share of the way to its centroid, in place."""
    values = weight.tensor.detach()
    _each(pull_rows, values, codebook, share)
    values[:0].zero_()  # tells autograd that the values are others now


class _Squares(torch.autograd.Function):
    """The sum of squares of what is known already; its gradient reaches the weight."""

    @staticmethod
    def forward(ctx: Any, _values: Tensor, apart: Tensor, half_rho: float) -> Tensor:
        ctx.save_for_backward(apart)
        ctx.half_rho = half_rho
        flat = torch.from_numpy(_rows(apart)).reshape(-1)
        return half_rho * torch.dot(flat, flat)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (apart,) = ctx.saved_tensors
        return apart * (2.0 * ctx.half_rho * gradients[0]), None, None


def _each(kernel: Callable[..., None], values: Tensor, codebook: Tensor, argument: Any) -> None:
    book = codebook.to(values.dtype).numpy()
    kernel(_rows(values), book, book[:, 1:] / 2 + book[:, :-1] / 2, argument)


def _rows(values: Tensor) -> Rows:
    """(rows, n) in the order of memory, the same memory."""
    if not values.is_contiguous():
        values = values.permute(0, 2, 3, 1)
    found: Rows = np.asarray(values.view(len(values), -1).numpy())
    return found


def _in_rows(values: Tensor) -> bool:
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return values.is_contiguous() or last
