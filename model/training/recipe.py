"""Training with DP-Net: float, clustering-friendly, exact quantization, tuning of the biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from torch import nn

from dpnet.model.pictures import Pictures
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import Quantized
from dpnet.model.training.checkpoint import CheckpointError
from dpnet.model.training.regularizer import Solver
from dpnet.model.training.run import DivergedError, Progress, Run, accuracy, seeded
from dpnet.model.training.settings import EpochRecord, TrainSettings

__all__ = [
    "CheckpointError",
    "DivergedError",
    "EpochRecord",
    "TrainResult",
    "TrainSettings",
    "accuracy",
    "build_net",
    "pretrain",
    "train",
]

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True, eq=False)
class TrainResult:
    """A net on its centroids, and how it came there.

    `quantized` by weight name; accuracies in percent on the test part, `accuracy_float` of the
    net before the clustering-friendly epochs; `rho` and `efolds` (per period, at the first
    learning rate) by weight name, as `ClusterRegularizer` defines them.
    """

    net: nn.Module
    quantized: dict[str, Quantized]
    accuracy_float: float
    accuracy_quantized: float
    seed: int
    history: tuple[EpochRecord, ...]
    rho: dict[str, float]
    efolds: dict[str, float]


def build_net(make: Callable[[], Net], seed: int) -> Net:
    """`make()` with initial weights that depend on `seed` only."""
    with seeded(seed):
        return make()


def pretrain(
    net: nn.Module,
    data: Pictures,
    settings: TrainSettings,
    *,
    checkpoint: Path | None = None,
    on_progress: Progress | None = None,
) -> float:
    """The float epochs of `settings` alone, in place; the accuracy in percent on the test part.

    For several codebook sizes on one float net: `pretrain` it, then `train` a copy for each with
    ``epochs_float=0``. Progress, checkpoint and errors as in `train`.
    """
    alone = replace(settings, epochs_cluster=0, epochs_tune=0)
    run = Run(net, data, alone, checkpoint, on_progress, quantize)
    run.describe()
    run.train_epochs()
    return run.accuracy_float


def train(
    net: nn.Module,
    data: Pictures,
    settings: TrainSettings,
    *,
    checkpoint: Path | None = None,
    on_progress: Progress | None = None,
    solver: Solver = quantize,
) -> TrainResult:
    """Train `net` in place and quantize it exactly; see `TrainSettings` for the phases.

    Frozen layers (``requires_grad`` False) are not trained, but quantized in the end with the
    others, unless `skip` names them; `on_progress` is told so. The task's loss is cross entropy.

    With a `checkpoint` the state is saved after every epoch. The same call, with the net as it
    was at first, goes on from there and ends bit for bit as if never interrupted (same machine,
    same threads); Ctrl-C at any moment loses the epoch under way, no more. A finished run returns
    at once. `on_progress(epochs done, epochs in all, text)` is told the seed, rho and the e-folds
    first, then every epoch.

    Raises ValueError where lr * rho is unstable (before any training), `CheckpointError`,
    `DivergedError`, `QuantizeError`.
    """
    run = Run(net, data, settings, checkpoint, on_progress, solver)
    run.describe()
    run.train_epochs()
    if not run.quantized:
        run.quantize()
    return TrainResult(
        net=net,
        quantized=run.quantized,
        accuracy_float=run.accuracy_float,
        accuracy_quantized=accuracy(net, data.test_x, data.test_y),
        seed=settings.seed,
        history=tuple(run.history),
        rho=run.regularizer.rho,
        efolds=run.efolds(),
    )
