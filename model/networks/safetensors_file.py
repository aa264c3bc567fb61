"""Float32 tensors of a safetensors file, checked (NumPy only: a machine that trains need not have
the package safetensors)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.file_kinds import kind_of
from dpnet.model.files import opened, parse_header

LARGEST_FILE = 1 << 30
LARGEST_HEADER = 1 << 20


class WeightsError(ValueError):
    """Published weights that are damaged or of another network: which file and why, in one line."""


def read_floats(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors by name; `WeightsError` for a file that is damaged, or that holds anything but
    finite float32 numbers."""
    try:
        with opened(path) as (file, size):
            if size > LARGEST_FILE:
                raise WeightsError(f"{path}: {size} bytes are more than these weights have")
            data = file.read(size)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return _tensors(data)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _tensors(data: bytes) -> dict[str, NDArray[np.float32]]:
    if kind := kind_of(data):
        raise WeightsError(f"no safetensors file but {kind}")
    header, length = parse_header(data, LARGEST_HEADER, "safetensors file", WeightsError)
    header.pop("__metadata__", None)
    body, end, found = data[len(data) - length :], 0, {}
    for name, entry in sorted(header.items(), key=_begin):
        shape, (begin, stop) = _checked(name, entry)
        if begin != end or stop > length:
            raise WeightsError(f"tensor {name} is not where it should be: the file is damaged")
        found[name], end = np.frombuffer(body[begin:stop], "<f4").reshape(shape).copy(), stop
        if not np.isfinite(found[name]).all():
            raise WeightsError(f"tensor {name} holds NaN or an infinity")
    if end != length:
        raise WeightsError(f"{length - end} bytes belong to no tensor: the file is damaged")
    return found


def _begin(item: tuple[str, Any]) -> int:
    """Where a tensor begins; 0 for an entry that `_checked` refuses."""
    entry = item[1]
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if isinstance(offsets, list) and offsets and isinstance(offsets[0], int):
        return offsets[0]
    return 0


def _checked(name: str, entry: Any) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Shape and place of a tensor, consistent with each other."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(f"the header's entry of {name} is damaged")
    if entry["dtype"] != "F32":
        raise WeightsError(f"tensor {name} must be float32, not {entry['dtype']!r}")
    shape, offsets = entry["shape"], entry["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise WeightsError(f"the header's entry of {name} is damaged")
    if len(offsets) != 2 or offsets[1] - offsets[0] != 4 * math.prod(shape):
        raise WeightsError(f"tensor {name} has a size that does not fit its shape {shape}")
    return tuple(shape), (offsets[0], offsets[1])
