"""A lambda for Eq. (3) from what is trained: its learning rates, its steps, its period."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dpnet.model.training.regularizer import Reading
from dpnet.model.training.stability import stability_limit

__all__ = ["EFOLDS", "Suggestion", "largest_efolds", "suggest"]

EFOLDS = 9.0
"""E-folds of W - C in a period: what the paper's own numbers come to on CIFAR-10 (lambda 100 over
the size of the training set, 20 epochs a period, rates of 0.05 to 0.01 with momentum 0.9)."""


@dataclass(frozen=True)
class Suggestion:
    """A `lam` for `ClusterRegularizer`, the `rho` that it means, the e-folds of the first and of
    the last whole period (the mean over all of them is what was asked for), and which `share` of
    the stability limit lr * rho takes at the peak."""

    lam: float
    rho: float
    efolds_first: float
    efolds_last: float
    share: float


def suggest(
    rates: Sequence[float],
    period_steps: int,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    efolds: float = EFOLDS,
    reading: Reading = "per-train-set",
    n_train: int | None = None,
    n: int | None = None,
) -> Suggestion:
    """The lambda with which the term alone shrinks W - C by `efolds` powers of e between two exact
    solutions, on the mean of all periods of the schedule.

    Parameters
    ----------
    rates : the learning rate of every step of the training, or one rate for all of them
    period_steps : steps between two solutions, `period` times the steps of an epoch
    momentum, nesterov : those of SGD; 0 for `ClusterRegularizer.pull`, which has none
    efolds : a few, and weights still change their centroids; hundreds, and what the codebooks are
        at the start is what they stay
    reading, n_train : as `ClusterRegularizer` has them; n : the length of a row, for "per-row"

    E-folds are proportional to lr * rho as long as it is below (1 - sqrt(momentum))^2, 0.0026 with
    0.9; above, W - C swings and shrinks by half of 1 - momentum powers of e in a step, no faster.

    Raises ValueError where SGD would diverge at the largest rate: take fewer e-folds, or a longer
    period, or `pull`.
    """
    _check(rates, period_steps, momentum, efolds)
    rho = efolds * (1.0 - momentum) * len(rates) / (sum(rates) * period_steps)
    largest = largest_efolds(rates, period_steps, momentum=momentum, nesterov=nesterov)
    if efolds >= largest:
        raise ValueError(
            f"efolds must be below {largest:.4g} in {period_steps} steps at a peak of "
            f"{max(rates):g}, not {efolds:g}: SGD would diverge"
        )
    whole = max(1, len(rates) // period_steps) * period_steps
    first, last = rates[:period_steps], rates[max(0, whole - period_steps) : whole]
    strength = rho * period_steps / (1.0 - momentum)
    return Suggestion(
        lam=rho / (2.0 * _scale(reading, n_train, n)),
        rho=rho,
        efolds_first=strength * sum(first) / len(first),
        efolds_last=strength * sum(last) / len(last),
        share=efolds / largest,
    )


def largest_efolds(
    rates: Sequence[float], period_steps: int, *, momentum: float = 0.0, nesterov: bool = False
) -> float:
    """The e-folds in a period from which on SGD diverges at the largest rate."""
    rho = stability_limit(momentum, nesterov) / max(rates)
    return rho * sum(rates) / len(rates) * period_steps / (1.0 - momentum)


def _scale(reading: Reading, n_train: int | None, n: int | None) -> float:
    """What the sum of Eq. (3) is multiplied by."""
    if reading == "sum":
        return 1.0
    name, count = ("n_train", n_train) if reading == "per-train-set" else ("n", n)
    if count is None or count < 1:
        raise ValueError(f"{name} must be at least 1 for the reading {reading!r}, not {count!r}")
    return 1.0 / count


def _check(rates: Sequence[float], period_steps: int, momentum: float, efolds: float) -> None:
    if not rates or not all(math.isfinite(rate) and rate >= 0 for rate in rates) or not max(rates):
        raise ValueError("rates must be finite, not negative, and not all 0")
    if period_steps < 1:
        raise ValueError(f"period_steps must be at least 1, not {period_steps!r}")
    if not 0.0 <= momentum < 1.0:
        raise ValueError(f"momentum must be 0 to below 1, not {momentum!r}")
    if not (math.isfinite(efolds) and efolds > 0):
        raise ValueError(f"efolds must be finite and positive, not {efolds!r}")
