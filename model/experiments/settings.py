"""What the trainer of the experiments is told, and what it records of each epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dpnet.model.data.augmentation import Augmentation
from dpnet.model.experiments.schedules import Schedule
from dpnet.model.training.regularizer import Reading

NONE = Augmentation()


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """The term of Eq. (3): `k`, `lam`, `period`, `reading`, `skip` and `keep_zeros` as
    `ClusterRegularizer` has them.  `pull`: its implicit step behind each step of the optimizer
    instead of the term in the loss, stable for every `lam`.  `growth`: in the last epoch lambda is
    `lam`, in the first one `lam / growth`, and it grows by the same factor from each to the next.
    """

    k: int | Mapping[str, int]
    lam: float = 100.0
    period: int = 20
    reading: Reading = "per-train-set"
    pull: bool = False
    skip: tuple[str, ...] = ()
    keep_zeros: bool | None = None
    growth: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.growth) and self.growth > 0):
            raise ValueError(f"growth must be finite and above 0, not {self.growth!r}")

    def lam_in(self, epoch: int, epochs: int) -> float:
        """Lambda in an epoch, from 0, of so many."""
        before_last = (epochs - 1 - epoch) / (epochs - 1) if epochs > 1 else 0.0
        return self.lam / math.pow(self.growth, before_last)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """One phase of training, float or (with `clustering`) clustering-friendly.

    SGD with Nesterov's momentum; `decay` on what has two or more dimensions, so not on biases and
    norms.  `smoothing` of the labels; `average`: the net that is judged, quantized and returned is
    the mean of the weights at all steps, each counting `average` times as much as the next one
    (0: none, the last ones).  `bf16`: forward passes in bfloat16 where PyTorch takes them to be
    safe.  `channels_last`: maps and weights lie so in memory.  `seed` decides all that is random.
    """

    epochs: int
    schedule: Schedule
    batch: int = 128
    momentum: float = 0.9
    decay: float = 5e-4
    augmentation: Augmentation = NONE
    smoothing: float = 0.0
    average: float = 0.0
    bf16: bool = False
    channels_last: bool = False
    clustering: Clustering | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(
                f"epochs and batch must be at least 1, not {self.epochs!r} and {self.batch!r}"
            )
        for name in ("momentum", "smoothing", "average"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be 0 to below 1, not {getattr(self, name)!r}")
        if not (math.isfinite(self.decay) and self.decay >= 0):
            raise ValueError(f"decay must be finite and not negative, not {self.decay!r}")


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean task loss, validation accuracy in percent, root of the mean squared W - C
    (NaN without clustering), seconds."""

    loss: float
    accuracy_validation: float
    spread: float
    seconds: float
