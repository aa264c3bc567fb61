"""The smallest weights of each layer become 0, the first step of Table III's pipeline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dpnet.model.compression.weights import weights_of

__all__ = ["prune_smallest"]


@torch.no_grad()
def prune_smallest(net: nn.Module, shares: Sequence[float]) -> None:
    """Put at 0, in place, that share of each layer's weights, rounded to whole weights, which has
    the smallest magnitudes; the layers in the net's order.

    Raises ValueError unless there is a share of 0 to below 1 for each layer.
    """
    weights, _ = weights_of(net)
    if len(shares) != len(weights) or not all(0.0 <= share < 1.0 for share in shares):
        raise ValueError(
            f"shares must be {len(weights)} numbers from 0 to below 1, not {list(shares)!r}"
        )
    for weight, share in zip(weights, shares, strict=True):
        values: Tensor = weight.tensor
        count = round(share * values.numel())
        smallest = values.abs().flatten().argsort(stable=True)[:count]
        held = torch.zeros(values.numel(), dtype=torch.bool, device=values.device)
        held[smallest] = True
        values.masked_fill_(held.reshape(values.shape), 0.0)
