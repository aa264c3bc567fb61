"""An image's file, written: the tensors of its layers, and the description that signs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.files import replacing
from dpnet.model.image.container import checksums, packed
from dpnet.model.image.header import FORMAT, LARGEST_FILE
from dpnet.model.image.layers import ImageLayer


def write_layers(layers: Sequence[ImageLayer], about: Mapping[str, Any], path: Path) -> int:
    """Write an image of `layers` to `path`, whole or not at all; return the file's size in bytes.

    `about` is what the description says of the whole image: scales, input bits, notes.  Raises
    `ImageError` for an image that is too large to be read again.
    """
    tensors: dict[str, NDArray[Any]] = {}
    described = []
    for n, layer in enumerate(layers):
        parts = {f"{n}.{name}": array for name, array in _tensors(layer).items()}
        tensors |= parts
        described.append(_described(layer, parts))
    description = {"format": FORMAT, "bit_order": "little", **about, "layers": described}
    data = packed(description, tensors, LARGEST_FILE, "image")
    with replacing(Path(path)) as file:
        file.write(data)
    return len(data)


def _described(layer: ImageLayer, parts: dict[str, NDArray[Any]]) -> dict[str, Any]:
    return {
        "name": layer.name,
        "shape": [int(side) for side in layer.shape],
        "rows": layer.rows,
        "columns": layer.columns,
        "k": int(layer.k),
        "relu": bool(layer.relu),
        "out_bits": int(layer.out_bits),
        "crc32": checksums(parts),
    }


def _tensors(layer: ImageLayer) -> dict[str, NDArray[Any]]:
    packed: dict[str, NDArray[Any]] = {"indices": layer.packed.data}
    if layer.codebook is not None:
        return packed | {"codebook": np.ascontiguousarray(layer.codebook)}
    assert layer.entries is not None and layer.exponent is not None
    assert layer.bias is not None and layer.multiplier is not None and layer.shift is not None
    return packed | {
        "entries": _narrowest(layer.entries, (np.int16, np.int32)),
        "exponent": layer.exponent.astype(np.int16),
        "bias": _narrowest(layer.bias, (np.int32, np.int64)),
        "multiplier": layer.multiplier.astype(np.int32),
        "shift": layer.shift.astype(np.uint8),
    }


def _narrowest(
    values: NDArray[np.int64], kinds: tuple[type[np.signedinteger[Any]], ...]
) -> NDArray[Any]:
    """`values` in the first of `kinds` that holds them; a layer's ranges fit the last one."""
    for kind in kinds[:-1]:
        limits = np.iinfo(kind)
        if limits.min <= values.min() and values.max() <= limits.max:
            return values.astype(kind)
    return values.astype(kinds[-1])
