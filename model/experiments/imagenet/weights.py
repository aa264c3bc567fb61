"""GoogLeNet from a published state dict in torchvision's names, read without running its code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dpnet.model.data.places import needed
from dpnet.model.networks.googlenet import GoogLeNet
from dpnet.model.networks.safetensors_file import WeightsError

__all__ = ["load_weights"]

HEADS = ("aux1.", "aux2.")
"""The two classifiers on the way, which the net does without."""
LAST = "fc.weight"


def load_weights(path: Path) -> GoogLeNet:
    """The net in evaluation mode, with as many classes as the file's last layer.

    A state dict as .safetensors or as PyTorch's own file.  `MissingDataError` where there is no
    file, `WeightsError` for one that is damaged, runs code, is of another net, or is not finite.
    """
    needed(path, "a state dict of GoogLeNet in torchvision's names, .pth or .safetensors")
    tensors = {name: t for name, t in _tensors(path).items() if not name.startswith(HEADS)}
    if LAST not in tensors or tensors[LAST].ndim != 2:
        raise WeightsError(f"{path}: not the weights of GoogLeNet: {LAST} is missing")
    net = GoogLeNet(len(tensors[LAST]))
    try:
        # Old files lack the norms' counters.
        net.load_state_dict(net.state_dict() | tensors)
        missing = [n for n in net.state_dict() if n not in tensors and not n.endswith("_tracked")]
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path}: not the weights of GoogLeNet: {reason}") from error
    if missing:
        raise WeightsError(f"{path}: not the weights of GoogLeNet: {missing[0]} is missing")
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsError(f"{path}: {name} holds NaN or an infinity")
    return net.eval()


def _tensors(path: Path) -> Mapping[str, Tensor]:
    found: Any
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # torch raises a different type for every kind of damage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: no state dict of PyTorch: {reason}") from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(t, Tensor) for t in found.values()):
        raise WeightsError(f"{path}: must hold a state dict, tensors by name")
    return {str(name): tensor for name, tensor in found.items()}
