"""The trainer of the experiments: one phase of training, resumable after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dpnet.model.data.augmentation import prepare
from dpnet.model.data.preparation import Preparation
from dpnet.model.experiments.evaluation import accuracy
from dpnet.model.experiments.settings import Clustering, Epoch, FitSettings
from dpnet.model.pictures import Pictures
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import Quantized
from dpnet.model.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from dpnet.model.training.regularizer import ClusterRegularizer, Solver
from dpnet.model.training.run import DivergedError, Progress

__all__ = ["Fitted", "TaskLoss", "fit", "print_progress"]

QUIET_S = 20.0
"""Seconds of training, at most about, without a word."""

TaskLoss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""The loss without the term, of the net, prepared pictures and labels."""

ema_of: Callable[[float], Any] = get_ema_multi_avg_fn  # it has no types of its own


@dataclass(frozen=True, eq=False)
class Fitted:
    """A phase of training: its epochs, and, after clustering, the codebooks and indices on which
    the net is, by weight name."""

    history: tuple[Epoch, ...]
    quantized: dict[str, Quantized]


def fit(
    net: nn.Module,
    data: Pictures,
    settings: FitSettings,
    *,
    preparation: Preparation | None = None,
    device: str = "cpu",
    checkpoint: Path | None = None,
    on_progress: Progress | None = None,
    task_loss: TaskLoss | None = None,
    solver: Solver = quantize,
) -> Fitted:
    """Train `net` in place on the training part of `data`, on `device`, where it is left.

    The pictures may be bytes; `preparation` makes of them what the net sees, behind crop and flip
    and before cutout.  The whole training part is held on the device.  `task_loss` is by default
    cross entropy with the settings' smoothing.  The net is in evaluation mode afterwards, with
    `clustering` on its centroids.  The test part is not looked at.

    With a `checkpoint` the state is saved after every epoch.  The same call, with the net as it
    was at first, goes on from there and ends bit for bit as if never interrupted (on a CPU, with
    the same number of threads); Ctrl-C at any moment loses the epoch under way, no more.  A
    finished run returns at once.  `on_progress(epochs done, epochs in all, text)` is told the seed
    first, then every epoch with the time left, and of a long one every `QUIET_S` seconds.

    Raises ValueError where the term is unstable at the schedule's peak (before any training),
    `CheckpointError`, `DivergedError`, `QuantizeError`.
    """
    if task_loss is None:
        task_loss = _Smoothed(settings.smoothing)
    run = _Run(net, data, settings, preparation, device, checkpoint, on_progress, task_loss, solver)
    run.describe()
    while run.done < settings.epochs:
        run.epoch()
    return Fitted(tuple(run.history), run.finish())


def print_progress(done: int, total: int, text: str) -> None:
    """A line on stdout for each epoch."""
    print(f"[{done:{len(str(total))}}/{total}] {text}", flush=True)


@dataclass(frozen=True)
class _Smoothed:
    smoothing: float

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(net(x), y, label_smoothing=self.smoothing)


