"""A map image's file, written: the tensors of its layers, and the description that signs them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from dpnet.model.files import replacing
from dpnet.model.image.header import LARGEST_HEADER, require
from dpnet.model.image.maps.description import described
from dpnet.model.image.maps.layer_tensors import layer_tensors
from dpnet.model.image.maps.limits import LARGEST_FILE
from dpnet.model.image.writing import Signature

if TYPE_CHECKING:
    from dpnet.model.image.maps.network import MapImage

__all__ = ["write_network"]


def write_network(image: MapImage, path: Path) -> int:
    """Write `image` to `path`, whole or not at all; return the file's size in bytes.  Raises
    `ImageError` for an image that is too large to be read again."""
    data = file_of(image)
    with replacing(path) as file:
        file.write(data)
    return len(data)


def file_of(image: MapImage) -> bytes:
    """The bytes of the file; raises as `write_network` does."""
    tensors: dict[str, NDArray[Any]] = {}
    checksums = []
    for n, layer in enumerate(image.network.layers):
        parts = {f"{n}.{kind}": array for kind, array in layer_tensors(layer).items()}
        checksums.append(
            {name: zlib.crc32(np.ascontiguousarray(one).data) for name, one in parts.items()}
        )
        tensors |= parts
    description = described(image, checksums)
    signature = Signature(description)
    for name in sorted(tensors):
        signature.add(name, tensors[name])
    description["sha256"] = signature.hex
    data = save(tensors, {"dpnet": json.dumps(description, sort_keys=True)})
    header = int.from_bytes(data[:8], "little")
    require(
        header <= LARGEST_HEADER,
        f"its description takes {header:,} bytes, an image has at most {LARGEST_HEADER:,}: put "
        "less into about, or shorten the names",
    )
    require(len(data) <= LARGEST_FILE, f"{len(data):,} bytes are more than any map image has")
    return data
