"""How much each weight of a net counts, from a calibration run: for `quantize(weights=...)`.

    counts = activation_energy(net, batches)        # or fisher(net, batches, cross_entropy)
    quantize(net.fc.weight, 16, weights=counts["fc.weight"])
    compress_(net, CompressConfig(bits=3, sensitivity=counts))

A few hundred samples will do. Neither changes the net: evaluation mode and hooks are for the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dpnet.model.compression.weights import TRANSPOSED, Weight, weights_of
from dpnet.model.evaluating import evaluating

CALLED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)

Loss = Callable[[Tensor, Tensor], Tensor]


def fisher(
    net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], loss: Loss
) -> dict[str, Tensor]:
    """The empirical Fisher information of each weight: its squared gradient, mean over samples.

    `batches` are (inputs, targets), the samples on axis 0; ``loss(net(x), y)`` is taken of one
    sample at a time, one backward pass each, since the square of a batch's gradient would not
    do. Of every weight that `dpnet.model.compression.weights` finds, by its name: its shape,
    float32 (float64 for a float64 weight), on its device. 0 where the loss does not depend on a
    weight. Gradients (``.grad``), ``requires_grad`` and the mode of the net are afterwards as
    before, also if anything raises.

    Raises ValueError without a sample.
    """
    weights = _weights(net)
    parameters = [weight.tensor for weight in weights]
    sums = [torch.zeros_like(p, dtype=_wide(p.dtype), requires_grad=False) for p in parameters]
    samples = 0
    with evaluating(net), _differentiable(parameters), torch.enable_grad():
        for x, y in batches:
            for one, target in zip(torch.split(x, 1), torch.split(y, 1), strict=True):
                value = loss(net(one), target)
                found = torch.autograd.grad(value, parameters, allow_unused=True)
                for total, gradient in zip(sums, found, strict=True):
                    if gradient is not None:
                        whole = gradient.to_dense() if gradient.is_sparse else gradient
                        total.add_(whole.detach().to(total.dtype).square())
                samples += 1
    if not samples:
        raise ValueError("batches must hold at least one sample")
    return {weight.name: total / samples for weight, total in zip(weights, sums, strict=True)}


def activation_energy(net: nn.Module, batches: Iterable[Any]) -> dict[str, Tensor]:
    """The mean square of what each weight is multiplied by: the input's energy E[x²].

    With inputs that are uncorrelated, ``sum(E[x_j²] (w_ij - q_ij)²)`` is the mean squared error
    of output i. Of a linear layer the mean is over samples (and positions); of a convolution over
    samples and output positions, so that each place of the kernel has its own, padding included.
    `batches` are inputs, or tuples that start with one. By weight name: float32 (float64 for a
    float64 weight), in a shape that broadcasts to the weight's; weights of layers that were not
    called are left out, and those of layers whose inputs cannot be seen from outside (recurrent
    ones, attention) or do not multiply (embeddings): `fisher` knows them. Hooks are removed and
    the mode is as before, also if anything raises.

    Raises ValueError without a batch.
    """
    owners = {name: weight.name for weight in _weights(net) for name in weight.names}
    names: dict[nn.Module, str] = {}
    for layer, module in net.named_modules():
        name = f"{layer}.weight" if layer else "weight"
        if isinstance(module, CALLED) and name in owners:
            names[module] = owners[name]
    sums: dict[str, tuple[Any, int]] = {}

    def add(module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        name = names[module]
        options = dict(zip(("input", "output_size"), given, strict=False)) | named
        energy, count = _energy(module, options.pop("input"), options)
        before, already = sums.get(name, (0.0, 0))
        sums[name] = before + energy, already + count

    with ExitStack() as stack:
        stack.enter_context(evaluating(net))
        for module in names:
            hook = module.register_forward_pre_hook(add, with_kwargs=True)
            stack.callback(hook.remove)
        stack.enter_context(torch.no_grad())
        ran = False
        for batch in batches:
            net(batch[0] if isinstance(batch, (tuple, list)) else batch)
            ran = True
    if not ran:
        raise ValueError("batches must hold at least one batch")
    return {name: total / count for name, (total, count) in sums.items()}


def _energy(module: Any, x: Tensor, options: dict[str, Any]) -> tuple[Tensor, int]:
    """(sum of squares that meet each weight, over samples and positions; how many these are)."""
    squares = x.detach().to(_wide(x.dtype)).square()
    if isinstance(module, nn.Linear):
        flat = squares.reshape(-1, squares.shape[-1])
        return flat.sum(dim=0, keepdim=True), len(flat)
    # The sum of a convolution of the squares has for the gradient of each weight the sum of the
    # squares that this weight meets, whatever stride and padding; one channel per group will do.
    transposed = isinstance(module, TRANSPOSED)
    with torch.enable_grad():
        probe = _probe(module, squares)
        out = probe(squares, **options)
        (sums,) = torch.autograd.grad(out.sum(), probe.weight)
    if not transposed and module.groups > 1:
        sums = sums.repeat_interleave(module.out_channels // module.groups, dim=0)
    return sums, out.numel() // module.groups


def _probe(module: Any, like: Tensor) -> Any:
    """The same convolution with one output channel per group, without a bias, all weights 1."""
    kind: Any = next(k for k in CALLED if isinstance(module, k))
    names = ["stride", "padding", "dilation", "groups", "padding_mode"]
    names += ["output_padding"] * isinstance(module, TRANSPOSED)
    options = {name: getattr(module, name) for name in names}
    # On the meta device: nothing is drawn from the random generator.
    probe = kind(
        module.in_channels, module.groups, module.kernel_size, bias=False, device="meta", **options
    )
    probe.weight = nn.Parameter(torch.ones(probe.weight.shape, dtype=like.dtype).to(like.device))
    return probe


def _weights(net: nn.Module) -> list[Weight]:
    weights = weights_of(net)[0]
    if not weights:
        raise ValueError("net must have a linear layer or a convolution")
    return weights


def _wide(dtype: torch.dtype) -> torch.dtype:
    """What sums are kept in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@contextmanager
def _differentiable(parameters: list[Tensor]) -> Iterator[None]:
    """Frozen ones too."""
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, needed in zip(parameters, before, strict=True):
            parameter.requires_grad_(needed)
