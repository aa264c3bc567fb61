"""The methods that are compared: each makes nets on few values a row out of a pretrained one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import nn

from dpnet.model.data.preparation import Preparation
from dpnet.model.experiments.evaluation import NORMS, reestimate_norms
from dpnet.model.experiments.fit import fit
from dpnet.model.experiments.plans import Plan
from dpnet.model.experiments.pruning import prune_smallest
from dpnet.model.experiments.results.rows import CONTROL, FLOAT_BITS
from dpnet.model.experiments.settings import FitSettings
from dpnet.model.experiments.tuning import shared_values
from dpnet.model.pictures import Pictures
from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.lloyd import lloyd
from dpnet.model.training.regularizer import ClusterRegularizer, Solver
from dpnet.model.training.run import Progress

__all__ = ["Bench", "Chain", "Stage", "chains"]

REESTIMATED = 10_000
"""Pictures of the training part over which batch norms are re-estimated."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A net after a method, `epochs` behind the pretrained one."""

    method: str
    epochs: int
    net: nn.Module


@dataclass(frozen=True)
class Chain:
    """Methods at `bits` that go on from each other, and the epochs of training that they take."""

    bits: int
    methods: tuple[str, ...]
    epochs: int


@dataclass(frozen=True, eq=False)
class Bench:
    """What the methods of one seed share: the pretrained `net`, data, where checkpoints lie."""

    plan: Plan
    net: nn.Module
    data: Pictures
    seed: int
    device: str
    folder: Path

    @property
    def normed(self) -> bool:
        """Whether there are batch norms to re-estimate."""
        return any(isinstance(module, NORMS) for module in self.net.modules())

    def stages(self, chain: Chain, on_progress: Progress | None = None) -> Iterator[Stage]:
        """The nets of a chain, in the order of its methods; each is changed by the next one."""
        name = chain.methods[0]
        if name == CONTROL:
            net = self._trained(name, self.plan.phase(self.seed), on_progress)
            yield Stage(name, self.plan.epochs, net)
        elif name == "ptq":
            yield from self._untrained(chain, on_progress)
        else:
            yield from self._clustered(chain, on_progress)

    def _untrained(self, chain: Chain, on_progress: Progress | None) -> Iterator[Stage]:
        """Exact codebooks of the pretrained net."""
        net = self._start()
        zeros = bool(self.plan.sparsity)
        term = ClusterRegularizer(net, 1 << chain.bits, lam=0.0, reading="sum", keep_zeros=zeros)
        term.finalize(frozen=True)
        yield Stage("ptq", 0, net)
        yield from self._finished(chain, net, 0, on_progress)

    def _clustered(self, chain: Chain, on_progress: Progress | None) -> Iterator[Stage]:
        """Training with the term of Eq. (3), its codebooks from the chain's solver."""
        name, plan = chain.methods[0], self.plan
        settings = plan.clustered(self.seed, chain.bits, len(self.data.train_x))
        net = self._trained(name, settings, on_progress, _solver(name, self.seed))
        yield Stage(name, plan.epochs, net)
        yield from self._finished(chain, net, plan.epochs, on_progress)

    def _finished(
        self, chain: Chain, net: nn.Module, epochs: int, on_progress: Progress | None
    ) -> Iterator[Stage]:
        """Batch norms re-estimated, then values tuned, as far as the chain goes."""
        for name in chain.methods[1:]:
            if name.endswith("-tuned"):
                self._tune(net, f"{name}-{chain.bits}", on_progress)
                epochs += self.plan.tune_epochs
            if self.normed:
                self._reestimate(net)
            yield Stage(name, epochs, net)

    def _trained(
        self,
        name: str,
        settings: FitSettings,
        on_progress: Progress | None,
        solver: Solver = quantize,
    ) -> nn.Module:
        in_float = settings.clustering is None
        net = copy.deepcopy(self.net) if in_float else self._start()
        k = "" if settings.clustering is None else f"-{settings.clustering.k}"
        self._fit(net, settings, f"{name}{k}", on_progress, solver)
        return net

    def _start(self) -> nn.Module:
        """A copy of the pretrained net, pruned where the plan says so."""
        net = copy.deepcopy(self.net)
        if self.plan.sparsity:
            prune_smallest(net, self.plan.sparsity)
        return net

    def _tune(self, net: nn.Module, name: str, on_progress: Progress | None) -> None:
        with shared_values(net):
            self._fit(net, self.plan.tuned(self.seed), name, on_progress, quantize)
        net.eval()

    def _fit(
        self,
        net: nn.Module,
        settings: FitSettings,
        name: str,
        on_progress: Progress | None,
        solver: Solver,
    ) -> None:
        fit(
            net,
            self.data,
            settings,
            preparation=self.preparation,
            device=self.device,
            checkpoint=self.folder / f"{name}.pt",
            on_progress=on_progress,
            task_loss=self.plan.trades,
            solver=solver,
        )

    def _reestimate(self, net: nn.Module) -> None:
        x, augmentation = self.data.train_x[:REESTIMATED], self.plan.augmentation
        reestimate_norms(net, x, self.preparation, augmentation, self.seed)

    @property
    def preparation(self) -> Preparation | None:
        """What the net wants done to pixels."""
        return self.plan.entry.preparation


def chains(plan: Plan, normed: bool) -> list[Chain]:
    """All that a plan compares, by bits: the net as it is, the term of Eq. (3), and Lloyd in place
    of the exact solver; the control once, behind the first net with the term."""
    found = []
    for bits in plan.bits:
        found.append(Chain(bits, (*_both("ptq", normed), "ptq-bn-tuned"), plan.tune_epochs))
        whole = plan.epochs + plan.tune_epochs
        found.append(Chain(bits, (*_both("dp-net", normed), "dp-net-bn-tuned"), whole))
        if bits == plan.bits[0]:
            found.append(Chain(FLOAT_BITS, (CONTROL,), plan.epochs))
        for start in STARTS if plan.lloyd else ():
            found.append(Chain(bits, _both(f"kmeans-net-{start}", normed), plan.epochs))
    return found


def _both(name: str, normed: bool) -> tuple[str, ...]:
    """As it is, and with batch norms re-estimated."""
    return (name, f"{name}-bn") if normed else (name,)


STARTS = ("linear", "kmeans++")
"""Of Lloyd's iteration."""


def _solver(method: str, seed: int) -> Solver:
    if method == "kmeans-net-linear":
        return partial(lloyd, init="linear")
    if method == "kmeans-net-kmeans++":
        return partial(lloyd, init="k-means++", seed=seed)
    return quantize
