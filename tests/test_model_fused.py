"""The term in one pass, against its definition."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from dpnet.model.compression.weights import weights_of
from dpnet.model.training import fused
from dpnet.model.training.regularizer import ClusterRegularizer

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPES = [(5, 700), (8, 3, 3, 3), (4, 16, 5, 5)]
K = [1, 2, 5, 16]


def by_definition(values: Tensor, codebook: Tensor) -> Tensor:
    """The nearest centroid, of two as near the lower one."""
    rows = values.reshape(len(values), -1)
    apart = (rows[:, :, None] - codebook[:, None, :]).abs()
    return codebook.gather(1, apart.argmin(2)).reshape(values.shape)


def layer(shape: tuple[int, ...], *, channels_last: bool, kind: torch.dtype) -> nn.Module:
    net = (
        nn.Linear(shape[1], shape[0])
        if len(shape) == 2
        else nn.Conv2d(shape[1], shape[0], shape[2])
    )
    generator = torch.Generator().manual_seed(sum(shape))
    net.weight.data = torch.randn(shape, generator=generator)
    net.to(kind)
    return net.to(memory_format=torch.channels_last) if channels_last else net


def codebook(rows: int, k: int, kind: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(k)
    return torch.randn((rows, k), generator=generator).sort(dim=1).values.to(kind)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", K)
def test_one_pass_is_the_definition(
    shape: tuple[int, ...], channels_last: bool, kind: torch.dtype, k: int
) -> None:
    net = layer(shape, channels_last=channels_last and len(shape) == 4, kind=kind)
    weight, book = weights_of(net)[0][0], codebook(shape[0], k, kind)
    assert fused.fits(weight)
    before = net.weight.detach().clone()
    near = by_definition(before, book)
    found = fused.nearest(weight, book)
    assert torch.equal(found, near) and found.stride() == net.weight.stride()
    term = fused.squares(weight, book, 0.7)
    term.backward()
    assert float(term.detach()) == pytest.approx(
        0.7 * float((before - near).square().sum()), rel=1e-5
    )
    assert torch.allclose(net.weight.grad, 1.4 * (before - near), rtol=1e-5)
    for share in (0.0, 0.3, 0.8, 1.0):
        net.weight.data.copy_(before)
        fused.pull(weight, book, share)
        assert torch.allclose(net.weight.detach(), before.lerp(near, share), rtol=1e-5, atol=1e-6)
    assert torch.equal(net.weight.detach(), near)


def test_a_value_in_the_middle_goes_to_the_lower_centroid() -> None:
    net = nn.Linear(3, 1)
    net.weight.data = torch.tensor([[0.5, 1.5, 0.50001]])
    found = fused.nearest(weights_of(net)[0][0], torch.tensor([[0.0, 1.0, 2.0]]))
    assert found.tolist() == [[0.0, 1.0, 1.0]]


def test_autograd_notices_a_pull_between_forward_and_backward() -> None:
    net = nn.Linear(4, 3)
    term = ClusterRegularizer(net, 2, lam=1.0, reading="sum")
    term.step(0)
    loss = net(torch.ones(2, 4, requires_grad=True)).sum()
    term.pull(0.1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("why", ["half", "pruned", "transposed", "slice"])
def test_other_weights_are_left_to_the_plain_way(why: str) -> None:
    net: nn.Module = nn.Conv2d(4, 4, 3)
    if why == "half":
        net = net.bfloat16()
    elif why == "pruned":
        prune.l1_unstructured(net, "weight", 0.5)
    elif why == "transposed":
        net = nn.ConvTranspose2d(4, 4, 3)
    else:
        net.weight = nn.Parameter(torch.randn(4, 3, 3, 4).permute(0, 3, 2, 1)[:, :, :, :])
    assert not fused.fits(weights_of(net)[0][0])
    term = ClusterRegularizer(net, 2, lam=1.0, reading="sum", keep_zeros=False)
    term.step(0)
    assert math.isfinite(float(term().detach()))


def test_both_ways_train_a_net_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    first = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 9, 5))
    nets = [copy.deepcopy(first), first]
    x = torch.randn(8, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    for net, plain in zip(nets, (False, True), strict=True):
        if plain:
            monkeypatch.setattr(fused, "fits", lambda _: False)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        term = ClusterRegularizer(net, 3, lam=0.5, reading="sum", optimizer=optimizer)
        term.step(0)
        for _ in range(5):
            optimizer.zero_grad()
            (net(x).square().mean() + term()).backward()
            optimizer.step()
            term.pull(0.01)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
