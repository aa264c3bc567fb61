"""TRADES (Zhang et al. 2019), the task loss of the paper's Eq. (7)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.evaluating import evaluating
from dpnet.model.experiments.robust.attacks import Attack

__all__ = ["Trades"]

START = 0.001
"""Of the normal noise from which the attack starts."""


@dataclass(frozen=True)
class Trades:
    """Cross entropy, and `beta` times how far the attacked pictures' classes are from those of the
    pictures: KL(p(x) || p(x')), x' by `attack` up this divergence, the net in evaluation mode.

    A `task_loss` of `fit`; pictures are 0 to 1.
    """

    attack: Attack
    beta: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(f"beta must be finite and not negative, not {self.beta!r}")

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        attacked = self.attacked(net, x)
        logits = net(x)
        apart = _divergence(logits, net(attacked)) / len(x)
        return functional.cross_entropy(logits, y) + self.beta * apart

    def attacked(self, net: nn.Module, x: Tensor) -> Tensor:
        """Pictures in the ball around `x` to which the net gives other classes."""
        with evaluating(net):
            with torch.no_grad():
                logits = net(x)
            start = x + START * torch.randn_like(x)
            return self.attack.climb(x, start, lambda z: _divergence(logits, net(z)))


def _divergence(of: Tensor, other: Tensor) -> Tensor:
    """The sum of KL(softmax(of) || softmax(other)) over a batch."""
    return functional.kl_div(
        functional.log_softmax(other, 1), functional.softmax(of, 1), reduction="sum"
    )
