"""Sensitivities against per-sample gradients and unfolded patches, and what they are good for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune

from dpnet.model.compression.network import compress_
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.compression.sensitivity import activation_energy, fisher
from dpnet.model.quantizer.exact import quantize

SEED = int(os.environ.get("SEED", "7"))


class Small(nn.Module):
    """A convolution, batch norm, dropout and two layers that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.first = nn.Linear(12, 12)
        self.second = nn.Linear(12, 12)
        self.second.weight = self.first.weight
        self.unused = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.drop(self.norm(self.conv(x))).flatten(1)
        return self.second(torch.relu(self.first(hidden)))


@pytest.fixture
def net() -> Small:
    torch.manual_seed(SEED)
    net = Small()
    net.norm.running_mean.normal_()
    net.norm.eval()
    net.conv.weight.requires_grad_(False)
    net.first.weight.grad = torch.ones(12, 12)
    return net


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(SEED)
    return [
        (torch.randn(n, 2, 2, 2, generator=generator), torch.randint(12, (n,), generator=generator))
        for n in (3, 4)
    ]


def state(net: Small) -> tuple:
    """All that a calibration must leave as it was."""
    return (
        [module.training for module in net.modules()],
        [p.requires_grad for p in net.parameters()],
        [None if p.grad is None else p.grad.clone().tolist() for p in net.parameters()],
        [value.tolist() for value in net.state_dict().values()],
        [len(m._forward_pre_hooks) + len(m._forward_hooks) for m in net.modules()],
        torch.get_rng_state().tolist(),
    )


