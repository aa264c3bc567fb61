"""What a state dict may hold: which of it are real numbers, and which are the same memory."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import torch
from torch import Tensor


def unfit(tensor: Any) -> str:
    """Why a tensor holds no real numbers that can be read, "" if it does."""
    if not isinstance(tensor, Tensor):
        return f"no tensor but {type(tensor).__name__}"
    if tensor.is_nested:
        return "nested: its rows have different lengths"
    if tensor.is_quantized:
        return "quantized already: save it dequantized"
    if tensor.layout != torch.strided:
        return f"sparse ({str(tensor.layout).removeprefix('torch.')}): save it dense"
    if tensor.is_complex():
        return "complex"
    if not tensor.is_floating_point():
        return "not floating point"
    if tensor.dtype not in _REAL:
        return f"of type {str(tensor.dtype).removeprefix('torch.')}, which is not read"
    return "" if tensor.numel() else "empty"


def as_tensor(value: Any) -> Any:
    """NumPy's arrays as tensors."""
    numbers = isinstance(value, np.ndarray) and value.dtype.kind in "fiubc"
    return torch.from_numpy(value) if numbers else value


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Of whatever a state dict holds."""
    try:
        return tuple(tensor.shape)
    except (AttributeError, RuntimeError):
        return ()


def rank_of(tensor: Any) -> int:
    return len(shape_of(tensor))


def _real_types() -> frozenset[torch.dtype]:
    """The floating-point types that convert to float64."""
    types = {value for value in vars(torch).values() if isinstance(value, torch.dtype)}
    fit = set()
    for dtype in (t for t in types if t.is_floating_point):
        try:
            torch.empty(1, dtype=dtype).double()
        except (RuntimeError, NotImplementedError):
            continue
        fit.add(dtype)
    return frozenset(fit)


_REAL = _real_types()


def place_of(tensor: Tensor) -> Hashable:
    """Equal for tensors of a state dict that are the same memory."""
    if unfit(tensor) or tensor.is_meta:
        return id(tensor)
    place = tensor.untyped_storage().data_ptr(), tensor.storage_offset()
    return place, tensor.dtype, tuple(tensor.shape), tensor.stride()
