"""The term of Eq. (3): value, gradient, schedule, stability, exactness at the end."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import nn

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.lloyd import lloyd
from dpnet.model.quantizer.quantized import CodebookSizeError, NonFiniteError
from dpnet.model.training.regularizer import (
    ClusterRegularizer,
    Reading,
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
