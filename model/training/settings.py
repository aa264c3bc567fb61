"""What training is told, and what it records of each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dpnet.model.training.regularizer import Reading

FLOAT, CLUSTER, TUNE = "float", "cluster", "tune"
LR_END = 0.05  # share of a phase's learning rate at the end of its cosine


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How to train; epochs of 0 leave a phase out (a net that is already trained: epochs_float=0).

    `k` centroids per row; `lam`, `period` (epochs between exact solutions) and `reading` as
    `ClusterRegularizer` has them; `skip` names layers that stay float. SGD with `momentum`, in
    each phase a cosine from its lr to a twentieth of it. `seed` decides the order of the
    pictures and all random layers (dropout). What is pruned stays so in all phases: under a
    pruning mask, and exact zeros as `keep_zeros` of `ClusterRegularizer` has it.
    """

    k: int = 16
    epochs_float: int = 40
    epochs_cluster: int = 40
    epochs_tune: int = 0
    lr_float: float = 0.05
    lr_cluster: float = 0.02
    lr_tune: float = 0.01
    momentum: float = 0.9
    batch: int = 64
    lam: float = 100.0
    period: int = 10
    reading: Reading = "per-train-set"
    skip: tuple[str, ...] = ()
    keep_zeros: bool | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs_float", "epochs_cluster", "epochs_tune"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, not {getattr(self, name)!r}")
        if self.batch < 1:
            raise ValueError(f"batch must be at least 1, not {self.batch!r}")

    def phases(self) -> list[tuple[str, int, float]]:
        """(phase, epoch within it, learning rate) of each epoch."""
        plan = [
            (FLOAT, self.epochs_float, self.lr_float),
            (CLUSTER, self.epochs_cluster, self.lr_cluster),
            (TUNE, self.epochs_tune, self.lr_tune),
        ]
        return [(name, e, _cosine(lr, e, n)) for name, n, lr in plan for e in range(n)]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: mean task loss, validation accuracy in percent, mean squared W - C or nan."""

    phase: str
    loss: float
    accuracy_validation: float
    distance: float


def _cosine(lr: float, epoch: int, epochs: int) -> float:
    """The learning rate of an epoch, falling from `lr` to LR_END of it."""
    if epochs == 1:
        return lr
    share = (1.0 + math.cos(math.pi * epoch / (epochs - 1))) / 2.0
    return lr * (LR_END + (1.0 - LR_END) * share)
