"""TRADES and projected gradients against their definitions, on nets whose answers are known."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dpnet.model.experiments.fit import fit
from dpnet.model.experiments.robust.attacks import Attack, robust_accuracy
from dpnet.model.experiments.robust.trades import Trades
from dpnet.model.experiments.schedules import Cosine
from dpnet.model.experiments.settings import Clustering, FitSettings
from dpnet.model.pictures import Pictures
from dpnet.model.training.recipe import build_net

pytestmark = pytest.mark.usefixtures("one_thread")

ATTACK = Attack(epsilon=0.2, size=0.05, steps=9)


class Brightness(nn.Module):
    """Class 1 where the mean of the pixels is above a half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))
        self.dropout = nn.Dropout(0.9)

    def forward(self, x: Tensor) -> Tensor:
        above = self.dropout(x.flatten(1).mean(1) - 0.5) * self.scale
        return torch.stack([-above, above], 1)


def flat(*brightness: float) -> Tensor:
    return torch.tensor(brightness)[:, None, None, None].expand(-1, 1, 4, 4).contiguous()


def test_what_is_within_epsilon_of_the_border_falls_and_all_else_stands() -> None:
    x = flat(0.05, 0.29, 0.31, 0.69, 0.71, 0.95)
    y = torch.tensor([0, 0, 0, 1, 1, 1])
    net = Brightness()
    net.train()
    assert robust_accuracy(net, x, y, ATTACK) == pytest.approx(100 * 4 / 6)
    assert net.training and net.scale.grad is None
    near = replace(ATTACK, epsilon=0.18)
    assert robust_accuracy(net, x, y, near) == 100.0


def test_attacked_pictures_stay_in_the_ball_and_are_pixels() -> None:
    x = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    y = (x.flatten(1).mean(1) > 0.5).long()
    net = Brightness().eval()
    found = ATTACK.against(net, x, y, torch.Generator().manual_seed(2))
    assert float((found - x).abs().max()) <= 0.2 + 1e-6
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    up = torch.where(y[:, None, None, None] == 0, (x + 0.2).clamp(max=1), (x - 0.2).clamp(min=0))
    assert torch.allclose(found, up, atol=1e-6)  # 9 steps of 0.05 cross the ball


def test_trades_is_cross_entropy_and_beta_times_the_divergence() -> None:
    net = Brightness().eval()
    x, y = flat(0.45), torch.tensor([0])
    torch.manual_seed(0)
    found = Trades(ATTACK, beta=3.0)(net, x, y)
    # Brightness 0.45 can become 0.25 or 0.65; 0.65 has the other class.
    p, q = (1 / (1 + math.exp(-16 * (b - 0.5))) for b in (0.45, 0.65))
    kl = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    other = 1 / (1 + math.exp(-16 * (0.25 - 0.5)))
    kl_other = p * math.log(p / other) + (1 - p) * math.log((1 - p) / (1 - other))
    wanted = {-math.log(1 - p) + 3 * one for one in (kl, kl_other)}
    assert any(float(found.detach()) == pytest.approx(one, rel=1e-4) for one in wanted)
    plain = Trades(ATTACK, beta=0.0)(net, x, y)
    assert float(plain.detach()) == pytest.approx(-math.log(1 - p), rel=1e-5)


def test_the_attack_is_made_in_evaluation_mode_and_leaves_no_gradients() -> None:
    net = Brightness().train()
    Trades(ATTACK, beta=1.0).attacked(net, flat(0.4, 0.6))
    assert net.training and net.dropout.training and net.scale.grad is None


def test_training_with_trades_and_the_term_is_eq_7() -> None:
    """A linear net on 16 pixels learns brightness and ends on its centroids."""
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(96, 1, 1, 1, generator=generator).expand(-1, 1, 4, 4).contiguous()
    y = (x[:, 0, 0, 0] > 0.5).long()
    data = Pictures(x, y, x, y, x, y)
    net = build_net(lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), 1)
    settings = FitSettings(
        epochs=6,
        schedule=Cosine(0.5),
        batch=32,
        decay=0.0,
        clustering=Clustering(k=2, lam=1.0, period=2),
    )
    small = Attack(epsilon=0.05, size=0.02, steps=3)
    found = fit(net, data, settings, task_loss=Trades(small, beta=1.0))
    assert found.history[-1].loss < found.history[0].loss
    assert all(len(row.unique()) <= 2 for row in net[1].weight)
    away = (x[:, 0, 0, 0] - 0.5).abs() > 0.25
    assert robust_accuracy(net, x[away], y[away], small) > 90


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: replace(ATTACK, epsilon=0.0),
            "epsilon and size must be above 0 and at most 1, not 0.0 and 0.05",
        ),
        (lambda: replace(ATTACK, steps=0), "steps must be at least 1, not 0"),
        (lambda: Trades(ATTACK, -1.0), "beta must be finite and not negative, not -1.0"),
    ],
)
def test_wrong_attacks_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
