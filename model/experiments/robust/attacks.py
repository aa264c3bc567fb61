"""Attacks on a net within a ball around each picture: what judges it, and what TRADES trains on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.data.augmentation import prepare
from dpnet.model.data.preparation import Preparation
from dpnet.model.evaluating import evaluating

__all__ = ["Attack", "robust_accuracy"]

BATCH = 250
Loss = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """`steps` of `size` along the sign of the gradient that a loss has in the pixels, which stay
    within `epsilon` of the picture and in 0 to 1 (Madry et al. 2018)."""

    epsilon: float
    size: float
    steps: int

    def __post_init__(self) -> None:
        if not 0.0 < self.epsilon <= 1.0 or not 0.0 < self.size <= 1.0:
            raise ValueError(
                f"epsilon and size must be above 0 and at most 1, not {self.epsilon!r} and "
                f"{self.size!r}"
            )
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, not {self.steps!r}")

    def climb(self, x: Tensor, start: Tensor, loss: Loss) -> Tensor:
        """From `start` up `loss`, a function of pictures like `x`, in the ball around `x`."""
        low, high = (x - self.epsilon).clamp(min=0.0), (x + self.epsilon).clamp(max=1.0)
        moved = start.clamp(0.0, 1.0)
        for _ in range(self.steps):
            moved = moved.detach().requires_grad_(True)
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(loss(moved), moved)
            moved = torch.clamp(moved.detach() + self.size * slope.sign(), low, high)
        return moved.detach()

    def against(self, net: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Pictures near `x`, from a start anywhere in the ball, that the net hardly labels `y`."""
        noise = torch.rand(x.shape, generator=generator, device=generator.device).to(x.device)
        start = x + self.epsilon * (2.0 * noise - 1.0)
        return self.climb(x, start, lambda z: functional.cross_entropy(net(z), y, reduction="sum"))


def robust_accuracy(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    *,
    preparation: Preparation | None = None,
    seed: int = 0,
) -> float:
    """Percent of the pictures that the net, in evaluation mode, labels as `y` under the attack.

    Prepared pictures are 0 to 1.  Every module's mode is as it was, gradients too.
    """
    device, right = next(net.parameters()).device, 0
    generator = torch.Generator().manual_seed(seed)
    with evaluating(net):
        for inputs, labels in zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True):
            pictures, wanted = prepare(inputs.to(device), preparation), labels.to(device)
            attacked = attack.against(net, pictures, wanted, generator)
            with torch.no_grad():
                right += int((net(attacked).argmax(1) == wanted).sum())
    return 100.0 * right / len(y)
