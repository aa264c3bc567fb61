"""Where the term of Eq. (3) makes training diverge or stand still, told before it happens."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from dpnet.model.training.tracked import TrainingWarning

UNCHECKED = 20.0
"""The rho from which SGD diverges at a learning rate of 0.1, a usual one."""

STEPS = 10_000
"""How many steps of a schedule are looked at where nothing says how many there will be."""


def stability_limit(momentum: float = 0.0, nesterov: bool = False) -> float:
    """The lr * rho at which SGD starts to diverge on ``rho / 2 * w ** 2``."""
    return 2.0 * (1.0 + momentum) / (1.0 + 2.0 * momentum if nesterov else 1.0)


def check_groups(
    groups: Collection[Mapping[str, Any]],
    members: Collection[Collection[str]],
    rho: Mapping[str, float],
    when: str = "",
) -> None:
    """Raise ValueError where an SGD with these parameter groups makes the term diverge.

    `members` are the names of the weights in each group; `when` says in the message at which step
    of a schedule that is.
    """
    for group, names in zip(groups, members, strict=True):
        lr = float(group["lr"]) * (1.0 - float(group.get("dampening", 0.0)))
        limit = stability_limit(float(group["momentum"]), bool(group.get("nesterov", False)))
        for name in names:
            if lr * rho[name] >= limit:
                raise ValueError(
                    f"lr * rho must be below {limit:.4g} for {name}, not {lr * rho[name]:.4g}"
                    f"{when}: lower lam or lr, or choose another reading"
                )


def check_schedule(
    scheduler: Any,
    members: Collection[Collection[str]],
    rho: Mapping[str, float],
    steps: int | None = None,
) -> None:
    """Raise ValueError where a learning rate scheduler will make the term diverge.

    A copy of the scheduler, on a copy of its optimizer without the parameters' states, is stepped
    `steps` times, or as often as it says itself (``total_steps``), or 10,000 times. Neither the
    scheduler nor the optimizer is touched. One that follows a measured value
    (``ReduceLROnPlateau``) only lowers the rate: it is checked as it stands.
    """
    stand_in = _without_state(scheduler.optimizer)
    check_groups(stand_in.param_groups, members, rho)
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        return
    try:
        ahead = copy.deepcopy(scheduler, {id(scheduler.optimizer): stand_in})
    except Exception as error:  # whatever the parts of a user's own schedule raise
        warnings.warn(
            f"the schedule cannot be looked at ahead ({error}): its rate is checked in every epoch",
            TrainingWarning,
            stacklevel=4,
        )
        return
    total = getattr(scheduler, "total_steps", None)
    left = STEPS if total is None else int(total) - 1 - int(scheduler.last_epoch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the copy's optimizer did no step
        for step in range(1, 1 + (left if steps is None else steps)):
            ahead.step()
            check_groups(stand_in.param_groups, members, rho, f" at step {step} of the schedule")


def _without_state(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """A copy whose rates can be changed alone; the parameters themselves are the same."""
    stand_in = copy.copy(optimizer)
    stand_in.param_groups = [
        {k: v.clone() if isinstance(v, Tensor) else v for k, v in group.items()}
        for group in optimizer.param_groups
    ]
    return stand_in
