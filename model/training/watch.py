"""Signs in the first steps of training that the term is too strong, told in a warning."""

from __future__ import annotations

import math
import statistics
import warnings
from typing import Protocol

import torch
from torch import Tensor

from dpnet.model.compression.groups import wide
from dpnet.model.compression.weights import Weight
from dpnet.model.training.stability import UNCHECKED, stability_limit
from dpnet.model.training.tracked import Tracked, TrainingWarning

WATCHED_STEPS = 10
FROZEN = 100.0
"""How many times the loss's gradient the term pulls a weight that is halfway to another centroid
where training stands still: at 200 no weight of the digits network changed its centroid in 15
epochs of Adam, at 60 every second one did."""
GENTLE = 5.0
FAR = 100.0
REMEDY = "lower lam or lr so that lr * rho stays below 2, give optimizer=, or pull() instead"


class Term(Protocol):
    """What is watched: a `ClusterRegularizer`."""

    lam: float
    weights: Tracked
    codebooks: dict[str, Tensor]
    optimizer: torch.optim.Optimizer | None

    @property
    def rho(self) -> dict[str, float]:
        """By weight name."""

    def nearest(self, name: str) -> Tensor:
        """The centroids, in the weight's shape."""


class Watch:
    """Looks at the term's first calls and at the optimizer's first steps."""

    def __init__(self, term: Term) -> None:
        self.term = term
        self.calls = 0
        self._told = False
        self._trained: set[str] = set()
        self._ratios: list[float] = []
        self._seen = 0

    def look_at(self, optimizer: torch.optim.Optimizer) -> None:
        """Remember what the optimizer trains; look at the first steps of one that is no SGD."""
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self._trained = {n for n, w in self.term.weights.items() if id(w.tensor) in held}
        if not isinstance(optimizer, torch.optim.SGD):
            self._handle = optimizer.register_step_pre_hook(lambda *_: self._before_step())

    def check_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Raise ValueError where what it trained is no longer the net's parameter."""
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name in sorted(self._trained):
            if id(self.term.weights[name].tensor) not in held:
                raise ValueError(
                    f"optimizer must hold the net's own {name}, not one that the net no longer "
                    "has (load_state_dict(assign=True), a replaced layer): make it anew"
                )

    def called(self, term: Tensor) -> None:
        """Warn once of a rho that no one checks, or of a term that grows beyond all codebooks."""
        self.calls += 1
        if self.calls == 1 and self.term.optimizer is None:
            self._unchecked()
        if self._told or self.calls & (self.calls - 1):  # at calls 1, 2, 4, 8, …
            return
        value = float(term.detach())
        if not math.isfinite(value) or value > FAR * self._span():
            self._tell(
                f"the term has grown to {value:.3g} in {self.calls} calls, the weights are far "
                f"outside of their codebooks, so training diverges: {REMEDY}"
            )

    def _unchecked(self) -> None:
        name, rho = max(self.term.rho.items(), key=lambda item: item[1])
        if rho >= UNCHECKED:
            plain, heavy = stability_limit() / rho, stability_limit(0.9) / rho
            self._tell(
                f"rho is {rho:.4g} for {name}, which nothing checks without optimizer=: SGD "
                f"diverges from lr {plain:.2g} on, with momentum 0.9 from {heavy:.2g}, and Adam "
                "hardly moves the weights; lower lam, choose another reading, or pull() instead"
            )

    def _span(self) -> float:
        """The term if every weight were as far from its centroid as its codebook is wide."""
        total, rho = 0.0, self.term.rho
        for name, codebook in self.term.codebooks.items():
            width = (codebook[:, -1] - codebook[:, 0]).double().square().sum()
            weight = self.term.weights.first[name]
            total += 0.5 * rho[name] * weight.n * float(width)
        return total or math.inf

    def _before_step(self) -> None:
        """Compare the term's pull between two centroids with the gradient of the loss alone."""
        if not self.term.codebooks or self.calls == self._seen:
            return
        self._seen = self.calls
        rho = self.term.rho
        ratios = [_ratio(self.term, w, rho[name]) for name, w in self.term.weights.items()]
        known = [ratio for ratio in ratios if math.isfinite(ratio)]
        if known:
            self._ratios.append(statistics.median(known))
        if len(self._ratios) < WATCHED_STEPS:
            return
        self._handle.remove()
        ratio = statistics.median(self._ratios)
        if ratio > FROZEN:
            lam = self.term.lam * GENTLE / ratio
            self._tell(
                f"halfway between two centroids the term pulls {ratio:.3g} times as hard as the "
                f"loss, so the weights hardly leave their centroids: lower lam to {lam:.1g} or so, "
                "choose another reading, or pull() instead"
            )

    def _tell(self, text: str) -> None:
        self._told = True
        warnings.warn(text, TrainingWarning, stacklevel=5)


@torch.no_grad()
def _ratio(term: Term, weight: Weight, rho: float) -> float:
    """The pull halfway to the next centroid over the root mean square of the loss's gradient; NaN
    where the loss has none."""
    codebook, gradient = term.codebooks[weight.name], weight.tensor.grad
    if gradient is None or codebook.shape[1] < 2:
        return math.nan
    alone = wide(gradient) - rho * (wide(weight.values) - term.nearest(weight.name))
    size = float(alone.double().square().mean().sqrt())
    gap = float((codebook[:, -1] - codebook[:, 0]).double().mean()) / (codebook.shape[1] - 1)
    least = 1e-5 * rho * gap  # what the subtraction in float32 leaves to be seen
    return rho * gap / 2 / max(size, least) if gap else math.nan
