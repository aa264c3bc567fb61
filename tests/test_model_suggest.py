"""The lambda that is proposed, against the shrinking that it causes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dpnet.model.experiments.schedules import Cosine
from dpnet.model.training.regularizer import ClusterRegularizer
from dpnet.model.training.suggest import EFOLDS, suggest

STEPS, PERIOD = 4000, 1000
RATES = [Cosine(0.05, 0.01).rate(step, STEPS) for step in range(STEPS)]


def shrinking(rates: list[float], rho: float, momentum: float, nesterov: bool) -> float:
    """E-folds of a weight that only the term moves, by PyTorch's own SGD."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=momentum, nesterov=nesterov)
    for rate in rates:
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = rho * weight.detach()
        optimizer.step()
    return -math.log(weight.detach().abs().item())


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_shrinks_by_the_efolds_that_were_asked_for(momentum: float, nesterov: bool) -> None:
    found = suggest(RATES, PERIOD, momentum=momentum, nesterov=nesterov, efolds=2.0, n_train=1000)
    assert found.rho == pytest.approx(2 * found.lam / 1000)
    whole = shrinking(RATES, found.rho, momentum, nesterov)
    assert whole / (STEPS / PERIOD) == pytest.approx(2.0, rel=0.15)
    assert found.efolds_first > 2.0 > found.efolds_last


def test_the_regularizer_counts_the_same_efolds() -> None:
    net = nn.Linear(4, 3)
    found = suggest([0.02] * 50, 50, momentum=0.9, efolds=3.0, n_train=640)
    term = ClusterRegularizer(net, 2, found.lam, n_train=640)
    assert term.efolds(0.02, 50, 0.9)["weight"] == pytest.approx(3.0)
    assert found.efolds_first == found.efolds_last == pytest.approx(3.0)


def test_the_papers_numbers_give_about_the_papers_lambda() -> None:
    """300 epochs of 391 steps, a period of 20, rates of 0.05 to 0.01."""
    rates = [Cosine(0.05, 0.01).rate(epoch, 300) for epoch in range(300) for _ in range(391)]
    found = suggest(rates, 20 * 391, momentum=0.9, n_train=50_000)
    assert EFOLDS == 9.0 and found.lam == pytest.approx(100, rel=0.1)


@pytest.mark.parametrize("reading, more, scale", [("sum", {}, 1.0), ("per-row", {"n": 27}, 27.0)])
def test_other_readings_mean_the_same_pull(reading: str, more: dict, scale: float) -> None:
    one = suggest(RATES, PERIOD, efolds=1.0, reading=reading, **more)
    other = suggest(RATES, PERIOD, efolds=1.0, n_train=500)
    assert one.rho == other.rho and one.lam == pytest.approx(one.rho / 2 * scale)


def test_what_sgd_does_not_stand_is_refused() -> None:
    """With Nesterov's 0.9 lr rho must be below 1.357, here efolds / 10 = lr rho / (1 - 0.9)."""
    with pytest.raises(ValueError) as refused:
        suggest([0.1] * 10, 10, momentum=0.9, nesterov=True, efolds=136.0, n_train=1)
    assert str(refused.value) == (
        "efolds must be below 135.7 in 10 steps at a peak of 0.1, not 136: SGD would diverge"
    )
    found = suggest([0.1] * 10, 10, momentum=0.9, nesterov=True, efolds=135.0, n_train=1)
    assert 0.99 < found.share < 1


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rates": [0.0]}, "rates must be finite, not negative, and not all 0"),
        ({"rates": []}, "rates must be finite, not negative, and not all 0"),
        ({"period_steps": 0}, "period_steps must be at least 1, not 0"),
        ({"momentum": 1.0}, "momentum must be 0 to below 1, not 1.0"),
        ({"efolds": 0.0}, "efolds must be finite and positive, not 0.0"),
        ({"n_train": None}, "n_train must be at least 1 for the reading 'per-train-set', not None"),
        ({"reading": "per-row"}, "n must be at least 1 for the reading 'per-row', not None"),
    ],
)
def test_wrong_arguments_are_refused(change: dict, message: str) -> None:
    given = {"rates": [0.1], "period_steps": 5, "n_train": 10} | change
    with pytest.raises(ValueError) as refused:
        suggest(given.pop("rates"), given.pop("period_steps"), **given)
    assert str(refused.value) == message
