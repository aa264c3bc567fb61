"""A layer as tensors of the file, and back: narrow, indices packed, each codebook once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.image.packing import Packed, pack
from dpnet.model.maps.layers import MapLayer

__all__ = ["books", "layer_arrays", "layer_tensors", "stored_bytes"]

Integers = NDArray[np.int64]
Tensors = dict[str, NDArray[Any]]


def layer_tensors(layer: MapLayer) -> Tensors:
    """The layer's numbers by kind, in the narrowest of the types that a file may have."""
    found: Tensors = {
        "bias": _narrowest(layer.bias, np.int32, np.int64),
        "multiplier": layer.multiplier.astype(np.int32),
        "shift": layer.shift.astype(np.uint8),
    }
    if layer.indices is not None and layer.entries is not None:
        every = layer.rows // books(layer)
        found["entries"] = _narrowest(layer.entries[::every], np.int16, np.int32)
        found["indices"] = pack(layer.indices.astype(np.uint8), layer.entries.shape[1]).data
    if layer.skip is not None:
        found["factor"] = layer.skip.factor.astype(np.int32)
    return found


def layer_arrays(tensors: Mapping[str, NDArray[Any]], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The layer's numbers by kind as `MapLayer` has them; `entry` is what the description says."""
    found: dict[str, Any] = {
        kind: array.astype(np.int64) for kind, array in tensors.items() if kind != "indices"
    }
    if "indices" in tensors:
        packed = Packed(tensors["indices"], entry["rows"], entry["columns"], entry["k"])
        found["indices"] = packed.unpacked()
        found["entries"] = found["entries"].repeat(entry["rows"] // entry["books"], axis=0)
    return found


def books(layer: MapLayer) -> int:
    """How many codebooks the layer has: the same number of consecutive rows shares each."""
    if layer.entries is None:
        return 0
    changes = np.flatnonzero((np.diff(layer.entries, axis=0) != 0).any(axis=1)) + 1
    every = int(np.gcd.reduce([layer.rows, *changes.tolist()]))
    return layer.rows // every


def stored_bytes(layer: MapLayer) -> dict[str, int]:
    """Bytes in the file: of its `indices`, its `codebooks`, and its `rows`' parameters."""
    sizes = {kind: array.nbytes for kind, array in layer_tensors(layer).items()}
    rows = sum(size for kind, size in sizes.items() if kind not in ("indices", "entries"))
    return {
        "indices": sizes.get("indices", 0),
        "codebooks": sizes.get("entries", 0),
        "rows": rows,
    }


def _narrowest(values: Integers, narrow: type, wide: type) -> NDArray[Any]:
    limits = np.iinfo(narrow)
    fits = bool(limits.min <= values.min() and values.max() <= limits.max)
    return np.ascontiguousarray(values.astype(narrow if fits else wide))
