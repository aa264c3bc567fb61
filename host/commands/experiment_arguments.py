"""Arguments of `dpnet experiment`, and what its errors become."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import torch

from dpnet.host.arguments import OneOf, number, whole
from dpnet.host.commands import InputError, going_on
from dpnet.model.data.places import DataError
from dpnet.model.experiments.budget import BudgetError
from dpnet.model.experiments.imagenet.plan import ImageNetPlan
from dpnet.model.experiments.plans import METHODS, Plan
from dpnet.model.networks.published import WeightsError
from dpnet.model.training.recipe import CheckpointError, DivergedError
from dpnet.model.training.stability import stability_limit

UNITS = {"min": 60.0, "h": 3600.0, "s": 1.0}
BITS = whole(1, 4)
METHOD = OneOf(METHODS)
SEED = whole(0, 2**31)
PULLED = ("dp-net-ramp",)
"""Methods whose term is stable for any rho."""

NOTES = {
    "cifar-10": "CIFAR-10, 10,000 pictures to test; chosen on 5,000 of the 50,000 to train with",
    "imagenet": "ImageNet",
    "mnist": "MNIST, 10,000 pictures to test; chosen on 5,000 of the 60,000 to train with",
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command is asked for: `plan` of the experiment `name`, each of the `seeds`, a result
    at `path`, everything kept below `folder`, `budget` in seconds (0: none)."""

    name: str
    plan: Plan
    seeds: tuple[int, ...]
    path: Path
    folder: Path
    device: str
    budget: float

    @property
    def share(self) -> float:
        """Seconds for each seed, 0 without a budget."""
        return self.budget / len(self.seeds)

    def check_stable(self) -> None:
        """Raise `InputError` where the term would diverge at the rate's peak."""
        plan = self.plan
        momentum = plan.phase(0).momentum
        limit = stability_limit(momentum, nesterov=momentum > 0)
        with_term = [m for m in plan.methods if m.startswith(("dp-net", "kmeans-net"))]
        if set(with_term) - set(PULLED) and plan.rate * plan.rho >= limit:
            raise InputError(
                f"rate times rho must be below {limit:.4g}, not {plan.rate:g} times {plan.rho:g}: "
                "the term would diverge; give a smaller --rate or --rho"
            )

    def spoken(self, own: Plan) -> str:
        """The command that makes the result again, with what is not the experiment's `own`."""
        plan = self.plan
        parts = ["dpnet", "experiment", self.name, "--bits", ",".join(map(str, plan.bits))]
        parts += ["--epochs", str(plan.epochs)]
        if plan.methods != own.methods:
            parts += ["--methods", ",".join(plan.methods)]
        for name in ("rate", "rho"):
            if getattr(plan, name) != getattr(own, name):
                parts += [f"--{name}", f"{getattr(plan, name):g}"]
        parts += ["--bf16"] if plan.bf16 else []
        if isinstance(plan, ImageNetPlan):
            parts += ["--data", str(plan.pictures), "--weights", str(plan.weights)]
        seeds = ",".join(map(str, self.seeds))
        return shlex.join([*parts, "--seed", seeds, "--device", self.device])


def budget_of(text: str) -> float:
    """A time, in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|min|h)", text)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not seconds:
        raise click.BadParameter(f"must be a time, as 90min or 2h, not {text!r}")
    return seconds


def bits_of(text: str) -> tuple[int, ...]:
    """Different numbers of bits."""
    found = tuple(BITS(part) for part in text.split(","))
    if len(set(found)) < len(found):
        raise click.BadParameter(f"must be different numbers from 1 to 4, as 2,3, not {text!r}")
    return found


def methods_of(text: str) -> tuple[str, ...]:
    """Different methods."""
    found = tuple(METHOD.convert(part, None, None) for part in text.split(","))
    if len(set(found)) < len(found):
        raise click.BadParameter(f"must be different methods, not {text!r}")
    return found


def seeds_of(text: str) -> tuple[int, ...]:
    """Different seeds."""
    found = tuple(SEED(part) for part in text.split(","))
    if len(set(found)) < len(found):
        raise click.BadParameter(f"must be different numbers, as 0,1,2, not {text!r}")
    return found


def positive(text: str) -> float:
    """A positive number."""
    value = number(text)
    if not 0.0 < value < math.inf:
        raise click.BadParameter(f"must be a positive number, not {text!r}")
    return value


def device_of(text: str) -> str:
    """A device that this machine has."""
    try:
        kind = torch.device(text).type
    except RuntimeError:
        raise click.BadParameter(f"must be cpu, cuda, cuda:1 …, not {text!r}") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise click.BadParameter(f"must be cpu: PyTorch finds no GPU here, so not {text!r}")
    return text


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Errors of an experiment whose checkpoints and rows are in `folder`, each as a line."""
    kept = f"finished epochs and rows are in {folder}; run the same command again to go on"
    with going_on(kept):
        try:
            yield
        except (DataError, WeightsError, BudgetError) as error:
            raise InputError(str(error)) from error
        except DivergedError as error:
            raise InputError(f"training failed: {error}") from error
        except CheckpointError as error:
            raise InputError(f"{error}, or give another --out") from error
