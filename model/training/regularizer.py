"""The clustering-friendly term of training, Eq. (3), for any training loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpnet.model.compression.groups import wide
from dpnet.model.compression.solver import quantize_keeping, rows_of
from dpnet.model.compression.weights import Weight
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import NonFiniteError, Quantized, QuantizeError, check_k
from dpnet.model.training import fused
from dpnet.model.training.processes import together
from dpnet.model.training.pruned import Pruned, put_zero
from dpnet.model.training.stability import check_groups, check_schedule, stability_limit
from dpnet.model.training.tracked import Tracked, TrainingWarning
from dpnet.model.training.watch import REMEDY, Watch

__all__ = ["ClusterRegularizer", "Reading", "Solver", "TrainingWarning", "stability_limit"]

Reading = Literal["sum", "per-row", "per-train-set"]
Solver = Callable[[NDArray[np.floating[Any]], int], Quantized]


class ClusterRegularizer:
    """``lam * scale * sum((W - C) ** 2)`` over the compressed weights of a net.

    C is the nearest centroid of each weight's row; it follows the weights at every call, while
    the codebooks stay as they are until `step` solves them again, exactly.

        regularizer = ClusterRegularizer(net, k=16, n_train=50_000, optimizer=optimizer)
        for epoch in range(epochs):
            regularizer.step(epoch)
            for x, y in batches:
                loss = task_loss(net(x), y) + regularizer()
                ...
        quantized = regularizer.finalize()

    The paper does not say by what its sum is divided, so `reading` chooses the scale:
    ``"sum"`` 1 (diverges at the paper's lam = 100 with any usual learning rate),
    ``"per-row"`` 1 / n of the row, ``"per-train-set"`` 1 / `n_train`. The gradient is
    ``rho * (W - C)`` with ``rho = 2 * lam * scale``, see `rho`, `efolds` and `check_stability`.
    Instead of adding the term to the loss, `pull` after each optimizer step is stable always.

    Which weights are compressed, and as which rows, `dpnet.model.compression.weights` says; they
    are found in the net by their names at every call, so that a replaced parameter is followed.
    Weights that are computed from several parameters are refused with the cure; a pruning mask of
    ``torch.nn.utils.prune`` may be put on and taken off at any time.

    In several processes (``torchrun``, DDP) make it of the net inside of the wrapper; `step` and
    `finalize`, which all processes call, share the layers among them and give all the same.

    Parameters
    ----------
    net : the net, or a part of one
    k : centroids per row, 1 to 16, for all layers or by any name of each (then exactly of the
        compressed ones)
    lam : lambda of Eq. (3), 0 or more
    period : t of the paper, epochs between exact solutions
    reading : what the sum is divided by
    n_train : the size of the training set, for ``"per-train-set"``
    skip : layers or weights to leave alone, by any of their names
    optimizer : checked for stability now and in every `step`; where it adapts its rates to the
        gradients (Adam) the first steps are watched, and a term that freezes the net is warned of
    scheduler : of that optimizer's learning rate: all of its steps are checked now
    schedule_steps : how many there will be, where the scheduler does not say itself (10,000)
    keep_zeros : what is exactly 0 now stays 0, as in a net that was pruned: `step` and `finalize`
        put it there and the term pulls it there. None: in rows that look pruned (of several
        values besides), with a warning that says so. Under a pruning mask zeros stay in any case.
    solver : the quantizer, (rows, k) -> `Quantized`
    """

    def __init__(
        self,
        net: nn.Module,
        k: int | Mapping[str, int],
        lam: float = 100.0,
        period: int = 20,
        reading: Reading = "per-train-set",
        n_train: int | None = None,
        *,
        skip: Collection[str] = (),
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        schedule_steps: int | None = None,
        keep_zeros: bool | None = None,
        solver: Solver = quantize,
    ) -> None:
        _check_options(lam, period, reading, n_train)
        self.weights = Tracked(net, skip)
        if not self.weights:
            raise ValueError("net must have a fully connected or convolution layer to compress")
        given = k if isinstance(k, Mapping) else dict.fromkeys(self.weights, k)
        self.k = {name: check_k(n) for name, n in self.weights.by_name(given, "k").items()}
        self.lam, self.period, self.reading, self.n_train = float(lam), period, reading, n_train
        self.optimizer, self.solver = optimizer, solver
        self.solved_at: int | None = None
        self.codebooks: dict[str, Tensor] = {}
        self.solved: dict[str, Quantized] = {}  # where the next solution starts
        self.pruned = Pruned(self.weights, keep_zeros)
        self.watch = Watch(self)
        if optimizer is not None:
            self.check_stability(optimizer)
            self.watch.look_at(optimizer)
        if scheduler is not None:
            self.check_schedule(scheduler, schedule_steps)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that hold the compressed weights, by name, as the net has them now."""
        held = {name: weight.tensor for name, weight in self.weights.items()}
        return {name: tensor for name, tensor in held.items() if isinstance(tensor, nn.Parameter)}

    @property
    def _tensors(self) -> dict[str, Tensor]:
        return {name: weight.tensor for name, weight in self.weights.items()}

    @property
    def rho(self) -> dict[str, float]:
        """Per weight: the term's gradient is ``rho * (W - C)``."""
        scale = {"sum": 1.0, "per-train-set": 1.0 / (self.n_train or 1)}
        return {
            name: 2.0 * self.lam * scale.get(self.reading, 1.0 / weight.n)
            for name, weight in self.weights.first.items()
        }

    def efolds(self, lr: float, steps: int, momentum: float = 0.0) -> dict[str, float]:
        """Per weight: by how many powers of e the term alone shrinks W - C in `steps` steps."""
        return {name: rho * lr * steps / (1.0 - momentum) for name, rho in self.rho.items()}

    def check_stability(self, optimizer: torch.optim.Optimizer) -> None:
        """Raise ValueError where ``lr * rho`` makes the term diverge under this SGD.

        The limits are 2 without momentum, 2 (1 + beta) with it and 2 (1 + beta) / (1 + 2 beta)
        with Nesterov's. Optimizers without such a limit (Adam) are accepted. The task's own
        curvature comes on top, so stay well below.
        """
        if isinstance(optimizer, torch.optim.SGD):
            check_groups(optimizer.param_groups, self._members(optimizer), self.rho)

    def check_schedule(
        self, scheduler: torch.optim.lr_scheduler.LRScheduler, steps: int | None = None
    ) -> None:
        """Raise ValueError where a step of the schedule makes the term diverge under its SGD.

        The scheduler and its optimizer are not touched: a copy is stepped `steps` times, or as
        often as it says itself, or 10,000 times. The message names the step.
        """
        optimizer = scheduler.optimizer
        if self.optimizer is not None and optimizer is not self.optimizer:
            raise ValueError("scheduler must be of the optimizer that is given with it")
        if isinstance(optimizer, torch.optim.SGD):
            check_schedule(scheduler, self._members(optimizer), self.rho, steps)

    def step(self, epoch: int) -> bool:
        """Call before each epoch: solves the codebooks where `epoch` is a multiple of `period`.

        The first call always solves. True if it did. Raises ValueError as `check_stability`, for
        an optimizer that has parameters which are no longer the net's, and where the net no
        longer has a weight.
        """
        self.weights.check_net()
        if self.optimizer is not None:
            self.check_stability(self.optimizer)
            self.watch.check_optimizer(self.optimizer)
        self.pruned.put(self.weights)
        if self.codebooks and epoch % self.period:
            return False
        solved = together(self.weights, lambda name: self._solve(name).codebook, self._tensors)
        codebooks = {}
        for name, weight in self.weights.items():
            codebook = torch.from_numpy(solved[name])
            codebooks[name] = codebook.to(weight.tensor.device, wide(weight.values[:0]).dtype)
        self.codebooks, self.solved_at = codebooks, epoch
        return True

    def __call__(self) -> Tensor:
        """The term, a scalar whose gradient reaches the weights; the centroids are constants.

        It is computed in float32, in float64 for float64 weights, whatever type the net has.
        """
        rho = self.rho
        terms = []
        for name, weight in self.weights.items():
            if self._fused(weight):
                terms.append(fused.squares(weight, self._codebook(name), 0.5 * rho[name]))
                continue
            mask = weight.mask
            values = wide(weight.tensor if mask is None else weight.tensor * mask)
            with torch.no_grad():
                nearest = self._nearest(weight)
            terms.append(0.5 * rho[name] * (values - nearest).square().sum())
        term = torch.stack([part.to(terms[0].device, terms[0].dtype) for part in terms]).sum()
        self.watch.called(term)
        return term

    @torch.no_grad()
    def pull(self, lr: float) -> None:
        """W <- (W + a C) / (1 + a) with a = lr * rho: the implicit step, stable for any lam.

        Frozen weights (``requires_grad`` False) stay as they are.
        """
        for name, rho in self.rho.items():
            weight = self.weights[name]
            if not weight.tensor.requires_grad:
                continue
            share = lr * rho / (1.0 + lr * rho)
            if self._fused(weight):
                fused.pull(weight, self._codebook(name), share)
            else:
                self.weights.put(name, wide(weight.values).lerp(self.nearest(name), share))

    @torch.no_grad()
    def nearest(self, name: str) -> Tensor:
        """The nearest centroid of each weight, in the weight's shape; float32, or float64 for a
        float64 weight. What was pruned has 0."""
        return self._nearest(self.weights[name])

    def _nearest(self, weight: Weight) -> Tensor:
        codebook = self._codebook(weight.name)
        if self._fused(weight):
            return fused.nearest(weight, codebook)
        rows = weight.to_rows(wide(weight.values)).contiguous()
        codebook = codebook.to(rows)
        middles = codebook[:, 1:] / 2 + codebook[:, :-1] / 2
        indices = torch.searchsorted(middles, rows)
        found = weight.from_rows(codebook.gather(1, indices))
        zeros = self.pruned.of(weight)
        return found if zeros is None else found.masked_fill(zeros, 0.0)

    def _codebook(self, name: str) -> Tensor:
        if name not in self.codebooks:
            raise RuntimeError("step(epoch) must be called before the term is used")
        return self.codebooks[name]

    def _fused(self, weight: Weight) -> bool:
        """Whether one pass over the memory of a weight does: nothing of it is held at 0."""
        return self.pruned.of(weight) is None and fused.fits(weight)

    @torch.no_grad()
    def distance(self) -> float:
        """Mean of ``(W - C) ** 2`` over all compressed weights."""
        squares = [
            (wide(w.values) - self.nearest(name)).double().square().sum()
            for name, w in self.weights.items()
        ]
        count = sum(w.rows * w.n for w in self.weights.first.values())
        return sum(float(part) for part in squares) / count

    @torch.no_grad()
    def finalize(self, *, frozen: bool = False) -> dict[str, Quantized]:
        """Solve once more and put every weight on its centroid, rounded to the weight's type.

        Returns the codebooks (in float64) and indices by weight name. Frozen weights
        (``requires_grad`` False) stay as they are, are not in the result and are named in a
        warning, unless `frozen` is True. If a weight cannot be solved, the net is as it was.
        """
        left = [n for n, w in self.weights.items() if not (frozen or w.tensor.requires_grad)]
        if left:
            warnings.warn(
                f"frozen weights are left as they are and are not in the result, {left!r}: "
                "finalize(frozen=True) puts them on centroids too",
                TrainingWarning,
                stacklevel=2,
            )
        names = [name for name in self.weights if name not in left]
        quantized = together(names, self._solve, self._tensors)
        for name, found in quantized.items():
            self.weights.put(
                name, self.weights[name].from_rows(torch.from_numpy(found.dequantized))
            )
        return quantized

    def state_dict(self) -> dict[str, Any]:
        """All that a later `load_state_dict` needs to go on exactly here."""
        return {
            "k": dict(self.k),
            "solved_at": self.solved_at,
            "codebooks": {name: codebook.clone() for name, codebook in self.codebooks.items()},
            "zeros": {name: zeros.clone() for name, zeros in self.pruned.zeros.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same net and k; raises ValueError for another."""
        if state["k"] != self.k:
            raise ValueError(f"state must be of k = {self.k!r}, not {state['k']!r}")
        for name, codebook in state["codebooks"].items():
            expected = (self.weights.first[name].rows, self.k[name])
            if tuple(codebook.shape) != expected:
                raise ValueError(
                    f"codebooks of {name} must be {expected}, not {tuple(codebook.shape)}"
                )
        self.codebooks = {
            name: codebook.to(wide(self.weights[name].values), copy=True)
            for name, codebook in state["codebooks"].items()
        }
        self.pruned.zeros = {n: zeros.clone() for n, zeros in state.get("zeros", {}).items()}
        self.solved_at = state["solved_at"]

    def _members(self, optimizer: torch.optim.Optimizer) -> list[list[str]]:
        """The names of the compressed weights in each of the optimizer's groups."""
        names = {id(weight.tensor): name for name, weight in self.weights.items()}
        return [
            [names[id(p)] for p in group["params"] if id(p) in names]
            for group in optimizer.param_groups
        ]

    def _solve(self, name: str) -> Quantized:
        weight = self.weights[name]
        zeros = self.pruned.of(weight)
        values = wide(weight.values)
        if zeros is not None:
            values = values.masked_fill(zeros, 0.0)
        rows = rows_of(weight, values)
        keep = np.zeros(len(rows), np.bool_)
        if zeros is not None:
            keep = weight.to_rows(zeros).any(dim=1).cpu().numpy()
        try:
            if self.solver is not quantize:
                return put_zero(self.solver(rows, self.k[name]), rows, keep)
            start = self.solved.get(name)
            self.solved[name] = quantize_keeping(rows, self.k[name], keep, start=start)
            return self.solved[name]
        except QuantizeError as error:
            diverged = isinstance(error, NonFiniteError) and self.codebooks
            why = f" (it was before: {REMEDY})" if diverged else ""
            raise type(error)(f"{name}: {error}{why}") from error


def _check_options(lam: float, period: int, reading: str, n_train: int | None) -> None:
    """Refuse what makes no term."""
    if reading not in get_args(Reading):
        raise ValueError(f"reading must be one of {get_args(Reading)!r}, not {reading!r}")
    if not (math.isfinite(lam) and lam >= 0):
        raise ValueError(f"lam must be finite and not negative, not {lam!r}")
    if period < 1:
        raise ValueError(f"period must be at least 1 epoch, not {period!r}")
    if reading == "per-train-set" and (n_train is None or n_train < 1):
        raise ValueError(f"n_train must be the size of the training set, not {n_train!r}")
