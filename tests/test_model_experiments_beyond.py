"""What goes beyond the paper: training on exact centroids, distillation, a lambda that grows."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from experiments_kit import DIGITS
from torch import Tensor, nn
from torch.nn import functional

from dpnet.model.data.augmentation import Augmentation
from dpnet.model.experiments.distilled import Distilled
from dpnet.model.experiments.fit import fit
from dpnet.model.experiments.methods import Bench, Chain, chains
from dpnet.model.experiments.nets.straight import straight_through
from dpnet.model.experiments.plans import AVERAGED, BEYOND, METHODS, PAPERS
from dpnet.model.experiments.schedules import Cosine
from dpnet.model.experiments.settings import Clustering, FitSettings
from dpnet.model.pictures import Pictures
from dpnet.model.quantizer.exact import quantize
from dpnet.model.training.recipe import build_net
from dpnet.model.training.regularizer import ClusterRegularizer

pytestmark = pytest.mark.usefixtures("one_thread")


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.fc = nn.Linear(6 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(functional.relu(self.conv(x)).flatten(1))


@pytest.fixture
def net() -> nn.Module:
    return build_net(Small, 3)


def exact(weight: Tensor, k: int) -> Tensor:
    """Each row on its optimal centroids."""
    rows = weight.detach().reshape(len(weight), -1).double().numpy()
    return torch.from_numpy(quantize(rows, k).dequantized).reshape(weight.shape).float()


def few_pictures() -> Pictures:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, 1, 4, 4, generator=generator)
    y = (x.mean((1, 2, 3)) * 4).round().clamp(-1, 1).long() + 1
    return Pictures(x[:40], y[:40], x[40:50], y[40:50], x[50:], y[50:])


# On exact centroids


def test_it_computes_on_exact_centroids_and_steps_on_the_weights_behind(net: nn.Module) -> None:
    x, y = torch.randn(8, 1, 4, 4), torch.arange(8) % 3
    on = copy.deepcopy(net)
    behind = {}
    for name in ("conv", "fc"):
        layer = on.get_submodule(name)
        behind[name] = layer.weight.detach().clone()
        layer.weight.data = exact(layer.weight, 4)
    functional.cross_entropy(on(x), y).backward()  # the gradients where the centroids are
    rate = 0.5
    with straight_through(net, 4):
        optimizer = torch.optim.SGD(net.parameters(), lr=rate)
        assert torch.equal(net(x), on(x))
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        for name in ("conv", "fc"):
            moved = behind[name] - rate * on.get_submodule(name).weight.grad
            layer = net.get_submodule(name)
            torch.testing.assert_close(layer.parametrizations.weight.original.detach(), moved)
            # Solved anew, of the weights as they are now.
            behind[name] = exact(layer.parametrizations.weight.original, 4)
            assert torch.equal(layer.weight.detach(), behind[name])
    for name in ("conv", "fc"):
        weight = net.get_submodule(name).weight
        assert isinstance(weight, nn.Parameter)
        assert torch.equal(weight.detach(), behind[name])
        assert all(len(row.unique()) <= 4 for row in weight.detach())


def test_what_is_pruned_stays_0_and_is_a_value_of_its_row(net: nn.Module) -> None:
    pruned = net.fc.weight.data
    pruned[pruned.abs() < pruned.abs().median()] = 0.0
    zeros = pruned == 0
    data = few_pictures()
    with straight_through(net, 4, keep_zeros=True):
        fit(net, data, FitSettings(epochs=3, schedule=Cosine(0.1, 0.01), batch=10))
    assert bool((net.fc.weight[zeros] == 0).all())
    assert all(len(row.unique()) <= 4 for row in net.fc.weight.detach())
    assert bool((net.fc.weight[~zeros] != 0).any())


def test_an_interrupted_training_on_centroids_is_the_whole_one(tmp_path: Path) -> None:
    data = few_pictures()
    settings = FitSettings(epochs=3, schedule=Cosine(0.1, 0.01), batch=10, average=0.9)
    nets = []
    for parts in (False, True):
        net, path = build_net(Small, 3), tmp_path / f"{parts}.pt"
        with straight_through(net, 4):
            start = copy.deepcopy(net.state_dict())
            if parts:
                with pytest.raises(KeyboardInterrupt):
                    fit(net, data, settings, checkpoint=path, on_progress=_stop_after(2))
                net.load_state_dict(start)
            fit(net, data, settings, checkpoint=path)
        nets.append(net.state_dict())
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])


def _stop_after(epochs: int):
    def stop(done: int, total: int, text: str) -> None:
        if done == epochs:
            raise KeyboardInterrupt

    return stop


# Distillation


def test_distillation_is_its_definition_and_leaves_the_teacher_alone(net: nn.Module) -> None:
    teacher = build_net(Small, 4).train()
    x, y = torch.randn(5, 1, 4, 4), torch.tensor([0, 1, 2, 0, 1])
    found = Distilled(teacher, temperature=3.0, share=0.25)(net, x, y)
    with torch.no_grad():
        p = torch.softmax(teacher(x).double() / 3.0, 1)
        logits = net(x).double()
        q = torch.softmax(logits / 3.0, 1)
        apart = (p * (p.log() - q.log())).sum(1).mean()
        labels = -torch.log_softmax(logits, 1)[torch.arange(5), y].mean()
    assert float(found.detach()) == pytest.approx(
        float(0.25 * 9.0 * apart.detach() + 0.75 * labels.detach()), rel=1e-5
    )
    found.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert net.fc.weight.grad is not None and teacher.training
    assert repr(Distilled(teacher)) == "Distilled(temperature=4.0, share=0.5)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be finite and above 0, not 0.0"),
        ({"temperature": math.inf}, "temperature must be finite"),
        ({"share": 1.5}, "share must be 0 to 1, not 1.5"),
    ],
)
def test_options_that_are_none_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Distilled(nn.Identity(), **options)


# A lambda that grows


def test_lambda_grows_by_the_same_factor_from_epoch_to_epoch() -> None:
    growing = Clustering(k=4, lam=800.0, growth=8.0)
    assert [growing.lam_in(n, 4) for n in range(4)] == pytest.approx([100, 200, 400, 800])
    assert growing.lam_in(0, 1) == 800.0
    assert Clustering(k=4, lam=7.0).lam_in(0, 9) == 7.0
    with pytest.raises(ValueError, match="growth must be finite and above 0, not 0"):
        Clustering(k=4, growth=0)


def test_each_epoch_is_pulled_with_its_lambda(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def pull(self: ClusterRegularizer, lr: float) -> None:
        seen.append(self.lam)

    monkeypatch.setattr(ClusterRegularizer, "pull", pull)
    clustering = Clustering(k=4, lam=4.0, growth=4.0, pull=True, reading="sum", period=1)
    told: list[str] = []
    settings = FitSettings(epochs=3, schedule=Cosine(0.1, 0.01), batch=20, clustering=clustering)
    fit(build_net(Small, 3), few_pictures(), settings, on_progress=lambda *one: told.append(one[2]))
    assert seen == pytest.approx([1, 1, 2, 2, 4, 4])
    assert "lambda 1 to 4 read sum" in told[0]


# In a plan


def test_each_method_is_compared_once_a_number_of_bits_and_the_control_once() -> None:
    plan = replace(DIGITS, bits=(3, 2), methods=METHODS)
    found = [(chain.methods[0], chain.bits) for chain in chains(plan, normed=True)]
    assert len(set(found)) == len(found) == 2 * (len(METHODS) - 1) + 1
    assert {name for name, _ in found} == set(METHODS) == {*PAPERS, *BEYOND}
    assert {chain.epochs for chain in chains(plan, normed=True)} == {1, 2, 3}
    for name in BEYOND:
        assert (name, f"{name}-bn") in {chain.methods for chain in chains(plan, normed=True)}
        assert (name,) in {chain.methods for chain in chains(plan, normed=False)}


@pytest.mark.parametrize("bf16", [False, True])
def test_bfloat16_is_one_of_every_phase_or_of_none(bf16: bool) -> None:
    plan = replace(DIGITS, bf16=bf16)
    phases = (plan.before(0), plan.phase(0), plan.clustered(0, 2, 100), plan.tuned(0))
    assert {phase.bf16 for phase in phases} == {bf16}


def test_what_is_quantized_of_an_averaged_training_is_the_mean_of_the_weights_behind(
    net: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step's weights count 0.99 of the next one's, the first ones all that is left."""
    behind: list[Tensor] = []
    seen = torch.optim.SGD.step

    def step(optimizer: torch.optim.SGD, *others: object) -> None:
        seen(optimizer, *others)
        shape = net.fc.weight.shape
        (found,) = (p for g in optimizer.param_groups for p in g["params"] if p.shape == shape)
        behind.append(found.detach().clone())

    plan = replace(DIGITS, epochs=2, batch=10, augmentation=Augmentation(), published=False)
    monkeypatch.setattr(type(plan), "entry", property(lambda _: Unprepared()))
    bench = Bench(plan, net, few_pictures(), 0, "cpu", tmp_path)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    chain = Chain(2, ("straight-distilled-averaged",), plan.epochs)
    (stage,) = bench.stages(chain)
    assert len(behind) == 8
    mean = behind[0].double()
    for weights in behind[1:]:
        mean = AVERAGED * mean + (1 - AVERAGED) * weights.double()
    torch.testing.assert_close(stage.net.fc.weight.detach(), exact(mean, 4))


class Unprepared:
    """An architecture whose inputs are no pixels."""

    preparation = None
