"""Published weights: read without running any code from them, and checked against the network.

They lie in the folder that `dpnet.model.data.places` describes, `resnet-cifar10/` and
`mlperf-tiny/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dpnet.model.data.places import MissingDataError, needed, weights_folder
from dpnet.model.networks.catalog import find
from dpnet.model.networks.googlenet import GoogLeNet
from dpnet.model.networks.residual import CifarResNet
from dpnet.model.networks.safetensors_file import WeightsError, read_floats
from dpnet.model.networks.tiny_graph import check_graph, read_graph

__all__ = ["WeightsError", "load_cifar_resnet", "load_googlenet", "load_mlperf", "trained"]

MLPERF = {
    "resnet-8": "resnet8",
    "ds-cnn": "ds_cnn",
    "mobilenet-vww": "mobilenet_vww",
    "autoencoder": "autoencoder",
}
"""Files of MLPerf Tiny's networks, without their suffixes."""

CIFAR = {"resnet-20": "resnet20-*.th", "resnet-32": "resnet32-*.th", "resnet-56": "resnet56-*.th"}
"""Files of Idelbayev's networks."""

COUNTER = "num_batches_tracked"


def trained(name: str, folder: Path | None = None) -> nn.Module:
    """A network with its published weights, in evaluation mode.

    `folder` is by default what `weights_folder` says.  `MissingDataError` for weights that are
    not there, `WeightsError` for others than they should be, ValueError for a network without any.
    """
    if name not in MLPERF | CIFAR:
        raise ValueError(f"name must be one of {', '.join(MLPERF | CIFAR)}, not {name!r}")
    folder = weights_folder() if folder is None else folder
    if name in MLPERF:
        return load_mlperf(folder / "mlperf-tiny", name)
    found = sorted((folder / "resnet-cifar10").glob(CIFAR[name]))
    if len(found) != 1:
        raise MissingDataError(
            f"{folder / 'resnet-cifar10'} must have one file {CIFAR[name]}, not {len(found)}: "
            "akamaster/pytorch_resnet_cifar10 has it"
        )
    return load_cifar_resnet(found[0])


def load_cifar_resnet(path: Path) -> CifarResNet:
    """ResNet-20, -32, … of akamaster/pytorch_resnet_cifar10, its depth from what is in the file.

    `WeightsError` where tensors are missing, left over, of another shape or not finite.
    """
    tensors = _state_dict(path)
    blocks = {
        m[1] for name in tensors if (m := re.fullmatch(r"layer1\.(\d+)\.conv1\.weight", name))
    }
    if not blocks:
        raise WeightsError(f"{path}: no ResNet for CIFAR: layer1.0.conv1.weight is missing")
    net = CifarResNet(6 * len(blocks) + 2)
    _fill(net, tensors, path)
    return net.eval()


def load_googlenet(path: Path) -> GoogLeNet:
    """GoogLeNet with torchvision's published state dict, whose two heads are left out."""
    tensors = _state_dict(path)
    net = GoogLeNet()
    _fill(net, {n: t for n, t in tensors.items() if not n.startswith(("aux1.", "aux2."))}, path)
    return net.eval()


def load_mlperf(folder: Path, name: str) -> nn.Module:
    """One of MLPerf Tiny's networks from its two files in `folder`, .json and .safetensors.

    The graph is run beside the net on a random picture: `WeightsError` where a layer gives
    anything else, and for tensors that are missing, left over, of another shape or not finite.
    """
    if name not in MLPERF:
        raise ValueError(f"name must be one of {', '.join(MLPERF)}, not {name!r}")
    graph, weights = (folder / f"{MLPERF[name]}.{end}" for end in ("json", "safetensors"))
    for path in (graph, weights):
        needed(path, "the graphs and weights of MLPerf Tiny's networks")
    operations = read_graph(graph)
    tensors = {n: torch.from_numpy(array) for n, array in read_floats(weights).items()}
    entry = find(name)
    net = entry.make().eval()
    _fill(net, tensors, weights)
    picture = torch.rand(1, *entry.shape, generator=torch.Generator().manual_seed(1))
    try:
        check_graph(net, operations, tensors, picture)
    except WeightsError as error:
        raise WeightsError(f"{graph}: {error}") from error
    return net


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of PyTorch's by name, without ``module.`` in front."""
    needed(path, "a state dict of PyTorch")
    try:
        found: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises a different type for every kind of damage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: no state dict of PyTorch: {reason}") from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(x, Tensor) for x in found.values()):
        raise WeightsError(f"{path}: must hold a state dict, tensors by name")
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def _fill(net: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Copy all tensors into the net; `WeightsError` unless they are exactly the net's own.

    Batch norms' step counters, which old files lack, may be missing.
    """
    own = net.state_dict()
    missing = [n for n in own if n not in tensors and not n.endswith(COUNTER)]
    left = [n for n in tensors if n not in own]
    if missing or left:
        what = f"{missing[0]} is missing" if missing else f"{left[0]} is of no layer of the net"
        raise WeightsError(f"{path}: not the weights of {type(net).__name__}: {what}")
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise WeightsError(
                f"{path}: {name} must be {tuple(own[name].shape)}, not {tuple(tensor.shape)}"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: {name} holds NaN or an infinity")
    net.load_state_dict(own | dict(tensors))
