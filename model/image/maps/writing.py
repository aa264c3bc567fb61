"""A map image's file, written: the tensors of its layers, and the description that signs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dpnet.model.files import replacing
from dpnet.model.image.container import checksums, packed
from dpnet.model.image.maps.description import described
from dpnet.model.image.maps.layer_tensors import layer_tensors
from dpnet.model.image.maps.limits import LARGEST_FILE

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
    crcs = []
    for n, layer in enumerate(image.network.layers):
        parts = {f"{n}.{kind}": array for kind, array in layer_tensors(layer).items()}
        crcs.append(checksums(parts))
        tensors |= parts
    return packed(described(image, crcs), tensors, LARGEST_FILE, "map image")
