"""What a net is worth, on the device where it is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dpnet.model.data.augmentation import Augmentation, prepare
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


def inputs_of(
    net: nn.Module,
    x: Tensor,
    preparation: Preparation | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> Iterator[Tensor]:
    """The pictures `x` in batches, where the net is, as it sees them in training with this
    augmentation, or, without one, in evaluation."""
    device = next(net.parameters()).device
    changes = Augmentation() if augmentation is None else augmentation
    generator = torch.Generator(device).manual_seed(seed)
    for part in torch.split(x, BATCH):
        placed = prepare(changes.place(part.to(device), generator), preparation)
        yield changes.hide(placed, generator)


@torch.no_grad()
def reestimate_norms(
    net: nn.Module,
    x: Tensor,
    preparation: Preparation | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
) -> None:
    """Set the statistics of all batch norms to the means over batches of `x`, without labels.

    For a net whose weights were moved onto centroids; `augmentation` is the one that it was
    trained with.  The net is in evaluation mode afterwards.
    """
    norms = [m for m in net.modules() if isinstance(m, NORMS)]
    momenta = [norm.momentum for norm in norms]
    net.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's word for the plain mean over all batches
        norm.train()
    for inputs in inputs_of(net, x, preparation, augmentation, seed):
        net(inputs)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    net.eval()
