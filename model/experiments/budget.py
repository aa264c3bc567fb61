"""Schedules that fit into a time: one step is timed, and all methods get the same epochs."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dpnet.model.experiments.fit import fit
from dpnet.model.experiments.methods import chains
from dpnet.model.experiments.plans import Plan
from dpnet.model.experiments.pretrain import HELD, as_pictures
from dpnet.model.pictures import Pictures
from dpnet.model.training.recipe import build_net

__all__ = ["Budget", "BudgetError", "epochs_of", "within"]

TIMED_STEPS = 6
SPARE = 1.15
"""Times what was timed: judging, solving, files, and what else the machine does."""


class BudgetError(ValueError):
    """A time in which not even one epoch of each method fits; the message says what does."""


@dataclass(frozen=True)
class Budget:
    """A plan that fits, and the seconds that an epoch of it takes (0: not timed)."""

    plan: Plan
    epoch_seconds: float

    @property
    def text(self) -> str:
        """The schedule in a line."""
        plan = self.plan
        float_epochs = f"{plan.epochs_float} epochs in float, then " if plan.epochs_float else ""
        shortened = f", shortened from {plan.full}" if plan.epochs < plan.full else ""
        timed = f", about {self.epoch_seconds:.0f} s each" if self.epoch_seconds else ""
        return f"{plan.name}: {float_epochs}{plan.epochs} epochs for every method{shortened}{timed}"


def epochs_of(plan: Plan) -> int:
    """All epochs of a plan."""
    return plan.epochs_float + sum(chain.epochs for chain in chains(plan, normed=True))


def within(
    plan: Plan, seconds: float, device: str = "cpu", count: Callable[[Plan], int] = epochs_of
) -> Budget:
    """The plan with as many epochs as fit into `seconds`, at most its full length; of a network
    that is trained first as many for that as its plan has them beside the others.  `count` gives
    all epochs of a plan.

    Raises `DataError` where data are missing, `BudgetError` where one epoch is too much.
    """
    labeled = plan.data()
    data = as_pictures(labeled, min(HELD, len(labeled.train_x) // 10))
    each = _epoch_seconds(plan, data, device) * SPARE
    total, longest = int(seconds / each), plan.whole()
    for epochs in range(longest.epochs, 0, -1):
        before = _before(plan, epochs)
        fitting = replace(plan, epochs=epochs, epochs_float=before)
        if count(fitting) <= total:
            return Budget(fitting, each)
    least = count(replace(plan, epochs=1, epochs_float=_before(plan, 1))) * each
    raise BudgetError(
        f"budget must be at least {least / 60:.1f} min for {plan.name} on this machine, "
        f"not {seconds / 60:.1f} min; fewer --bits take less"
    )


def _before(plan: Plan, epochs: int) -> int:
    """Epochs in float before `epochs` of each method."""
    share = plan.epochs_float / plan.epochs
    return min(plan.full_float, max(1, round(epochs * share))) if plan.epochs_float else 0


def _epoch_seconds(plan: Plan, data: Pictures, device: str) -> float:
    """What an epoch with the term takes, from a few steps behind as many that warm up."""
    net = build_net(plan.entry.make, 0)
    count = TIMED_STEPS * plan.batch
    judged = max(1, count * len(data.validation_x) // len(data.train_x))
    few = replace(
        data,
        train_x=data.train_x[:count],
        train_y=data.train_y[:count],
        validation_x=data.validation_x[:judged],
        validation_y=data.validation_y[:judged],
    )
    settings = replace(plan.clustered(0, plan.bits[0], len(data.train_x)), epochs=1)
    taken = 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for run in range(2):
            began = time.perf_counter()
            fit(
                copy.deepcopy(net),
                few,
                settings,
                preparation=plan.entry.preparation,
                device=device,
                checkpoint=Path(scratch) / f"{run}.pt",
                task_loss=plan.trades,
            )
            taken = time.perf_counter() - began
    return taken * len(data.train_x) / len(few.train_x)
