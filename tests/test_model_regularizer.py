"""The term of Eq. (3): value, gradient, schedule, stability, exactness at the end."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.lloyd import lloyd
from dpnet.model.quantizer.quantized import CodebookSizeError, NonFiniteError
from dpnet.model.training.regularizer import (
    ClusterRegularizer,
    Reading,
    TrainingWarning,
    stability_limit,
)


def make_net(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    return net.to(dtype)


def nearest_by_hand(rows: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    pick = np.abs(rows[:, :, None] - codebook[:, None, :]).argmin(2)
    return np.take_along_axis(codebook, pick, 1)


SCALES = {"sum": (1.0, 1.0), "per-row": (1 / 18, 1 / 16), "per-train-set": (1 / 50, 1 / 50)}


@pytest.mark.parametrize("reading", ["sum", "per-row", "per-train-set"])
def test_value_and_gradient_equal_numpy(reading: Reading) -> None:
    net = make_net()
    regularizer = ClusterRegularizer(net, 3, lam=7.0, reading=reading, n_train=50)
    regularizer.step(0)
    for layer in (net[0], net[3]):  # away from the solved optimum, where the gradient vanishes
        layer.weight.data += 0.05 * torch.randn_like(layer.weight)
    value = regularizer()
    value.backward()
    expected = 0.0
    for index, scale in zip((0, 3), SCALES[reading], strict=True):
        weight = net[index].weight
        rows = weight.detach().numpy().reshape(len(weight), -1)
        codebook = regularizer.codebooks[f"{index}.weight"].numpy()
        difference = rows - nearest_by_hand(rows, codebook)
        expected += 7.0 * scale * (difference**2).sum()
        gradient = weight.grad.numpy().reshape(rows.shape)
        np.testing.assert_allclose(gradient, 2 * 7.0 * scale * difference, rtol=1e-12, atol=1e-15)
        assert regularizer.rho[f"{index}.weight"] == pytest.approx(2 * 7.0 * scale)
    assert value.item() == pytest.approx(expected, rel=1e-12)
    assert net[0].bias.grad is None


def test_gradient_by_finite_differences() -> None:
    net = make_net()
    regularizer = ClusterRegularizer(net, 4, lam=5.0, reading="sum")
    regularizer.step(0)
    net[3].weight.data += 0.02 * torch.randn_like(net[3].weight)
    regularizer().backward()
    for row, column in ((0, 0), (2, 7), (4, 15)):
        values = []
        for step in (1e-6, -1e-6):
            net[3].weight.data[row, column] += step
            values.append(regularizer().item())
            net[3].weight.data[row, column] -= step
        slope = (values[0] - values[1]) / 2e-6
        assert net[3].weight.grad[row, column].item() == pytest.approx(slope, rel=1e-6, abs=1e-7)


def test_nearest_follows_the_weights_while_codebooks_stay() -> None:
    net = nn.Linear(4, 1, bias=False)
    net.weight.data = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    regularizer = ClusterRegularizer(net, 2, reading="sum", period=5)
    assert regularizer.step(0)
    net.weight.data = torch.tensor([[0.6, 0.4, 9.0, -9.0]])
    assert regularizer.nearest("weight").tolist() == [[1.0, 0.0, 1.0, 0.0]]
    assert not regularizer.step(4)
    assert regularizer.codebooks["weight"].tolist() == [[0.0, 1.0]]
    assert regularizer.step(5)
    assert regularizer.codebooks["weight"].tolist() == [[pytest.approx(-9), pytest.approx(10 / 3)]]
    assert regularizer.solved_at == 5


def test_solves_every_period_and_at_the_first_call() -> None:
    regularizer = ClusterRegularizer(make_net(), 2, period=3, reading="sum")
    solved = [epoch for epoch in range(1, 11) if regularizer.step(epoch)]
    assert solved == [1, 3, 6, 9]


def test_padded_codebooks_and_single_centroids() -> None:
    net = nn.Linear(3, 2, bias=False)
    net.weight.data = torch.tensor([[1.0, 1.0, 2.0], [5.0, 5.0, 5.0]])
    regularizer = ClusterRegularizer(net, 16, reading="sum")
    regularizer.step(0)
    assert regularizer().item() == 0.0
    net.weight.data += 10
    assert regularizer.nearest("weight").tolist() == [[2.0, 2.0, 2.0], [5.0, 5.0, 5.0]]
    one = ClusterRegularizer(net, 1, reading="sum")
    one.step(0)
    np.testing.assert_allclose(one.nearest("weight"), [[34 / 3] * 3, [15.0] * 3], rtol=1e-6)


def test_finalize_puts_the_net_on_the_optimum_of_each_layer() -> None:
    net = make_net(torch.float32)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    k = {"0.weight": 2, "3.weight": 5}
    quantized = ClusterRegularizer(net, k, reading="sum").finalize()
    assert set(quantized) == set(k)
    for name, layer in (("0.weight", net[0]), ("3.weight", net[3])):
        rows = before[name].numpy().reshape(len(before[name]), -1)
        expected = quantize(rows, k[name])
        np.testing.assert_array_equal(quantized[name].indices, expected.indices)
        after = layer.weight.detach().numpy().reshape(rows.shape)
        np.testing.assert_array_equal(after, expected.dequantized.astype("f"))
        assert max(len(np.unique(row)) for row in after) <= k[name]


def test_distance_is_the_mean_squared_error() -> None:
    net = make_net(torch.float32)
    regularizer = ClusterRegularizer(net, 4, reading="sum")
    regularizer.step(0)
    rows = [net[0].weight.detach().numpy().reshape(4, -1), net[3].weight.detach().numpy()]
    cost = sum(quantize(part, 4).cost.sum() for part in rows)
    assert regularizer.distance() == pytest.approx(cost / (4 * 18 + 5 * 16), rel=1e-5)


def test_expected_efolds_are_what_sgd_does() -> None:
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[0.0, 1.0]])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.001, momentum=0.5)
    regularizer = ClusterRegularizer(net, 2, lam=2.0, reading="sum", optimizer=optimizer)
    regularizer.step(0)
    net.weight.data += 0.1
    for _ in range(500):
        optimizer.zero_grad()
        regularizer().backward()
        optimizer.step()
    shrunk = np.log(0.1 / (net.weight.data - torch.tensor([[0.0, 1.0]])).abs().numpy())
    expected = regularizer.efolds(lr=0.001, steps=500, momentum=0.5)["weight"]
    assert expected == pytest.approx(4.0)  # rho 4 * lr .001 * 500 / (1 - .5)
    np.testing.assert_allclose(shrunk, expected, rtol=0.02)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_stability_limit_is_where_sgd_diverges(momentum: float, nesterov: bool) -> None:
    limit = stability_limit(momentum, nesterov)
    ends = []
    for share in (0.98, 1.02):
        weight = torch.ones(1, requires_grad=True)
        optimizer = torch.optim.SGD(
            [weight], lr=share * limit, momentum=momentum, nesterov=nesterov
        )
        for _ in range(1500):
            optimizer.zero_grad()
            (0.5 * weight.square()).sum().backward()
            optimizer.step()
        ends.append(abs(weight.item()))
    assert ends[0] < 1e-3 and not ends[1] < 1e3


def test_stability_limits_of_the_facts() -> None:
    limits = [stability_limit(), stability_limit(0.9), stability_limit(0.9, True)]
    np.testing.assert_allclose(limits, [2.0, 3.8, 1.357], rtol=1e-3)


def test_the_literal_sum_is_refused_at_the_papers_settings() -> None:
    net = make_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    message = (
        "lr * rho must be below 3.8 for 0.weight, not 10: "
        "lower lam or lr, or choose another reading"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ClusterRegularizer(net, 4, lam=100.0, reading="sum", optimizer=optimizer)
    optimizer.param_groups[0]["lr"] = 0.01
    regularizer = ClusterRegularizer(net, 4, lam=100.0, reading="sum", optimizer=optimizer)
    optimizer.param_groups[0]["lr"] = 0.05  # a schedule that raises it is noticed
    with pytest.raises(ValueError, match=r"^lr \* rho must be below 3\.8"):
        regularizer.step(0)
    adam = torch.optim.Adam(net.parameters(), lr=0.05)
    ClusterRegularizer(net, 4, lam=100.0, reading="sum", optimizer=adam)


def test_pull_is_the_implicit_step_and_at_huge_lambda_the_projection() -> None:
    net = nn.Linear(2, 1, bias=False)
    net.weight.data = torch.tensor([[0.0, 1.0]])
    regularizer = ClusterRegularizer(net, 2, lam=50.0, reading="sum")
    regularizer.step(0)
    net.weight.data = torch.tensor([[0.3, 1.2]])
    regularizer.pull(lr=0.02)  # a = 2
    np.testing.assert_allclose(net.weight.data, [[0.1, 1 + 0.2 / 3]], rtol=1e-6)
    ClusterRegularizer.pull(regularizer, lr=1e9)
    np.testing.assert_allclose(net.weight.data, [[0.0, 1.0]], atol=1e-7)


def test_state_goes_on_in_a_new_object() -> None:
    net = make_net(torch.float32)
    first = ClusterRegularizer(net, 4, period=10, reading="sum")
    first.step(0)
    state = first.state_dict()
    net[3].weight.data += 0.1
    second = ClusterRegularizer(net, 4, period=10, reading="sum")
    second.load_state_dict(state)
    assert not second.step(7)
    assert second().item() == first().item()
    other = ClusterRegularizer(net, 8, reading="sum")
    with pytest.raises(ValueError, match=r"^state must be of k = "):
        other.load_state_dict(state)
    state["codebooks"]["3.weight"] = torch.ones(5, 3)
    with pytest.raises(ValueError, match=r"^codebooks of 3.weight must be \(5, 4\), not \(5, 3\)$"):
        second.load_state_dict(state)


def test_another_solver_and_skipped_layers() -> None:
    net = make_net(torch.float32)
    regularizer = ClusterRegularizer(net, 4, reading="sum", skip=["0"], solver=lloyd)
    regularizer.step(0)
    assert list(regularizer.codebooks) == ["3.weight"]
    expected = lloyd(net[3].weight.detach().numpy(), 4).codebook
    np.testing.assert_array_equal(regularizer.codebooks["3.weight"], expected.astype("f"))


def test_bad_weights_are_named() -> None:
    net = make_net()
    net[3].weight.data[1, 2] = float("nan")
    regularizer = ClusterRegularizer(net, 4, reading="sum")
    message = "3.weight: values must be finite, not nan at row 1, column 2"
    with pytest.raises(NonFiniteError, match=f"^{re.escape(message)}$"):
        regularizer.step(0)


def test_use_before_the_first_step_is_refused() -> None:
    with pytest.raises(RuntimeError, match=r"^step\(epoch\) must be called before the term is"):
        ClusterRegularizer(make_net(), 4, reading="sum")()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"reading": "mean"},
            ValueError,
            "reading must be one of ('sum', 'per-row', 'per-train-set'), not 'mean'",
        ),
        ({"lam": -1.0}, ValueError, "lam must be finite and not negative, not -1.0"),
        ({"period": 0}, ValueError, "period must be at least 1 epoch, not 0"),
        (
            {"reading": "per-train-set"},
            ValueError,
            "n_train must be the size of the training set, not None",
        ),
        ({"k": 17}, CodebookSizeError, "k must be in 1..16, not 17"),
        (
            {"k": {"3.weight": 4}},
            ValueError,
            "k must have an entry for each of ['0.weight', '3.weight'], not for ['3.weight']",
        ),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        ClusterRegularizer(make_net(), **{"k": 4, "reading": "sum", **options})


def test_a_net_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^net must have a fully connected or convolution layer"):
        ClusterRegularizer(nn.BatchNorm1d(3), 4, reading="sum")


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
