"""Distillation (Hinton et al. 2015) from the pretrained net, as a task loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.evaluating import evaluating

__all__ = ["Distilled"]


@dataclass(frozen=True, eq=False)
class Distilled:
    """`share` of the loss from the classes of a `teacher` at `temperature`, the rest from labels.

    T^2 KL(softmax(teacher(x) / T) || softmax(net(x) / T)), mean over the pictures, and cross
    entropy.  A `task_loss` of `fit`; the teacher sees the same pictures, in evaluation mode, and
    is not trained.  Raises ValueError for a temperature that is not above 0, a share not in 0 to 1.
    """

    teacher: nn.Module = field(repr=False)
    temperature: float = 4.0
    share: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be finite and above 0, not {self.temperature!r}")
        if not 0.0 <= self.share <= 1.0:
            raise ValueError(f"share must be 0 to 1, not {self.share!r}")

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad(), evaluating(self.teacher):
            told = functional.log_softmax(self.teacher(x) / self.temperature, 1)
        logits = net(x)
        said = functional.log_softmax(logits / self.temperature, 1)
        apart = functional.kl_div(said, told, reduction="batchmean", log_target=True)
        taught = self.temperature**2 * apart
        return self.share * taught + (1.0 - self.share) * functional.cross_entropy(logits, y)
