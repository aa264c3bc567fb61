"""The image: a compressed network in one safetensors file, for every size of engine.

Tensors of layer n: `n.indices` (bit-packed, row after row, lowest bit first), and for an fp32 layer
`n.codebook`; for an integer layer `n.entries`, `n.exponent` (value = entry · 2^exponent), `n.bias`,
`n.multiplier`, `n.shift`.  The file's metadata has one key, `dpnet`: JSON with the format version,
shapes, K, scales, a CRC-32 per tensor and a SHA-256 over all of it.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.model.file_kinds import ENOUGH, kind_of
from dpnet.model.files import opened
from dpnet.model.image.header import (
    LARGEST_FILE,
    LARGEST_HEADER,
    ImageError,
    Stored,
    check_header,
    require,
)
from dpnet.model.image.layers import ImageLayer
from dpnet.model.image.network import Image
from dpnet.model.image.packing import Packed
from dpnet.model.image.writing import Signature


def write_image(image: Image, path: Path) -> int:
    """As `Image.save`."""
    return image.save(path)


def read_image(path: str | Path) -> Image:
    """Read and check an image; `ImageError` says what is wrong and where.

    It takes at most 4 times the file's size in memory: indices stay packed until they are used.
    """
    try:
        with opened(Path(path)) as (file, size):
            require(size <= LARGEST_FILE, f"{size} bytes are more than any image has")
            return _read(file, size)
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def parse_image(data: bytes) -> Image:
    """The image in the bytes of a file; `ImageError` if anything about them is wrong."""
    return _read(io.BytesIO(data), len(data))


def _read(file: io.BufferedIOBase, length: int) -> Image:
    start = file.read(ENOUGH)
    if kind := kind_of(start):
        raise ImageError(f"no dpnet image but {kind}")
    start += file.read(min(int.from_bytes(start[:8], "little"), LARGEST_HEADER))
    description, stored = check_header(start, length)
    base = 8 + int.from_bytes(start[:8], "little")
    crcs = {name: crc for layer in description["layers"] for name, crc in layer["crc32"].items()}
    signature = Signature({name: x for name, x in description.items() if name != "sha256"})
    tensors = {
        name: _tensor(name, stored[name], file, base, crcs[name], signature)
        for name in sorted(stored)
    }
    require(description["sha256"] == signature.hex, "the SHA-256 over the file is wrong")
    return Image(
        layers=tuple(_layer(n, entry, tensors) for n, entry in enumerate(description["layers"])),
        input_scale=description["input_scale"],
        input_bits=description["input_bits"],
        output_scale=description["output_scale"],
        about=description["about"],
    )


def _tensor(
    name: str, place: Stored, file: io.BufferedIOBase, base: int, crc: int, signature: Signature
) -> NDArray[Any]:
    """A tensor as layers have it, checked and signed; only this one is in memory twice."""
    file.seek(base + place.start)
    data = bytearray(place.stop - place.start)
    require(file.readinto(data) == len(data), "the file was cut off while it was read")
    require(zlib.crc32(data) == crc, f"tensor {name}: its CRC-32 is wrong")
    array = np.frombuffer(data, place.dtype).reshape(place.shape)
    signature.add(name, array)
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
