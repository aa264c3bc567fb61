"""Which weights are compressible, by which names, and as which rows: of a net or a state dict.

    weights, others = weights_of(net)                   # the parameters, to be changed in place
    weights, others = weights_in(net.state_dict())      # the values, as a file has them

Both give the same answer, as far as a state dict tells: the regularizer, `compress_`, the
sensitivities and ``dpnet compress`` all take it from here.

Compressible are the weights of linear layers, convolutions (transposed ones too), recurrent
layers, attention, embeddings and bilinear layers, and those of unknown layers that are called as
these are. A row is what one output, or output channel, is computed from; of an embedding it is
what one entry looks up. Biases, norms and all other tensors are left out, each with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedParameter

from dpnet.model.compression.parts import WEIGHT, parts_of
from dpnet.model.compression.search import LeftOut, Search, Weight
from dpnet.model.compression.values import as_tensor, place_of

__all__ = ["LeftOut", "Weight", "rebuild", "weights_in", "weights_of"]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
OUTPUTS_FIRST = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
    nn.Embedding,
    nn.EmbeddingBag,
    nn.Bilinear,
)
NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm)


def weights_of(net: nn.Module) -> tuple[list[Weight], list[LeftOut]]:
    """The weights of a net that can be compressed, each once, and its other matrices.

    A weight that is computed from several parameters (weight norm, spectral norm, an adapter)
    cannot be written to: it is refused. One under a pruning mask can.

    Raises ValueError for lazy layers that never saw an input.
    """
    parameters = dict(net.named_parameters(remove_duplicate=False))
    for name, parameter in parameters.items():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(f"{name} must have a shape: run the net once before")
    tensors = parameters | dict(net.named_buffers(remove_duplicate=False))
    search = Search(tensors, _known_layers(net), id, in_net=True)
    weights, others = search.run()
    shown = [o for o in others if len(o.shape) > 1 and (o.refused or o.name in parameters)]
    return weights, shown


def weights_in(
    tensors: Mapping[str, Any],
    *,
    rows: str | None = None,
    transposed: str | None = None,
) -> tuple[list[Weight], list[LeftOut]]:
    """The weights in a state dict that can be compressed, each once, and all other tensors.

    Weights in parts are multiplied out where the parts define them, see
    `dpnet.model.compression.parts`. A state dict does not say what its layers are: outputs are
    along axis 0, unless a bias, a norm, spectral norm or the few values of a compressed weight
    tell that they are along axis 1, as those of transposed convolutions. `rows` and `transposed`
    are regular expressions for names whose outputs are along axis 0 and 1, whatever is concluded
    otherwise; also for tensors of unknown layers.
    """
    known: dict[str, int | str] = {}
    for parts in parts_of(tensors):
        for pattern, groups in ((rows, 0), (transposed, 1)):
            if pattern is not None and re.search(pattern, parts.base):
                known[parts.base] = groups
    given = {name: as_tensor(value) for name, value in tensors.items()}
    return Search(given, known, place_of, in_net=False).run()


def rebuild(net: nn.Module, weight: Weight) -> None:
    """Multiply a weight that was written to by its pruning mask, as its layers do when called."""
    if weight.mask is None:
        return
    for place in weight.places:
        layer, _, attribute = place.rpartition(".")
        setattr(net.get_submodule(layer), attribute, weight.tensor * weight.mask)


def _known_layers(net: nn.Module) -> dict[str, int | str]:
    """What PyTorch's own layers say: `RowForm.groups` of their weights, or why it is none."""
    known: dict[str, int | str] = {}
    for name, module in net.named_modules(remove_duplicate=False):
        prefix = f"{name}." if name else ""
        if isinstance(module, TRANSPOSED):
            known[f"{prefix}weight"] = module.groups
        elif isinstance(module, OUTPUTS_FIRST):
            known |= {prefix + n: 0 for n in _weight_names(module)}
        elif isinstance(module, NORMS):
            known[f"{prefix}weight"] = "the scale of a norm"
        elif type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
            known[f"{prefix}weight"] = 1  # a linear layer of Hugging Face's, (in, out)
    return known


def _weight_names(module: nn.Module) -> list[str]:
    """The names of a layer's weights, whatever their parts are called."""
    parts = parts_of(name for name, _ in module.named_parameters() if _own(name))
    return [p.base for p in parts if re.fullmatch(WEIGHT, p.base)]


def _own(name: str) -> bool:
    """Whether a parameter is the module's own, also as a part."""
    return "." not in name or name.startswith("parametrizations.")
