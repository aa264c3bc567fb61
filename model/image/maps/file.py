"""The map image: a whole network in integers in one safetensors file, for every map engine.

Tensors of layer n: `n.indices` (bit-packed, row after row, lowest bit first) and `n.entries` (each
codebook once, for so many consecutive rows) of a sum; `n.bias`, `n.multiplier`, `n.shift`; and
`n.factor` of skip values.  The file's metadata has one key, `dpnet`: JSON with the format, tensors
with their scales, layers with their places, what the host does, the engine that it was compiled
for, a CRC-32 per tensor and a SHA-256 over all of it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dpnet.model.image.container import read_file, unpacked
from dpnet.model.image.maps.description import (
    engine_of,
    layer_of,
    profile_of,
    scale_of,
    source_of,
    tensor_of,
)
from dpnet.model.image.maps.header import check_map_header
from dpnet.model.image.maps.layer_tensors import layer_arrays
from dpnet.model.image.maps.limits import LARGEST_FILE
from dpnet.model.image.maps.network import MapImage
from dpnet.model.maps.layers import MapLayer, MapNetwork

__all__ = ["parse_map_image", "read_map_image"]


def read_map_image(path: str | Path) -> MapImage:
    """Read and check a map image; `ImageError` says what is wrong and where.

    It takes at most 10 times the file's size in memory (indices of 1 bit become bytes), and 64 MB.
    """
    return read_file(path, LARGEST_FILE, "map image", _read)


def parse_map_image(data: bytes) -> MapImage:
    """The map image in the bytes of a file; `ImageError` if anything about them is wrong."""
    return _read(io.BytesIO(data), len(data))


def _read(file: io.BufferedIOBase, length: int) -> MapImage:
    return _image(*unpacked(file, length, check_map_header, lambda _, array: array))


def _image(description: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> MapImage:
    entries, layers = description["layers"], []
    for n, entry in enumerate(entries):
        layers.append(_layer(n, entry, tensors))
    top, bottom, left, right = description["padding"]
    network = MapNetwork(
        tuple(tensor_of(entry) for entry in description["tensors"]),
        tuple(layers),
        description["output"],
        tuple(description["host"]),
        (top, bottom, left, right),
    )
    scales = [scale_of(entry) for entry in description["tensors"]]
    sources = {entry["name"]: source_of(entry) for entry in entries}
    return MapImage(
        network=network,
        input_shape=tuple(description["input_shape"]),
        output_shape=tuple(description["output_shape"]),
        engine=engine_of(description["engine"]),
        calibration={scale.tensor: scale for scale in scales},
        sources={name: source for name, source in sources.items() if source is not None},
        about=description["about"],
        profile=profile_of(description["profile"]),
    )


def _layer(n: int, entry: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> MapLayer:
    """Layer n; its tensors are taken out of `tensors`, which shrinks as layers grow."""
    own = {name.partition(".")[2]: tensors.pop(name) for name in entry["crc32"]}
    return layer_of(entry, layer_arrays(own, entry))
