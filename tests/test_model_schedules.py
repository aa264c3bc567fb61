"""Learning rates: at the steps where one knows them by heart."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from dpnet.model.experiments.schedules import Cosine, OneCycle, Schedule, Stepped


def test_a_cosine_falls_from_its_peak_to_its_last_rate() -> None:
    rates = [Cosine(0.4, 0.2).rate(step, 5) for step in range(5)]
    root = 2**0.5 / 2
    assert rates == pytest.approx([0.4, 0.3 + 0.1 * root, 0.3, 0.3 - 0.1 * root, 0.2])
    assert Cosine(0.4).rate(0, 1) == 0.4


def test_steps_are_where_their_shares_are_done() -> None:
    schedule = Stepped(1.0, (0.5, 0.75))
    assert [schedule.rate(n, 8) for n in range(8)] == pytest.approx(
        [1] * 4 + [0.1] * 2 + [0.01] * 2
    )
    assert [Stepped(1.0, (0.5,), 0.2).rate(n, 3) for n in range(3)] == pytest.approx([1, 1, 0.2])


def test_one_cycle_goes_up_and_down_in_lines() -> None:
    schedule = OneCycle(1.0, rise=0.5, first=0.2)
    up = [0.2 + 0.8 * (n + 0.5) / 5 for n in range(5)]
    down = [1 - (n + 0.5) / 5 for n in range(5)]
    assert [schedule.rate(n, 10) for n in range(10)] == pytest.approx(up + down)


@pytest.mark.parametrize(
    "schedule", [Cosine(0.3, 0.1), Stepped(0.3, (0.2, 0.9)), OneCycle(0.3, 0.1, last=0.01)]
)
def test_no_rate_is_above_the_peak_or_0(schedule: Schedule) -> None:
    for steps in (1, 2, 7, 100):
        rates = [schedule.rate(step, steps) for step in range(steps)]
        assert min(rates) > 0 and max(rates) <= schedule.peak == 0.3


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Cosine(0.0), "peak must be finite and positive, not 0.0"),
        (lambda: Cosine(float("inf")), "peak must be finite and positive, not inf"),
        (lambda: Cosine(0.1, 0.2), "the first and the last rate must be 0 to 0.1, not 0.2"),
        (lambda: OneCycle(0.1, first=-1), "the first and the last rate must be 0 to 0.1, not -1"),
        (lambda: OneCycle(0.1, 1.0), "rise must be between 0 and 1, not 1.0"),
        (
            lambda: Stepped(1, (0.5, 0.4)),
            "at must be rising shares between 0 and 1, not (0.5, 0.4)",
        ),
        (lambda: Stepped(1, (1.0,)), "at must be rising shares between 0 and 1, not (1.0,)"),
        (lambda: Stepped(1, (), 2), "factor must be above 0 and at most 1, not 2"),
    ],
)
def test_schedules_that_are_none_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
