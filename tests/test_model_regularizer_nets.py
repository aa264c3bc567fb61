"""The term on nets of all types: half and double, replaced, pruned and frozen weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.lloyd import lloyd
from dpnet.model.training.regularizer import ClusterRegularizer, TrainingWarning


def make_net(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    return net.to(dtype)


def nearest_by_hand(rows: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    pick = np.abs(rows[:, :, None] - codebook[:, None, :]).argmin(2)
    return np.take_along_axis(codebook, pick, 1)


# Types: what is solved, and where the nearest centroid is


def test_float64_weights_are_solved_in_float64() -> None:
    torch.manual_seed(3)
    net = nn.Linear(60, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(1000 + 1e-5 * torch.randint(5, (2, 60)) + 1e-8 * torch.randn(2, 60))
    rows = net.weight.detach().numpy().copy()
    regularizer = ClusterRegularizer(net, 5, reading="sum", lam=0.1)
    regularizer.step(0)
    assert regularizer.codebooks["weight"].dtype == torch.float64
    assert regularizer().dtype == torch.float64
    lost = float(((regularizer.nearest("weight").numpy() - rows) ** 2).sum())
    assert lost == pytest.approx(quantize(rows, 5).cost.sum(), rel=1e-3) and lost < 1e-13
    found = regularizer.finalize()["weight"]
    np.testing.assert_array_equal(net.weight.detach().numpy(), found.dequantized)
    assert found.cost.sum() == pytest.approx(lost, rel=1e-3)


@pytest.mark.parametrize("size", [1e39, 1e300])
def test_float64_weights_may_be_larger_than_float32_holds(size: float) -> None:
    net = nn.Linear(40, 2, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(size * torch.randn(2, 40, dtype=torch.float64))
    before = net.weight.detach().numpy().copy()
    regularizer = ClusterRegularizer(net, 4, reading="sum", lam=0.1)
    regularizer.step(0)
    assert torch.isfinite(regularizer.nearest("weight")).all()
    regularizer.finalize()
    expected = quantize(before, 4).dequantized
    np.testing.assert_array_equal(net.weight.detach().numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_centroids_of_half_types_are_nearest_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    net = nn.Linear(200, 3, bias=False).to(dtype)
    with torch.no_grad():  # near 1, where bfloat16 has steps of 1/128
        net.weight.copy_(1 + torch.randn(3, 200) / 50)
    regularizer = ClusterRegularizer(net, 16, reading="sum", lam=0.1)
    regularizer.step(0)
    rows = net.weight.detach().double().numpy()
    best = quantize(rows, 16)
    np.testing.assert_allclose(regularizer.codebooks["weight"], best.codebook, rtol=1e-7)
    expected = nearest_by_hand(rows, best.codebook.astype("f").astype(float))
    np.testing.assert_array_equal(regularizer.nearest("weight").numpy(), expected)
    value = regularizer()
    value.backward()
    assert value.dtype == torch.float32 and net.weight.grad.dtype == dtype
    assert value.item() == pytest.approx(0.1 * best.cost.sum(), rel=1e-4)
    regularizer.pull(1e9)
    assert torch.equal(net.weight.double(), torch.from_numpy(expected).to(dtype).double())


# Objects that left the net


def test_parameters_that_were_replaced_are_followed() -> None:
    net = make_net(torch.float32)
    regularizer = ClusterRegularizer(net, 3, reading="sum", lam=0.1)
    regularizer.step(0)
    state = {name: value * 2 for name, value in net.state_dict().items()}
    net.load_state_dict(state, assign=True)
    head = nn.Linear(16, 5)
    net[3] = head
    regularizer().backward()
    assert head.weight.grad is not None and net[0].weight.grad is not None
    assert regularizer.parameters["3.weight"] is head.weight
    regularizer.finalize()
    for layer in (net[0], head):
        assert max(len(row.unique()) for row in layer.weight.reshape(len(layer.weight), -1)) <= 3


def test_what_cannot_be_followed_is_refused() -> None:
    anew = "make a new ClusterRegularizer after layers were replaced"
    net = make_net(torch.float32)
    regularizer = ClusterRegularizer(net, 3, reading="sum", lam=0.1)
    regularizer.step(0)
    net[3] = nn.Linear(16, 7)
    message = f"3.weight must keep its shape (5, 16), not be (7, 16): {anew}"
    for use in (regularizer, lambda: regularizer.step(1), regularizer.finalize):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            use()
    net[3] = nn.ReLU()
    with pytest.raises(ValueError, match=f"^3.weight must stay in the net, it is gone: {anew}$"):
        regularizer()
    del net[3]
    with pytest.raises(ValueError, match=f"^3.weight must stay in the net, it is gone: {anew}$"):
        regularizer.pull(0.1)
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    regularizer = ClusterRegularizer(tied, 2, reading="sum", lam=0.1)
    tied[1].weight = nn.Parameter(torch.ones(4, 4))
    message = f"1.weight must be the same parameter as 0.weight, as it was: {anew}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        regularizer.step(0)


def test_new_layers_and_optimizers_of_the_old_ones_are_told() -> None:
    net = make_net(torch.float32)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    regularizer = ClusterRegularizer(net, 3, reading="sum", lam=0.1, optimizer=optimizer)
    regularizer.step(0)
    net.append(nn.Linear(5, 4))
    message = (
        "the net has weights that it did not have before, ['4.weight'], and these are not "
        "clustered: make a new ClusterRegularizer after layers were replaced"
    )
    with pytest.warns(TrainingWarning, match=f"^{re.escape(message)}$"):
        regularizer.step(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once only
        regularizer.step(2)
    net.load_state_dict({n: v.clone() for n, v in net.state_dict().items()}, assign=True)
    message = (
        "optimizer must hold the net's own 0.weight, not one that the net no longer has "
        "(load_state_dict(assign=True), a replaced layer): make it anew"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        regularizer.step(3)


# Pruning


def test_a_mask_may_come_and_go() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(60, 6))
    regularizer = ClusterRegularizer(net, 3, reading="sum", lam=0.1)
    regularizer.step(0)
    prune.random_unstructured(net[0], "weight", 0.5)
    zeros = net[0].weight_mask == 0
    regularizer.step(20)
    assert (regularizer.codebooks["0.weight"] == 0).any(dim=1).all()
    assert not regularizer.nearest("0")[zeros].any()
    term = regularizer()
    term.backward()
    assert not net[0].weight_orig.grad[zeros].any() and net[0].weight_orig.grad.any()
    weight, nearest = net[0].weight.detach(), regularizer.nearest("0.weight_orig")
    assert term.item() == pytest.approx(0.1 * (weight - nearest).square().sum().item(), rel=1e-5)
    found = regularizer.finalize()["0.weight"]
    expected = torch.from_numpy(found.dequantized).float()
    assert torch.equal(net[0].weight, expected) and not net[0].weight[zeros].any()
    prune.remove(net[0], "weight")
    assert torch.equal(net[0].weight, expected)
    assert torch.equal(regularizer.nearest("0.weight"), expected)


def half_pruned() -> tuple[nn.Linear, torch.Tensor]:
    torch.manual_seed(3)
    layer = nn.Linear(60, 6)
    zeros = torch.rand(6, 60) < 0.5
    zeros[5] = False
    layer.weight.data[zeros] = 0
    return layer, zeros


@pytest.mark.parametrize("solver", [quantize, lloyd])
def test_zeros_of_a_pruned_net_stay(solver: Callable) -> None:
    layer, zeros = half_pruned()
    regularizer = ClusterRegularizer(
        layer, 3, reading="sum", lam=0.1, keep_zeros=True, solver=solver
    )
    regularizer.step(0)
    layer.weight.data += 0.01  # training moves them
    (2 * regularizer()).backward()
    assert (layer.weight.grad[zeros] > 0).all()  # the term pulls them back
    regularizer.step(1)
    assert not layer.weight[zeros].any() and layer.weight[~zeros].all()
    layer.weight.data += 0.3
    state = regularizer.state_dict()
    again = ClusterRegularizer(layer, 3, reading="sum", keep_zeros=False, solver=solver)
    again.load_state_dict(state)
    found = again.finalize()["weight"]
    assert not layer.weight[zeros].any() and not found.dequantized[zeros].any()
    assert max(len(row.unique()) for row in layer.weight) <= 3
    rows = (half_pruned()[0].weight.data + 0.31).masked_fill(zeros, 0).double().numpy()
    rows = (half_pruned()[0].weight.data + 0.01).masked_fill(zeros, 0)
    rows = (rows + 0.3).masked_fill(zeros, 0).double().numpy()
    np.testing.assert_allclose(((rows - found.dequantized) ** 2).sum(1), found.cost, rtol=1e-6)
    if solver is quantize:
        np.testing.assert_allclose(found.cost[:5], quantize(rows[:5], 3, zero=True).cost)


def test_zeros_that_do_not_look_pruned_train_and_the_others_are_told() -> None:
    started = nn.Sequential(nn.Linear(8, 8), nn.Conv2d(8, 8, 3), nn.Linear(8, 4))
    with torch.no_grad():
        started[0].weight.copy_(torch.eye(8))
        nn.init.dirac_(started[1].weight)
        started[2].weight.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regularizer = ClusterRegularizer(started, 3, reading="sum", lam=0.1)
        assert not regularizer.pruned.zeros
        layer, zeros = half_pruned()
        assert not ClusterRegularizer(layer, 3, reading="sum", keep_zeros=False).pruned.zeros
    message = (
        f"weights that are exactly 0 are taken for pruned and held at 0: {int(zeros.sum())} of "
        "weight; keep_zeros=True says that this is meant, keep_zeros=False lets them train"
    )
    with pytest.warns(TrainingWarning, match=f"^{re.escape(message)}$"):
        regularizer = ClusterRegularizer(layer, 3, reading="sum")
    assert torch.equal(regularizer.pruned.zeros["weight"], zeros)


# Frozen layers


def test_frozen_weights_stay_and_that_is_told() -> None:
    net = make_net(torch.float32)
    net[0].weight.requires_grad_(False)
    before = net[0].weight.clone()
    regularizer = ClusterRegularizer(net, 2, reading="sum", lam=0.1)
    regularizer.step(0)
    regularizer.pull(1e9)
    assert torch.equal(net[0].weight, before)
    message = (
        "frozen weights are left as they are and are not in the result, ['0.weight']: "
        "finalize(frozen=True) puts them on centroids too"
    )
    with pytest.warns(TrainingWarning, match=f"^{re.escape(message)}$"):
        assert list(regularizer.finalize()) == ["3.weight"]
    assert torch.equal(net[0].weight, before)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(regularizer.finalize(frozen=True)) == ["0.weight", "3.weight"]
    rows = before.reshape(4, -1).numpy()
    expected = quantize(rows, 2).dequantized.astype("f")
    np.testing.assert_array_equal(net[0].weight.numpy().reshape(4, -1), expected)
