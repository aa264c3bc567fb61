"""Weight files of other programs: .safetensors, and state dicts without running their code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dpnet.host.commands import InputError

_PICKLES = (".pt", ".pth", ".th")


def read_weights(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name; a state dict may lie under the key "state_dict"."""
    suffix = path.suffix.lower()
    if suffix != ".safetensors" and suffix not in _PICKLES:
        raise InputError(
            f"{path} must be a .safetensors file or a state dict in a "
            f"{', '.join(_PICKLES)} file; save one with torch.save(net.state_dict(), FILE)"
        )
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; check the name"
        ) from error
    return _safetensors(path) if suffix == ".safetensors" else _state_dict(path)


def finite_fp32(name: str, tensor: Tensor) -> Tensor:
    """`tensor` in float32; `InputError` with the position of a value that is not finite in it."""
    values = tensor.detach().to(torch.float32)
    wrong = (~torch.isfinite(values)).nonzero()
    if len(wrong):
        position = tuple(wrong[0].tolist())
        raise InputError(
            f"tensor {name} holds {tensor[position].item()} at {list(position)}, which is no "
            "finite fp32 number; repair the network, or leave the tensor out with --include"
        )
    return values


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except Exception as error:  # the library has many kinds, all mean the same here
        raise InputError(
            f"{path} is no safetensors file or a damaged one: {_line(error)}; get it again"
        ) from error
    # The file has them by type; people expect layer 2 before layer 10.
    return {name: tensors[name] for name in sorted(tensors, key=_natural)}


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        found: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises a different type for every kind of damage
        raise InputError(
            f"{path} is damaged or holds more than tensors: {_line(error)}; save the state dict "
            "alone, with torch.save(net.state_dict(), FILE)"
        ) from error
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    tensors = (
        {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        if isinstance(found, Mapping)
        else {}
    )
    if not tensors:
        raise InputError(
            f"{path} holds no state dict; save one with torch.save(net.state_dict(), FILE)"
        )
    return tensors


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _line(error: Exception) -> str:
    """The first sentence of an error, torch's go on for a page."""
    lines = str(error).splitlines()
    return lines[0].split(". ")[0].rstrip(".") if lines else type(error).__name__
