"""What a net is worth, on the device where it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpnet.model.data.augmentation import prepare
from dpnet.model.data.preparation import Preparation
from dpnet.model.evaluating import evaluating

BATCH = 500
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@torch.no_grad()
def accuracy(net: nn.Module, x: Tensor, y: Tensor, preparation: Preparation | None = None) -> float:
    """Percent of the inputs that the net, in evaluation mode and float32, labels as `y`.

    Inputs and labels may be on another device than the net.  Every module's mode is as it was.
    """
    device, right = next(net.parameters()).device, 0
    with evaluating(net):
        for inputs, labels in zip(torch.split(x, BATCH), torch.split(y, BATCH), strict=True):
            logits = net(prepare(inputs.to(device), preparation))
            right += int((logits.argmax(1) == labels.to(device)).sum())
    return 100.0 * right / len(y)


@torch.no_grad()
def reestimate_norms(net: nn.Module, x: Tensor, preparation: Preparation | None = None) -> None:
    """Set the statistics of all batch norms to the means over batches of `x`, without labels.

    For a net whose weights were moved onto centroids.  The net is in evaluation mode afterwards.
    """
    norms = [m for m in net.modules() if isinstance(m, NORMS)]
    momenta = [norm.momentum for norm in norms]
    device = next(net.parameters()).device
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's word for the plain mean over all batches
        norm.train()
    for inputs in torch.split(x, BATCH):
        net(prepare(inputs.to(device), preparation))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()
