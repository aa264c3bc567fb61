"""Batch norms that were folded into convolutions, put back for training, and folded again."""

from __future__ import annotations

import copy
import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from dpnet.model.data.preparation import Preparation
from dpnet.model.evaluating import evaluating
from dpnet.model.experiments.evaluation import inputs_of

__all__ = ["NormedConv", "fold_norms", "unfold_norms"]

Conv = TypeVar("Conv", bound=nn.Conv2d)


class NormedConv(nn.Conv2d):
    """A convolution without a bias, and the batch norm behind it."""

    norm: nn.BatchNorm2d

    def forward(self, x: Tensor) -> Tensor:
        """Normalized maps."""
        normalized: Tensor = self.norm(super().forward(x))
        return normalized


@torch.no_grad()
def unfold_norms(net: nn.Module, x: Tensor, preparation: Preparation | None = None) -> nn.Module:
    """A copy of `net` with a batch norm behind each of its convolutions with a bias, which in
    evaluation mode computes the same.

    The norms' statistics are those of the pictures `x`.  Every row of the weights gets the root
    mean square of fresh weights, sqrt(2 / n), whatever size its inputs have: one learning rate and
    one lambda then fit all of them.  Codebooks of rows do not depend on their scale.
    """
    seen = _statistics(net, x, preparation)
    found = copy.deepcopy(net)
    for name, conv in list(found.named_modules()):
        if name in seen:
            _replace(found, name, _normed(conv, *seen[name]))
    return found.eval()


@torch.no_grad()
def fold_norms(net: nn.Module) -> nn.Module:
    """The inverse: a copy whose convolutions have biases in place of their norms.

    Rows keep as many values as they have.
    """
    found = copy.deepcopy(net)
    for name, conv in list(found.named_modules()):
        if isinstance(conv, NormedConv):
            _replace(found, name, _plain(conv))
    return found.eval()


def _statistics(
    net: nn.Module, x: Tensor, preparation: Preparation | None
) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and variance of each channel behind each convolution with a bias, by its name."""
    sums: dict[str, list[Tensor]] = {}

    def watch(name: str) -> object:
        def add(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            values = output.double().transpose(0, 1).flatten(1)
            part = torch.stack([values.sum(1), values.square().sum(1)])
            total, count = sums.get(name, [torch.zeros_like(part), torch.zeros(())])
            sums[name] = [total + part, count + values.shape[1]]

        return add

    handles = [
        module.register_forward_hook(watch(name))  # type: ignore[arg-type]
        for name, module in net.named_modules()
        if type(module) is nn.Conv2d and module.bias is not None
    ]
    try:
        with evaluating(net):
            for inputs in inputs_of(net, x, preparation):
                net(inputs)
    finally:
        for handle in handles:
            handle.remove()
    means = {name: total / count for name, (total, count) in sums.items()}
    return {name: (mean, square - mean**2) for name, (mean, square) in means.items()}


def _normed(conv: nn.Module, mean: Tensor, variance: Tensor) -> NormedConv:
    """`mean` and `variance` are those of the convolution with its bias."""
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None
    found = _like(conv, NormedConv, bias=False)
    rows = conv.weight.flatten(1).double()
    size = rows.square().mean(1).sqrt()
    scale = math.sqrt(2 / rows.shape[1]) / torch.where(size > 0, size, torch.ones_like(size))
    norm = nn.BatchNorm2d(conv.out_channels).to(conv.weight)
    bias = conv.bias.double()
    statistics = (mean - bias) * scale, variance * scale**2
    for own, value in zip((norm.running_mean, norm.running_var), statistics, strict=True):
        assert own is not None
        own.copy_(value)
    norm.weight.copy_((statistics[1] + norm.eps).sqrt() / scale)
    norm.bias.copy_(mean)
    found.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    found.norm = norm
    return found


def _plain(conv: NormedConv) -> nn.Conv2d:
    norm = conv.norm
    assert norm.running_mean is not None and norm.running_var is not None
    found = _like(conv, nn.Conv2d, bias=True)
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    assert found.bias is not None
    found.weight.copy_(conv.weight.double() * scale[:, None, None, None])
    found.bias.copy_(norm.bias.double() - norm.running_mean.double() * scale)
    return found


def _like(conv: nn.Conv2d, kind: type[Conv], *, bias: bool) -> Conv:
    found: Conv = kind(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        conv.groups,
        bias,
    ).to(conv.weight)
    return found


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(net.get_submodule(parent), attribute, module)
