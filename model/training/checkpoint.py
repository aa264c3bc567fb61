"""Training state in a file: written atomically, read without running any code from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpnet.model.files import replacing
from dpnet.model.quantizer.quantized import Quantized

VERSION = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or is of another run; the message names the file."""


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the file at `path` by `state`; whoever reads it sees the old or the new one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        torch.save({"version": VERSION, **state}, file)


def load_checkpoint(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """The state saved at `path` by the run `fingerprint`, None where there is no file."""
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        version, saved_by = state["version"], state["fingerprint"]
    except Exception as error:  # torch raises a different type for every kind of damage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"checkpoint {path} cannot be read ({reason}); delete it to start again"
        ) from error
    if version != VERSION:
        raise CheckpointError(f"checkpoint {path} must be of version {VERSION}, not {version!r}")
    if saved_by != fingerprint:
        raise CheckpointError(
            f"checkpoint {path} is of another run (settings, data or initial weights differ); "
            "delete it or name another file"
        )
    return state


def fingerprint(text: str, tensors: Iterable[Tensor]) -> str:
    """SHA-256 over a text and the shapes and bytes of tensors."""
    digest = hashlib.sha256(text.encode())
    for tensor in tensors:
        array = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def pack_quantized(quantized: Mapping[str, Quantized]) -> dict[str, dict[str, Tensor]]:
    """Quantized layers as plain tensors, for `save_checkpoint`."""
    return {
        name: {
            field: torch.from_numpy(array)
            for field, array in vars(layer).items()
            if field in ("codebook", "indices", "cost", "k_eff", "price") and array is not None
        }
        for name, layer in quantized.items()
    }


def unpack_quantized(packed: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Quantized]:
    """The inverse of `pack_quantized`."""
    arrays = {name: {f: t.numpy() for f, t in layer.items()} for name, layer in packed.items()}
    return {
        name: Quantized(
            layer["codebook"],
            layer["indices"],
            layer["cost"],
            layer["k_eff"],
            price=layer.get("price"),
        )
        for name, layer in arrays.items()
    }
