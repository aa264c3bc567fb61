"""Nets between training and judging, in files: what one machine trained another one can judge."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dpnet.model.training.checkpoint import load_checkpoint, save_checkpoint

__all__ = ["load_stage", "machine", "save_stage"]


def save_stage(path: Path, of: str, net: nn.Module, device: str) -> None:
    """Keep the state of a net that `of` (a fingerprint) says the origin of."""
    state = {name: tensor.detach().cpu() for name, tensor in net.state_dict().items()}
    save_checkpoint(path, {"fingerprint": of, "net": state, "machine": machine(device)})


def load_stage(path: Path, of: str, net: nn.Module) -> str | None:
    """Fill `net` from what `save_stage` kept, and name the machine; None where nothing is.

    Raises `CheckpointError` for what is damaged or of another origin.
    """
    found: dict[str, Any] | None = load_checkpoint(path, of)
    if found is None:
        return None
    net.load_state_dict(found["net"])
    net.eval()
    return str(found["machine"])


def machine(device: str) -> str:
    """The machine that trains on `device`, in words."""
    kind = torch.device(device)
    if kind.type == "cuda":
        return f"one {torch.cuda.get_device_name(kind)}"
    return f"{os.cpu_count()} CPU cores ({_processor()}), {torch.get_num_threads()} used"


def _processor() -> str:
    """As Linux has it, else as Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
