"""The clustering-friendly term of training, Eq. (3), for any training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpnet.model.compression.groups import compressed_parameters, from_rows, to_rows
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.quantized import Quantized, QuantizeError, check_k

Reading = Literal["sum", "per-row", "per-train-set"]
Solver = Callable[[NDArray[np.float32], int], Quantized]


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

    Parameters: `k`, for all layers or by weight name (then exactly the compressed ones);
    `period`, t of the paper, in epochs; `skip`, layers to leave alone; `optimizer`, if given, is
    checked at once and in every `step`; `solver`, the quantizer (rows, k) -> Quantized.
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
        solver: Solver = quantize,
    ) -> None:
        if reading not in get_args(Reading):
            raise ValueError(f"reading must be one of {get_args(Reading)!r}, not {reading!r}")
        if not (math.isfinite(lam) and lam >= 0):
            raise ValueError(f"lam must be finite and not negative, not {lam!r}")
        if period < 1:
            raise ValueError(f"period must be at least 1 epoch, not {period!r}")
        if reading == "per-train-set" and (n_train is None or n_train < 1):
            raise ValueError(f"n_train must be the size of the training set, not {n_train!r}")
        self.parameters = compressed_parameters(net, skip)
        if not self.parameters:
            raise ValueError("net must have a fully connected or convolution layer to compress")
        names = list(self.parameters)
        if isinstance(k, Mapping) and set(k) != set(names):
            raise ValueError(f"k must have an entry for each of {names!r}, not for {sorted(k)!r}")
        self.k = {name: check_k(k[name] if isinstance(k, Mapping) else k) for name in names}
        self.lam, self.period, self.reading, self.n_train = float(lam), period, reading, n_train
        self.optimizer, self.solver = optimizer, solver
        self.solved_at: int | None = None
        self.codebooks: dict[str, Tensor] = {}
        self.solved: dict[str, Quantized] = {}  # where the next solution starts
        if optimizer is not None:
            self.check_stability(optimizer)

    @property
    def rho(self) -> dict[str, float]:
        """Per weight: the term's gradient is ``rho * (W - C)``."""
        scale = {"sum": 1.0, "per-train-set": 1.0 / (self.n_train or 1)}
        return {
            name: 2.0 * self.lam * scale.get(self.reading, 1.0 / to_rows(weight).shape[1])
            for name, weight in self.parameters.items()
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
        if not isinstance(optimizer, torch.optim.SGD):
            return
        rho = self.rho
        for group in optimizer.param_groups:
            members = {id(parameter) for parameter in group["params"]}
            limit = stability_limit(group["momentum"], group["nesterov"])
            for name, weight in self.parameters.items():
                if id(weight) in members and group["lr"] * rho[name] >= limit:
                    raise ValueError(
                        f"lr * rho must be below {limit:.4g} for {name}, not "
                        f"{group['lr'] * rho[name]:.4g}: lower lam or lr, or choose another reading"
                    )

    def step(self, epoch: int) -> bool:
        """Call before each epoch: solves the codebooks where `epoch` is a multiple of `period`.

        The first call always solves. True if it did. Raises ValueError as `check_stability`.
        """
        if self.optimizer is not None:
            self.check_stability(self.optimizer)
        if self.codebooks and epoch % self.period:
            return False
        for name, weight in self.parameters.items():
            codebook = torch.from_numpy(self._solve(name).codebook)
            self.codebooks[name] = codebook.to(weight.device, weight.dtype)
        self.solved_at = epoch
        return True

    def __call__(self) -> Tensor:
        """The term, a scalar whose gradient reaches the weights; the centroids are constants."""
        rho = self.rho
        terms = [
            0.5 * rho[name] * (weight - self.nearest(name)).square().sum()
            for name, weight in self.parameters.items()
        ]
        return torch.stack(terms).sum()

    @torch.no_grad()
    def pull(self, lr: float) -> None:
        """W <- (W + a C) / (1 + a) with a = lr * rho: the implicit step, stable for any lam."""
        for name, rho in self.rho.items():
            share = lr * rho / (1.0 + lr * rho)
            self.parameters[name].lerp_(self.nearest(name), share)

    @torch.no_grad()
    def nearest(self, name: str) -> Tensor:
        """The nearest centroid of each weight, in the weight's shape."""
        if name not in self.codebooks:
            raise RuntimeError("step(epoch) must be called before the term is used")
        weight, codebook = self.parameters[name], self.codebooks[name]
        middles = (codebook[:, 1:] + codebook[:, :-1]) / 2
        rows = to_rows(weight).contiguous()
        indices = torch.searchsorted(middles, rows)
        return from_rows(codebook.gather(1, indices), weight.shape)

    @torch.no_grad()
    def distance(self) -> float:
        """Mean of ``(W - C) ** 2`` over all compressed weights."""
        count = sum(weight.numel() for weight in self.parameters.values())
        squares = [
            (w - self.nearest(name)).double().square().sum() for name, w in self.parameters.items()
        ]
        return float(torch.stack(squares).sum()) / count

    @torch.no_grad()
    def finalize(self) -> dict[str, Quantized]:
        """Solve once more and put every weight on its centroid, rounded to the weight's type.

        Returns the codebooks (in float64) and indices by weight name.
        """
        quantized = {name: self._solve(name) for name in self.parameters}
        for name, weight in self.parameters.items():
            rows = torch.from_numpy(quantized[name].dequantized)
            weight.copy_(from_rows(rows, weight.shape))
        return quantized

    def state_dict(self) -> dict[str, Any]:
        """All that a later `load_state_dict` needs to go on exactly here."""
        return {
            "k": dict(self.k),
            "solved_at": self.solved_at,
            "codebooks": {name: codebook.clone() for name, codebook in self.codebooks.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same net and k; raises ValueError for another."""
        if state["k"] != self.k:
            raise ValueError(f"state must be of k = {self.k!r}, not {state['k']!r}")
        for name, codebook in state["codebooks"].items():
            expected = (to_rows(self.parameters[name]).shape[0], self.k[name])
            if tuple(codebook.shape) != expected:
                raise ValueError(
                    f"codebooks of {name} must be {expected}, not {tuple(codebook.shape)}"
                )
        self.codebooks = {
            name: codebook.to(self.parameters[name], copy=True)
            for name, codebook in state["codebooks"].items()
        }
        self.solved_at = state["solved_at"]

    def _solve(self, name: str) -> Quantized:
        rows = to_rows(self.parameters[name].detach()).float().cpu().numpy()
        try:
            if self.solver is not quantize:
                return self.solver(rows, self.k[name])
            self.solved[name] = quantize(rows, self.k[name], start=self.solved.get(name))
            return self.solved[name]
        except QuantizeError as error:
            raise type(error)(f"{name}: {error}") from error


def stability_limit(momentum: float = 0.0, nesterov: bool = False) -> float:
    """The lr * rho at which SGD starts to diverge on ``rho / 2 * w ** 2``."""
    return 2.0 * (1.0 + momentum) / (1.0 + 2.0 * momentum if nesterov else 1.0)
