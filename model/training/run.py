"""One run of the training loop: its epochs, its state, its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.pictures import Pictures
from dpnet.model.quantizer.quantized import Quantized
from dpnet.model.training.checkpoint import (
    fingerprint,
    load_checkpoint,
    pack_quantized,
    save_checkpoint,
    unpack_quantized,
)
from dpnet.model.training.regularizer import ClusterRegularizer, Solver
from dpnet.model.training.settings import CLUSTER, FLOAT, TUNE, EpochRecord, TrainSettings

Progress = Callable[[int, int, str], None]

EVALUATION_BATCH = 512


class DivergedError(ArithmeticError):
    """The loss is no longer finite."""


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Percent of `x` that the net, in evaluation mode, labels as `y`."""
    net.eval()
    batches = (torch.split(part, EVALUATION_BATCH) for part in (x, y))
    right = sum(
        int((net(inputs).argmax(1) == labels).sum())
        for inputs, labels in zip(*batches, strict=True)
    )
    return 100.0 * right / len(y)


@dataclass
class Run:
    """The state of one call of `train`."""

    net: nn.Module
    data: Pictures
    settings: TrainSettings
    checkpoint: Path | None
    on_progress: Progress | None
    solver: Solver
    done: int = 0
    accuracy_float: float = math.nan
    history: list[EpochRecord] = field(default_factory=list)
    quantized: dict[str, Quantized] = field(default_factory=dict)

    def __post_init__(self) -> None:
        s = self.settings
        self.regularizer = ClusterRegularizer(
            self.net,
            s.k,
            s.lam,
            s.period,
            s.reading,
            len(self.data.train_x),
            skip=s.skip,
            keep_zeros=s.keep_zeros,
            solver=self.solver,
        )
        # Without a bias or another float parameter there is nothing to tune.
        self.phases = [p for p in s.phases() if p[0] != TUNE or self._trained(TUNE)]
        # Refuse an unstable term now, not after the float epochs.
        self.regularizer.check_stability(self._new_optimizer(CLUSTER, s.lr_cluster))
        self.optimizer: torch.optim.Optimizer | None = None
        tensors = [*vars(self.data).values(), *self.net.state_dict().values()]
        solver = getattr(self.solver, "__qualname__", type(self.solver).__qualname__)
        self.fingerprint = fingerprint(f"{s!r} {solver}", tensors)
        saved = load_checkpoint(self.checkpoint, self.fingerprint) if self.checkpoint else None
        if saved is not None:
            self._restore(saved)

    def efolds(self) -> dict[str, float]:
        """Expected e-folds of W - C per period at the first clustering learning rate."""
        s = self.settings
        steps = s.period * -(-len(self.data.train_x) // s.batch)
        return self.regularizer.efolds(s.lr_cluster, steps, s.momentum)

    def describe(self) -> None:
        """Tell the seed, rho, e-folds, what is pruned or frozen, where a checkpoint takes over."""
        s, rho, efolds = self.settings, self.regularizer.rho.values(), self.efolds().values()
        text = (
            f"seed {s.seed}, k {s.k}, lambda {s.lam:g} read {s.reading}, "
            f"rho {_span(rho)}, {_span(efolds)} e-folds per {s.period} epochs"
        )
        held = sum(int(zeros.sum()) for zeros in self.regularizer.pruned.zeros.values())
        frozen = [n for n, p in self.regularizer.parameters.items() if not p.requires_grad]
        text += f", {held:,} pruned weights held at 0" if held else ""
        text += f", frozen but quantized in the end: {', '.join(frozen)}" if frozen else ""
        self._tell(text + (f", going on after epoch {self.done}" if self.done else ""))

    def train_epochs(self) -> None:
        """All epochs that are not done yet."""
        if not self.settings.epochs_float and not self.done:
            self.accuracy_float = accuracy(self.net, self.data.test_x, self.data.test_y)
        while self.done < len(self.phases):
            phase, epoch, lr = self.phases[self.done]
            if phase == TUNE and not self.quantized:
                self.quantize()
            if epoch == 0 or self.optimizer is None:
                self.optimizer = self._new_optimizer(phase, lr)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self._epoch(phase, epoch, self.optimizer)
            if phase == FLOAT and epoch == self.settings.epochs_float - 1:
                self.accuracy_float = accuracy(self.net, self.data.test_x, self.data.test_y)
            self.done += 1
            self._save()
            self._tell(self._text())

    def quantize(self) -> None:
        """Put the net on its centroids, frozen layers too."""
        self.quantized = self.regularizer.finalize(frozen=True)

    def _epoch(self, phase: str, epoch: int, optimizer: torch.optim.Optimizer) -> None:
        if phase == CLUSTER:
            self.regularizer.optimizer = optimizer
            self.regularizer.step(epoch)
        total = 0.0
        with seeded(self.settings.seed * 1_000_003 + self.done + 1):
            self.net.train()
            order = torch.randperm(len(self.data.train_x))
            for batch in torch.split(order, self.settings.batch):
                logits = self.net(self.data.train_x[batch])
                loss = functional.cross_entropy(logits, self.data.train_y[batch])
                total += loss.item() * len(batch)
                self.net.zero_grad()
                whole = loss + self.regularizer() if phase == CLUSTER else loss
                torch.autograd.backward(whole)
                self.regularizer.pruned.hold(self.regularizer.weights)
                optimizer.step()
        if not math.isfinite(total):
            raise DivergedError(f"loss must stay finite, not {total} in epoch {self.done + 1}")
        right = accuracy(self.net, self.data.validation_x, self.data.validation_y)
        distance = self.regularizer.distance() if phase == CLUSTER else math.nan
        self.history.append(EpochRecord(phase, total / len(order), right, distance))

    def _trained(self, phase: str) -> list[nn.Parameter]:
        """All parameters; in the last phase those that are not compressed."""
        compressed = {id(weight) for weight in self.regularizer.parameters.values()}
        return [p for p in self.net.parameters() if phase != TUNE or id(p) not in compressed]

    def _new_optimizer(self, phase: str, lr: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(self._trained(phase), lr=lr, momentum=self.settings.momentum)

    def _tell(self, text: str) -> None:
        if self.on_progress is not None:
            self.on_progress(self.done, len(self.phases), text)

    def _text(self) -> str:
        last = self.history[-1]
        spread = "" if math.isnan(last.distance) else f", rms W - C {math.sqrt(last.distance):.2e}"
        return (
            f"{last.phase}: loss {last.loss:.4f}, "
            f"validation {last.accuracy_validation:.2f} %{spread}"
        )

    def _save(self) -> None:
        if self.checkpoint is None or self.optimizer is None:
            return
        state = {
            "fingerprint": self.fingerprint,
            "done": self.done,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "regularizer": self.regularizer.state_dict(),
            "quantized": pack_quantized(self.quantized),
            "history": [vars(record) for record in self.history],
            "accuracy_float": self.accuracy_float,
        }
        save_checkpoint(self.checkpoint, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        self.net.load_state_dict(state["net"])
        self.regularizer.load_state_dict(state["regularizer"])
        self.quantized = unpack_quantized(state["quantized"])
        self.history = [EpochRecord(**record) for record in state["history"]]
        self.accuracy_float = state["accuracy_float"]
        phase, _, lr = self.phases[self.done - 1]
        self.optimizer = self._new_optimizer(phase, lr)
        self.optimizer.load_state_dict(state["optimizer"])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from `seed` inside, as they were before outside."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _span(values: Collection[float]) -> str:
    """One number, or the smallest and the largest."""
    low, high = min(values), max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
