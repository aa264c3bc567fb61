"""Terms that diverge or freeze a net: refused for a whole schedule, or told in a warning."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from dpnet.model.quantizer.quantized import NonFiniteError
from dpnet.model.training.regularizer import ClusterRegularizer, TrainingWarning


def make_net(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    return net.to(dtype)


# Schedules and warnings

Schedule = torch.optim.lr_scheduler


def peak(at: int) -> Callable[[torch.optim.Optimizer], Schedule.LRScheduler]:
    return lambda o: Schedule.LambdaLR(o, lambda step: 1000.0 if step == at else 1.0)


@pytest.mark.parametrize(
    ("make", "options", "step"),
    [
        (peak(1), {}, 1),
        (peak(9_999), {}, 9_999),
        (peak(30), {"schedule_steps": 40}, 30),
        # 1e-3 * 10 ** step: at the fourth step 10 is above 3.8
        (lambda o: Schedule.ExponentialLR(o, 10.0), {}, 3),
        (
            lambda o: Schedule.SequentialLR(
                o, [Schedule.ConstantLR(o, 1.0), Schedule.ExponentialLR(o, 10.0)], [5]
            ),
            {},
            8,
        ),
        (lambda o: Schedule.ChainedScheduler([Schedule.ExponentialLR(o, 10.0)]), {}, 3),
        (lambda o: Schedule.CyclicLR(o, 0.001, 1.0, step_size_up=10, cycle_momentum=False), {}, 4),
    ],
)
def test_schedules_are_checked_to_their_end(make: Callable, options: dict, step: int) -> None:
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    scheduler = make(optimizer)
    before = repr((optimizer.state_dict(), scheduler.get_last_lr()))
    given = {"lam": 5.0, "reading": "sum", "optimizer": optimizer, "scheduler": scheduler}
    with pytest.raises(ValueError, match=rf"^lr \* rho must be below .* at step {step} of the"):
        ClusterRegularizer(net, 4, **given, **options)
    assert repr((optimizer.state_dict(), scheduler.get_last_lr())) == before
    ClusterRegularizer(net, 4, **given, schedule_steps=step - 1)


def test_schedules_that_are_fine_or_not_of_sgd() -> None:
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.9)
    options = {"lam": 5.0, "reading": "sum", "optimizer": optimizer}
    late = peak(50)(optimizer)
    ClusterRegularizer(net, 4, **options, scheduler=late, schedule_steps=49)
    for make in (
        lambda o: Schedule.OneCycleLR(o, max_lr=0.3, total_steps=100),
        lambda o: Schedule.CosineAnnealingLR(o, 10),
        Schedule.ReduceLROnPlateau,
    ):
        ClusterRegularizer(net, 4, **options, scheduler=make(optimizer))
    adam = torch.optim.Adam(net.parameters())
    options["optimizer"] = adam
    ClusterRegularizer(net, 4, **options, scheduler=peak(1)(adam))
    with pytest.raises(ValueError, match=r"^scheduler must be of the optimizer that is given"):
        ClusterRegularizer(net, 4, **options, scheduler=late)


def test_dampening_lowers_the_rate() -> None:
    net = make_net()
    options = {"lr": 0.05, "momentum": 0.9}
    plain = torch.optim.SGD(net.parameters(), **options)
    damped = torch.optim.SGD(net.parameters(), **options, dampening=0.9)
    ClusterRegularizer(net, 4, lam=100.0, reading="sum", optimizer=damped)
    with pytest.raises(ValueError, match=r"^lr \* rho must be below 3\.8"):
        ClusterRegularizer(net, 4, lam=100.0, reading="sum", optimizer=plain)


def descend(
    regularizer: ClusterRegularizer, net: nn.Module, optimizer: torch.optim.Optimizer, steps: int
) -> list[str]:
    """The warnings of so many steps."""
    torch.manual_seed(4)
    x, y = torch.randn(64, 2, 4, 4), torch.randint(5, (64,))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        regularizer.step(0)
        for _ in range(steps):
            optimizer.zero_grad()
            (functional.cross_entropy(net(x), y) + regularizer()).backward()
            optimizer.step()
    return [str(w.message) for w in caught if issubclass(w.category, TrainingWarning)]


def test_sgd_that_nothing_checks_is_warned_of_at_once() -> None:
    net = make_net(torch.float32)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    told = descend(ClusterRegularizer(net, 3, lam=100.0, reading="sum"), net, optimizer, 40)
    assert not torch.isfinite(net[0].weight).all()
    assert told == [
        "rho is 200 for 0.weight, which nothing checks without optimizer=: SGD diverges from lr "
        "0.01 on, with momentum 0.9 from 0.019, and Adam hardly moves the weights; lower lam, "
        "choose another reading, or pull() instead"
    ]


def test_a_term_that_grows_is_warned_of_and_nan_names_the_remedy() -> None:
    net = make_net(torch.float32)
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    regularizer = ClusterRegularizer(net, 3, lam=4.0, reading="sum", period=1)  # rho 8
    (told,) = descend(regularizer, net, optimizer, 200)
    remedy = "lower lam or lr so that lr * rho stays below 2, give optimizer=, or pull() instead"
    assert re.fullmatch(
        r"the term has grown to \d\S* in (4|8|16) calls, the weights are far outside of their "
        rf"codebooks, so training diverges: {re.escape(remedy)}",
        told,
    )
    with pytest.raises(
        NonFiniteError, match=rf"^0.weight: .* \(it was before: {re.escape(remedy)}"
    ):
        regularizer.step(1)


@pytest.mark.parametrize(("lam", "frozen"), [(1e4, True), (1e-3, False)])
def test_adam_with_a_term_that_freezes_the_net_is_warned_of(lam: float, frozen: bool) -> None:
    net = make_net(torch.float32)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    regularizer = ClusterRegularizer(net, 3, lam=lam, reading="sum", optimizer=optimizer)
    regularizer.step(0)
    start = regularizer.nearest("3.weight").clone()
    told = descend(regularizer, net, optimizer, 300)
    moved = (regularizer.nearest("3.weight") != start).float().mean().item()
    assert (moved < 0.02) == frozen
    assert len(told) == frozen
    if frozen:
        assert re.fullmatch(
            r"halfway between two centroids the term pulls \S+ times as hard as the loss, so the "
            r"weights hardly leave their centroids: lower lam to \S+ or so, choose another "
            r"reading, or pull\(\) instead",
            told[0],
        )
        lower = float(re.search(r"lower lam to (\S+)", told[0])[1])
        again = make_net(torch.float32)
        optimizer = torch.optim.Adam(again.parameters(), lr=1e-3)
        regularizer = ClusterRegularizer(again, 3, lam=lower, reading="sum", optimizer=optimizer)
        assert not descend(regularizer, again, optimizer, 300)
    assert not optimizer._optimizer_step_pre_hooks  # it looks at the first steps only


def test_weights_that_are_computed_are_refused() -> None:
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(6, 5)), nn.Linear(5, 5))
    with pytest.raises(ValueError, match=r"^0.weight is computed from .* or name it in skip$"):
        ClusterRegularizer(net, 2, reading="sum")
    assert list(ClusterRegularizer(net, 2, reading="sum", skip=["0"]).k) == ["1.weight"]