@dataclass
class _Run:
    """The state of one call of `fit`."""

    net: nn.Module
    data: Pictures
    settings: FitSettings
    preparation: Preparation | None
    device: str
    checkpoint: Path | None
    on_progress: Progress | None
    task_loss: TaskLoss
    solver: Solver
    done: int = 0
    history: list[Epoch] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fingerprint = self._fingerprint()
        if self.settings.channels_last:
            self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net.to(self.device)
        self.x, self.y = (t.to(self.device) for t in (self.data.train_x, self.data.train_y))
        self.steps = -(-len(self.x) // self.settings.batch)
        self.optimizer = self._optimizer()
        self.term = self._term()
        self.average = self._average()
        saved = load_checkpoint(self.checkpoint, self.fingerprint) if self.checkpoint else None
        if saved is not None:
            self._restore(saved)
        self.done_before = self.done

    def describe(self) -> None:
        """Tell the seed, what the term does, and where a checkpoint takes over."""
        s = self.settings
        text = f"seed {s.seed}, {s.epochs} epochs of {self.steps} steps, {s.schedule!r}"
        if s.clustering is not None and self.term is not None:
            c, efolds = s.clustering, self._efolds()
            way = "pulled" if c.pull else "in the loss"
            text += (
                f", k {c.k}, lambda {self._lambdas(c)} read {c.reading}, {way}, "
                f"{min(efolds):.3g} to {max(efolds):.3g} e-folds in {c.period} epochs at the peak"
            )
        self._tell(text + (f", going on after epoch {self.done}" if self.done else ""))

    def _lambdas(self, clustering: Clustering) -> str:
        first = clustering.lam_in(0, self.settings.epochs)
        return (
            f"{clustering.lam:g}" if clustering.growth == 1 else f"{first:g} to {clustering.lam:g}"
        )

    def epoch(self) -> None:
        """The next epoch, its record, its checkpoint."""
        began = time.perf_counter()
        if self.term is not None:
            self._set_lambda(self.term)
            self.term.step(self.done)
        seed = self.settings.seed * 1_000_003 + self.done + 1
        with _seeded(seed, self.device):
            loss = self._train(torch.Generator(self.device).manual_seed(seed))
        if not math.isfinite(loss):
            raise DivergedError(f"loss must stay finite, not {loss} in epoch {self.done + 1}")
        judged = self.net if self.average is None else self.average.module
        data = self.data
        right = accuracy(judged, data.validation_x, data.validation_y, self.preparation)
        spread = math.nan if self.term is None else math.sqrt(self.term.distance())
        self.history.append(Epoch(loss, right, spread, time.perf_counter() - began))
        self.done += 1
        self._save()
        self._tell(self._text())

    def finish(self) -> dict[str, Quantized]:
        """Take the averaged weights, put the net on its centroids."""
        if self.average is not None:
            self.net.load_state_dict(self.average.module.state_dict())
        self.net.eval()
        return {} if self.term is None else self.term.finalize(frozen=True)

    def _train(self, generator: torch.Generator) -> float:
        """All steps of an epoch; the mean loss."""
        s = self.settings
        order = torch.randperm(len(self.x), generator=generator, device=self.device)
        total = torch.zeros((), device=self.device)
        self.net.train()
        began = told = time.perf_counter()
        for number, batch in enumerate(torch.split(order, s.batch)):
            lr = s.schedule.rate(self.done * self.steps + number, s.epochs * self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            x = prepare(s.augmentation.place(self.x[batch], generator), self.preparation)
            total += len(batch) * self._step(s.augmentation.hide(x, generator), self.y[batch], lr)
            if time.perf_counter() - told > QUIET_S:
                told = time.perf_counter()
                self._tell(self._within(number + 1, told - began))
        return float(total) / len(order)

    def _step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        """One step of the optimizer; the task's loss, without a wait for it."""
        if self.settings.channels_last and x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        kind = torch.device(self.device).type
        with torch.autocast(kind, torch.bfloat16, enabled=self.settings.bf16):
            loss = self.task_loss(self.net, x, y).float()
        term, clustering = self.term, self.settings.clustering
        pulled = clustering is not None and clustering.pull
        self.optimizer.zero_grad()
        torch.autograd.backward(loss if term is None or pulled else loss + term())
        if term is not None:
            term.pruned.hold(term.weights)
        self.optimizer.step()
        if term is not None and pulled:
            term.pull(lr)
        if self.average is not None:
            self.average.update_parameters(self.net)
        return loss.detach()

    def _optimizer(self) -> torch.optim.SGD:
        s = self.settings
        trained = [p for p in self.net.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": s.decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        return torch.optim.SGD(
            groups, lr=s.schedule.peak, momentum=s.momentum, nesterov=s.momentum > 0
        )

    def _term(self) -> ClusterRegularizer | None:
        c = self.settings.clustering
        if c is None:
            return None
        return ClusterRegularizer(
            self.net,
            c.k,
            c.lam,
            c.period,
            c.reading,
            len(self.x),
            skip=c.skip,
            optimizer=None if c.pull else self.optimizer,  # refuses an unstable peak, now
            keep_zeros=c.keep_zeros,
            solver=self.solver,
        )

    def _set_lambda(self, term: ClusterRegularizer) -> None:
        clustering = self.settings.clustering
        assert clustering is not None
        term.lam = clustering.lam_in(self.done, self.settings.epochs)

    def _average(self) -> AveragedModel | None:
        if not self.settings.average:
            return None
        mean = ema_of(self.settings.average)
        return AveragedModel(self.net, multi_avg_fn=mean, use_buffers=True)

    def _efolds(self) -> list[float]:
        s = self.settings
        assert self.term is not None and s.clustering is not None
        steps = s.clustering.period * self.steps
        momentum = 0.0 if s.clustering.pull else s.momentum
        return list(self.term.efolds(s.schedule.peak, steps, momentum).values())

    def _fingerprint(self) -> str:
        parts = (self.settings, self.preparation, _named(self.task_loss), _named(self.solver))
        tensors = [*vars(self.data).values(), *self.net.state_dict().values()]
        return fingerprint(repr(parts), tensors)

    def _tell(self, text: str) -> None:
        if self.on_progress is not None:
            self.on_progress(self.done, self.settings.epochs, text)

    def _within(self, steps: int, seconds: float) -> str:
        left = seconds / steps * (self.steps - steps)
        return f"epoch {self.done + 1}: {steps} of {self.steps} steps, {_clock(left)} left of it"

    def _text(self) -> str:
        last = self.history[-1]
        fresh = [epoch.seconds for epoch in self.history[self.done_before :]]
        left = sum(fresh) / len(fresh) * (self.settings.epochs - self.done)
        spread = "" if math.isnan(last.spread) else f", rms W - C {last.spread:.2e}"
        return (
            f"loss {last.loss:.4f}, validation {last.accuracy_validation:.2f} %{spread}, "
            f"{last.seconds:.1f} s, {_clock(left)} left"
        )

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = {
            "fingerprint": self.fingerprint,
            "done": self.done,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [vars(epoch) for epoch in self.history],
        }
        if self.term is not None:
            state["term"] = self.term.state_dict()
        if self.average is not None:
            state["average"] = self.average.state_dict()
        save_checkpoint(self.checkpoint, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [Epoch(**epoch) for epoch in state["history"]]
        if self.term is not None:
            self.term.load_state_dict(state["term"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _named(function: Any) -> str:
    """A function by its name, one with arguments by both, an object by what it says of itself."""
    if isinstance(function, partial):
        return f"{_named(function.func)} {function.args} {function.keywords}"
    name = getattr(function, "__qualname__", None)
    return f"{function.__module__}.{name}" if name else repr(function)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


@contextmanager
def _seeded(seed: int, device: str) -> Iterator[None]:
    """Torch's random numbers from `seed` inside, on the device too; as they were before outside."""
    used = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=used):
        torch.manual_seed(seed)
        yield
