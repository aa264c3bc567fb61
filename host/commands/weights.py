"""Weight files of other programs: .safetensors, and state dicts without running their code."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from dpnet.host.commands import InputError
from dpnet.model.file_kinds import ENOUGH, PICKLE, TORCH, ZIP, kind_of
from dpnet.model.files import opened

STATE_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
"""Under which training programs keep a state dict beside epochs and optimizers."""

AGAIN = "save one with torch.save(net.state_dict(), FILE)"
EXPORT = "save its weights where it was made, with torch.save(net.state_dict(), FILE)"


@dataclass(frozen=True, eq=False)
class WeightFile:
    """The entries of a state dict by name, tensors of any kind and whatever else is in it, and why
    other tensors of the file were left out, by name."""

    tensors: dict[str, Any]
    left_out: dict[str, str] = field(default_factory=dict)


def read_weights(path: Path) -> WeightFile:
    """The tensors of a file, whatever it is called: safetensors, or a state dict of PyTorch, which
    may lie under one of `STATE_KEYS`.  No code of the file is run.

    `InputError` for every other file, with what it is.
    """
    try:
        with opened(path) as (file, _):
            start = file.read(ENOUGH)
            kind = kind_of(start)
            if kind in (TORCH, ZIP, PICKLE):
                return _state_dict(path, file, kind)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; check the name"
        ) from error
    if kind:
        raise InputError(f"{path} is {kind}, and holds no weights that dpnet reads; {EXPORT}")
    return _safetensors(path)


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


def _safetensors(path: Path) -> WeightFile:
    tensors: dict[str, Tensor] = {}
    left_out: dict[str, str] = {}
    try:
        with safe_open(path, "pt") as file:
            if "dpnet" in (file.metadata() or {}):
                raise InputError(f"{path} is a dpnet image already; see it with dpnet info {path}")
            # The file has them by type; people expect layer 2 before layer 10.
            for name in sorted(file.keys(), key=_natural):
                try:
                    tensors[name] = file.get_tensor(name)
                except Exception as error:  # a type that this PyTorch has not
                    kind = file.get_slice(name).get_dtype()
                    left_out[name] = f"of the type {kind}, which cannot be read: {_line(error)}"
    except InputError:
        raise
    except Exception as error:  # the library has many kinds, all mean the same here
        raise InputError(
            f"{path} is no safetensors file or a damaged one: {_line(error)}; get it again"
        ) from error
    return WeightFile(tensors, left_out)


def _state_dict(path: Path, file: BufferedReader, kind: str) -> WeightFile:
    if kind != PICKLE:
        _check_archive(path, file)
    file.seek(0)
    try:
        found: Any = torch.load(file, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises a different type for every kind of damage
        raise InputError(_why_not(path, file, error)) from error
    chosen, left_out = _chosen(path, found)
    return WeightFile({str(name): value for name, value in chosen.items()}, left_out)


def _check_archive(path: Path, file: BufferedReader) -> None:
    """Raise `InputError` for zip archives that are no state dict."""
    try:
        file.seek(0)
        names = [name.partition("/")[2] for name in zipfile.ZipFile(file).namelist()]
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path} is a damaged PyTorch file: {_line(error)}; get it again"
        ) from error
    if "constants.pkl" in names and any(name.startswith("code/") for name in names):
        raise InputError(f"{path} is a TorchScript program, no state dict; {EXPORT}")
    if any(name in names for name in ("models/model.json", "serialized_exported_program.json")):
        raise InputError(f"{path} is a program of torch.export, no state dict; {EXPORT}")
    if "data.pkl" not in names:
        raise InputError(f"{path} is a zip archive without weights of PyTorch in it; {EXPORT}")


def _why_not(path: Path, file: BufferedReader, error: Exception) -> str:
    """What a file holds that is not loaded, without loading it."""
    try:
        file.seek(0)
        classes = sorted(get_unsafe_globals_in_checkpoint(file))
    except Exception:  # damaged so far that it cannot be listed
        classes = []
    if not classes:
        return f"{path} is damaged: {_line(error)}; get it again"
    modules = [name for name in classes if name.startswith(("torch.nn.modules.", "__main__."))]
    what = "a whole pickled module" if modules else "other objects than tensors"
    return (
        f"{path} holds {what} ({(modules or classes)[0]}), which runs code when it is loaded: "
        "not done; save the state dict alone, with torch.save(net.state_dict(), FILE)"
    )


def _chosen(path: Path, found: Any) -> tuple[Mapping[Any, Any], dict[str, str]]:
    """The state dict in what a file holds, and the names of others that are left out."""
    if not isinstance(found, Mapping):
        raise InputError(f"{path} holds no state dict but {type(found).__name__}; {AGAIN}")
    inner = {
        str(key): value
        for key, value in found.items()
        if isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())
    }
    known = [key for key in STATE_KEYS if key in inner]
    if not known and any(isinstance(value, Tensor) for value in found.values()):
        return found, {}
    names = known or list(inner)
    if len(names) > 1:
        raise InputError(f"{path} holds several state dicts: {', '.join(names)}; save one alone")
    if not names:
        raise InputError(f"{path} holds no state dict; {AGAIN}")
    others = {key: f"another state dict beside {names[0]}" for key in inner if key != names[0]}
    tensors = {str(key) for key, value in found.items() if isinstance(value, Tensor)}
    return inner[names[0]], {**others, **dict.fromkeys(tensors, f"beside {names[0]}, not in it")}


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names as numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _line(error: Exception) -> str:
    """The first sentence of an error, torch's go on for a page."""
    lines = str(error).splitlines()
    return lines[0].split(". ")[0].rstrip(".") if lines else type(error).__name__