def test_fisher_is_the_mean_square_of_the_gradients_of_single_samples(net: Small) -> None:
    before = state(net)
    found = fisher(net, batches(), functional.cross_entropy)
    assert state(net) == before
    assert list(found) == ["conv.weight", "first.weight", "unused.weight"]
    net.eval().requires_grad_(True)
    wanted = {name: torch.zeros_like(net.get_parameter(name)) for name in found}
    samples = [(x[i : i + 1], y[i : i + 1]) for x, y in batches() for i in range(len(x))]
    for x, y in samples:
        net.zero_grad(set_to_none=False)
        functional.cross_entropy(net(x), y).backward()
        for name in wanted:
            gradient = net.get_parameter(name).grad
            wanted[name] += gradient**2 / len(samples) if gradient is not None else 0.0
    for name in ("conv.weight", "first.weight"):
        torch.testing.assert_close(found[name], wanted[name])
        assert float(found[name].min()) >= 0 < float(found[name].max())
    assert not found["unused.weight"].any()


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
@pytest.mark.parametrize("groups", [1, 2])
def test_energy_of_a_convolution_is_that_of_its_patches(mode: str, groups: int) -> None:
    torch.manual_seed(SEED)
    conv = nn.Conv2d(
        4,
        6,
        3,
        stride=2,
        padding=1,
        dilation=1,
        groups=groups,
        padding_mode=mode,
    ).double()
    x = torch.randn(5, 4, 7, 6, dtype=torch.float64)
    found = activation_energy(conv, [x[:2], x[2:]])["weight"]
    padded = functional.pad(x, (1, 1, 1, 1), mode="constant" if mode == "zeros" else mode)
    patches = functional.unfold(padded, 3, stride=2)  # (5, 4 * 9, positions)
    wanted = patches.square().mean(dim=(0, 2)).reshape(4, 3, 3)
    whole = found.broadcast_to(conv.weight.shape)
    for channel in range(6):
        first = channel // (6 // groups) * (4 // groups)
        torch.testing.assert_close(whole[channel], wanted[first : first + 4 // groups])


def test_energy_of_linear_layers_of_1_and_3_dimensional_convolutions() -> None:
    torch.manual_seed(SEED)
    x = torch.randn(6, 5, 8)
    found = activation_energy(nn.Linear(8, 3), [x])["weight"]
    torch.testing.assert_close(found, x.square().mean(dim=(0, 1))[None])
    found = activation_energy(nn.Conv1d(5, 2, 3), [x])["weight"]
    torch.testing.assert_close(found[0], x.unfold(2, 3, 1).square().mean(dim=(0, 2)))
    x = torch.randn(2, 3, 4, 4, 4)
    found = activation_energy(nn.Conv3d(3, 2, 4), [x])["weight"]
    torch.testing.assert_close(found[0], x.square().mean(dim=0))


@pytest.mark.parametrize("groups", [1, 2])
def test_energy_of_a_transposed_convolution_predicts_its_output_error(groups: int) -> None:
    """With random errors of the weights the expected error is their squares' sum, weighted."""
    torch.manual_seed(SEED)
    layer = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=groups)
    layer = layer.double()
    x = torch.randn(3, 4, 5, 4, dtype=torch.float64)
    energy = activation_energy(layer, [x])["weight"].broadcast_to(layer.weight.shape)
    exact = layer(x)
    with torch.no_grad():
        for place in [(0, 0, 0, 0), (3, 1, 2, 2), (2, 2, 1, 0)]:
            kept = layer.weight[place].clone()
            layer.weight[place] += 0.5
            error = (layer(x) - exact).square().sum() / (exact.numel() / exact.shape[1])
            layer.weight[place] = kept
            torch.testing.assert_close(error, 0.25 * energy[place])


def test_a_shared_weight_counts_all_of_its_inputs(net: Small) -> None:
    before = state(net)
    found = activation_energy(net, batches())
    assert state(net) == before
    assert list(found) == ["conv.weight", "first.weight"]  # the other layer is never called
    net.eval()
    x = torch.cat([x for x, _ in batches()])
    hidden = net.norm(net.conv(x)).flatten(1)
    both = torch.cat([hidden, torch.relu(net.first(hidden))])
    torch.testing.assert_close(found["first.weight"], both.square().mean(dim=0)[None])


@pytest.mark.parametrize(
    "collect",
    [
        activation_energy,
        lambda net, data: fisher(net, data, functional.cross_entropy),
    ],
)
def test_the_net_is_as_it_was_after_an_exception(net: Small, collect) -> None:
    def failing() -> Iterator[tuple[Tensor, Tensor]]:
        yield batches()[0]
        raise OSError("no more disk")

    before = state(net)
    with pytest.raises(OSError, match="no more disk"):
        collect(net, failing())
    assert state(net) == before
    with pytest.raises(RuntimeError):
        collect(net, [(torch.ones(1, 5), torch.ones(1))])
    assert state(net) == before
    with pytest.raises(ValueError, match=r"^batches must hold at least one"):
        collect(net, [])
    with pytest.raises(ValueError, match=r"^net must have a linear layer or a convolution$"):
        collect(nn.ReLU(), batches())


def test_weighting_by_energy_lowers_the_error_of_outputs_at_the_same_k() -> None:
    torch.manual_seed(SEED)
    layer = nn.Linear(256, 32)
    scale = torch.from_numpy(np.random.default_rng(SEED).lognormal(0, 1.5, 256)).float()
    x, fresh = (torch.randn(2000, 256) * scale for _ in range(2))
    counts = activation_energy(layer, [x])["weight"]
    errors = {}
    for name, weights in (("even", None), ("energy", counts)):
        found = quantize(layer.weight, 8, weights=weights)
        lost = layer.weight.detach().double() - found.dequantized
        errors[name] = float((fresh.double() @ lost.T).square().mean())
    assert errors["energy"] < 0.6 * errors["even"], errors  # 0.16 to 0.46 on six seeds


def test_a_trained_net_loses_less_when_weighted_by_energy_or_by_fisher() -> None:
    torch.manual_seed(SEED)
    x = torch.randn(2000, 64) * torch.linspace(0.02, 3, 64) ** 2
    y = x[:, -10:].argmax(dim=1)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    trained = {name: value.clone() for name, value in net.state_dict().items()}
    counts = {
        "even": None,
        "energy": activation_energy(net, [x[:500]]),
        "fisher": fisher(net, [(x[:300], y[:300])], functional.cross_entropy),
    }
    losses = {}
    for name, sensitivity in counts.items():
        net.load_state_dict(trained)
        compress_(net, CompressConfig(k=4, sensitivity=sensitivity))
        losses[name] = functional.cross_entropy(net(x), y).item()
    assert losses["energy"] < 0.95 * losses["even"], losses
    assert losses["fisher"] < 0.98 * losses["even"], losses


def test_weights_without_an_input_of_their_own_are_in_fisher_alone() -> None:
    torch.manual_seed(SEED)

    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(9, 6, sparse=True)
            self.lstm = nn.LSTM(6, 5, batch_first=True)
            self.head = nn.Linear(5, 3)
            prune.random_unstructured(self.head, "weight", 0.4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(self.embed(x))[0][:, -1])

    net = Words()
    x, y = torch.randint(9, (4, 7)), torch.randint(3, (4,))
    found = fisher(net, [(x, y)], functional.cross_entropy)
    names = ["embed.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "head.weight"]
    assert list(found) == names
    wanted = torch.zeros(9, 6)
    for i in range(4):
        net.zero_grad()
        functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1]).backward()
        wanted += net.embed.weight.grad.to_dense() ** 2 / 4
    torch.testing.assert_close(found["embed.weight"], wanted)
    assert not found["head.weight"][net.head.weight_mask == 0].any()
    assert list(activation_energy(net, [x])) == ["head.weight"]
    plan = compress_(net, CompressConfig(k=2, sensitivity=found, on_expand="skip"))
    assert plan["head.weight"].k in (0, 2) and not net.head.weight[net.head.weight_mask == 0].any()
