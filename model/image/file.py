"""The image: a compressed network in one safetensors file, for every size of engine.

Tensors of layer n: `n.indices` (bit-packed, row after row, lowest bit first), and for an fp32 layer
`n.codebook`; for an integer layer `n.entries`, `n.exponent` (value = entry · 2^exponent), `n.bias`,
`n.multiplier`, `n.shift`.  The file's metadata has one key, `dpnet`: JSON with the format version,
shapes, K, scales, a CRC-32 per tensor and a SHA-256 over all of it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.image.container import read_file, unpacked
from dpnet.model.image.header import LARGEST_FILE, ImageError, check_header
from dpnet.model.image.layers import ImageLayer
from dpnet.model.image.network import Image
from dpnet.model.image.packing import Packed


def write_image(image: Image, path: Path) -> int:
    """As `Image.save`."""
    return image.save(path)


def read_image(path: str | Path) -> Image:
    """Read and check an image; `ImageError` says what is wrong and where.

    It takes at most 4 times the file's size in memory: indices stay packed until they are used.
    """
    return read_file(path, LARGEST_FILE, "image", _read)


def parse_image(data: bytes) -> Image:
    """The image in the bytes of a file; `ImageError` if anything about them is wrong."""
    return _read(io.BytesIO(data), len(data))


def _read(file: io.BufferedIOBase, length: int) -> Image:
    description, tensors = unpacked(file, length, check_header, _kept)
    return Image(
        layers=tuple(_layer(n, entry, tensors) for n, entry in enumerate(description["layers"])),
        input_scale=description["input_scale"],
        input_bits=description["input_bits"],
        output_scale=description["output_scale"],
        about=description["about"],
    )


def _kept(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """A tensor as layers have it."""
    return array if name.endswith((".indices", ".codebook")) else array.astype(np.int64)


def _layer(n: int, entry: dict[str, Any], tensors: Mapping[str, NDArray[Any]]) -> ImageLayer:
    parts: dict[str, Any] = {name.partition(".")[2]: tensors[name] for name in entry["crc32"]}
    packed = Packed(parts.pop("indices"), entry["rows"], entry["columns"], entry["k"])
    try:
        return ImageLayer(
            name=entry["name"],
            shape=tuple(entry["shape"]),
            indices=packed,
            k=entry["k"],
            relu=entry["relu"],
            out_bits=entry["out_bits"],
            **parts,
        )
    except ImageError as error:
        raise ImageError(f"layer {n}: {error}") from error
