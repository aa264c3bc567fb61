"""The methods that are compared: each makes nets on few values a row out of a pretrained one."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from dpnet.model.data.preparation import Preparation
from dpnet.model.experiments.distilled import Distilled
from dpnet.model.experiments.evaluation import NORMS, reestimate_norms
from dpnet.model.experiments.fit import TaskLoss, fit
from dpnet.model.experiments.nets.pruning import prune_smallest
from dpnet.model.experiments.nets.straight import straight_through
from dpnet.model.experiments.nets.tuning import shared_values
from dpnet.model.experiments.plans import AVERAGED, CONTROL, FLOAT_BITS, LLOYD_METHODS, Plan
from dpnet.model.experiments.settings import FitSettings
from dpnet.model.experiments.stages import load_stage, machine, save_stage
from dpnet.model.pictures import Pictures
from dpnet.model.quantizer.exact import quantize
from dpnet.model.training.checkpoint import fingerprint
from dpnet.model.training.regularizer import ClusterRegularizer, Solver
from dpnet.model.training.run import Progress

__all__ = ["LLOYD", "Bench", "Chain", "Stage", "chains", "origin"]

REESTIMATED = 10_000
"""Pictures of the training part over which batch norms are re-estimated."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A net after a method, `epochs` behind the pretrained one, and the `machine` that made it."""

    method: str
    epochs: int
    net: nn.Module
    machine: str


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
        """The nets of a chain, in the order of its methods; each is changed by the next one.

        They are kept in files: a chain that is there is read, and nothing is trained."""
        kept = [self._kept(method, chain.bits) for method in chain.methods]
        if all(kept):
            yield from (stage for stage in kept if stage is not None)
            return
        for stage in self._made(chain, on_progress):
            path = self._stage_file(stage.method, chain.bits)
            save_stage(path, origin(self.plan, self.seed), stage.net, self.device)
            yield stage

    def _kept(self, method: str, bits: int) -> Stage | None:
        net, path = copy.deepcopy(self.net), self._stage_file(method, bits)
        made_on = load_stage(path, origin(self.plan, self.seed), net)
        if made_on is None:
            return None
        return Stage(method, self._epochs(method), net, made_on)

    def _stage_file(self, method: str, bits: int) -> Path:
        return self.folder / "stages" / f"{method}-{bits}.pt"

    def _epochs(self, method: str) -> int:
        """Of training behind a method."""
        before = 0 if method.startswith("ptq") else self.plan.epochs
        return before + (self.plan.tune_epochs if method.endswith("-tuned") else 0)

    def _stage(self, method: str, net: nn.Module) -> Stage:
        return Stage(method, self._epochs(method), net, machine(self.device))

    def _made(self, chain: Chain, on_progress: Progress | None) -> Iterator[Stage]:
        name = chain.methods[0]
        if name == CONTROL:
            net = self._trained(name, self.plan.phase(self.seed), on_progress)
        elif name == "ptq":
            net = self._untrained(chain)
        elif name.startswith("straight"):
            net = self._straight(name, chain.bits, on_progress)
        else:
            made = self.plan.ramped if name == "dp-net-ramp" else self.plan.clustered
            settings = made(self.seed, chain.bits, len(self.data.train_x))
            net = self._trained(name, settings, on_progress, _solver(name, self.seed))
        yield self._stage(name, net)
        yield from self._finished(chain, net, on_progress)

    def _untrained(self, chain: Chain) -> nn.Module:
        """Exact codebooks of the pretrained net."""
        net = self._start()
        zeros = bool(self.plan.sparsity)
        term = ClusterRegularizer(net, 1 << chain.bits, lam=0.0, reading="sum", keep_zeros=zeros)
        term.finalize(frozen=True)
        return net

    def _finished(
        self, chain: Chain, net: nn.Module, on_progress: Progress | None
    ) -> Iterator[Stage]:
        """Batch norms re-estimated, then values tuned, as far as the chain goes."""
        for name in chain.methods[1:]:
            if name.endswith("-tuned"):
                self._tune(net, f"{name}-{chain.bits}", on_progress)
            if self.normed:
                self._reestimate(net)
            yield self._stage(name, net)

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

    def _straight(self, name: str, bits: int, on_progress: Progress | None) -> nn.Module:
        """On exact centroids from the first step to the last."""
        net, zeros = self._start(), bool(self.plan.sparsity)
        settings = self.plan.phase(self.seed)
        if "averaged" in name:
            settings = replace(settings, average=AVERAGED)
        with straight_through(net, 1 << bits, keep_zeros=zeros):
            self._fit(net, settings, f"{name}-{1 << bits}", on_progress, quantize)
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
            task_loss=self._task_loss(name),
            solver=solver,
        )

    def _task_loss(self, name: str) -> TaskLoss | None:
        return Distilled(self.net) if "distilled" in name else self.plan.trades

    def _reestimate(self, net: nn.Module) -> None:
        x, augmentation = self.data.train_x[:REESTIMATED], self.plan.augmentation
        reestimate_norms(net, x, self.preparation, augmentation, self.seed)

    @property
    def preparation(self) -> Preparation | None:
        """What the net wants done to pixels."""
        return self.plan.entry.preparation


def chains(plan: Plan, normed: bool) -> list[Chain]:
    """All that a plan compares, by bits: the net as it is, the term of Eq. (3), Lloyd in place of
    the exact solver, and what goes beyond; the control once, in its place at the first bits."""
    found = []
    for bits in plan.bits:
        for method in plan.methods:
            if method != CONTROL:
                found.append(_chain(plan, method, bits, normed))
            elif bits == plan.bits[0]:
                found.append(Chain(FLOAT_BITS, (CONTROL,), plan.epochs))
    return found


def _chain(plan: Plan, method: str, bits: int, normed: bool) -> Chain:
    """A method and what is done behind it."""
    if method == "ptq":
        return Chain(bits, (*_both(method, normed), "ptq-bn-tuned"), plan.tune_epochs)
    if method == "dp-net":
        whole = plan.epochs + plan.tune_epochs
        return Chain(bits, (*_both(method, normed), "dp-net-bn-tuned"), whole)
    return Chain(bits, _both(method, normed), plan.epochs)


def _both(name: str, normed: bool) -> tuple[str, ...]:
    """As it is, and with batch norms re-estimated."""
    return (name, f"{name}-bn") if normed else (name,)


def origin(plan: Plan, seed: int) -> str:
    """What a net that is kept was made with: all of the plan that training depends on."""
    trained = replace(plan, bits=(), paper=(), methods=(), engine=True, attack=None, attacked=0)
    return fingerprint(f"{trained!r} {seed}", ())


LLOYD = "dpnet.model.quantizer.lloyd"
"""Lloyd's iteration, and where it starts."""


def _solver(method: str, seed: int) -> Solver:
    if method not in LLOYD_METHODS:
        return quantize
    # scikit-learn is not on every machine that trains.
    lloyd = importlib.import_module(LLOYD).lloyd
    if method == "kmeans-net-linear":
        return partial(lloyd, init="linear")
    return partial(lloyd, init="k-means++", seed=seed)
