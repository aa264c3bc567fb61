"""The image: a compressed network in one safetensors file, for every size of engine.

Tensors of layer n: `n.indices` (bit-packed, row after row, lowest bit first), and for an fp32 layer
`n.codebook`; for an integer layer `n.entries`, `n.exponent` (value = entry · 2^exponent), `n.bias`,
`n.multiplier`, `n.shift`.  The file's metadata has one key, `dpnet`: JSON with the format version,
shapes, K, scales, a CRC-32 per tensor and a SHA-256 over all of it.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from dpnet.model.files import replacing
from dpnet.model.image.header import ImageError, check_header, require
from dpnet.model.image.layers import Image, ImageLayer
from dpnet.model.indices import packed_bits

FORMAT = 1
LARGEST_FILE = 1 << 30


def write_image(image: Image, path: Path) -> int:
    """Write `image` to `path`, whole or not at all; return the file's size in bytes."""
    tensors: dict[str, NDArray[Any]] = {}
    layers = []
    for n, layer in enumerate(image.layers):
        parts = {f"{n}.{name}": array for name, array in _tensors(layer).items()}
        tensors |= parts
        layers.append(
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "rows": layer.rows,
                "columns": layer.columns,
                "k": layer.k,
                "relu": layer.relu,
                "out_bits": layer.out_bits,
                "crc32": {name: zlib.crc32(array.tobytes()) for name, array in parts.items()},
            }
        )
    description = {
        "format": FORMAT,
        "bit_order": "little",
        "input_scale": image.input_scale,
        "input_bits": image.input_bits,
        "output_scale": image.output_scale,
        "layers": layers,
        "about": dict(image.about),
    }
    description["sha256"] = _digest(description, tensors)
    data = save(tensors, {"dpnet": json.dumps(description, sort_keys=True)})
    with replacing(Path(path)) as file:
        file.write(data)
    return len(data)


def read_image(path: Path) -> Image:
    """Read and check an image; `ImageError` says what is wrong and where."""
    try:
        size = Path(path).stat().st_size
        require(size <= LARGEST_FILE, f"{path}: {size} bytes are more than any image has")
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        return parse_image(data)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def parse_image(data: bytes) -> Image:
    """The image in the bytes of a file; `ImageError` if anything about them is wrong."""
    description = check_header(data, FORMAT)
    try:
        tensors = load(data)
    except Exception as error:  # the library has many kinds, all mean the same here
        raise ImageError(f"not a safetensors file: {error}") from error
    wanted = _digest({k: v for k, v in description.items() if k != "sha256"}, tensors)
    for n, entry in enumerate(description["layers"]):
        for name, crc in entry["crc32"].items():
            require(name in tensors, f"layer {n}: tensor {name} is missing")
            require(
                zlib.crc32(tensors[name].tobytes()) == crc, f"tensor {name}: its CRC-32 is wrong"
            )
    require(description["sha256"] == wanted, "the SHA-256 over the file is wrong")
    layers = tuple(_layer(n, entry, tensors) for n, entry in enumerate(description["layers"]))
    return Image(
        layers=layers,
        input_scale=description["input_scale"],
        input_bits=description["input_bits"],
        output_scale=description["output_scale"],
        about=description["about"],
    )


def pack_indices(indices: NDArray[np.uint8], k: int) -> NDArray[np.uint8]:
    """Indices (R, C) to bytes: `packed_bits(k)` bits each, row after row, lowest bit first."""
    bits = np.unpackbits(indices.reshape(-1, 1), axis=1, count=packed_bits(k), bitorder="little")
    return np.packbits(bits.reshape(-1), bitorder="little")


def unpack_indices(packed: NDArray[np.uint8], rows: int, columns: int, k: int) -> NDArray[np.uint8]:
    """The inverse of `pack_indices`."""
    width = packed_bits(k)
    bits = np.unpackbits(packed, count=rows * columns * width, bitorder="little")
    wide = np.zeros((rows * columns, 8), np.uint8)
    wide[:, :width] = bits.reshape(-1, width)
    return np.packbits(wide, axis=1, bitorder="little").reshape(rows, columns)


def _tensors(layer: ImageLayer) -> dict[str, NDArray[Any]]:
    packed = {"indices": pack_indices(layer.indices, layer.k)}
    if layer.codebook is not None:
        return packed | {"codebook": np.ascontiguousarray(layer.codebook, np.float32)}
    assert layer.entries is not None and layer.exponent is not None
    assert layer.bias is not None and layer.multiplier is not None and layer.shift is not None
    return packed | {
        "entries": _narrowest(layer.entries, (np.int16, np.int32)),
        "exponent": layer.exponent.astype(np.int16),
        "bias": _narrowest(layer.bias, (np.int32, np.int64)),
        "multiplier": layer.multiplier.astype(np.int32),
        "shift": layer.shift.astype(np.uint8),
    }


def _narrowest(values: NDArray[np.int64], kinds: tuple[type[np.integer], ...]) -> NDArray[Any]:
    for kind in kinds:
        limits = np.iinfo(kind)
        if limits.min <= values.min() and values.max() <= limits.max:
            return values.astype(kind)
    raise ValueError(f"values must fit {np.dtype(kinds[-1])}, not {values!r}")


def _layer(n: int, entry: dict[str, Any], tensors: Mapping[str, NDArray[Any]]) -> ImageLayer:
    rows, columns, k = entry["rows"], entry["columns"], entry["k"]
    arrays = {name.partition(".")[2]: tensors[name] for name in entry["crc32"]}
    indices = unpack_indices(arrays.pop("indices"), rows, columns, k)
    parts: dict[str, Any] = {
        name: array if name == "codebook" else array.astype(np.int64)
        for name, array in arrays.items()
    }
    try:
        return ImageLayer(
            name=entry["name"],
            shape=tuple(entry["shape"]),
            indices=indices,
            k=k,
            relu=entry["relu"],
            out_bits=entry["out_bits"],
            **parts,
        )
    except ImageError as error:
        raise ImageError(f"layer {n}: {error}") from error


def _digest(description: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tensors[name].dtype} {tensors[name].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[name]).tobytes())
    return digest.hexdigest()
